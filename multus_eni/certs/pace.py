"""How fast to write and to try again: never so fast that a quarrel about an object becomes a load."""

from __future__ import annotations

from collections.abc import Sequence

BURST = 60
"""Writes that may follow each other at once: many whole rotations."""
WINDOW = 600.0
"""Seconds within which they are counted."""
SLOW = 10.0
"""Seconds between writes after that: somebody else writes the same fields."""
MAX_PAUSE = 15.0
"""Seconds between two attempts at most: longer would show after an outage of the API server."""


def pause_before_write(written: Sequence[float], now: float) -> float:
    """Return how many seconds to wait before writing once more.

    `written` are the instants of former writes in order, `now` the present one, on a clock that never jumps.
    """
    recent = [when for when in written if now - when < WINDOW]
    return max(0.0, recent[-1] + SLOW - now) if len(recent) >= BURST else 0.0


def pause_after_failure(failures: int, random: float) -> float:
    """Return how many seconds to wait after so many failures in a row; `random` is from 0 to 1.

    The pauses double from one second on, and are scattered over their second half.
    """
    longest = min(2.0 ** (failures - 1), MAX_PAUSE)
    return longest * (0.5 + random / 2)
