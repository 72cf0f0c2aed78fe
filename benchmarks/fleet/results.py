"""All that one run found, beside its targets. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.common.machine import Machine
from benchmarks.common.targets import Target
from benchmarks.fleet.figures import PREFIXES, Crowd, Latency, Outcome, Rest, Starts


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
    starts: Sequence[Starts]


MAX_PEAK = 60.0
MAX_IDLE_MS = 1.0
"""CPU milliseconds a second: a thousandth of a core is no CPU, but for a bookmark a minute."""
HANDFUL = 5


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


def _all_assigned(found: Outcome) -> Target:
    return Target(f"{found.scenario}: not assigned", "0", str(found.missing), found.missing == 0)


def _without_calls(found: Starts) -> Target:
    counts = f"{found.calls}, {found.failed}"
    return Target(f"{found.name}: calls to EC2, pods that failed", "0, 0", counts, counts == "0, 0")


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
