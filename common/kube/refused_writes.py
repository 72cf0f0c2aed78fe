"""Refused writes: each waits longer and longer before it is tried again, and delays no other. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import NamedTuple

from common.backoff import half_jitter

FIRST, LONGEST = 1.0, 60.0
"""Seconds until a refused write is tried again: after its first refusal, and at most."""
FORGET = 2 * LONGEST
"""Seconds after which a refused write that was due and is not made any more is forgotten."""


class _Refused(NamedTuple):
    times: int
    """How often in a row."""
    due: float
    until: float
    """Until when it waits: later than it was due, if it was postponed."""


@dataclass(slots=True)
class RefusedWrites:
    """Writes by their keys; times are monotonic seconds."""

    _refused: dict[Hashable, _Refused] = field(default_factory=dict)

    def due(self, key: Hashable, now: float) -> float:
        """Return when a write may be made: `now`, unless it was refused."""
        return max(now, self._refused[key].until) if key in self._refused else now

    def refuse(self, key: Hashable, now: float, random: float = 1.0) -> float:
        """Record that a write was refused; returns until when it waits.

        Where several programs make such writes, a `random` of [0, 1) keeps them apart.
        """
        count = self._refused[key].times if key in self._refused else 0
        until = now + half_jitter(FIRST, LONGEST, count, random)
        self._refused[key] = _Refused(count + 1, until, until)
        return until

    def postpone(self, key: Hashable, until: float) -> None:
        """Have a write that was refused wait longer, though it has not been tried again."""
        if key in self._refused:
            self._refused[key] = self._refused[key]._replace(until=until)

    def longest_due(self, now: float, count: int) -> frozenset[Hashable]:
        """Return those that have been due for the longest time, so many at most."""
        due = ((each.due, key) for key, each in self._refused.items() if each.until <= now)
        return frozenset(key for _, key in nsmallest(count, due, key=lambda pair: pair[0]))

    def __contains__(self, key: Hashable) -> bool:
        """Return whether the last try of a write was refused."""
        return key in self._refused

    def accept(self, key: Hashable) -> None:
        """Record that a write was not refused: its next refusal is the first in a row."""
        self._refused.pop(key, None)

    def retain(self, keys: Collection[Hashable]) -> None:
        """Forget all other writes."""
        self._refused = {key: each for key, each in self._refused.items() if key in keys}

    def prune(self, now: float) -> None:
        """Forget the writes that were due long ago."""
        self._refused = {key: each for key, each in self._refused.items() if now - each.until < FORGET}
