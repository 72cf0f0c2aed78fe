"""Metrics of the node agent, in the Prometheus text format; nothing is computed until somebody asks.

Thread: the main loop's counts events, the probe server's threads take the snapshot at each scrape.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import Counter as CounterMetric
from prometheus_client import Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from common.metrics import process_registry
from common.version import VERSION
from ipagent.assign.address_state import SETTLED, Phase, PlannedAddress
from ipagent.node.gc.verdict import Verdict
from ipagent.node.model.address_events import AddressEvent, EventType
from ipagent.node.model.claim import ClaimState, ClaimStatus
from ipagent.node.model.pod import PodKey

PREFIX = "multus_eni_node_"
SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)
"""Upper bounds: a calm node takes one call of EC2, a full request limit takes seconds to minutes."""
MAX_BLOCKERS = 20
"""Pods that are named as blockers of garbage collection: series are not for ever."""
STATES = ("assigned", "pending", "failed")


@dataclass(frozen=True)
class Snapshot:
    """How things are now. `calls` are EC2's by action and result, `counts` those of the sessions."""

    items: tuple[PlannedAddress, ...] = ()
    conflicts: int = 0
    calls: Mapping[tuple[str, str], int] = field(default_factory=dict)
    statuses: Mapping[PodKey, ClaimStatus] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    watch_age: float | None = None
    candidates: int = 0
    verdicts: tuple[Verdict, ...] = ()
    events_dropped: int = 0


class Metrics:
    """`snapshot` is asked at each scrape, by the thread that serves it."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self.registry = process_registry()
        self._assigned = self._counter("assigned", "Addresses that were confirmed on their ENI.")
        self._reclaimed = self._counter("reclaimed", "Addresses that no pod held any more, unassigned.")
        self._routable = Histogram(
            f"{PREFIX}routable_seconds",
            "Time from when an address is known until it is confirmed on the ENI.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.registry.register(_SnapshotCollector(snapshot))

    def count(self, events: Iterable[AddressEvent]) -> None:
        """Count events."""
        for each in events:
            if each.kind is EventType.ASSIGNED:
                self._assigned.inc()
                if each.seconds is not None:
                    self._routable.observe(each.seconds)
            elif each.kind is EventType.RECLAIMED:
                self._reclaimed.inc()

    def _counter(self, name: str, text: str) -> CounterMetric:
        return CounterMetric(f"{PREFIX}{name}", text, registry=self.registry)


REFUSED = "refused_"
"""What the session server's counts of refusals begin with, before the HTTP status."""


class _SnapshotCollector(Collector):
    """Collects the samples of a snapshot at each scrape."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the registry would otherwise collect at registration."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Return the samples."""
        snapshot = self._snapshot()
        yield _gauge("build_info", "Always 1; the release is the label.", "version", {VERSION: 1})
        states = Counter(dict.fromkeys(STATES, 0))
        states.update(state_of(item) for item in snapshot.items)
        yield _gauge("addresses", "Addresses of this node's pods, by state.", "state", states)
        yield _single(
            "conflicts", "Addresses of this node's pods that another pod or ENI has.", snapshot.conflicts
        )
        yield _single("gc_candidates", "Addresses that no pod held at the last sweep.", snapshot.candidates)
        yield _blockers(snapshot.verdicts)
        # Before the first list there is no age, and an alert on its absence.
        if snapshot.watch_age is not None:
            text = "Seconds since the API server last sent something."
            yield _single("watch_age_seconds", text, snapshot.watch_age)
        claims = Counter({str(state): 0 for state in ClaimState})
        claims.update(str(each.state) for each in snapshot.statuses.values())
        yield _gauge(
            "claims", "Injected containers that are connected, by the state of their claim.", "state", claims
        )
        yield from _counters(snapshot)


def state_of(item: PlannedAddress) -> str:
    """Return the state of an address: one of STATES."""
    if item.phase is Phase.CONFIRMED:
        return "assigned"
    return "failed" if item.phase in SETTLED else "pending"


def _blockers(verdicts: Iterable[Verdict]) -> Metric:
    """Count the leaked addresses that one living pod alone keeps from being reclaimed: the pods with most."""
    blocked = Counter((each.blocker, str(each.why)) for each in verdicts if each.blocker)
    family = GaugeMetricFamily(
        f"{PREFIX}gc_blocked_addresses",
        "Leaked addresses that are kept because of a living pod, by pod and reason.",
        labels=("namespace", "pod", "reason"),
    )
    for (pod, reason), count in blocked.most_common(MAX_BLOCKERS):
        if pod is not None:
            family.add_metric((pod.namespace, pod.name, reason), count)
    return family


def _counters(snapshot: Snapshot) -> Iterator[Metric]:
    calls = CounterMetricFamily(f"{PREFIX}ec2_calls", "Calls of EC2.", labels=("action", "result"))
    for labels, count in sorted(snapshot.calls.items()):
        calls.add_metric(labels, count)
    yield calls
    reviews = CounterMetricFamily(f"{PREFIX}token_reviews", "Tokens that were checked.", labels=("result",))
    for result in ("ok", "refused", "failed"):
        reviews.add_metric((result,), snapshot.counts.get(f"reviews_{result}", 0))
    yield reviews
    refused = CounterMetricFamily(
        f"{PREFIX}sessions_refused", "Connections that were refused, by HTTP status.", labels=("status",)
    )
    for key, count in sorted(snapshot.counts.items()):
        if key.startswith(REFUSED):
            refused.add_metric((key.removeprefix(REFUSED),), count)
    yield refused
    dropped = CounterMetricFamily(f"{PREFIX}events_dropped", "Events on pods that were not written.")
    dropped.add_metric((), snapshot.events_dropped)
    yield dropped


def _gauge(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"{PREFIX}{name}", text, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family


def _single(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{PREFIX}{name}", text, value=value)
