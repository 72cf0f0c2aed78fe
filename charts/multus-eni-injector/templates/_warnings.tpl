{{/*
What the notes warn of: values without an effect, and those that will be in the way one day. An installation works with
them, and whoever switches a part off for a while keeps its values: they refuse no upgrade.
*/}}
{{- define "multus-eni.warnings" -}}
{{- $v := .Values }}
{{- $node := include "multus-eni.nodeAgent" . }}
{{- if and $v.nodeAgent.grants (not $node) }}
nodeAgent.grants has no effect without node agents (nodeAgent.enabled): pods call EC2 with rights of their own.
{{- end }}
{{- if and (eq $v.nodeAgent.gc.mode "on") (not $node) }}
nodeAgent.gc.mode=on reclaims nothing without node agents (nodeAgent.enabled).
{{- end }}
{{- if and $v.nodeAgent.podCondition (not $node) }}
nodeAgent.podCondition has no effect without node agents (nodeAgent.enabled).
{{- end }}
{{- if and $v.nodeAgent.unmanageLinks (not $v.controller.enabled) }}
nodeAgent.unmanageLinks is for the interfaces of NodeNetworks, and has no effect without controller.enabled.
{{- end }}
{{- if and $v.nodeAgent.prefixes.cniConfDir (not $v.nodeAgent.prefixes.enabled) }}
nodeAgent.prefixes.cniConfDir has no effect without nodeAgent.prefixes.enabled.
{{- end }}
{{- if and $v.controller.eips (not $v.controller.enabled) }}
controller.eips grants nothing without controller.enabled.
{{- end }}
{{- range $key := list "webhookFrom" "metricsFrom" }}
{{- if and (index $v.networkPolicy $key) (not $v.networkPolicy.enabled) }}
{{ printf "networkPolicy.%s has no effect without networkPolicy.enabled." $key }}
{{- end }}
{{- end }}
{{- include "multus-eni.evictionWarnings" . }}
{{- end }}

{{/* A budget that allows no eviction at all keeps a node from being drained for ever. */}}
{{- define "multus-eni.evictionWarnings" -}}
{{- $parts := dict }}
{{- if include "multus-eni.injects" . }}
{{- $_ := set $parts "webhook" .Values.webhook }}
{{- end }}
{{- if .Values.controller.enabled }}
{{- $_ := set $parts "controller" .Values.controller }}
{{- end }}
{{- range $name, $part := $parts }}
{{- $budget := $part.podDisruptionBudget }}
{{- $least := toString (default "" $budget.minAvailable) }}
{{- $stay := 0 }}
{{- if hasSuffix "%" $least }}
{{- $stay = div (add (mul (trimSuffix "%" $least | atoi) (int $part.replicas)) 99) 100 }}
{{- else if $least }}
{{- $stay = atoi $least }}
{{- else if has (toString $budget.maxUnavailable) (list "0" "0%") }}
{{- $stay = int $part.replicas }}
{{- end }}
{{- if and $budget.enabled (ge (int $stay) (int $part.replicas)) }}
{{ printf "%s.podDisruptionBudget lets none of the %v replicas be evicted, and so no node that runs one can be drained." $name $part.replicas }}
{{- end }}
{{- end }}
{{- end }}
