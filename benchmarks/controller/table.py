"""What a run has measured, beside its targets, as text: Markdown. No I/O."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.common.grid import grid
from benchmarks.common.machine import Machine
from benchmarks.common.percentiles import percentile
from benchmarks.common.targets import Target, verdicts

NETWORKS = ("oam", "sig")


@dataclass(frozen=True, slots=True)
class Replica:
    """What one replica takes at rest: CPU and context switches a second, and memory in megabytes."""

    role: str
    cpu_ms: float
    switches: float
    rss: float


@dataclass(frozen=True, slots=True)
class Results:
    """`calls` are those to EC2 while all of them rested."""

    machine: Machine
    nodes: int
    seconds: float
    calls: int
    replicas: tuple[Replica, ...]
    resets: tuple[float, ...]
    """Milliseconds from each reset of a node's resources until they were there again."""


def targets(results: Results) -> list[Target]:
    """Return the figures beside what they should be."""
    leads = next(each for each in results.replicas if each.role == "leads")
    largest = max(each.rss for each in results.replicas)
    return [
        Target("calls to EC2 between two descriptions", "0", str(results.calls), results.calls == 0),
        Target("leader at rest: CPU a second", "<= 1 ms", f"{leads.cpu_ms:.2f} ms", leads.cpu_ms <= 1),
        Target("replica: RSS", "<= 80 MB", f"{largest:.1f} MB", largest <= 80),
        Target(
            "a node's resources that its kubelet has reset: until they are back, longest",
            "<= 2000 ms",
            f"{max(results.resets):.0f} ms",
            max(results.resets) <= 2000,
        ),
    ]


def render(results: Results) -> str:
    """Return the table."""
    rows = [("replica", "CPU a second", "context switches a second", "RSS")]
    rows += [
        (each.role, f"{each.cpu_ms:.2f} ms", f"{each.switches:.1f}", f"{each.rss:.1f} MB")
        for each in results.replicas
    ]
    rest = f"{results.nodes} nodes with {len(NETWORKS)} networks at rest for {results.seconds:.0f} s."
    reset = (
        f"A kubelet resets the resources of its node, {len(results.resets)} times: they are back after p50 "
        f"{percentile(results.resets, 0.5):.0f} ms, longest {max(results.resets):.0f} ms."
    )
    return "\n\n".join((results.machine.describe(), rest, grid(rows), reset, verdicts(targets(results))))
