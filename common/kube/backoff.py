"""The pause before the next request to an API server that has failed, or is slow to refuse."""

from __future__ import annotations

from common.backoff import half_jitter

MAX_PAUSE = 15.0
"""Seconds between two attempts at most: longer would show after an outage of the API server."""

SLOW = 2.0
"""Seconds after which a refusal is slow: an admission webhook was waited for, 10 s by default."""
MAX_SLOW = 2
"""Slow refusals of a turn after which its other writes are left for another one: the loop has other work."""
REST = 9
"""Times as long as a slow refusal took nothing like it is tried: it takes a tenth of the loop's time."""
FIRST_PATIENCE = 3.0
"""Seconds to wait for the answer to a write whose last try has not failed, while others like it are refused
slowly: it may hang as they do, and is waited for as long as the client does at its next try."""


def next_try(now: float, took: float, pause: float, *, of_one_object: bool) -> float:
    """Return when what has failed after so many seconds is tried again, a turn having begun `now`.

    An API server that is away is no webhook that hangs: what it missed is tried soon after.
    """
    if not of_one_object:
        return now + took + pause
    return now + pause if took < SLOW else now + took + max(pause, REST * took)


def pause_after_failure(failures: int, random: float) -> float:
    """Return how many seconds to wait after so many failures in a row; `random` is from 0 to 1.

    The pauses double from one second on, and are scattered over their second half.
    """
    return half_jitter(1.0, MAX_PAUSE, failures - 1, random)
