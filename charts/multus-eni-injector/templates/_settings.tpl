{{/* The settings file of `multus-eni serve --config`. */}}
{{- define "multus-eni.settings" -}}
{{- $agent := omit .Values.agent "imagePullPolicy" "resources" | mustDeepCopy }}
{{- $resources := dict }}
{{- range $key, $value := .Values.agent.resources }}
{{- if $value }}
{{- $_ := set $resources $key $value }}
{{- end }}
{{- end }}
{{- $_ := set $agent "resources" $resources }}
{{- /* Pods ask the node agent, whoever makes its calls to EC2. */}}
{{- if eq $agent.backend "central" }}
{{- $_ := set $agent "backend" "node" }}
{{- end }}
{{- $_ := set $agent "nodePort" .Values.nodeAgent.port }}
{{- $_ := set $agent "image" (include "multus-eni.image" (dict "root" . "which" "agent")) }}
{{- with .Values.agent.imagePullPolicy }}
{{- $_ := set $agent "imagePullPolicy" . }}
{{- end }}
{{- $injection := pick .Values.injection "defaultMode" "excludedNamespaces" }}
{{- /* Programs that do not know the key refuse the file: it is there only where it says something. */}}
{{- if not .Values.injection.podOptIn }}
{{- $_ := set $injection "podOptIn" false }}
{{- end }}
{{- dict "agent" $agent "injection" $injection | toYaml }}
{{- end }}

{{/* The settings file of `ipagent node --config`. */}}
{{- define "multus-eni.nodeSettings" -}}
{{- $settings := pick .Values.nodeAgent "port" "healthPort" "watchOnly" "grants" "gc" "credentials" "requireTag" "podCondition" "logLevel" "logFormat" }}
{{- if .Values.controller.enabled }}
{{- $_ := set $settings "nodeNetworks" true }}
{{- end }}
{{- if eq .Values.agent.backend "central" }}
{{- $_ := set $settings "central" true }}
{{- end }}
{{- merge (dict "allowedCIDRs" .Values.agent.allowedCIDRs) $settings | toPrettyJson }}
{{- end }}
