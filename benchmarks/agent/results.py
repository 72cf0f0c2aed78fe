"""All that one run found, beside its targets. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.agent.figures import BARE, BOTOCORE, INIT, INIT_TLS, SLIM_INIT, Cost, Idle, Reaction
from benchmarks.common.machine import Machine
from benchmarks.common.memory import Memory

SWITCHES_A_REQUEST = 4
"""Waking up, waiting for the answer, going to sleep, and one to spare: more would be other wake-ups."""


@dataclass(frozen=True, slots=True)
class Sidecars:
    """What a sidecar takes after its start and at rest, and how soon it reacts."""

    started: Memory
    idle: Idle
    reaction: Reaction


@dataclass(frozen=True, slots=True)
class Results:
    """What was measured; `costs` are medians of `turns`, `notes` what the reader must know."""

    machine: Machine
    turns: int
    costs: Mapping[str, Cost]
    direct: Sidecars
    slim: Sidecars
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
    return [*_inits(results), *_direct(results), *_slim(results)]


def _inits(results: Results) -> list[Figure]:
    bare, botocore = results.costs[BARE], results.costs[BOTOCORE]
    init, tls, slim = results.costs[INIT], results.costs[INIT_TLS], results.costs[SLIM_INIT]
    return [
        Figure("init: CPU", "s", init.cpu, 0.15, 0.10, bare.cpu, botocore.cpu),
        Figure("init: peak RSS", "MB", init.peak, 45, 32, bare.peak, botocore.peak),
        Figure("init: wall", "s", init.seconds, None, None, bare.seconds, botocore.seconds),
        Figure("init, EC2 over TLS: CPU", "s", tls.cpu, 0.15, 0.10, bare.cpu, botocore.cpu),
        Figure("init, EC2 over TLS: peak RSS", "MB", tls.peak, 45, 32, bare.peak, botocore.peak),
        Figure("slim init: CPU", "s", slim.cpu, 0.05, 0.03, bare.cpu, botocore.cpu),
        Figure("slim init: peak RSS", "MB", slim.peak, 14, 12, bare.peak, botocore.peak),
        Figure("slim init: wall", "s", slim.seconds, None, None, bare.seconds, botocore.seconds),
    ]


def _direct(results: Results) -> list[Figure]:
    bare, botocore = results.costs[BARE], results.costs[BOTOCORE]
    started, idle, reaction = results.direct.started, results.direct.idle, results.direct.reaction
    called = f"address added to EC2's call, {reaction.events} times"
    return [
        Figure("sidecar after its start: RSS", "MB", started.rss, 40, 30, bare.peak, botocore.peak),
        Figure("sidecar after its start: PSS", "MB", started.pss),
        Figure(
            f"sidecar idle for {idle.seconds:.0f} s: context switches (requests: {idle.requests})",
            "",
            idle.switches,
            SWITCHES_A_REQUEST * idle.requests,
        ),
        Figure(f"sidecar idle for {idle.seconds:.0f} s: CPU", "ms", idle.cpu_ms),
        Figure(f"{called}: p50", "ms", reaction.p50, 5),
        Figure(f"{called}: p99", "ms", reaction.p99, 20),
        Figure(f"{called}: longest", "ms", reaction.longest),
    ]


def _slim(results: Results) -> list[Figure]:
    bare, botocore = results.costs[BARE], results.costs[BOTOCORE]
    started, idle, reaction = results.slim.started, results.slim.idle, results.slim.reaction
    resting = f"slim sidecar idle for {idle.seconds:.0f} s"
    stated = f"address added to the node agent, {reaction.events} times"
    return [
        Figure("slim sidecar after its start: RSS", "MB", started.rss, 14, None, bare.peak, botocore.peak),
        Figure("slim sidecar after its start: PSS", "MB", started.pss),
        Figure(f"{resting}: context switches", "", idle.switches, 0),
        Figure(f"{resting}: CPU", "ms", idle.cpu_ms),
        Figure(f"{stated}: p50", "ms", reaction.p50),
        Figure(f"{stated}: p99", "ms", reaction.p99),
        Figure(f"{stated}: longest", "ms", reaction.longest),
    ]
