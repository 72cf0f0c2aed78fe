"""How fast to write: never so fast that a quarrel about an object becomes a load."""

from __future__ import annotations

from collections.abc import Sequence

BURST = 60
"""Writes that may follow each other at once: many whole rotations."""
WINDOW = 600.0
"""Seconds within which they are counted."""
SLOW = 10.0
"""Seconds between writes after that: somebody else writes the same fields."""


def pause_before_write(written: Sequence[float], now: float) -> float:
    """Return how many seconds to wait before writing once more.

    `written` are the instants of former writes in order, `now` the present one, on a clock that never jumps.
    """
    recent = [when for when in written if now - when < WINDOW]
    return max(0.0, recent[-1] + SLOW - now) if len(recent) >= BURST else 0.0
