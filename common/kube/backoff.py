"""The pause before the next request to an API server that has failed."""

from __future__ import annotations

from common.backoff import half_jitter

MAX_PAUSE = 15.0
"""Seconds between two attempts at most: longer would show after an outage of the API server."""


def pause_after_failure(failures: int, random: float) -> float:
    """Return how many seconds to wait after so many failures in a row; `random` is from 0 to 1.

    The pauses double from one second on, and are scattered over their second half.
    """
    return half_jitter(1.0, MAX_PAUSE, failures - 1, random)
