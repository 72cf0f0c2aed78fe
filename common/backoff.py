"""How long to wait before the next try. It imports nothing; the caller has the random value."""

from __future__ import annotations

MAX_DOUBLINGS = 32
"""Beyond any cap, and far from a float's end."""

LEAST_SHARE = 0.1
"""Of the longest delay: programs that share one API's limit must not all repeat at once."""


def ceiling(base: float, cap: float, attempt: int) -> float:
    """Return the longest delay in seconds after the failed attempt number `attempt` (0 the first).

    It doubles from `base` up to `cap`.
    """
    return min(cap, base * 2.0 ** min(attempt, MAX_DOUBLINGS))


def full_jitter(base: float, cap: float, attempt: int, random: float) -> float:
    """Return a delay in seconds between a tenth of the longest one and all of it; `random` is in [0, 1).

    "Exponential Backoff And Jitter", AWS Architecture Blog, with a least share.
    """
    return ceiling(base, cap, attempt) * max(random, LEAST_SHARE)


def half_jitter(base: float, cap: float, attempt: int, random: float) -> float:
    """Return a delay in seconds in the upper half of the longest one; `random` is in [0, 1)."""
    return ceiling(base, cap, attempt) * (0.5 + random / 2)
