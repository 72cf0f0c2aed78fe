{{/* A ValidatingAdmissionPolicy that keeps a program's account to one condition in the status of pods, and with ownNode to
the pods of its node. With the right to patch pods/status one could write a pod's addresses or its network-status. The DaemonSet has
one identity on all nodes; the node's name is in its token (Kubernetes: Projected service account tokens,
authentication.kubernetes.io/node-name). */}}
{{- define "multus-eni.podConditionPolicy" -}}
{{- $name := printf "%s-%s" (include "multus-eni.clusterName" .root) .name -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {{ $name }}
  labels:
    {{- .labels | nindent 4 }}
  {{- with include "multus-eni.annotations" (dict "root" .root) }}
  {{- . | nindent 2 }}
  {{- end }}
spec:
  failurePolicy: Fail
  matchConstraints:
    matchPolicy: Equivalent
    namespaceSelector: {}
    objectSelector: {}
    resourceRules:
      - apiGroups: [""]
        apiVersions: [v1]
        operations: [UPDATE]
        resources: [pods/status]
        scope: Namespaced
  matchConditions:
    - name: is-the-program
      expression: request.userInfo.username == 'system:serviceaccount:{{ include "multus-eni.namespace" .root }}:{{ .account }}'
  variables:
    {{- if .ownNode }}
    - name: node
      expression: >-
        'authentication.kubernetes.io/node-name' in request.userInfo.extra
        ? request.userInfo.extra['authentication.kubernetes.io/node-name'][0] : ''
    {{- end }}
    - name: others
      expression: >-
        has(object.status.conditions) ? object.status.conditions.filter(c, c.type != '{{ .condition }}') : []
    - name: before
      expression: >-
        has(oldObject.status.conditions) ? oldObject.status.conditions.filter(c, c.type != '{{ .condition }}') : []
  validations:
    {{- if .ownNode }}
    - expression: variables.node != '' && has(object.spec.nodeName) && object.spec.nodeName == variables.node
      messageExpression: >-
        '{{ .program }} writes conditions of the pods of its own node alone: its token is for '
        + (variables.node == '' ? 'no node' : variables.node)
    {{- end }}
    - expression: variables.others == variables.before
      message: {{ .program }} writes no condition of a pod but {{ .condition }}
    - expression: >-
        {{- range $index, $field := list "metadata.annotations" "metadata.labels" "metadata.finalizers" "status.phase"
        "status.reason" "status.message" "status.podIP" "status.podIPs" "status.hostIP" "status.hostIPs"
        "status.startTime" "status.qosClass" "status.nominatedNodeName" "status.containerStatuses"
        "status.initContainerStatuses" "status.ephemeralContainerStatuses" "status.resourceClaimStatuses" }}
        {{- if $index }}
        &&{{ end }}
        (has(object.{{ $field }}) ? has(oldObject.{{ $field }}) && object.{{ $field }} == oldObject.{{ $field }}
        : !has(oldObject.{{ $field }}))
        {{- end }}
      message: {{ .program }} writes nothing of a pod but the condition {{ .condition }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ $name }}
  labels:
    {{- .labels | nindent 4 }}
  {{- with include "multus-eni.annotations" (dict "root" .root) }}
  {{- . | nindent 2 }}
  {{- end }}
spec:
  policyName: {{ $name }}
  validationActions: [Deny]
{{- end }}
