"""What was measured, and what is made of it: means, and their distance from the no-op's. No I/O."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.common.machine import Machine
from benchmarks.common.targets import Target

WITHOUT = "without us"
NO_OP = "no-op init container"
BARE_PYTHON = "bare Python"
"""An init container of the agent's image that starts its interpreter and ends."""
INIT = "init mode"
NO_OP_SIDECAR = "no-op sidecar"
"""A native sidecar whose startup probe succeeds at once: the floor of sidecar mode."""
SIDECAR = "sidecar mode"
VARIANTS = (WITHOUT, NO_OP, INIT, NO_OP_SIDECAR, SIDECAR)
ON_PREFIXES = (NO_OP, BARE_PYTHON, INIT)

MORE_CPU = "200m"
"""What the annotation `multus-eni.io/agent-cpu` gives the agent of some Guaranteed pods."""
INIT_MORE_CPU = f"{INIT}, {MORE_CPU}"
SIDECAR_MORE_CPU = f"{SIDECAR}, {MORE_CPU}"
GUARANTEED = (*VARIANTS, INIT_MORE_CPU, SIDECAR_MORE_CPU)
BESIDE_ONE_CPU = (*VARIANTS, SIDECAR_MORE_CPU)
"""In init mode the agent has more than that anyway."""

LITTLE_CPU = "50m"
"""Request and limit of each container of a Guaranteed pod; the agent then gets the same."""
AT_LITTLE_CPU = 3.0
"""Seconds that 0.15 s of CPU take at LITTLE_CPU: what `make bench-agent` wants of init, backend direct."""
ONE_CPU = "1"
"""Those of the app of a Guaranteed pod that has a core of its own."""

Seconds = Mapping[str, Sequence[float]]
"""Seconds from create to Ready by variant."""


@dataclass(frozen=True, slots=True)
class Results:
    """What one run found: `alone` are single pods, `together` bursts of `size` pods.

    `guaranteed` are single pods whose containers have `LITTLE_CPU` each, `one_cpu` single ones whose app has
    `ONE_CPU`, and `prefixes` single pods on a network of prefixes with the backend node, whose no-op is a
    program of the agent's own image.
    """

    machine: Machine
    kubernetes: str
    size: int
    alone: Seconds
    together: Seconds
    guaranteed: Seconds
    one_cpu: Seconds
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
        for variant in found
    ]


def targets(results: Results) -> list[Target]:
    """Judge how far each mode is from its floor in the same table: the no-op, or the no-op sidecar."""
    alone, together, guaranteed, one_cpu, prefixes = map(
        _means, (results.alone, results.together, results.guaranteed, results.one_cpu, results.prefixes)
    )
    init, sidecar = (INIT, NO_OP), (SIDECAR, NO_OP_SIDECAR)
    return [
        _beyond("init mode beyond the no-op, one pod", alone, init, 0.2),
        _beyond("the same, stretch", alone, init, 0.15),
        _beyond(f"init mode beyond the no-op, {results.size} at once", together, init, 1.5),
        _beyond("sidecar mode beyond the no-op sidecar, one pod", alone, sidecar, 0.15),
        _beyond(f"init mode beyond the no-op, Guaranteed with {LITTLE_CPU}", guaranteed, init, AT_LITTLE_CPU),
        _beyond("sidecar mode beyond the no-op sidecar, the same pods", guaranteed, sidecar, AT_LITTLE_CPU),
        _beyond("init mode beyond the no-op, Guaranteed, app with a core", one_cpu, init, 0.2),
        _beyond("init mode beyond the no-op, prefixes, backend node", prefixes, init, 0.05),
    ]


def _means(found: Seconds) -> Mapping[str, float]:
    return {variant: statistics.fmean(times) for variant, times in found.items()}


def _beyond(what: str, means: Mapping[str, float], variants: tuple[str, str], limit: float) -> Target:
    variant, floor = variants
    found = means[variant] - means[floor]
    return Target(what, f"<= {limit:.2f} s", f"{found:+.2f} s", found <= limit)
