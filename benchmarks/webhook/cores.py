"""Which core is whose: one for the server that is measured, the rest for everything else."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


class TooFewCores(RuntimeError):
    """There is no second core for the load client."""


@dataclass(frozen=True, slots=True)
class Cores:
    """The server's core, and all others that this process may use."""

    server: int
    others: frozenset[int]

    @property
    def client(self) -> int:
        """The load client's."""
        return min(self.others)


def find_cores() -> Cores:
    """Share out what this process may run on; raises TooFewCores."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise TooFewCores(
            "one core is the server's and another the load client's: run this where two can be used "
            f"(this process may use {len(allowed)})"
        )
    return Cores(allowed[0], frozenset(allowed[1:]))


@contextmanager
def running_on(cores: Collection[int]) -> Iterator[None]:
    """Let what is started in the block run on these cores only: processes inherit it from this thread."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
