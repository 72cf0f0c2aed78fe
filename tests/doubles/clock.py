"""Where the double takes the time from: the system, or a test."""

from __future__ import annotations

import time


class Clock:
    """The system's clocks."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; the origin means nothing."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since the epoch."""
        return time.time()


class ManualClock(Clock):
    """Stands still until it is told to advance."""

    def __init__(self, wall: float = 1_700_000_000.0) -> None:
        self._wall = wall
        self._monotonic = 0.0

    def monotonic(self) -> float:
        """Seconds that `advance` was told."""
        return self._monotonic

    def wall(self) -> float:
        """The wall time that it began with, and the seconds since."""
        return self._wall + self._monotonic

    def advance(self, seconds: float) -> None:
        """Let this many seconds pass."""
        self._monotonic += seconds
