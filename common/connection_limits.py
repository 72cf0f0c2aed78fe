"""Connection table: how many connections a listener has, from whom, and which one gives way to a new one.

No I/O; times are monotonic seconds.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum, StrEnum

from common.token_bucket import BucketsByKey, Rate

STALE = 2.0
"""Seconds after which a connection that is not being answered gives way to a peer that has few."""
FEW = 8
"""A peer has few connections if they are less than one in so many of all that there may be."""


def peer_of(address: str) -> str:
    """Return what a connection is counted under: its address, without the zone.

    Not the network of an IPv6 address: in a VPC nodes, pods and the API server share a /64.
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(getattr(found, "ipv4_mapped", None) or found)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What a listener accepts: connections in all and from one peer, and new ones from one peer by rate."""

    connections: int
    per_peer: int
    connects: Rate


class Refusal(StrEnum):
    """Why a connection is refused or closed; the values are metric labels."""

    TOO_MANY = "too_many"
    """The peer has as many as one may have, or none of the others can give way to it."""
    TOO_FAST = "too_fast"
    """The peer connects more often than allowed."""
    EVICTED = "evicted"
    """It gave way to a connection of a peer with fewer."""
    OVERHEAD = "overhead"
    """The peer sends TLS for its own sake: records without data, or with a few bytes."""
    HANDSHAKE = "handshake"
    """Its TLS handshake has failed, has taken too long, or had too many bytes."""


class State(Enum):
    """What a connection is doing. Only one that is being answered, which is always short, never gives way."""

    IDLE = 0
    RECEIVING = 1
    ANSWERING = 2


@dataclass(slots=True, eq=False)
class Connection:
    """An open connection: `since` is when it last changed its state, `abort` ends it at once."""

    peer: str
    since: float
    abort: Callable[[], object]
    state: State = State.RECEIVING

    def enter(self, state: State, now: float) -> None:
        """Change the state."""
        self.state = state
        self.since = now


@dataclass(frozen=True, slots=True)
class AdmitResult:
    """Whether a connection is accepted, and which other one has to be aborted for it."""

    refusal: Refusal | None = None
    evicted: Connection | None = None


@dataclass(slots=True)
class ConnectionTable:
    """The open connections of one listener.

    At the limit a new connection takes the place of one of a peer that has more than its own peer has, the
    largest first. So a peer with few connections is always let in, however many somebody else opens. Where
    no peer has more, a peer with few takes the place that has been used for nothing the longest.
    """

    limits: ConnectionLimits
    total: int = 0
    _by_peer: dict[str, dict[Connection, None]] = field(default_factory=dict)
    _rates: BucketsByKey[str] = field(init=False)

    def __post_init__(self) -> None:
        self._rates = BucketsByKey(self.limits.connects)

    def admit(self, peer: str, now: float) -> AdmitResult:
        """Decide about a new connection. The caller aborts `evicted`, and adds the new one."""
        own = len(self._by_peer.get(peer, ()))
        if own >= self.limits.per_peer:
            return AdmitResult(Refusal.TOO_MANY)
        if not self._rates.of(peer).take(now):
            return AdmitResult(Refusal.TOO_FAST)
        if self.total < self.limits.connections:
            return AdmitResult()
        evicted = self._of_larger(own) or self._own_idle(peer) or self._stale(own, now)
        return AdmitResult(evicted=evicted) if evicted else AdmitResult(Refusal.TOO_MANY)

    @property
    def peers(self) -> int:
        """How many peers have connections."""
        return len(self._by_peer)

    def add(self, peer: str, now: float, abort: Callable[[], object]) -> Connection:
        """Count a connection that was accepted."""
        connection = Connection(peer, now, abort)
        self._by_peer.setdefault(peer, {})[connection] = None
        self.total += 1
        return connection

    def remove(self, connection: Connection) -> None:
        """Stop counting a connection; does nothing if it is not counted."""
        connections = self._by_peer.get(connection.peer, {})
        if connection not in connections:
            return
        del connections[connection]
        self.total -= 1
        if not connections:
            del self._by_peer[connection.peer]

    def _of_larger(self, own: int) -> Connection | None:
        """Return the oldest idle connection of the largest peer above `own`, or else its slowest request."""
        larger = [each for each in self._by_peer.values() if len(each) > own]
        for connections in sorted(larger, key=len, reverse=True):
            if found := _oldest(connections, State.IDLE) or _oldest(connections, State.RECEIVING):
                return found
        return None

    def _own_idle(self, peer: str) -> Connection | None:
        return _oldest(self._by_peer.get(peer, ()), State.IDLE)

    def _stale(self, own: int, now: float) -> Connection | None:
        """Return what is of no use to anybody, for a peer with few connections."""
        if own * FEW >= self.limits.connections:
            return None
        every = [each for connections in self._by_peer.values() for each in connections]
        found = _oldest(every, State.IDLE) or _oldest(every, State.RECEIVING)
        return found if found and now - found.since >= STALE else None


def _oldest(connections: Iterable[Connection], state: State) -> Connection | None:
    found = [each for each in connections if each.state is state]
    return min(found, key=lambda each: each.since) if found else None
