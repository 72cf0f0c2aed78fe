"""Dry-run creates through the API server: what a lane's batches say beside those of the same turns. No I/O.

The machine is now faster, now slower, by more than two webhooks differ. Within a turn both meet the same
machine: hence a figure is compared with the other of its turn, and the median is taken over the turns.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import comb

from benchmarks.common.percentiles import percentile
from benchmarks.webhook.figures import CONSTANT, NONE

DOUBT = 0.05
"""How often the interval of a median may miss it."""
FEWEST = 6
"""Of fewer values no interval misses the median as seldom as that."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The creates of one lane in one turn: latencies in milliseconds, the load client's CPU in cores."""

    latencies: Sequence[float]
    client_cpu: float
    failures: int = 0

    @property
    def p50(self) -> float:
        """The median latency."""
        return percentile(self.latencies, 0.5)


Turn = Mapping[str, Batch]
"""What was measured side by side, by lane."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure of several turns: the median, and the interval that holds it as certainly as DOUBT allows."""

    median: float
    low: float
    high: float
    turns: Sequence[float]


@dataclass(frozen=True, slots=True)
class Creates:
    """One lane: p50 and p99 of all its creates, in milliseconds.

    `added` is the p50 without that of the turns' creates that no webhook is called for, `of_constant` the p50
    in those of the constant answer.
    """

    p50: float
    p99: float
    added: Spread
    of_constant: Spread
    client_cpu: float
    failures: int


def compare(turns: Sequence[Turn], names: Iterable[str]) -> dict[str, Creates]:
    """Sum up these lanes; each has a turn with NONE and one with CONSTANT."""
    return {name: _sum_up(name, [turn for turn in turns if name in turn]) for name in names}


def _sum_up(name: str, turns: Sequence[Turn]) -> Creates:
    batches = [turn[name] for turn in turns]
    latencies = [latency for batch in batches for latency in batch.latencies]
    return Creates(
        p50=percentile(latencies, 0.5),
        p99=percentile(latencies, 0.99),
        added=spread([turn[name].p50 - turn[NONE].p50 for turn in turns if NONE in turn]),
        of_constant=spread([turn[name].p50 / turn[CONSTANT].p50 for turn in turns if CONSTANT in turn]),
        client_cpu=statistics.mean(batch.client_cpu for batch in batches),
        failures=sum(batch.failures for batch in batches),
    )


def spread(values: Sequence[float]) -> Spread:
    """Take the median and its interval: two of the values in order, whatever the distribution is.

    As many values lie below the true median as coins show heads: so many are left out at either end as are
    together outside with a probability of DOUBT at most. Fewer than FEWEST values allow none to be left out.
    """
    ordered = sorted(values)
    count = len(ordered)
    rank, outside = 0, 1
    while outside / 2**count <= DOUBT / 2:
        rank += 1
        outside += comb(count, rank)
    low = max(rank - 1, 0)
    return Spread(statistics.median(ordered), ordered[low], ordered[count - 1 - low], list(values))


def as_factor(found: Spread) -> str:
    """Write a ratio with its interval."""
    return f"{found.median:.2f} x ({found.low:.2f} to {found.high:.2f})"
