"""The webhook's metrics, in the Prometheus text format, on a port of their own."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from common.agent_settings import Mode
from common.connection_limits import Refusal
from common.metrics import process_registry
from common.version import VERSION
from webhook.core.reasons import Reason

_MODES = {Reason.INJECT_INIT: Mode.INIT.value, Reason.INJECT_SIDECAR: Mode.SIDECAR.value}
_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1.0)


class Metrics:
    """The webhook's metrics. Labels are resolved once, so that a request costs additions only."""

    def __init__(self) -> None:
        self.registry = process_registry()
        decisions = Counter(
            "multus_eni_webhook_decisions",
            "Decisions, by reason and by the mode of the injected agent.",
            ["reason", "mode"],
            registry=self.registry,
        )
        self.decisions = {
            reason: decisions.labels(reason.value, _MODES.get(reason, "none")) for reason in Reason
        }
        self.seconds = Histogram(
            "multus_eni_webhook_decision_seconds",
            "Time from the last byte of a review to the first byte of its response.",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.reviews_in_flight = 0
        Gauge(
            "multus_eni_webhook_in_flight_requests",
            "Reviews in flight, including those whose body is still being read.",
            registry=self.registry,
        ).set_function(lambda: self.reviews_in_flight)
        rejected = Counter(
            "multus_eni_webhook_rejected_requests",
            "Reviews that were rejected with an HTTP error, by its code.",
            ["code"],
            registry=self.registry,
        )
        self.rejected = {code: rejected.labels(str(code)) for code in (400, 408, 413, 503)}
        refused = Counter(
            "multus_eni_webhook_refused_connections",
            "Connections that were refused, or closed for another one, by the reason.",
            ["reason"],
            registry=self.registry,
        )
        self.refused_connections = {reason: refused.labels(reason.value) for reason in Refusal}
        self.connections = Gauge(
            "multus_eni_webhook_connections",
            "Open connections to the reviews' port.",
            registry=self.registry,
        )
        self.certificate_expiry = Gauge(
            "multus_eni_webhook_certificate_expiry_timestamp_seconds",
            "When the served certificate expires (Unix time).",
            registry=self.registry,
        )
        reloads = Counter(
            "multus_eni_webhook_certificate_reloads",
            "Reloads of the certificate files, by result (ok, unusable).",
            ["result"],
            registry=self.registry,
        )
        self.reloaded = reloads.labels("ok")
        self.reload_failed = reloads.labels("unusable")
        Gauge(
            "multus_eni_webhook_build_info",
            "Always 1; the release is the label.",
            ["version"],
            registry=self.registry,
        ).labels(VERSION).set(1)
