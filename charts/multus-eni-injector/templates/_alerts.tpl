{{/* docs/operations.md has a runbook for each of these. `by` always keeps the cluster, and what says which process it
is. Labels `cluster` and `node` come from Prometheus (external labels, relabeling); without them they are empty. */}}
{{- define "multus-eni.alerts" -}}
{{- $ns := printf "namespace=%q" (include "multus-eni.namespace" .) }}
{{- $pods := printf "pod=~\"%s-node-[a-z0-9]+\"" (include "multus-eni.fullname" .) }}
{{- /* Beside the backend direct node agents only tidy up. */}}
{{- $gate := ternary "critical" "warning" (or (ne .Values.agent.backend "direct") .Values.nodeAgent.watchOnly) }}
{{- $ofEvery := list
  (dict "alert" "MultusEniProbeConnectionsRefused" "severity" "warning" "for" "10m"
    "expr" (printf `sum by (cluster, namespace, node, pod, reason) (rate(multus_eni_probes_refused_connections_total{%s}[5m])) > 0` $ns)
    "summary" "A port for probes and metrics refuses connections: the kubelet or Prometheus may be among them."
    "description" `{{ $labels.pod }} on node {{ $labels.node }} refuses {{ $value | humanize }} connections a second to its port for probes and metrics, with the reason {{ $labels.reason }}. If probes are among them, the kubelet restarts the container.`) }}
{{- $ofInjects := list
  (dict "alert" "MultusEniWebhookUnreachable" "severity" "critical" "for" "1m"
    "expr" `sum by (cluster) (increase(apiserver_admission_webhook_rejection_count{name=~".+\\.multus-eni\\.io",error_type="calling_webhook_error"}[5m])) > 0`
    "summary" "The API server can't reach the webhook: Multus pods of opted-in namespaces are refused."
    "description" `{{ $value | humanize }} pods were refused in 5 minutes because the API server could not call the webhook: no replica is ready, a security group or NetworkPolicy is in the way, or the caBundle does not match.`)
  (dict "alert" "MultusEniWebhookDown" "severity" "critical" "for" "5m"
    "expr" (printf `absent(multus_eni_webhook_build_info{%s})` $ns)
    "summary" "No replica of the webhook is scraped: Multus pods of opted-in namespaces may be refused."
    "description" `Prometheus sees no replica of the webhook in namespace {{ $labels.namespace }}. Either none is ready, or Prometheus does not reach their port for metrics.`)
  (dict "alert" "MultusEniWebhookFewReplicas" "severity" "warning" "for" "15m"
    "expr" (printf `count by (cluster, namespace) (multus_eni_webhook_build_info{%s}) < %v` $ns .Values.webhook.replicas)
    "summary" "Fewer replicas of the webhook than asked for are scraped."
    "description" `{{ $value }} replicas of the webhook are scraped, fewer than webhook.replicas. One is enough until its node fails.`)
  (dict "alert" "MultusEniWebhookInternalError" "severity" "critical" "for" "0m"
    "expr" (printf `sum by (cluster, namespace, pod) (increase(multus_eni_webhook_decisions_total{%s,reason="internal_error"}[15m])) > 0` $ns)
    "summary" "The webhook failed on a pod and refused it: this is a fault of multus-eni-injector."
    "description" `{{ $labels.pod }} failed on {{ $value | humanize }} reviews and refused their pods. Its log has the place in the code, under the event fault.`)
  (dict "alert" "MultusEniPodsRefused" "severity" "warning" "for" "15m"
    "expr" (printf `sum by (cluster, namespace, reason) (increase(multus_eni_webhook_decisions_total{%s,reason=~"invalid_setting|unreadable_pod"}[15m])) > 0` $ns)
    "summary" "Pods are refused again and again for a wrong label or annotation."
    "description" `{{ $value | humanize }} pods were refused in 15 minutes with the reason {{ $labels.reason }}. The webhook's log names pod, key and allowed values, and so does kubectl describe of the pod's controller.`)
  (dict "alert" "MultusEniWebhookOverloaded" "severity" "warning" "for" "5m"
    "expr" (printf `sum by (cluster, namespace, code) (rate(multus_eni_webhook_rejected_requests_total{%s,code=~"408|503"}[5m])) > 0` $ns)
    "summary" "The webhook rejects reviews: too many large ones at once, or their bodies arrive too slowly."
    "description" `{{ $value | humanize }} reviews a second are answered with {{ $labels.code }}. 503: large reviews exceed the bytes that are received at once; 408: a body did not arrive within 10 s.`)
  (dict "alert" "MultusEniWebhookConnectionsRefused" "severity" "warning" "for" "5m"
    "expr" (printf `sum by (cluster, namespace, reason) (rate(multus_eni_webhook_refused_connections_total{%s,reason=~"too_many|too_fast|evicted|overhead"}[5m])) > 0` $ns)
    "summary" "The webhook refuses connections: a peer opens too many, or the API servers need more replicas."
    "description" `{{ $value | humanize }} connections a second are refused with the reason {{ $labels.reason }}. Allow only API servers by a NetworkPolicy; if they alone cause it, add replicas.`)
  (dict "alert" "MultusEniWebhookSlow" "severity" "warning" "for" "15m"
    "expr" (printf `histogram_quantile(0.99, sum by (cluster, namespace, le) (rate(multus_eni_webhook_decision_seconds_bucket{%s}[5m]))) > 0.1` $ns)
    "summary" "One decision in a hundred takes longer than 0.1 s."
    "description" `The slowest decision in a hundred takes {{ $value | humanizeDuration }}; usual is below a millisecond. The container is throttled, or its node is overloaded.`)
  (dict "alert" "MultusEniCertificateExpiring" "severity" "critical" "for" "15m"
    "expr" (printf `min by (cluster, namespace, pod) (multus_eni_webhook_certificate_expiry_timestamp_seconds{%s}) - time() < 7 * 86400` $ns)
    "summary" "A replica of the webhook serves a certificate that ends within a week."
    "description" `The certificate that {{ $labels.pod }} serves ends in {{ $value | humanizeDuration }}. After that every admission of a Multus pod fails.`)
  (dict "alert" "MultusEniCertificateUnusable" "severity" "warning" "for" "5m"
    "expr" (printf `sum by (cluster, namespace, pod) (increase(multus_eni_webhook_certificate_reloads_total{%s,result="unusable"}[10m])) > 0` $ns)
    "summary" "The webhook can't use its new certificate files and keeps the old ones."
    "description" `{{ $labels.pod }} got certificate files that are not a pair or not valid today. Its log says which, under the event certificate_unusable.`) }}
{{- $ofSelfSigned := list
  (dict "alert" "MultusEniCertsDown" "severity" "warning" "for" "15m"
    "expr" (printf `absent(multus_eni_certs_build_info{%s})` $ns)
    "summary" "certs is not scraped: the webhook's certificate is not renewed or repaired."
    "description" `Prometheus does not see certs in namespace {{ $labels.namespace }}. The certificate is valid for weeks, but nothing is renewed or repaired meanwhile.`)
  (dict "alert" "MultusEniCertsNotInOrder" "severity" "warning" "for" "10m"
    "expr" (printf `min by (cluster, namespace) (multus_eni_certs_in_order{%s}) == 0` $ns)
    "summary" "The Secret and the caBundle of the webhook's configuration do not agree."
    "description" `certs could not bring Secret and caBundle together for ten minutes: it lacks rights, or another controller writes the caBundle.`)
  (dict "alert" "MultusEniCertsFailing" "severity" "warning" "for" "15m"
    "expr" (printf `sum by (cluster, namespace, pod) (increase(multus_eni_certs_failures_total{%s}[15m])) > 3` $ns)
    "summary" "certs fails again and again to look or to write."
    "description" `{{ $labels.pod }} failed {{ $value | humanize }} times in 15 minutes. Its log names the object and the API server's answer.`) }}
{{- $ofNodeAgent := list
  (dict "alert" "MultusEniNodeAgentsMissing" "severity" $gate "for" "5m"
    "expr" (printf `absent(multus_eni_node_build_info{%s})` $ns)
    "summary" "No node agent is scraped: they may serve no pods."
    "description" `Prometheus sees no node agent in namespace {{ $labels.namespace }}. Either the DaemonSet has no ready pod, or Prometheus does not reach port 9408 of the nodes.`)
  (dict "alert" "MultusEniNodeAgentDown" "severity" $gate "for" "5m"
    "expr" (printf `up{%s,%s} == 0` $ns $pods)
    "summary" "A node agent does not answer: it serves no pods there."
    "description" `{{ $labels.pod }} on node {{ $labels.node }} ({{ $labels.instance }}) does not answer. New Multus pods of that node wait for their addresses.`)
  (dict "alert" "MultusEniNodeWatchStale" "severity" "warning" "for" "5m"
    "expr" (printf `multus_eni_node_watch_age_seconds{%s} > 300` $ns)
    "summary" "A node agent has not heard of the API server for five minutes: it does not see new pods."
    "description" `{{ $labels.pod }} on node {{ $labels.node }} heard from the API server {{ $value | humanizeDuration }} ago.`)
  (dict "alert" "MultusEniNodeNeverSawPods" "severity" $gate "for" "5m"
    "expr" (printf `multus_eni_node_build_info{%s} unless on (cluster, namespace, pod) multus_eni_node_watch_age_seconds{%s}` $ns $ns)
    "summary" "A node agent has not seen its node's pods since it was started: it serves none."
    "description" `{{ $labels.pod }} on node {{ $labels.node }} could not list the node's pods since it started. Its log says why.`)
  (dict "alert" "MultusEniNodeAddressesFailed" "severity" "warning" "for" "5m"
    "expr" (printf `multus_eni_node_addresses{%s,state="failed"} > 0` $ns)
    "summary" "Addresses of living pods can't be assigned: the pods' Events say why."
    "description" `{{ $value }} addresses of living pods on node {{ $labels.node }} can't be assigned ({{ $labels.pod }}). The pods' Events name address and reason.`)
  (dict "alert" "MultusEniNodeAddressesPending" "severity" "warning" "for" "10m"
    "expr" (printf `min_over_time(multus_eni_node_addresses{%s,state="pending"}[5m]) > 0` $ns)
    "summary" "Addresses of living pods wait for EC2 again and again."
    "description" `At least {{ $value }} addresses on node {{ $labels.node }} have been waiting for EC2 all the time ({{ $labels.pod }}).`)
  (dict "alert" "MultusEniNodeConflict" "severity" "warning" "for" "5m"
    "expr" (printf `multus_eni_node_conflicts{%s} > 0` $ns)
    "summary" "Two living pods have the same address, or another ENI took it: one of them is not reachable."
    "description" `{{ $value }} addresses of pods on node {{ $labels.node }} are held by others as well ({{ $labels.pod }}). The Event AddressConflict on the pod names both.`)
  (dict "alert" "MultusEniNodeDenied" "severity" "critical" "for" "5m"
    "expr" (printf `sum by (cluster, namespace, node, pod, action) (increase(multus_eni_node_ec2_calls_total{%s,result=~"no_permission|no_credentials"}[10m])) > 0` $ns)
    "summary" "EC2 refuses the node agents for lack of rights or credentials."
    "description" `EC2 refuses {{ $labels.action }} to {{ $labels.pod }} on node {{ $labels.node }}. The line identity in its log says which role calls.`)
  (dict "alert" "MultusEniNodeEc2Failing" "severity" "warning" "for" "10m"
    "expr" (printf `sum by (cluster, namespace, node, pod, action) (rate(multus_eni_node_ec2_calls_total{%s,result=~"transient|unreachable|unknown"}[5m])) > 0` $ns)
    "summary" "EC2 can't be reached by node agents, or fails itself."
    "description" `{{ $labels.action }} fails for {{ $labels.pod }} on node {{ $labels.node }}, {{ $value | humanize }} times a second.`)
  (dict "alert" "MultusEniNodeThrottled" "severity" "warning" "for" "15m"
    "expr" (printf `sum by (cluster, namespace, action) (rate(multus_eni_node_ec2_calls_total{%s,result="throttled"}[5m])) > 0.1` $ns)
    "summary" "EC2 throttles the node agents: addresses of new pods come late."
    "description" `EC2 throttles {{ $labels.action }} {{ $value | humanize }} times a second over all nodes: they share the account's limit in the region.`)
  (dict "alert" "MultusEniNodeEniFull" "severity" "warning" "for" "10m"
    "expr" (printf `sum by (cluster, namespace, node, pod, action) (increase(multus_eni_node_ec2_calls_total{%s,result=~"eni_full|subnet_full"}[15m])) > 0` $ns)
    "summary" "An ENI or its subnet has no room for the addresses of new pods."
    "description" `EC2 has no room for more addresses on an ENI of node {{ $labels.node }}, or in its subnet ({{ $labels.pod }}).`)
  (dict "alert" "MultusEniNodeSlow" "severity" "warning" "for" "15m"
    "expr" (printf `histogram_quantile(0.9, sum by (cluster, namespace, le) (rate(multus_eni_node_routable_seconds_bucket{%s}[5m]))) > 10` $ns)
    "summary" "One address in ten takes longer than 10 s from network-status to EC2's confirmation."
    "description" `The slowest address in ten takes {{ $value | humanizeDuration }} until EC2 confirms it. The dashboard shows which nodes are slow.`)
  (dict "alert" "MultusEniNodeClaimsFailed" "severity" "warning" "for" "10m"
    "expr" (printf `multus_eni_node_claims{%s,state="failed"} > 0` $ns)
    "summary" "Pods ask for what they may not have or can't get, and do not start."
    "description" `{{ $value }} injected agents on node {{ $labels.node }} ask for addresses that they don't get ({{ $labels.pod }}). kubectl describe pod shows the reason.`)
  (dict "alert" "MultusEniNodeTokensRefused" "severity" "warning" "for" "15m"
    "expr" (printf `sum by (cluster, namespace, node, pod, result) (rate(multus_eni_node_token_reviews_total{%s,result!="ok"}[5m])) > 0` $ns)
    "summary" "Node agents can't have tokens reviewed, or a client keeps presenting wrong ones."
    "description" `{{ $labels.pod }} on node {{ $labels.node }}: {{ $value | humanize }} token reviews a second end with {{ $labels.result }}. failed: the API server does not review them; refused: somebody presents wrong tokens.`)
  (dict "alert" "MultusEniNodeLeftovers" "severity" "warning" "for" "1h"
    "expr" (printf `min_over_time(multus_eni_node_gc_candidates{%s}[6h]) > 0` $ns)
    "summary" "Addresses of dead pods stay on a node's ENIs, which has room for so many only."
    "description" `{{ $value }} addresses that no pod holds have been on the ENIs of node {{ $labels.node }} for hours ({{ $labels.pod }}).`) }}
{{- $ofController := list
  (dict "alert" "MultusEniControllerNotLeading" "severity" "critical" "for" "5m"
    "expr" (printf `(sum by (cluster, namespace) (multus_eni_controller_leader{%s}) or absent(multus_eni_controller_leader{%s}) - 1) < 1` $ns $ns)
    "summary" "No replica of the controller leads: new nodes keep their startup taint."
    "description" `No replica of the controller in namespace {{ $labels.namespace }} holds the Lease. Nodes that are ready stay so; new ones get no ENIs, and nothing is taken back.`)
  (dict "alert" "MultusEniNetworkNodesFailed" "severity" "warning" "for" "10m"
    "expr" (printf `sum by (cluster, namespace, network) (multus_eni_controller_network_nodes{%s,state="failed"}) > 0` $ns)
    "summary" "Nodes lack an ENI of a network, and trying again does not help."
    "description" `{{ $value | humanize }} nodes of NodeNetwork {{ $labels.network }} are refused something. kubectl get nodeattachments -o wide names the reason of each.`)
  (dict "alert" "MultusEniNetworkFull" "severity" "warning" "for" "15m"
    "expr" (printf `sum by (cluster, namespace, network) (multus_eni_controller_network_requested_addresses{%s}) >= sum by (cluster, namespace, network) (multus_eni_controller_network_capacity_addresses{%s}) > 0` $ns $ns)
    "summary" "No node has an address of a network left: new pods stay Pending."
    "description" `Pods request all {{ $value | humanize }} addresses of NodeNetwork {{ $labels.network }}. Add nodes, or see by kubectl get nodeattachments what else is on their ENIs.`)
  (dict "alert" "MultusEniEnisLeaked" "severity" "warning" "for" "30m"
    "expr" (printf `sum by (cluster, namespace) (multus_eni_controller_leaked_enis{%s}) > 0` $ns)
    "summary" "ENIs with this cluster's tags are needed by nothing."
    "description" `{{ $value | humanize }} ENIs are leaked. With controller.releases=on they are deleted, unless EC2 refuses that; the controller's log names them under the event leaked.`)
  (dict "alert" "MultusEniControllerWritesFailing" "severity" "warning" "for" "15m"
    "expr" (printf `sum by (cluster, namespace) (multus_eni_controller_failing_writes{%s}) > 0` $ns)
    "summary" "The API server does not take writes of the controller."
    "description" `{{ $value | humanize }} writes, which may be of fewer objects, are not taken: labels or capacity of nodes, NodeAttachments, or conditions. The controller's log names each under the event write-failed, and why.`)
  (dict "alert" "MultusEniElasticIpsMissing" "severity" "warning" "for" "15m"
    "expr" (printf `sum by (cluster, namespace, state) (multus_eni_controller_elastic_ip_pods{%s,state!="associated"}) > 0` $ns)
    "summary" "Pods wait for an Elastic IP."
    "description" `{{ $value | humanize }} pods have no Elastic IP: {{ $labels.state }}. Their condition multus-eni.io/ElasticIPsAssociated says what to do.`)
  (dict "alert" "MultusEniCallsUnanswered" "severity" "warning" "for" "5m"
    "expr" (printf `sum by (cluster, namespace, action) (increase(multus_eni_controller_relay_unanswered_total{%s}[15m])) > 5` $ns)
    "summary" "Node agents wait in vain for calls to EC2 that the controller makes for them."
    "description" `{{ $value | humanize }} requests for {{ $labels.action }} were given up without an answer in 15 minutes: the controller can't keep up, or can't write to the API server. Pods wait for their addresses.`) }}
{{- $parts := dict "every" $ofEvery "injects" $ofInjects "selfSigned" $ofSelfSigned "nodeAgent" $ofNodeAgent "controller" $ofController }}
{{- $settings := .Values.metrics.prometheusRule }}
{{- $names := list }}
{{- range $parts }}
{{- range . }}
{{- $names = append $names .alert }}
{{- end }}
{{- end }}
{{- range $settings.disabled }}
{{- if not (has . $names) }}
{{- fail (printf "metrics.prometheusRule.disabled: there is no alert %s: docs/operations.md lists them" .) }}
{{- end }}
{{- end }}
{{- $runbooks := include "multus-eni.runbooks" . }}
{{- range $part := list "every" "injects" "selfSigned" "nodeAgent" "controller" }}
{{- if or (eq $part "every") (include (printf "multus-eni.%s" $part) $) }}
{{- range $alert := get $parts $part }}
{{- if not (has .alert $settings.disabled) }}
- alert: {{ .alert }}
  expr: {{ .expr | quote }}
  for: {{ .for }}
  labels:
    {{- merge (dict "severity" .severity) $settings.alertLabels | toYaml | nindent 4 }}
  annotations:
    summary: {{ .summary | quote }}
    description: {{ .description | quote }}
    runbook_url: {{ printf "%s%s" $runbooks (lower .alert) | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* What links to runbooks start with. */}}
{{- define "multus-eni.runbooks" -}}
{{- default (printf "%s/blob/main/docs/operations.md#" .Chart.Home) .Values.metrics.prometheusRule.runbookUrl }}
{{- end }}
