"""All that one run found, beside its targets. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.agent.figures import BARE, BOTOCORE, INIT, INIT_TLS, Cost, Idle, Reaction
from benchmarks.common.machine import Machine
from benchmarks.common.memory import Memory

SWITCHES_A_REQUEST = 4
"""Waking up, waiting for the answer, going to sleep, and one to spare: more would be other wake-ups."""


@dataclass(frozen=True, slots=True)
class Results:
    """What was measured; `costs` are medians of `turns`, `notes` what the reader must know."""

    machine: Machine
    turns: int
    costs: Mapping[str, Cost]
    started: Memory
    idle: Idle
    reaction: Reaction
    notes: Sequence[str]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure beside its limits and what a bare Python and botocore's client as it comes need.

    `limit` and `stretch` are upper limits in the figure's own unit; None where there is none.
    """

    what: str
    unit: str
    found: float
    limit: float | None = None
    stretch: float | None = None
    bare: float | None = None
    botocore: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether it is within its limit."""
        return None if self.limit is None else self.found <= self.limit

    @property
    def stretched(self) -> bool | None:
        """Whether it is within the limit that would be better still."""
        return None if self.stretch is None else self.found <= self.stretch


def figures(results: Results) -> list[Figure]:
    """Put every figure beside its target and its references."""
    bare, botocore = results.costs[BARE], results.costs[BOTOCORE]
    init, tls = results.costs[INIT], results.costs[INIT_TLS]
    idle, reaction = results.idle, results.reaction
    return [
        Figure("init: CPU", "s", init.cpu, 0.15, 0.10, bare.cpu, botocore.cpu),
        Figure("init: peak RSS", "MB", init.peak, 45, 32, bare.peak, botocore.peak),
        Figure("init: wall", "s", init.seconds, None, None, bare.seconds, botocore.seconds),
        Figure("init, EC2 over TLS: CPU", "s", tls.cpu, 0.15, 0.10, bare.cpu, botocore.cpu),
        Figure("init, EC2 over TLS: peak RSS", "MB", tls.peak, 45, 32, bare.peak, botocore.peak),
        Figure("sidecar after its start: RSS", "MB", results.started.rss, 40, 30, bare.peak, botocore.peak),
        Figure("sidecar after its start: PSS", "MB", results.started.pss),
        Figure(
            f"sidecar idle for {idle.seconds:.0f} s: context switches (requests: {idle.requests})",
            "",
            idle.switches,
            SWITCHES_A_REQUEST * idle.requests,
        ),
        Figure(f"sidecar idle for {idle.seconds:.0f} s: CPU", "ms", idle.cpu_ms),
        Figure(f"address added to EC2's call, {reaction.events} times: p50", "ms", reaction.p50, 5),
        Figure(f"address added to EC2's call, {reaction.events} times: p99", "ms", reaction.p99, 20),
        Figure(f"address added to EC2's call, {reaction.events} times: longest", "ms", reaction.longest),
    ]
