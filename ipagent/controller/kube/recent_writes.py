"""Recent writes, which are not repeated, and the pause after a failed one.

A writer asks before each write: the watch shows later what the API server has got.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from common.kube.backoff import pause_after_failure
from common.kube.refused_writes import RefusedWrites

LAG = 3.0
"""Seconds for which something that was written is not written again: the watch will show it."""
PASSED = (404, 409)
"""HTTP codes of a write whose object is gone, or has changed meanwhile: it is decided again."""
CONFLICT_PAUSE = 1.0
"""Seconds after which it is, where the watch shows nothing new."""
REFUSED = (400, 403, 413, 422)
"""HTTP codes of a write that is refused for what it says, or by a policy: no other one waits for it."""
POSTPONED = 1.0
"""Seconds for which a refused write waits longer, where too many are due in one turn."""
NO_CHANCE = 0.5
"""In place of a random value: only the leader writes, and has nobody to keep apart from."""
MAX_REFUSED = 20
"""Refused writes of a turn after which no other one is tried: without rights none would be accepted."""
MAX_REFUSED_AGAIN = MAX_REFUSED // 4
"""After so many refused writes of a turn, those that were refused before are not tried again, but for the
longest due, as many: else they could end each turn before the others have been tried."""


@dataclass(slots=True)
class RecentWrites:
    """Times are monotonic seconds."""

    failures: int = 0
    """Writes that the API server has refused or not answered, in all."""
    _written: dict[Hashable, tuple[object, float]] = field(default_factory=dict)
    _row: int = 0
    _until: float = 0.0
    _refused: RefusedWrites = field(default_factory=RefusedWrites)
    _refusals: int = 0
    """In this turn."""
    _longest_due: frozenset[Hashable] = frozenset()
    """Of the refused ones, when this turn began."""
    _again: float = float("inf")
    """When what this turn could not write is tried again."""

    def pause(self, now: float) -> float | None:
        """Return until when nothing is to be written, None if it may be; forgets old writes."""
        if now < self._until:
            return self._until
        self._written = {key: each for key, each in self._written.items() if now - each[1] < LAG}
        self._refused.prune(now)
        self._longest_due = self._refused.longest_due(now, MAX_REFUSED_AGAIN)
        self._refusals, self._again = 0, float("inf")
        return None

    def waits(self, key: Hashable, now: float) -> bool:
        """Return whether a write has to wait because it was refused."""
        due = self._refused.due(key, now)
        if due <= now:
            few = self._refusals < MAX_REFUSED_AGAIN
            if few or key not in self._refused or key in self._longest_due:
                return False
            due = now + POSTPONED
            self._refused.postpone(key, due)
        self._again = min(self._again, due)
        return True

    def changed_meanwhile(self, now: float) -> None:
        """Record that an object has changed before it was written: the watch may have shown that already."""
        self._again = min(self._again, now + CONFLICT_PAUSE)

    def refused(self, key: Hashable, now: float) -> bool:
        """Record that a write was refused; returns whether others are tried in this turn."""
        self.failures += 1
        self._refusals += 1
        # A refusal is an answer.
        self.reached()
        self._again = min(self._again, self._refused.refuse(key, now))
        return self._refusals < MAX_REFUSED

    def has(self, key: Hashable, value: object) -> bool:
        """Return whether just this was written a moment ago."""
        before = self._written.get(key)
        return before is not None and before[0] == value

    def record(self, key: Hashable, value: object, now: float) -> None:
        """Record what was written."""
        self._written[key] = value, now
        self._refused.accept(key)

    def failed(self, now: float) -> float:
        """Record that the API server has not taken a write; returns until when the others wait."""
        self.failures += 1
        self._row += 1
        self._until = now + pause_after_failure(self._row, NO_CHANCE)
        return self._until

    def reached(self) -> None:
        """Record that the API server answers: the next failure is the first in a row."""
        self._row = 0

    def done(self, now: float) -> float:
        """Record that nothing has failed; returns when to come again at the latest."""
        self.reached()
        return min(self._again, now + LAG if self._written else float("inf"))
