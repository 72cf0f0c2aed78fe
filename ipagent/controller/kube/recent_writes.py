"""Recent writes, which are not repeated, and the pause after a failed one.

A writer asks before each write: the watch shows later what the API server has got.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from common.backoff import ceiling
from common.kube.backoff import pause_after_failure

LAG = 3.0
"""Seconds for which something that was written is not written again: the watch will show it."""
FIRST_PAUSE = 0.5
"""Seconds after the first failure in a row."""
PASSED = (404, 409)
"""HTTP codes of a write whose object is gone, or has changed meanwhile: it is decided again."""
CONFLICT_PAUSE = 1.0
"""Seconds after which it is, where the watch shows nothing new."""
REFUSED = (400, 403, 413, 422)
"""HTTP codes of a write that is refused for what it says, or by a policy: no other one waits for it."""
MAX_REFUSED = 20
"""Refused writes of a turn after which no other one is tried: without rights none would be accepted."""
LONGEST_REFUSED = 60.0
"""Seconds until a refused write is tried again, at most."""
FORGET = 2 * LONGEST_REFUSED
"""Seconds after which a refused write that was due and is not made any more is forgotten."""


@dataclass(slots=True)
class RecentWrites:
    """Times are monotonic seconds."""

    failures: int = 0
    """Writes that the API server has refused or not answered, in all."""
    _written: dict[Hashable, tuple[object, float]] = field(default_factory=dict)
    _row: int = 0
    _until: float = 0.0
    _refused: dict[Hashable, tuple[int, float]] = field(default_factory=dict)
    """How often in a row a write was refused, and until when it waits."""
    _refusals: int = 0
    """In this turn."""
    _again: float = float("inf")
    """When what this turn could not write is tried again."""

    def pause(self, now: float) -> float | None:
        """Return until when nothing is to be written, None if it may be; forgets old writes."""
        if now < self._until:
            return self._until
        self._written = {key: each for key, each in self._written.items() if now - each[1] < LAG}
        self._refused = {key: each for key, each in self._refused.items() if now - each[1] < FORGET}
        self._refusals, self._again = 0, float("inf")
        return None

    def waits(self, key: Hashable, now: float) -> bool:
        """Return whether a write has to wait because it was refused."""
        until = self._refused.get(key, (0, 0.0))[1]
        if now < until:
            self._again = min(self._again, until)
            return True
        return False

    def changed_meanwhile(self, now: float) -> None:
        """Record that an object has changed before it was written: the watch may have shown that already."""
        self._again = min(self._again, now + CONFLICT_PAUSE)

    def refused(self, key: Hashable, now: float) -> bool:
        """Record that a write was refused; returns whether others are tried in this turn."""
        self.failures += 1
        self._refusals += 1
        count = self._refused.get(key, (0, 0.0))[0]
        until = now + ceiling(1.0, LONGEST_REFUSED, count)
        self._refused[key] = count + 1, until
        self._again = min(self._again, until)
        return self._refusals < MAX_REFUSED

    def has(self, key: Hashable, value: object) -> bool:
        """Return whether just this was written a moment ago."""
        before = self._written.get(key)
        return before is not None and before[0] == value

    def record(self, key: Hashable, value: object, now: float) -> None:
        """Record what was written."""
        self._written[key] = value, now
        self._refused.pop(key, None)

    def failed(self, now: float) -> float:
        """Record that the API server has not taken a write; returns until when the others wait."""
        self.failures += 1
        self._row += 1
        self._until = now + pause_after_failure(self._row, FIRST_PAUSE)
        return self._until

    def reached(self) -> None:
        """Record that the API server answers: the next failure is the first in a row."""
        self._row = 0

    def done(self, now: float) -> float:
        """Record that nothing has failed; returns when to come again at the latest."""
        self.reached()
        return min(self._again, now + LAG if self._written else float("inf"))
