"""What is measured, and what is made of it: percentiles, medians, ratios. No I/O."""

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
class MemoryUse:
    """What a server holds right after the load, and at the end of the run, when the creates are done too."""

    loaded: Memory
    end: Memory


@dataclass(frozen=True, slots=True)
class Through:
    """What creating pods through the API server takes with one webhook configured.

    Of each, `added` is the median of the differences to the run of the same turn without a webhook.
    """

    samples: Sample
    added_p50: float
    added_p99: float


def medians(samples: Sequence[Sample]) -> Sample:
    """Take each figure's median over the runs, each for itself."""
    names = [field.name for field in fields(Sample) if field.name != "failures"]
    return Sample(
        **{name: statistics.median(getattr(sample, name) for sample in samples) for name in names},
        failures=sum(sample.failures for sample in samples),
    )


def through(with_webhook: Sequence[Sample], without: Sequence[Sample]) -> Through:
    """Compare runs with those of the same turns without a webhook."""
    pairs = list(zip(with_webhook, without, strict=True))
    return Through(
        medians(with_webhook),
        statistics.median(one.p50 - other.p50 for one, other in pairs),
        statistics.median(one.p99 - other.p99 for one, other in pairs),
    )


def peers_of(names: Sequence[str]) -> list[str]:
    """Leave out what is not a peer."""
    own = (OURS, FLOOR, BARE, NONE, CONSTANT, NO_CONDITION, WRITTEN, POLICY)
    return [name for name in names if name not in own]
