"""Refused writes: each waits longer and longer before it is tried again, and delays no other. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import dataclass, field

from common.backoff import half_jitter

FIRST, LONGEST = 1.0, 60.0
"""Seconds until a refused write is tried again: after its first refusal, and at most."""
FORGET = 2 * LONGEST
"""Seconds after which a refused write that was due and is not made any more is forgotten."""


@dataclass(slots=True)
class RefusedWrites:
    """Writes by their keys; times are monotonic seconds."""

    _refused: dict[Hashable, tuple[int, float]] = field(default_factory=dict)
    """How often in a row a write was refused, and until when it waits."""

    def due(self, key: Hashable, now: float) -> float:
        """Return when a write may be made: `now`, unless it was refused."""
        return max(now, self._refused[key][1]) if key in self._refused else now

    def refuse(self, key: Hashable, now: float, random: float = 1.0) -> float:
        """Record that a write was refused; returns until when it waits.

        Where several programs make such writes, a `random` of [0, 1) keeps them apart.
        """
        count = self._refused[key][0] if key in self._refused else 0
        until = now + half_jitter(FIRST, LONGEST, count, random)
        self._refused[key] = count + 1, until
        return until

    def accept(self, key: Hashable) -> None:
        """Record that a write was not refused: its next refusal is the first in a row."""
        self._refused.pop(key, None)

    def retain(self, keys: Collection[Hashable]) -> None:
        """Forget all other writes."""
        self._refused = {key: each for key, each in self._refused.items() if key in keys}

    def prune(self, now: float) -> None:
        """Forget the writes that were due long ago."""
        self._refused = {key: each for key, each in self._refused.items() if now - each[1] < FORGET}
