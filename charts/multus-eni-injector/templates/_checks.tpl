{{/* What the schema can't say: values that are missing or contradict each other, each with a sentence. */}}
{{- define "multus-eni.checks" -}}
{{- $v := .Values }}
{{- if not (include "multus-eni.registry" .) }}
{{- fail "image.registry is required, since no images are published: push them with `make push REGISTRY=<registry>` and give the same registry here, as in --set image.registry=111122223333.dkr.ecr.eu-central-1.amazonaws.com" }}
{{- end }}
{{- if has "kube-system" $v.injection.excludedNamespaces }}
{{- fail "injection.excludedNamespaces: kube-system is always excluded: leave it out" }}
{{- end }}
{{- if not (lt $v.webhookConfiguration.name "pod-identity-webhook") }}
{{- fail (printf "webhookConfiguration.name: %q sorts after pod-identity-webhook, which would then not give its credentials to the agent: choose a name that sorts before it, such as multus-eni-injector" $v.webhookConfiguration.name) }}
{{- end }}
{{- if and $v.metrics.enabled (eq (int $v.metrics.port) (int $v.webhook.port)) }}
{{- fail (printf "webhook.port and metrics.port are both %v: give them different ports" $v.webhook.port) }}
{{- end }}
{{- if and (or $v.metrics.serviceMonitor.enabled $v.metrics.podMonitor.enabled $v.metrics.prometheusRule.enabled $v.metrics.dashboard.enabled) (not $v.metrics.enabled) }}
{{- fail "metrics.enabled is false, so metrics.serviceMonitor, metrics.podMonitor, metrics.prometheusRule and metrics.dashboard have nothing to show: set metrics.enabled=true, or switch these off" }}
{{- end }}
{{- if and $v.metrics.serviceMonitor.enabled $v.metrics.podMonitor.enabled }}
{{- fail "metrics.serviceMonitor and metrics.podMonitor would scrape each process twice: choose one of them" }}
{{- end }}
{{- if and $v.networkPolicy.enabled $v.webhook.hostNetwork }}
{{- fail "networkPolicy.enabled and webhook.hostNetwork: a NetworkPolicy does not apply to pods on the node's network: choose one of them" }}
{{- end }}
{{- if and (eq $v.webhookConfiguration.failurePolicy "Ignore") (eq $v.webhookConfiguration.reinvocationPolicy "Never") }}
{{- fail "webhookConfiguration: failurePolicy Ignore with reinvocationPolicy Never lets pods start without their addresses, or before them, silently: set one of them to Fail or IfNeeded" }}
{{- end }}
{{- if and $v.controller.enabled (not $v.controller.clusterName) }}
{{- fail "controller.clusterName is required with controller.enabled: the tags of the cluster's ENIs contain it, so that another cluster's controller leaves them alone" }}
{{- end }}
{{- if and (eq $v.agent.backend "central") (not $v.controller.enabled) }}
{{- fail "agent.backend=central needs controller.enabled: the controller makes the node agents' calls to EC2, for the ENIs of NodeNetworks" }}
{{- end }}
{{- if and $v.nodeAgent.prefixes.enabled (not $v.controller.enabled) }}
{{- fail "nodeAgent.prefixes.enabled needs controller.enabled: the controller assigns the prefixes" }}
{{- end }}
{{- if and $v.capacity.enabled (not (and $v.controller.enabled (include "multus-eni.injects" .))) }}
{{- fail "capacity.enabled needs controller.enabled and the webhook (nodeAgent.watchOnly=false): the controller writes the nodes' capacity, and the webhook adds the pods' requests" }}
{{- end }}
{{- include "multus-eni.certificateChecks" . }}
{{- include "multus-eni.agentChecks" . }}
{{- include "multus-eni.nodeAgentChecks" . }}
{{- $problems := list }}
{{- range include "multus-eni.programChecks" . | splitList "\n" }}
{{- with trim . }}
{{- $problems = append $problems . }}
{{- end }}
{{- end }}
{{- with $problems }}
{{- fail (join "\n" .) }}
{{- end }}
{{- end }}

{{- define "multus-eni.certificateChecks" -}}
{{- $mode := .Values.certificates.mode }}
{{- with .Values.certificates.existingSecret }}
{{- if eq $mode "existingSecret" }}
{{- if not .name }}
{{- fail "certificates.mode is existingSecret: name the Secret in certificates.existingSecret.name" }}
{{- end }}
{{- if not .caBundle }}
{{- fail "certificates.mode is existingSecret: give the CA certificates by which clients trust its certificate, as in --set-file certificates.existingSecret.caBundle=ca.crt" }}
{{- end }}
{{- if not (hasPrefix "-----BEGIN CERTIFICATE-----" (trim .caBundle)) }}
{{- fail "certificates.existingSecret.caBundle is not PEM: give the text that starts with -----BEGIN CERTIFICATE-----; the chart adds base64" }}
{{- end }}
{{- else if or .name .caBundle }}
{{- fail (printf "certificates.existingSecret is given, but certificates.mode is %s: set certificates.mode=existingSecret or leave it out" $mode) }}
{{- end }}
{{- end }}
{{- if and .Values.certificates.certManager.issuerRef (ne $mode "certManager") }}
{{- fail (printf "certificates.certManager.issuerRef is given, but certificates.mode is %s: set certificates.mode=certManager or leave it out" $mode) }}
{{- end }}
{{- end }}

{{- define "multus-eni.agentChecks" -}}
{{- $volumes := list }}
{{- range .Values.agent.volumes }}
{{- $volumes = append $volumes .name }}
{{- end }}
{{- range .Values.agent.volumeMounts }}
{{- if not (has .name $volumes) }}
{{- fail (printf "agent.volumeMounts: %q is not one of agent.volumes: add the volume there" .name) }}
{{- end }}
{{- end }}
{{- range .Values.agent.env }}
{{- if hasPrefix "MULTUS_ENI_" .name }}
{{- fail (printf "agent.env: %s: the webhook sets the names that begin with MULTUS_ENI_: choose another name" .name) }}
{{- end }}
{{- end }}
{{- range $which := list "webhook" "certs" "nodeAgent" "controller" }}
{{- range $key, $_ := (index $.Values $which).podLabels }}
{{- if eq $key "multus-eni.io/injection" }}
{{- fail (printf "%s.podLabels: the chart sets multus-eni.io/injection, so that the injector's own pods are never injected: remove it" $which) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "multus-eni.nodeAgentChecks" -}}
{{- $v := .Values.nodeAgent }}
{{- $ports := dict (toString $v.port) "nodeAgent.port" }}
{{- $others := dict "nodeAgent.healthPort" $v.healthPort }}
{{- if .Values.controller.enabled }}
{{- $_ := set $others "nodeAgent.linksPort" $v.linksPort }}
{{- end }}
{{- if .Values.webhook.hostNetwork }}
{{- $_ := set $others "webhook.port" .Values.webhook.port }}
{{- if .Values.metrics.enabled }}
{{- $_ := set $others "metrics.port" .Values.metrics.port }}
{{- end }}
{{- end }}
{{- if include "multus-eni.nodeAgent" . }}
{{- range $key, $port := $others }}
{{- if hasKey $ports (toString $port) }}
{{- fail (printf "%s and %s are both %v on the nodes' addresses: give them different ports" (get $ports (toString $port)) $key $port) }}
{{- end }}
{{- $_ := set $ports (toString $port) $key }}
{{- end }}
{{- end }}
{{- if and $v.watchOnly (eq .Values.agent.backend "node") }}
{{- fail "nodeAgent.watchOnly injects nothing, and so agent.backend=node has no agents to serve: leave one of them out" }}
{{- end }}
{{- if .Values.controller.enabled }}
{{- /* The policy for the DaemonSet's account would refuse nearly all that the controller writes. */}}
{{- $name := include "multus-eni.fullname" . }}
{{- $node := include "multus-eni.serviceAccountName" (dict "account" $v.serviceAccount "name" (printf "%s-node" $name)) }}
{{- $controller := include "multus-eni.serviceAccountName" (dict "account" .Values.controller.serviceAccount "name" (printf "%s-controller" $name)) }}
{{- if eq $node $controller }}
{{- fail (printf "controller.serviceAccount and nodeAgent.serviceAccount are both %q: policies tell the programs apart by their accounts, so name two" $node) }}
{{- end }}
{{- end }}
{{- $told := or $v.gc.protectedCIDRs $v.gc.noFloatingAddresses }}
{{- if and $v.watchOnly (eq $v.gc.mode "on") (not $told) }}
{{- fail "nodeAgent.gc.mode=on with nodeAgent.watchOnly would take floating addresses from living pods, since nothing shows which addresses float: name their ranges in nodeAgent.gc.protectedCIDRs, or set nodeAgent.gc.noFloatingAddresses=true" }}
{{- end }}
{{- $unit := dict "s" 1 "m" 60 "h" 3600 }}
{{- range $key, $least := dict "cooldown" 30 "interval" 10 }}
{{- $text := index $v.gc $key }}
{{- $seconds := mul (trimSuffix (substr (sub (len $text) 1 | int) (len $text) $text) $text | int64) (index $unit (substr (sub (len $text) 1 | int) (len $text) $text)) }}
{{- if or (lt $seconds (int64 $least)) (gt $seconds (int64 86400)) }}
{{- fail (printf "nodeAgent.gc.%s: %s is not a duration from %vs to 24h" $key $text $least) }}
{{- end }}
{{- end }}
{{- end }}
