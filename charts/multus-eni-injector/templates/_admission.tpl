{{/* Values of our keys, as the webhook reads them (see docs/contract.md). */}}
{{- define "multus-eni.choices" -}}
injection: [enabled, disabled]
mode: [init, sidecar]
credentials: [chain, node]
takeover: [always, never]
release-on-exit: ["true", "false"]
eip-wait: ["true", "false"]
{{- end }}

{{- define "multus-eni.forms" -}}
timeout:
  allowed: a duration from 1s to 60m, as in 90s or 2m
  test: >-
    VALUE.matches('^[0-9]{1,5}[sm]$')
    && int(VALUE.substring(0, size(VALUE) - 1)) * (VALUE.endsWith('m') ? 60 : 1) >= 1
    && int(VALUE.substring(0, size(VALUE) - 1)) * (VALUE.endsWith('m') ? 60 : 1) <= 3600
interfaces:
  allowed: names of the pod's Multus interfaces, as in net1,net2
  test: >-
    size(VALUE) <= 8192
    && VALUE.split(',').exists(name, name.trim() != '')
    && VALUE.split(',').all(name, size(name.trim()) <= 15 && !(name.trim() in ['eth0', 'lo', '.', '..'])
    && !name.trim().matches('[/:\\s]'))
agent-cpu:
  allowed: "10m to 999m: a whole core would be pinned for the agent"
  test: >-
    isQuantity(VALUE) && quantity(VALUE).compareTo(quantity('10m')) >= 0
    && quantity(VALUE).compareTo(quantity('999m')) <= 0
eip:
  allowed: "net1=pool/NAME or net1=eipalloc-…, where an IPv4 address may stand for net1; several with commas"
  test: >-
    size(VALUE) <= 2048
    && VALUE.split(',').exists(part, part.trim() != '')
    && !VALUE.split(',').exists(part, part.matches('^\\s*(eth0|lo)\\s*='))
    && VALUE.split(',').all(part, part.trim() == '' || part.matches(
    '^\\s*([A-Za-z0-9][-A-Za-z0-9_.]{0,14})\\s*=\\s*(pool/[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?|eipalloc-([0-9a-f]{8}|[0-9a-f]{17}))\\s*$'))
agent-image:
  allowed: an image reference
  test: VALUE.matches('^[!-~]{1,512}$')
units:
  allowed: a number from 1 to 999, or numbers by network, as in 2 or oam=2,sig=1
  test: >-
    VALUE.matches('^([1-9][0-9]{0,2}|[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?=[1-9][0-9]{0,2}(,[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?=[1-9][0-9]{0,2}){0,15})$')
agent-memory:
  allowed: a quantity from 16Mi
  test: isQuantity(VALUE) && quantity(VALUE).compareTo(quantity('16Mi')) >= 0
{{- end }}

{{/* A CEL list of our keys. A fixed list costs the same for every object, whatever it carries. */}}
{{- define "multus-eni.celKeys" -}}
{{- $keys := list }}
{{- range . }}
{{- $keys = append $keys (printf "'multus-eni.io/%s'" .) }}
{{- end -}}
[{{ join ", " $keys }}]
{{- end }}

{{/* One validation: the key's value is one of its choices; "where" is labels or annotations. */}}
{{- define "multus-eni.choice" -}}
{{- $choices := index (include "multus-eni.choices" . | fromYaml) .key }}
{{- $test := printf "VALUE in %s" ($choices | toJson | replace "\"" "'") }}
{{- include "multus-eni.validation" (dict "where" .where "key" .key "test" $test "allowed" (join ", " $choices)) }}
{{- end }}

{{/* One validation: an annotation's value has the key's form. */}}
{{- define "multus-eni.form" -}}
{{- $form := index (include "multus-eni.forms" . | fromYaml) .key }}
{{- include "multus-eni.validation" (dict "where" "annotations" "key" .key "test" $form.test "allowed" $form.allowed) }}
{{- end }}

{{- define "multus-eni.validation" -}}
{{- $key := printf "multus-eni.io/%s" .key }}
{{- $value := printf "variables.%s['%s']" .where $key -}}
- expression: >-
    !('{{ $key }}' in variables.new{{ .where | title }}) || ({{ .test | replace "VALUE" $value }})
  messageExpression: >-
    "{{ $key }}: '" + (size({{ $value }}) > 64 ? {{ $value }}.substring(0, 63) + '…' : {{ $value }})
    + "' is not allowed; allowed: {{ .allowed }}"
  reason: Invalid
{{- end }}
