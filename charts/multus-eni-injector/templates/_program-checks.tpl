{{/* Values that a program would refuse at its start, a sentence a line. */}}
{{- define "multus-eni.programChecks" -}}
{{- include "multus-eni.startChecks" . }}
{{- include "multus-eni.nodePortChecks" . }}
{{- end }}

{{- define "multus-eni.startChecks" -}}
{{- $v := .Values }}
{{- range $volume := $v.agent.volumes }}
{{- if has $volume.name (list "multus-eni-run" "multus-eni-token") }}
{{ printf "agent.volumes: %s is the agent's own volume: choose another name" $volume.name }}
{{- end }}
{{- if ne (len $volume) 2 }}
{{ printf "agent.volumes: %s needs its name and one source, as in {name: ca, configMap: {name: ca}}" $volume.name }}
{{- end }}
{{- end }}
{{- range $v.agent.volumeMounts }}
{{- if has (trimSuffix "/" .mountPath) (list "/run/multus-eni" "/var/run/secrets/multus-eni.io/node-agent") }}
{{ printf "agent.volumeMounts: %s is where the agent's own volume is: choose another path" .mountPath }}
{{- end }}
{{- end }}
{{- $timeout := include "multus-eni.seconds" $v.agent.timeout | int64 }}
{{- if or (lt $timeout 1) (gt $timeout 3600) }}
{{ printf "agent.timeout: %s is not a duration from 1s to 60m" $v.agent.timeout }}
{{- end }}
{{- with $v.agent.resources.cpu }}
{{- $unit := regexFind "[mun]?$" (toString .) }}
{{- $millicores := mulf (trimSuffix $unit (toString .)) (get (dict "" 1000 "m" 1 "u" 0.001 "n" 0.000001) $unit) }}
{{- /* More than 999m is a whole core to the API server, which rounds up to whole millicores. */}}
{{- if or (not (regexMatch "^(0|[1-9][0-9]*)?(\\.[0-9]+)?[mun]?$" (toString .))) (lt $millicores 10.0) (gt $millicores 999.0) }}
{{ printf "agent.resources.cpu: %v is not 10m to 999m: a whole core would be pinned for the agent" . }}
{{- end }}
{{- end }}
{{- with $v.agent.resources.memory }}
{{- $few := "^([0-9]{1,7}|[0-9]{1,4}k|[0-9]{1,4}Ki|(1[0-6]|[0-9])(\\.[0-9]+)?M|(1[0-5]|[0-9])(\\.[0-9]+)?Mi|.*[num])$" }}
{{- if or (and (kindIs "string" .) (regexMatch $few .)) (and (not (kindIs "string" .)) (lt (float64 .) 16777216.0)) }}
{{ printf "agent.resources.memory: %v is not a quantity from 16Mi" . }}
{{- end }}
{{- end }}
{{- $cidrs := dict "agent.allowedCIDRs" $v.agent.allowedCIDRs "nodeAgent.gc.managedCIDRs" $v.nodeAgent.gc.managedCIDRs "nodeAgent.gc.protectedCIDRs" $v.nodeAgent.gc.protectedCIDRs }}
{{- range $namespace, $grant := $v.nodeAgent.grants }}
{{- $_ := set $cidrs (printf "nodeAgent.grants.%s.cidrs" $namespace) (default list $grant.cidrs) }}
{{- end }}
{{- $octet := "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])" }}
{{- $cidr := printf "^((%s\\.){3}%s/(3[0-2]|[12]?[0-9])|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))$" $octet $octet }}
{{- range $key, $list := $cidrs }}
{{- range $list }}
{{- if not (regexMatch $cidr .) }}
{{ printf "%s: %s is not a range such as 10.10.1.192/28" $key . }}
{{- else if include "multus-eni.hasHostBits" . }}
{{ printf "%s: %s is an address with the length of a network: write the network's first address, or /32 for this one address" $key . }}
{{- end }}
{{- end }}
{{- end }}
{{- if include "multus-eni.selfSigned" . }}
{{- $certificate := include "multus-eni.seconds" $v.certs.certificateLifetime | int64 }}
{{- $propagation := include "multus-eni.seconds" $v.certs.propagation | int64 }}
{{- if lt (include "multus-eni.seconds" $v.certs.caLifetime | int64) (mul 3 $certificate) }}
{{ printf "certs.caLifetime: %s is shorter than three times certs.certificateLifetime, %s" $v.certs.caLifetime $v.certs.certificateLifetime }}
{{- end }}
{{- if lt $certificate (mul 12 $propagation) }}
{{ printf "certs.certificateLifetime: %s is shorter than twelve times certs.propagation, %s: a renewal would have no room" $v.certs.certificateLifetime $v.certs.propagation }}
{{- end }}
{{- if lt $propagation (include "multus-eni.seconds" $v.certs.apiPropagation | int64) }}
{{ printf "certs.propagation: %s is shorter than certs.apiPropagation, %s" $v.certs.propagation $v.certs.apiPropagation }}
{{- end }}
{{- end }}
{{- if eq $v.certificates.mode "certManager" }}
{{- with $v.certificates.certManager }}
{{- if and (regexMatch "^[0-9]+h$" .duration) (regexMatch "^[0-9]+h$" .renewBefore) }}
{{- if ge (trimSuffix "h" .renewBefore | atoi) (trimSuffix "h" .duration | atoi) }}
{{ printf "certificates.certManager.renewBefore: %s is not shorter than its duration, %s" .renewBefore .duration }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* A duration of certs, as in 90d, in seconds. */}}
{{- define "multus-eni.seconds" -}}
{{- $unit := dict "s" 1 "m" 60 "h" 3600 "d" 86400 }}
{{- mul (regexFind "^[0-9]+" . | atoi) (index $unit (regexFind "[smhd]$" .)) }}
{{- end }}

{{/* Does an IPv4 range begin with another address than its network's first? The programs refuse it. */}}
{{- define "multus-eni.hasHostBits" -}}
{{- $parts := splitList "/" . }}
{{- $size := 1 }}
{{- $address := 0 }}
{{- if not (contains ":" .) }}
{{- range splitList "." (first $parts) }}
{{- $address = add (mul $address 256) (atoi .) }}
{{- end }}
{{- range until (sub 32 (last $parts | atoi) | int) }}
{{- $size = mul $size 2 }}
{{- end }}
{{- end }}
{{- if mod $address $size }}true{{ end }}
{{- end }}

{{- define "multus-eni.nodePortChecks" -}}
{{- $taken := dict "10248" "the kubelet's" "10249" "kube-proxy's" "10250" "the kubelet's" "10256" "kube-proxy's" "61678" "the VPC CNI's" "61679" "the VPC CNI's" }}
{{- $ports := dict }}
{{- if and .Values.webhook.hostNetwork (include "multus-eni.injects" .) }}
{{- $_ := set $ports "webhook.port" .Values.webhook.port }}
{{- if .Values.metrics.enabled }}
{{- $_ := set $ports "metrics.port" .Values.metrics.port }}
{{- end }}
{{- end }}
{{- if include "multus-eni.nodeAgent" . }}
{{- range $key := list "port" "healthPort" "linksPort" }}
{{- $_ := set $ports (printf "nodeAgent.%s" $key) (index $.Values.nodeAgent $key) }}
{{- end }}
{{- end }}
{{- range $key, $port := $ports }}
{{- if hasKey $taken (toString $port) }}
{{ printf "%s: %v is %s on every node's address: choose another port" $key $port (get $taken (toString $port)) }}
{{- end }}
{{- end }}
{{- end }}
