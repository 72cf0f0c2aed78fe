{{/* docs/operations.md has a runbook for each of these. */}}
{{- define "multus-eni.alerts" -}}
{{- $ns := printf "namespace=%q" .Release.Namespace }}
{{- $alerts := list
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
    "summary" "The webhook turns reviews away: it has too much to do, or the network is slow.")
  (dict "alert" "MultusEniWebhookSlow" "severity" "warning" "for" "15m"
    "expr" (printf `histogram_quantile(0.99, sum by (le) (rate(multus_eni_webhook_decision_seconds_bucket{%s}[5m]))) > 0.1` $ns)
    "summary" "One decision in a hundred takes longer than 0.1 s.")
  (dict "alert" "MultusEniCertificateExpiring" "severity" "critical" "for" "15m"
    "expr" (printf `min(multus_eni_webhook_certificate_expiry_timestamp_seconds{%s}) - time() < 7 * 86400` $ns)
    "summary" "A replica of the webhook serves a certificate that ends within a week.")
  (dict "alert" "MultusEniCertificateUnusable" "severity" "warning" "for" "5m"
    "expr" (printf `sum(increase(multus_eni_webhook_certificate_reloads_total{%s,result="unusable"}[10m])) > 0` $ns)
    "summary" "The webhook can't use its new certificate files and goes on with the old ones.") }}
{{- if eq .Values.certificates.mode "selfSigned" }}
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
