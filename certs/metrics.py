"""Metrics and probes of the certificate controller."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import Counter, Gauge

from certs.rotation import Settings, in_sync
from certs.state import State
from common.metrics import process_registry
from common.probes import Probes
from common.version import VERSION

ACTIONS = ("MakeAuthority", "PruneAuthorities", "IssueLeaf", "UpdateCaBundle")


class MetricsAndProbes:
    """The metrics and the probes of this process; `steady` gives seconds on a clock that never jumps."""

    def __init__(self, steady: Callable[[], float], silence: float) -> None:
        self._steady = steady
        self._silence = silence
        self._turned = steady()
        self._agreed = False
        self.alive: Callable[[], bool] = lambda: True
        """Asked at each probe for what else has to be alive."""
        self.registry = process_registry()
        self._in_order = self._gauge("in_order", "1 if Secret and caBundle agreed at the last check, else 0.")
        self._ca = self._gauge("ca_expiry_timestamp_seconds", "When the signing CA expires (Unix time).")
        self._leaf = self._gauge(
            "certificate_expiry_timestamp_seconds", "When the leaf in the Secret expires (Unix time)."
        )
        actions = Counter("multus_eni_certs_actions", "What was written.", ["action"], registry=self.registry)
        self._actions = {name: actions.labels(name) for name in ACTIONS}
        self.failures = Counter(
            "multus_eni_certs_failures", "Reads and writes that failed.", registry=self.registry
        )
        Gauge(
            "multus_eni_certs_build_info",
            "Always 1; the release is the label.",
            ["version"],
            registry=self.registry,
        ).labels(VERSION).set(1)

    @property
    def probes(self) -> Probes:
        """The paths that the kubelet asks."""
        return {"/healthz": lambda: self.healthy, "/readyz": lambda: self.ready}

    @property
    def healthy(self) -> bool:
        """Whether the controller takes its turns."""
        return self.alive() and self._steady() - self._turned <= self._silence

    @property
    def ready(self) -> bool:
        """Whether Secret and caBundle agreed at the last check."""
        return self._agreed

    def record_turn(self) -> None:
        """Record that the controller has begun a turn."""
        self._turned = self._steady()

    def record_state(self, state: State, wall: float, settings: Settings) -> None:
        """Record what Secret and configuration hold now."""
        self._agreed = in_sync(state, wall, settings)
        self._in_order.set(self._agreed)
        signing, leaf = state.secret.signing, state.secret.leaf
        self._ca.set(signing.not_after if signing else 0)
        self._leaf.set(leaf.certificate.not_after if leaf else 0)

    def record_write(self, action: str) -> None:
        """Count a write."""
        self._actions[action].inc()

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"multus_eni_certs_{name}", text, registry=self.registry)
