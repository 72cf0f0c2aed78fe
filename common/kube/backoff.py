"""How long to wait before the next try."""

from __future__ import annotations

MAX_PAUSE = 15.0
"""Seconds between two attempts at most: longer would show after an outage of the API server."""


def pause_after_failure(failures: int, random: float) -> float:
    """Return how many seconds to wait after so many failures in a row; `random` is from 0 to 1.

    The pauses double from one second on, and are scattered over their second half.
    """
    longest = min(2.0 ** min(failures - 1, 32), MAX_PAUSE)
    return longest * (0.5 + random / 2)
