"""What is measured, and what is made of it: rates, percentiles, CPU, memory. No I/O."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, fields

from benchmarks.common.memory import Memory

OURS = "ours"
FLOOR = "floor"
BARE = "bare"
NONE = "none"
CONSTANT = "constant"
NO_CONDITION = "no condition"
WRITTEN = "written"
POLICY = "policy"


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of the load client, or the medians of several.

    Times are in milliseconds, CPU in cores; `seconds` is how long it took where a number of requests was
    sent, and how long it was measured otherwise. `failures` are wrong answers, of all runs.
    """

    requests_per_second: float
    p50: float
    p99: float
    seconds: float
    client_cpu: float
    server_cpu: float
    failures: int = 0

    @property
    def cpu_microseconds(self) -> float:
        """The server's CPU time a request: it hardly depends on what else runs on the machine."""
        return self.server_cpu / self.requests_per_second * 1e6


@dataclass(frozen=True, slots=True)
class Turns:
    """How often each point is measured, and for how long. Times are in seconds."""

    repeats: int
    seconds: float
    warmup: float


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """What a server holds right after the load, and at the end of the run, when the creates are done too."""

    loaded: Memory
    end: Memory


def medians(samples: Sequence[Sample]) -> Sample:
    """Take each figure's median over the runs, each for itself."""
    names = [field.name for field in fields(Sample) if field.name != "failures"]
    return Sample(
        **{name: statistics.median(getattr(sample, name) for sample in samples) for name in names},
        failures=sum(sample.failures for sample in samples),
    )


def peers_of(names: Sequence[str]) -> list[str]:
    """Leave out what is not a peer."""
    own = (OURS, FLOOR, BARE, NONE, CONSTANT, NO_CONDITION, WRITTEN, POLICY)
    return [name for name in names if name not in own]
