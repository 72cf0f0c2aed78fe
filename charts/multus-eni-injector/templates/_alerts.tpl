{{/* docs/operations.md has a runbook for each of these. */}}
{{- define "multus-eni.alerts" -}}
{{- $ns := printf "namespace=%q" (include "multus-eni.namespace" .) }}
{{- $alerts := list }}
{{- if include "multus-eni.injects" . }}
{{- $alerts = list
  (dict "alert" "MultusEniWebhookUnreachable" "severity" "critical" "for" "1m"
    "expr" `sum(increase(apiserver_admission_webhook_rejection_count{name=~".+\\.multus-eni\\.io",error_type="calling_webhook_error"}[5m])) > 0`
    "summary" "The API server can't reach the webhook: Multus pods of opted-in namespaces are refused.")
  (dict "alert" "MultusEniWebhookDown" "severity" "critical" "for" "5m"
    "expr" (printf `absent(multus_eni_webhook_build_info{%s})` $ns)
    "summary" "No replica of the webhook is scraped: Multus pods of opted-in namespaces may be refused.")
  (dict "alert" "MultusEniWebhookFewReplicas" "severity" "warning" "for" "15m"
    "expr" (printf `count(multus_eni_webhook_build_info{%s}) < %v` $ns .Values.webhook.replicas)
    "summary" "Fewer replicas of the webhook than asked for are scraped.")
  (dict "alert" "MultusEniWebhookInternalError" "severity" "critical" "for" "0m"
    "expr" (printf `sum(increase(multus_eni_webhook_decisions_total{%s,reason="internal_error"}[15m])) > 0` $ns)
    "summary" "The webhook failed on a pod and refused it: this is a fault of multus-eni-injector.")
  (dict "alert" "MultusEniPodsRefused" "severity" "warning" "for" "15m"
    "expr" (printf `sum(increase(multus_eni_webhook_decisions_total{%s,reason=~"invalid_setting|unreadable_pod"}[15m])) > 0` $ns)
    "summary" "Pods are refused again and again for a wrong label or annotation.")
  (dict "alert" "MultusEniWebhookOverloaded" "severity" "warning" "for" "5m"
    "expr" (printf `sum(rate(multus_eni_webhook_rejected_requests_total{%s,code=~"408|503"}[5m])) > 0` $ns)
    "summary" "The webhook rejects reviews: too many large ones at once, or their bodies arrive too slowly.")
  (dict "alert" "MultusEniWebhookConnectionsRefused" "severity" "warning" "for" "5m"
    "expr" (printf `sum(rate(multus_eni_webhook_refused_connections_total{%s,reason=~"too_many|too_fast|evicted"}[5m])) > 0` $ns)
    "summary" "The webhook refuses connections: a peer opens too many, or the API servers need more replicas.")
  (dict "alert" "MultusEniWebhookSlow" "severity" "warning" "for" "15m"
    "expr" (printf `histogram_quantile(0.99, sum by (le) (rate(multus_eni_webhook_decision_seconds_bucket{%s}[5m]))) > 0.1` $ns)
    "summary" "One decision in a hundred takes longer than 0.1 s.")
  (dict "alert" "MultusEniCertificateExpiring" "severity" "critical" "for" "15m"
    "expr" (printf `min(multus_eni_webhook_certificate_expiry_timestamp_seconds{%s}) - time() < 7 * 86400` $ns)
    "summary" "A replica of the webhook serves a certificate that ends within a week.")
  (dict "alert" "MultusEniCertificateUnusable" "severity" "warning" "for" "5m"
    "expr" (printf `sum(increase(multus_eni_webhook_certificate_reloads_total{%s,result="unusable"}[10m])) > 0` $ns)
    "summary" "The webhook can't use its new certificate files and goes on with the old ones.") }}
{{- end }}
{{- if include "multus-eni.selfSigned" . }}
{{- $alerts = concat $alerts (list
  (dict "alert" "MultusEniCertsDown" "severity" "warning" "for" "15m"
    "expr" (printf `absent(multus_eni_certs_build_info{%s})` $ns)
    "summary" "certs is not scraped: nobody renews or mends the webhook's certificate.")
  (dict "alert" "MultusEniCertsNotInOrder" "severity" "warning" "for" "10m"
    "expr" (printf `min(multus_eni_certs_in_order{%s}) == 0` $ns)
    "summary" "The Secret and the caBundle of the webhook's configuration do not agree.")
  (dict "alert" "MultusEniCertsFailing" "severity" "warning" "for" "15m"
    "expr" (printf `increase(multus_eni_certs_failures_total{%s}[15m]) > 3` $ns)
    "summary" "certs fails again and again to look or to write.")) }}
{{- end }}
{{- if include "multus-eni.nodeAgent" . }}
{{- /* Beside the backend direct they only tidy up. */}}
{{- $gate := ternary "critical" "warning" (or (eq .Values.agent.backend "node") .Values.nodeAgent.watchOnly) }}
{{- $service := printf "service=\"%s-node\"" (include "multus-eni.fullname" .) }}
{{- $alerts = concat $alerts (list
  (dict "alert" "MultusEniNodeAgentsMissing" "severity" $gate "for" "5m"
    "expr" (printf `absent(multus_eni_node_build_info{%s})` $ns)
    "summary" "No agent of a node is scraped: they may serve no pods.")
  (dict "alert" "MultusEniNodeAgentDown" "severity" $gate "for" "5m"
    "expr" (printf `up{%s,%s} == 0` $ns $service)
    "summary" "A node agent does not answer: it serves no pods there.")
  (dict "alert" "MultusEniNodeWatchStale" "severity" "warning" "for" "5m"
    "expr" (printf `multus_eni_node_watch_age_seconds{%s} > 300` $ns)
    "summary" "A node agent has not heard of the API server for five minutes: it does not see new pods.")
  (dict "alert" "MultusEniNodeNeverSawPods" "severity" $gate "for" "5m"
    "expr" (printf `multus_eni_node_build_info{%s} unless on (namespace, pod) multus_eni_node_watch_age_seconds{%s}` $ns $ns)
    "summary" "A node agent has not seen its node's pods since it was started: it serves none.")
  (dict "alert" "MultusEniNodeAddressesFailed" "severity" "warning" "for" "5m"
    "expr" (printf `multus_eni_node_addresses{%s,state="failed"} > 0` $ns)
    "summary" "Addresses of living pods can't be assigned: the pods' Events say why.")
  (dict "alert" "MultusEniNodeAddressesPending" "severity" "warning" "for" "10m"
    "expr" (printf `min_over_time(multus_eni_node_addresses{%s,state="pending"}[5m]) > 0` $ns)
    "summary" "Addresses of living pods wait for EC2 again and again.")
  (dict "alert" "MultusEniNodeConflict" "severity" "warning" "for" "5m"
    "expr" (printf `multus_eni_node_conflicts{%s} > 0` $ns)
    "summary" "Two living pods have the same address, or another ENI took it: one of them is not reachable.")
  (dict "alert" "MultusEniNodeDenied" "severity" "critical" "for" "5m"
    "expr" (printf `sum by (action) (increase(multus_eni_node_ec2_calls_total{%s,result=~"no_permission|no_credentials"}[10m])) > 0` $ns)
    "summary" "EC2 refuses the node agents for lack of rights or credentials.")
  (dict "alert" "MultusEniNodeEc2Failing" "severity" "warning" "for" "10m"
    "expr" (printf `sum by (action) (rate(multus_eni_node_ec2_calls_total{%s,result=~"transient|unreachable|unknown"}[5m])) > 0` $ns)
    "summary" "EC2 can't be reached by node agents, or fails itself.")
  (dict "alert" "MultusEniNodeThrottled" "severity" "warning" "for" "15m"
    "expr" (printf `sum by (action) (rate(multus_eni_node_ec2_calls_total{%s,result="throttled"}[5m])) > 0.1` $ns)
    "summary" "EC2 throttles the node agents: addresses of new pods come late.")
  (dict "alert" "MultusEniNodeEniFull" "severity" "warning" "for" "10m"
    "expr" (printf `sum by (action) (increase(multus_eni_node_ec2_calls_total{%s,result=~"eni_full|subnet_full"}[15m])) > 0` $ns)
    "summary" "An ENI or its subnet has no room for the addresses of new pods.")
  (dict "alert" "MultusEniNodeSlow" "severity" "warning" "for" "15m"
    "expr" (printf `histogram_quantile(0.9, sum by (le) (rate(multus_eni_node_routable_seconds_bucket{%s}[5m]))) > 10` $ns)
    "summary" "One address in ten takes longer than 10 s from network-status to EC2's confirmation.")
  (dict "alert" "MultusEniNodeClaimsFailed" "severity" "warning" "for" "10m"
    "expr" (printf `multus_eni_node_claims{%s,state="failed"} > 0` $ns)
    "summary" "Pods ask for what they may not have or can't get, and do not start.")
  (dict "alert" "MultusEniNodeTokensRefused" "severity" "warning" "for" "15m"
    "expr" (printf `sum by (result) (rate(multus_eni_node_token_reviews_total{%s,result!="ok"}[5m])) > 0` $ns)
    "summary" "Agents of the nodes can't have tokens reviewed, or somebody shows wrong ones again and again.")
  (dict "alert" "MultusEniNodeLeftovers" "severity" "warning" "for" "1h"
    "expr" (printf `min_over_time(multus_eni_node_gc_candidates{%s}[6h]) > 0` $ns)
    "summary" "Addresses of dead pods stay on a node's ENIs, which has room for so many only.")) }}
{{- end }}
{{- range $alert := $alerts }}
- alert: {{ .alert }}
  expr: {{ .expr | quote }}
  for: {{ .for }}
  labels:
    {{- merge (dict "severity" .severity) $.Values.metrics.prometheusRule.alertLabels | toYaml | nindent 4 }}
  annotations:
    summary: {{ .summary | quote }}
    {{- with $.Values.metrics.prometheusRule.runbookUrl }}
    runbook_url: {{ . }}{{ $alert.alert | lower }}
    {{- end }}
{{- end }}
{{- end }}
