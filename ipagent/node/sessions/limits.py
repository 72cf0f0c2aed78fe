"""Budgets: how much one peer, one pod, and all of them together may use. No I/O; times are monotonic.

Thread: all of it belongs to the server's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from common.token_bucket import BucketsByKey, Rate
from ipagent.node.model.pod import PodKey

READ_COST = 256
"""Units that one read of the socket costs beside its bytes: what the event loop does for it."""
FRAME_COST = 64
"""Units that one chunk or line costs beside its bytes: what the parser does for it."""

KiB = 1024

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the session server bears; counts, bytes and seconds.

    Together they fit into the chart's memory limit of 128 MiB beside the 60 MB of the program itself:
    docs/security.md adds them up.
    """

    connections: int = 512
    """In all: a node has 250 pods, and each has one. The oldest whose pod is not known makes room."""
    per_peer: int = 8
    """From one address, while it is not known whose they are: then each pod has one."""
    refusals: int = 16
    """Connections that are told why they are refused, at a time; all others are reset."""
    connects: Rate = Rate(20, 1)
    """From one address: the injected container begins with 10 a second and backs off to one in 2 s."""
    statements: Rate = Rate(20, 5)
    """Of one pod. A pod that changes faster is read slower; what it stated in between is stale anyway."""
    reading: Rate = Rate(512 * KiB, 32 * KiB)
    """Bytes of one peer, then of one pod, with READ_COST and FRAME_COST: at once two full statements."""
    buffered: int = 8 * 1024 * KiB
    """Bytes that wait in all sessions together: parts of statements, and answers that are not read."""
    claims: int = 6 * 1024 * KiB
    """Weight of all pods' claims together (`Claim.weight`); the fair share is free for everyone."""
    claims_share: int = 24 * KiB
    """Weight of a claim that is always taken, also beyond `claims`: about 65 addresses. 250 pods have as much
    once more."""
    reviews: int = 8
    """TokenReviews at a time."""
    waiting_reviews: int = 512
    """Tokens that wait for one."""
    review_seconds: float = 10
    statement_seconds: float = 10
    """From the connection to the whole head, and from the first byte of a statement to its last."""
    stall_seconds: float = 30
    """How long an answer may wait for a pod that does not read."""


class ConnectionLimiter:
    """Connections by the address they come from."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.connections = 0
        """All that are open."""
        self._open: dict[str, int] = {}
        self._rates: BucketsByKey[str] = BucketsByKey(limits.connects)

    @property
    def full(self) -> bool:
        """Whether one more is possible only if another one goes."""
        return self.connections >= self._limits.connections

    def admit(self, peer: str, now: float, make_room: Callable[[], object] = lambda: None) -> str:
        """Count one more connection; returns why it is one too many, and then does not count it.

        `make_room` may end another one. It is called only for a peer that may have one more.
        """
        if self._open.get(peer, 0) >= self._limits.per_peer:
            return f"{peer} has {self._limits.per_peer} connections open, and can open no more"
        if not self._rates.of(peer).take(now):
            return f"{peer} connects too often"
        if self.full:
            make_room()
        if self.full:
            return f"The node agent has {self._limits.connections} connections open, and accepts no more"
        self.connections += 1
        self._open[peer] = self._open.get(peer, 0) + 1
        return ""

    def release_peer_slot(self, peer: str) -> None:
        """Count a connection no longer to its address: it is known whose it is."""
        left = self._open.get(peer, 0) - 1
        if left > 0:
            self._open[peer] = left
        else:
            self._open.pop(peer, None)

    def close(self, peer: str, *, identified: bool) -> None:
        """Count one connection less, that was admitted."""
        self.connections -= 1
        if not identified:
            self.release_peer_slot(peer)


class BufferBudget(Generic[K]):
    """Bytes that sessions hold; beyond the limit whoever has held some for the longest time has to go.

    An honest statement comes in milliseconds: what has waited longest is what somebody sends slowly, or does
    not read.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.total = 0
        self._held: OrderedDict[K, int] = OrderedDict()

    def hold(self, key: K, size: int) -> list[K]:
        """Record that `key` holds so many bytes now; returns those that have to go, and forgets them."""
        self.total += size - self._held.get(key, 0)
        if size:
            self._held[key] = size
        else:
            self._held.pop(key, None)
        gone = []
        while self.total > self._most:
            oldest, held = self._held.popitem(last=False)
            self.total -= held
            gone.append(oldest)
        return gone


class ClaimBudget:
    """The weight of what pods claim, so that no number of pods fills the memory with claims."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.total = 0
        self._weights: dict[PodKey, int] = {}

    def admit(self, pod: PodKey, weight: int) -> bool:
        """Record a pod's claim in place of the one before; returns False if it is too much."""
        total = self.total - self._weights.get(pod, 0) + weight
        if total > self._limits.claims and weight > self._limits.claims_share:
            return False
        self.total = total
        self._weights[pod] = weight
        return True

    def drop(self, pod: PodKey) -> None:
        """Forget the claim of a pod that is gone."""
        self.total -= self._weights.pop(pod, 0)
