"""How much one pod, and all pods together, may ask of the node's agent. No I/O; times are monotonic."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

MAX_PEERS = 4096
"""Addresses whose rate is remembered: more than a node has pods."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many at once, and so many a second after that."""

    burst: float
    refill: float


@dataclass(frozen=True, slots=True)
class Limits:
    """What the server of sessions bears; counts, and seconds."""

    connections: int = 1024
    """In all: a node has 250 pods, and each has one."""
    per_peer: int = 8
    """From one address, while it is not known whose they are: then each pod has one."""
    connects: Rate = Rate(20, 1)
    """From one address: the slim client begins with 10 a second and backs off to one in 2 s."""
    statements: Rate = Rate(20, 5)
    """In one session. A pod that changes faster is read slower; what it stated in between is stale anyway."""
    reviews: int = 8
    """Questions to the API server at a time."""
    waiting_reviews: int = 512
    """Tokens that wait for that."""
    review_seconds: float = 10
    first_seconds: float = 10
    """From the connection to the first whole statement."""
    stall_seconds: float = 30
    """How long an answer may wait for a pod that does not read."""


@dataclass(slots=True)
class TokenBucket:
    """A token bucket."""

    rate: Rate
    _level: float = field(init=False)
    _at: float | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._level = self.rate.burst

    def wait(self, now: float) -> float:
        """Give the seconds until one more is allowed, 0 if it is now; does not take it."""
        if self._at is not None:
            self._level = min(self.rate.burst, self._level + (now - self._at) * self.rate.refill)
        self._at = now
        return max(0.0, (1 - self._level) / self.rate.refill)

    def take(self, now: float) -> bool:
        """Take one, if it is allowed now."""
        if self.wait(now) > 0:
            return False
        self._level -= 1
        return True


class ConnectionLimiter:
    """Connections by the address they come from."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.connections = 0
        """All that are open."""
        self._open: dict[str, int] = {}
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def admit(self, peer: str, now: float) -> str:
        """Count one more connection; where it is one too many, says why, and does not count it."""
        if self.connections >= self._limits.connections:
            return f"The node's agent has {self._limits.connections} connections open, and takes no more"
        if self._open.get(peer, 0) >= self._limits.per_peer:
            return f"{peer} has {self._limits.per_peer} connections open, and gets no more"
        bucket = self._buckets.pop(peer, None) or TokenBucket(self._limits.connects)
        self._buckets[peer] = bucket
        if len(self._buckets) > MAX_PEERS:
            self._buckets.popitem(last=False)
        if not bucket.take(now):
            return f"{peer} connects too often"
        self.connections += 1
        self._open[peer] = self._open.get(peer, 0) + 1
        return ""

    def vouch(self, peer: str) -> None:
        """Count a connection no longer to its address: it is known whose it is."""
        left = self._open.get(peer, 0) - 1
        if left > 0:
            self._open[peer] = left
        else:
            self._open.pop(peer, None)

    def leave(self, peer: str, *, vouched: bool) -> None:
        """Count one connection less, that was admitted."""
        self.connections -= 1
        if not vouched:
            self.vouch(peer)
