"""All that one run found, beside its targets. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.common.machine import Machine
from benchmarks.common.targets import Target
from benchmarks.fleet.figures import PREFIXES, Crowd, Failover, Latency, Moves, Outcome, Rest, Starts


@dataclass(frozen=True, slots=True)
class Central:
    """The same with the backend central: all pods at once, pods that come alone, and spread.

    In `killed` the leading controller is, in the middle of a burst.
    """

    once: Outcome
    alone: Latency
    spread: Outcome
    moves: Moves
    killed: Failover


@dataclass(frozen=True, slots=True)
class Results:
    """What was measured: `outcomes` by scenario and backend, those of `node` first; `crowds` likewise.

    `starts` are injected containers, by how pods get addresses.
    """

    machine: Machine
    outcomes: Sequence[Outcome]
    crowds: Sequence[Crowd]
    rest: Rest
    alone: Latency
    moves: Moves
    starts: Sequence[Starts]
    central: Central


MAX_PEAK = 60.0
MAX_IDLE_MS = 1.0
"""CPU milliseconds a second: a thousandth of a core is no CPU, but for a bookmark a minute."""
HANDFUL = 5
SLOWER = 1.5
"""How many times the node backend's time the backend central may take."""
RELAYED_MS = 60.0
"""Milliseconds that the way through the controller may add."""
RECOVERED = 20.0
"""Seconds within which all is right after the leading controller has been killed."""


def targets(results: Results) -> list[Target]:
    """Put the figures beside what they should be."""
    once, spread, full = results.outcomes[:3]
    alone, rest = results.alone, results.rest
    peak = max(crowd.peak for crowd in results.crowds)
    return [
        _at_most(f"{once.scenario}: Assign calls", once.assigns, 60, ""),
        _all_assigned(once),
        _at_most(f"{once.scenario}: until the last is assigned", once.span, 3, "s"),
        _at_most(f"{spread.scenario}: Assign calls", spread.assigns, 250, ""),
        _at_most(f"{spread.scenario}: throttled", spread.throttled, HANDFUL, ""),
        _all_assigned(spread),
        _at_most(f"{spread.scenario}: p50", spread.p50, 1.5, "s"),
        _at_most(f"{spread.scenario}: longest", spread.longest, 4, "s"),
        _at_most("a pod alone: network-status sent until EC2 has the call, p50", alone.p50, 30, "ms"),
        _at_most("node agent: peak RSS", peak, MAX_PEAK, "MB"),
        _at_most("node agent at rest: CPU a second", rest.cpu_ms, MAX_IDLE_MS, "ms"),
        _all_assigned(full),
        *(_without_calls(each) for each in results.starts if each.addresses == PREFIXES),
        *_central(results, once, spread),
    ]


def _central(results: Results, once: Outcome, spread: Outcome) -> list[Target]:
    judged, found = [], results.central
    for node, central in ((once, found.once), (spread, found.spread)):
        name, calls = f"central, {node.scenario}", central.assigns + central.other
        judged += [
            _at_most(f"{name}: until the last is assigned", central.span, SLOWER * node.span, "s"),
            _at_most(f"{name}: calls", calls, node.assigns + node.other, ""),
            _at_most(f"{name}: throttled", central.throttled, 0, ""),
            _all_assigned(central, name),
        ]
    killed = f"central, {found.killed.outcome.scenario}"
    return [
        *judged,
        _at_most(
            "central, a pod alone: until EC2 has the call, p50",
            found.alone.p50,
            results.alone.p50 + RELAYED_MS,
            "ms",
        ),
        _at_most(
            "central, takeover of a floating address: p50",
            found.moves.p50,
            results.moves.p50 + RELAYED_MS,
            "ms",
        ),
        _at_most(f"{killed}: from its end to the last address", found.killed.recovered, RECOVERED, "s"),
        _all_assigned(found.killed.outcome, killed),
    ]


def broken_promises(results: Results) -> list[str]:
    """Return what the product promises of prefixes and a run has not shown, a sentence each."""
    found = []
    for each in results.starts:
        if each.addresses == PREFIXES and each.calls:
            found.append(f"{each.name}: EC2 had {each.calls} calls, and is to have none")
        if each.addresses == PREFIXES and each.failed:
            found.append(f"{each.name}: {each.failed} containers did not end with 0")
    return found


def _at_most(what: str, found: float, limit: float, unit: str) -> Target:
    return Target(
        what, f"<= {_number(limit)} {unit}".rstrip(), f"{_number(found)} {unit}".rstrip(), found <= limit
    )


def _all_assigned(found: Outcome, name: str = "") -> Target:
    return Target(f"{name or found.scenario}: not assigned", "0", str(found.missing), found.missing == 0)


def _without_calls(found: Starts) -> Target:
    counts = f"{found.calls}, {found.failed}"
    return Target(f"{found.name}: calls to EC2, pods that failed", "0, 0", counts, counts == "0, 0")


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
