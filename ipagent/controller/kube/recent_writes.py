"""Recent writes, which are not repeated, and the pause after a failed one.

A writer asks before each write: the watch shows later what the API server has got.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from common.kube.backoff import pause_after_failure

LAG = 3.0
"""Seconds for which something that was written is not written again: the watch will show it."""
FIRST_PAUSE = 0.5
"""Seconds after the first failure in a row."""
PASSED = (404, 409)
"""HTTP codes of a write whose object is gone, or has changed meanwhile: it is decided again."""


@dataclass(slots=True)
class RecentWrites:
    """Times are monotonic seconds."""

    failures: int = 0
    """Writes that the API server has refused or not answered, in all."""
    _written: dict[Hashable, tuple[object, float]] = field(default_factory=dict)
    _row: int = 0
    _until: float = 0.0

    def pause(self, now: float) -> float | None:
        """Return until when nothing is to be written, None if it may be; forgets old writes."""
        if now < self._until:
            return self._until
        self._written = {key: each for key, each in self._written.items() if now - each[1] < LAG}
        return None

    def has(self, key: Hashable, value: object) -> bool:
        """Return whether just this was written a moment ago."""
        before = self._written.get(key)
        return before is not None and before[0] == value

    def record(self, key: Hashable, value: object, now: float) -> None:
        """Record what was written."""
        self._written[key] = value, now

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
        return now + LAG if self._written else float("inf")
