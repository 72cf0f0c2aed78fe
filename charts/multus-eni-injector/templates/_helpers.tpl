{{/* Names. The longest suffix is "-namespaces"; a Service's name has at most 63 characters. */}}
{{- define "multus-eni.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 45 | trimSuffix "-" }}
{{- end }}

{{- define "multus-eni.fullname" -}}
{{- $name := include "multus-eni.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 45 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 45 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Of cluster-wide objects: there is one injector a cluster, and Helm refuses a second one by this name. */}}
{{- define "multus-eni.clusterName" -}}
{{- .Values.webhookConfiguration.name }}
{{- end }}

{{- define "multus-eni.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride }}
{{- end }}

{{/*
The Secret with the webhook's certificate. Helm owns that of selfSigned, and refuses to take over the one that
cert-manager has made and leaves behind: so the two have different names.
*/}}
{{- define "multus-eni.secretName" -}}
{{- if eq .Values.certificates.mode "existingSecret" }}
{{- .Values.certificates.existingSecret.name }}
{{- else if eq .Values.certificates.mode "certManager" }}
{{- include "multus-eni.fullname" . }}-certificate
{{- else }}
{{- include "multus-eni.fullname" . }}-tls
{{- end }}
{{- end }}

{{/* Labels of every object, and those that a Deployment's selector names, by component. */}}
{{- define "multus-eni.labels" -}}
{{- $ours := dict
  "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_")
  "app.kubernetes.io/version" .root.Chart.AppVersion
  "app.kubernetes.io/managed-by" .root.Release.Service
  "app.kubernetes.io/part-of" "multus-eni-injector" }}
{{- merge (include "multus-eni.selectorLabels" . | fromYaml) $ours .root.Values.commonLabels | toYaml }}
{{- end }}

{{/* The annotations of an object: `own` and those for all objects; nothing where there are none. */}}
{{- define "multus-eni.annotations" -}}
{{- with merge (deepCopy (.own | default dict)) .root.Values.commonAnnotations -}}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "multus-eni.selectorLabels" -}}
app.kubernetes.io/name: {{ include "multus-eni.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{/* Our own pods are left out of injection by this label: they may run in any namespace. */}}
{{- define "multus-eni.podLabels" -}}
{{- merge (include "multus-eni.labels" . | fromYaml) (dict "multus-eni.io/injection" "disabled") (.more | default dict) | toYaml }}
{{- end }}

{{/* An umbrella chart's registry takes precedence, as in other charts with global.imageRegistry. */}}
{{- define "multus-eni.registry" -}}
{{- coalesce (.Values.global | default dict).imageRegistry .Values.image.registry | default "" }}
{{- end }}

{{/* Pull secrets of our own pods; global ones may be names or, as in a pod, objects. */}}
{{- define "multus-eni.imagePullSecrets" -}}
{{- $names := list }}
{{- range concat (default list (.Values.global | default dict).imagePullSecrets) .Values.imagePullSecrets }}
{{- $names = append $names (ternary . (dict "name" .) (kindIs "map" .)) }}
{{- end }}
{{- with uniq $names -}}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "multus-eni.image" -}}
{{- $image := index .root.Values.image .which }}
{{- $name := printf "%s/%s" (include "multus-eni.registry" .root) $image.repository }}
{{- if and $image.digest (not $image.tag) }}
{{- printf "%s@%s" $name $image.digest }}
{{- else }}
{{- $tag := coalesce $image.tag .root.Values.image.tag .root.Chart.AppVersion }}
{{- printf "%s:%s" $name $tag }}{{ with $image.digest }}@{{ . }}{{ end }}
{{- end }}
{{- end }}

{{/* What servers listen on: right for IPv4 and IPv6 clusters. */}}
{{- define "multus-eni.podIP" -}}
- name: POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
{{- end }}

{{/* A program's ServiceAccount: ours, or one that is there already. */}}
{{- define "multus-eni.serviceAccountName" -}}
{{- coalesce .account.name (ternary .name "default" .account.create) }}
{{- end }}

{{/* What Pod Security `restricted` demands. */}}
{{- define "multus-eni.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65534
runAsGroup: 65534
fsGroup: 65534
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "multus-eni.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* What the injector's pods may be given. */}}
{{- define "multus-eni.scheduling" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "multus-eni.excludedNamespaces" -}}
{{- concat (list "kube-system") .Values.injection.excludedNamespaces | uniq | toJson }}
{{- end }}

{{/* Is the webhook installed, with what it needs? */}}
{{- define "multus-eni.injects" -}}
{{- if not .Values.nodeAgent.watchOnly }}true{{ end }}
{{- end }}

{{/* Does certs look after the webhook's certificate? */}}
{{- define "multus-eni.selfSigned" -}}
{{- if and (include "multus-eni.injects" .) (eq .Values.certificates.mode "selfSigned") }}true{{ end }}
{{- end }}

{{/* Is the controller of node networks installed? */}}
{{- define "multus-eni.controller" -}}
{{- if .Values.controller.enabled }}true{{ end }}
{{- end }}

{{/* The ConfigMap by which the controller tells the webhook which definition is in which network. */}}
{{- define "multus-eni.networksMap" -}}
{{- printf "%s-networks" (include "multus-eni.fullname" .) }}
{{- end }}

{{/* Is the node agent installed? */}}
{{- define "multus-eni.nodeAgent" -}}
{{- $v := .Values }}
{{- if or $v.nodeAgent.enabled $v.nodeAgent.watchOnly (eq $v.agent.backend "node") $v.controller.enabled }}true{{ end }}
{{- end }}

{{/*
The nodes' folder in which Multus looks for the CNI configurations of NetworkAttachmentDefinitions with an empty spec.
Thick Multus says it in a ConfigMap, as its pods see the nodes' files: EKS's manifest names /host/etc/cni/net.d.
*/}}
{{- define "multus-eni.cniConfDir" -}}
{{- $found := .Values.nodeAgent.prefixes.cniConfDir }}
{{- if not $found }}
{{- $config := lookup "v1" "ConfigMap" "kube-system" "multus-daemon-config" }}
{{- with $config.data }}
{{- $found = get (index . "daemon-config.json" | default "{}" | fromJson) "confDir" | trimPrefix "/hostroot" | trimPrefix "/host" }}
{{- end }}
{{- end }}
{{- $found | default "/etc/cni/multus/net.d" }}
{{- end }}

{{/* May `helm test` expect that a pod in the release's namespace is injected by its own label? */}}
{{- define "multus-eni.testable" -}}
{{- $excluded := include "multus-eni.excludedNamespaces" . | fromJsonArray }}
{{- $v := .Values }}
{{- if and $v.test.enabled (include "multus-eni.injects" .) $v.injection.enabled $v.injection.podOptIn (not (has (include "multus-eni.namespace" .) $excluded)) }}true{{ end }}
{{- end }}

{{/* For the notes: with which identity a program calls EC2. */}}
{{- define "multus-eni.identity" -}}
{{- if eq .credentials "node" }}with the role of their node{{ else }}with the role of {{ .account }} (EKS Pod Identity or IRSA), or without one that of their node{{ end }}
{{- end }}
