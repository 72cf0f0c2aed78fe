"""Token bucket: how much is allowed at once, and how much a second after that. No I/O, no clock."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from common.frozen_dataclass import dataclass
from common.lean_typing import Generic, TypeVar

ROUNDING = 1e-7
"""Of a token: a caller that waited as long as it was told must not miss the last bits of a float."""


MAX_REMEMBERED = 4096
"""Keys whose buckets are remembered: more than a node has peers or pods."""

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Rate:
    """So many at once, and so many a second after that."""

    burst: float
    refill: float


class TokenBucket:
    """A token bucket, full at first; an overdrawn one is filled up first. `now` is monotonic, in seconds."""

    __slots__ = ("_at", "_level", "rate")

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._level = rate.burst
        self._at: float | None = None

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

    def drain(self, now: float) -> None:
        """Empty it; one that is empty or overdrawn stays as it is."""
        self.wait(now)
        self._level = min(self._level, 0.0)


class BucketsByKey(Generic[K]):
    """A token bucket for each key; the one that was used longest ago is forgotten first."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._buckets: OrderedDict[K, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def of(self, key: K) -> TokenBucket:
        """Return the bucket of a key."""
        bucket = self._buckets.pop(key, None) or TokenBucket(self._rate)
        self._buckets[key] = bucket
        if len(self._buckets) > MAX_REMEMBERED:
            self._buckets.popitem(last=False)
        return bucket
