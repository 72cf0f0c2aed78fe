"""Metrics of the controller, in the Prometheus text format; nothing is computed until somebody asks.

Thread: the probe server's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from common.metrics import process_registry
from common.version import VERSION
from ipagent.controller.model.actions import Call, Plan
from ipagent.controller.model.condition import TRUE
from ipagent.controller.model.eip_calls import EipPlan
from ipagent.controller.model.node_attachment import READY
from ipagent.controller.model.relay import BUCKETS, Histogram

PREFIX = "multus_eni_controller_"


@dataclass(frozen=True, slots=True)
class Relayed:
    """Calls that node agents ask for, by action: those without an answer, and how long the others took.

    `unanswered` counts those that were withdrawn meanwhile.
    """

    waiting: Mapping[str, int] = field(default_factory=dict)
    unanswered: Mapping[str, int] = field(default_factory=dict)
    durations: Mapping[str, Histogram] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How things are now. `calls` are EC2's by action and result, `busy` those without an answer."""

    leading: bool = False
    plan: Plan = field(default_factory=Plan)
    busy: tuple[Call, ...] = ()
    calls: Mapping[tuple[str, str], int] = field(default_factory=dict)
    write_failures: int = 0
    failing_writes: int = 0
    """Those that have failed and wait for their next try."""
    eips: EipPlan | None = None
    """None without grants of Elastic IPs."""
    relayed: Relayed | None = None
    """None where node agents call EC2 themselves."""


def registry(snapshot: Callable[[], Snapshot]) -> CollectorRegistry:
    """Return a registry that asks for a snapshot at each scrape."""
    found = process_registry()
    found.register(_Collector(snapshot))
    return found


class _Collector(Collector):
    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    def describe(self) -> Iterator[Metric]:
        """Return nothing: names need not be known before the first scrape."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Return the metrics of a fresh snapshot."""
        now = self._snapshot()
        yield _gauge("build_info", "Always 1; the release is the label.", ["version"], {(VERSION,): 1})
        yield _gauge("leader", "1 if this replica leads, else 0.", [], {(): float(now.leading)})
        yield from _of_plan(now)
        yield from _of_eips(now.eips)
        yield from _of_relayed(now.relayed)
        calls = CounterMetricFamily(f"{PREFIX}ec2_calls", "Calls to EC2.", labels=["action", "result"])
        for (action, result), count in sorted(now.calls.items()):
            calls.add_metric([action, result], count)
        yield calls
        failures = CounterMetricFamily(
            f"{PREFIX}write_failures", "Writes that the API server refused or did not answer."
        )
        failures.add_metric([], now.write_failures)
        yield failures
        text = (
            "Writes that the API server has not taken; those not wanted any more count for up to 3 minutes."
        )
        yield _gauge("failing_writes", text, [], {(): float(now.failing_writes)})


def _of_plan(now: Snapshot) -> Iterator[Metric]:
    states: Counter[tuple[str, ...]] = Counter()
    for status in now.plan.attachments.values():
        ready = status.conditions.get(READY)
        states["ready" if ready and ready.status == TRUE else (ready.reason if ready else "Unknown"),] += 1
    yield _gauge("attachments", "NodeAttachments by the reason of their condition Ready.", ["state"], states)
    networks: dict[tuple[str, ...], float] = {
        (name, kind): float(count)
        for name, each in now.plan.networks.items()
        for kind, count in (("selected", each.nodes), ("ready", each.ready), ("failed", each.failed))
    }
    yield _gauge("network_nodes", "Nodes of a network.", ["network", "state"], networks)
    free: dict[tuple[str, ...], float] = {
        (name,): float(each.free) for name, each in now.plan.networks.items() if each.free is not None
    }
    yield _gauge("network_free_addresses", "Addresses that ready nodes still take.", ["network"], free)
    capacity: Counter[tuple[str, ...]] = Counter()
    requested: Counter[tuple[str, ...]] = Counter()
    for name, status in now.plan.attachments.items():
        if status.capacity is not None:
            # A NodeAttachment's name ends with its network's, which has no dot.
            network = (name.rpartition(".")[2],)
            capacity[network] += status.capacity
            requested[network] += status.requested or 0
    yield _gauge("network_capacity_addresses", "Addresses that nodes have for pods.", ["network"], capacity)
    yield _gauge("network_requested_addresses", "Addresses that pods request.", ["network"], requested)
    waiting: Counter[tuple[str, ...]] = Counter()
    for call in (*now.plan.calls, *now.busy):
        for action in call.actions:
            waiting[action,] += 1
    yield _gauge("ec2_queue", "Calls that wait for EC2's request limit or an answer.", ["action"], waiting)
    yield _gauge(
        "leaked_enis", "ENIs with this cluster's tags that nothing needs.", [], {(): len(now.plan.leaked)}
    )


def _of_eips(plan: EipPlan | None) -> Iterator[Metric]:
    if plan is None:
        return
    states: Counter[tuple[str, ...]] = Counter(
        ("associated" if each.status == TRUE else each.reason,) for each in plan.conditions.values()
    )
    yield _gauge(
        "elastic_ip_pods", "Pods that claim Elastic IPs by the state of their condition.", ["state"], states
    )
    free: dict[tuple[str, ...], float] = {key: float(count) for key, count in plan.free.items()}
    yield _gauge(
        "elastic_ips_free", "Elastic IPs of a pool that a pod could have.", ["grantee", "pool"], free
    )
    yield _gauge(
        "elastic_ips_leaked",
        "Associations of pods that are gone, until they are ended.",
        [],
        {(): len(plan.gone)},
    )


def _of_relayed(relayed: Relayed | None) -> Iterator[Metric]:
    if relayed is None:
        return
    waiting: dict[tuple[str, ...], float] = {(key,): float(count) for key, count in relayed.waiting.items()}
    yield _gauge(
        "relay_waiting", "Calls that node agents ask for and have no answer to.", ["action"], waiting
    )
    unanswered = CounterMetricFamily(
        f"{PREFIX}relay_unanswered", "Calls that node agents gave up waiting for.", labels=["action"]
    )
    for action, count in sorted(relayed.unanswered.items()):
        unanswered.add_metric([action], count)
    yield unanswered
    durations = HistogramMetricFamily(
        f"{PREFIX}relay_seconds", "From a node agent's request to its answer.", labels=["action"]
    )
    for action, each in sorted(relayed.durations.items()):
        bounds = [*map(str, BUCKETS), "+Inf"]
        durations.add_metric([action], list(zip(bounds, each.counts, strict=True)), each.sum)
    yield durations


def _gauge(
    name: str, text: str, labels: list[str], values: Mapping[tuple[str, ...], float]
) -> GaugeMetricFamily:
    found = GaugeMetricFamily(PREFIX + name, text, labels=labels)
    for key, value in sorted(values.items()):
        found.add_metric(list(key), value)
    return found
