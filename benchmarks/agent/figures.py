"""What is measured, and what is made of it: medians and percentiles. No I/O."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, fields

from benchmarks.common.percentiles import percentile

INIT = "init"
INIT_TLS = "init over TLS"
SLIM_INIT = "slim init"
BARE = "bare Python"
BOTOCORE = "botocore's client"


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run of a program took: CPU and wall seconds, and its peak RSS in megabytes (10^6 bytes)."""

    cpu: float
    seconds: float
    peak: float


@dataclass(frozen=True, slots=True)
class Idle:
    """A process that should sleep: context switches of all its threads and its CPU milliseconds meanwhile.

    `requests` are those that it sent to IMDS and EC2: its slow check.
    """

    seconds: float
    switches: int
    cpu_ms: float
    requests: int


@dataclass(frozen=True, slots=True)
class Reaction:
    """Milliseconds from asking the kernel for an address until EC2 has the call, over `events` of them."""

    events: int
    p50: float
    p99: float
    longest: float


def median_cost(costs: Sequence[Cost]) -> Cost:
    """Take each figure's median, each for itself."""
    return Cost(
        **{
            field.name: statistics.median(getattr(cost, field.name) for cost in costs)
            for field in fields(Cost)
        }
    )


def reaction(added: Sequence[float], received: Sequence[float]) -> Reaction:
    """Compare the times in seconds at which addresses were added with those at which EC2 had the calls.

    Raises ValueError unless each address led to one call of its own, before the next was added.
    """
    ends = [*added[1:], float("inf")]
    if len(added) != len(received) or not all(
        begin <= call < end for begin, call, end in zip(added, received, ends, strict=True)
    ):
        raise ValueError(f"{len(added)} addresses led to {len(received)} calls, not to one each in its time")
    delays = [(call - begin) * 1000 for begin, call in zip(added, received, strict=True)]
    return Reaction(len(delays), percentile(delays, 0.5), percentile(delays, 0.99), max(delays))
