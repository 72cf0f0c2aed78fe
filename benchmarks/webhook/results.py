"""All that one run found, and whether it reaches the targets. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.common.machine import Machine
from benchmarks.common.targets import Target
from benchmarks.webhook.creates import Creates, as_factor
from benchmarks.webhook.figures import OURS, MemoryUse, Sample, peers_of

WITHOUT_TARGETS = ("no two alike", "1 KiB")
"""Reviews that are measured and not judged: docs/performance.md, "Targets that were given up"."""
REQUESTED = 128 * 2**20 / 1e6
"""Megabytes that the chart requests for a replica; the other half is for what this run has not sent."""


@dataclass(frozen=True, slots=True)
class ApiServer:
    """Through the API server, by lane: creates by number of clients, and bursts of `burst_size`.

    `seconds` is how long creates are measured in each turn, by number of clients; `bursts` is how many bursts
    each lane had.
    """

    version: str
    titles: Mapping[str, str]
    seconds: Mapping[int, float]
    creates: Mapping[int, Mapping[str, Creates]]
    bursts: int
    burst: Mapping[str, Sample]
    burst_size: int
    burst_clients: int


@dataclass(frozen=True, slots=True)
class Results:
    """What was measured; `sizes` are the reviews' in bytes, `start` seconds, `notes` what was left out.

    Where only the API server's section was measured, `per_core`, `memory` and `start` are empty.
    """

    machine: Machine
    titles: Mapping[str, str]
    repeats: int
    connections: int
    tls: Sequence[str]
    sizes: Mapping[str, int]
    per_core: Mapping[str, Mapping[str, Sample]]
    memory: Mapping[str, MemoryUse]
    start: Sequence[float]
    api_server: ApiServer | None
    notes: Sequence[str]


def better_peer(samples: Mapping[str, Sample]) -> str | None:
    """Return the peer that answers more requests per second, None where there is none."""
    return max(peers_of(list(samples)), key=lambda name: samples[name].requests_per_second, default=None)


def targets(results: Results) -> list[Target]:
    """Compare with the targets."""
    found = []
    for review, samples in results.per_core.items():
        if review not in WITHOUT_TARGETS:
            found += _per_core(review, samples)
    if results.memory:
        found += _memory(results.memory[OURS])
    found += _api_server(results.api_server)
    if results.start:
        slowest = max(results.start)
        found.append(Target("start to ready", "< 1 s", f"{slowest:.2f} s", slowest < 1))
    return found


def _memory(use: MemoryUse) -> list[Target]:
    limit = REQUESTED / 2
    return [
        Target(
            f"resident memory, {when}: half of what the chart requests",
            f"<= {limit:.1f} MB",
            f"{memory.rss:.1f} MB",
            memory.rss <= limit,
        )
        for when, memory in (("right after the load", use.loaded), ("at the end", use.end))
    ]


def _per_core(review: str, samples: Mapping[str, Sample]) -> list[Target]:
    """Compare with the better peer; without peers there is nothing to compare with."""
    ours, peer = samples[OURS], better_peer(samples)
    if peer is None:
        return []
    times = ours.requests_per_second / samples[peer].requests_per_second
    p99 = ours.p99 / samples[peer].p99
    return [
        Target(f"{review}: requests/s of the better peer ({peer})", ">= 3.0 x", f"{times:.2f} x", times >= 3),
        Target(f"{review}: p99 of that peer's", "<= 0.33 x", f"{p99:.2f} x", p99 <= 1 / 3),
    ]


def _api_server(figures: ApiServer | None) -> list[Target]:
    """Compare a create with one that the same configuration answers by a constant."""
    found = []
    for clients, by_name in (figures.creates if figures else {}).items():
        ratio = by_name[OURS].of_constant
        plural = "client" if clients == 1 else "clients"
        found.append(
            Target(
                f"p50 of a create, {clients} {plural}: of the constant answer's",
                "<= 1.1 x",
                as_factor(ratio),
                ratio.median <= 1.1,
            )
        )
    return found
