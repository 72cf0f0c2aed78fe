"""What was measured, and what is made of it: means, and their distance from the no-op's. No I/O."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.common.machine import Machine
from benchmarks.common.targets import Target

WITHOUT = "without us"
NO_OP = "no-op init container"
INIT = "init mode"
SIDECAR = "sidecar mode"
VARIANTS = (WITHOUT, NO_OP, INIT, SIDECAR)

CPU = "50m"
"""Request and limit of each container of a Guaranteed pod; the agent then gets the same."""

Seconds = Mapping[str, Sequence[float]]
"""Seconds from create to Ready by variant."""


@dataclass(frozen=True, slots=True)
class Results:
    """What one run found: `alone` are single pods, `together` bursts of `size` pods.

    `guaranteed` are single pods whose containers have `CPU` each, `prefixes` single pods on a network of
    prefixes with the backend node, whose no-op is a program of the agent's own image.
    """

    machine: Machine
    kubernetes: str
    size: int
    alone: Seconds
    together: Seconds
    guaranteed: Seconds
    prefixes: Seconds


@dataclass(frozen=True, slots=True)
class Start:
    """The mean of a variant, its extremes, and how far it is from the no-op init container's."""

    variant: str
    mean: float
    shortest: float
    longest: float
    beyond: float
    ratio: float


def starts(found: Seconds) -> list[Start]:
    """Compare each variant that was measured with the no-op init container of the same run."""
    reference = statistics.fmean(found[NO_OP])
    return [
        Start(
            variant=variant,
            mean=(mean := statistics.fmean(found[variant])),
            shortest=min(found[variant]),
            longest=max(found[variant]),
            beyond=mean - reference,
            ratio=mean / reference,
        )
        for variant in VARIANTS
        if variant in found
    ]


def targets(results: Results) -> list[Target]:
    """Judge the distances."""
    alone = {each.variant: each for each in starts(results.alone)}
    together = {each.variant: each for each in starts(results.together)}
    guaranteed = {each.variant: each for each in starts(results.guaranteed)}
    prefixes = {each.variant: each for each in starts(results.prefixes)}
    return [
        _within("init mode beyond the no-op, one pod", alone[INIT].beyond, 0.2),
        _within("the same, stretch", alone[INIT].beyond, 0.15),
        _within(f"init mode beyond the no-op, {results.size} at once", together[INIT].beyond, 1.5),
        _within("sidecar mode beyond init mode, one pod", alone[SIDECAR].mean - alone[INIT].mean, 0.15),
        _within(f"init mode, Guaranteed with {CPU}: create to Ready", guaranteed[INIT].mean, 1.5),
        _within(f"sidecar mode, Guaranteed with {CPU}: create to Ready", guaranteed[SIDECAR].mean, 2.0),
        _within("init mode beyond the no-op, prefixes, backend node", prefixes[INIT].beyond, 0.05),
    ]


def _within(what: str, found: float, limit: float) -> Target:
    return Target(what, f"<= {limit:.2f} s", f"{found:+.2f} s", found <= limit)
