"""Token bucket: how much is allowed at once, and how much a second after that. No I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass, field

ROUNDING = 1e-7
"""Of a token: a caller that waited as long as it was told must not miss the last bits of a float."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many at once, and so many a second after that."""

    burst: float
    refill: float


@dataclass(slots=True)
class TokenBucket:
    """A token bucket, full at first; an overdrawn one is filled up first. `now` is monotonic, in seconds."""

    rate: Rate
    _level: float = field(init=False)
    _at: float | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._level = self.rate.burst

    def wait(self, now: float, cost: float = 1) -> float:
        """Return the seconds until so much is allowed, 0 if it is now; does not take it."""
        if self._at is not None:
            self._level = min(self.rate.burst, self._level + max(0.0, now - self._at) * self.rate.refill)
        self._at = now
        missing = cost - self._level
        return missing / self.rate.refill if missing > ROUNDING else 0.0

    def take(self, now: float, cost: float = 1) -> bool:
        """Take so much, if it is allowed now."""
        if self.wait(now, cost) > 0:
            return False
        self._level -= cost
        return True

    def charge(self, cost: float, now: float) -> float:
        """Take what has been used already; returns the seconds until the bucket is not overdrawn any more."""
        self.wait(now)
        self._level -= cost
        return self.wait(now, 0)
