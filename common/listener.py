"""Limits of a listener: how many connections, from whom, and which one gives way to a new one.

No I/O; times are monotonic seconds.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, StrEnum

from common.token_bucket import BucketsByKey, Rate

_IPV6_PREFIX = 64
"""A host has a whole /64 of IPv6 addresses to connect from."""


def peer_of(address: str) -> str:
    """Return what a connection is counted under: its IPv4 address, or the /64 of its IPv6 address."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if found.version == 4:
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, _IPV6_PREFIX), strict=False))


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
    """The peer sends TLS for its own sake: messages without content, or records of a few bytes."""


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
class Admission:
    """Whether a connection is accepted, and which other one has to be aborted for it."""

    refusal: Refusal | None = None
    evicted: Connection | None = None


@dataclass(slots=True)
class ConnectionTable:
    """The open connections of one listener.

    At the limit a new connection takes the place of one of the peer that has the most, if that is more than
    its own peer has. So a peer with few connections is always let in, however many somebody else opens.
    """

    limits: ConnectionLimits
    total: int = 0
    _by_peer: dict[str, dict[Connection, None]] = field(default_factory=dict)
    _rates: BucketsByKey[str] = field(init=False)

    def __post_init__(self) -> None:
        self._rates = BucketsByKey(self.limits.connects)

    def admit(self, peer: str, now: float) -> Admission:
        """Decide about a new connection. The caller aborts `evicted`, and adds the new one."""
        own = len(self._by_peer.get(peer, ()))
        if own >= self.limits.per_peer:
            return Admission(Refusal.TOO_MANY)
        if not self._rates.of(peer).take(now):
            return Admission(Refusal.TOO_FAST)
        if self.total < self.limits.connections:
            return Admission()
        evicted = self._least_useful(peer, own)
        return Admission(evicted=evicted) if evicted else Admission(Refusal.TOO_MANY)

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

    def of(self, peer: str) -> tuple[Connection, ...]:
        """Return the connections of a peer."""
        return tuple(self._by_peer.get(peer, ()))

    def remove(self, connection: Connection) -> None:
        """Stop counting a connection; does nothing if it is not counted."""
        connections = self._by_peer.get(connection.peer, {})
        if connection not in connections:
            return
        del connections[connection]
        self.total -= 1
        if not connections:
            del self._by_peer[connection.peer]

    def _least_useful(self, peer: str, own: int) -> Connection | None:
        """Return the oldest idle connection of the largest peer, or else the slowest request."""
        largest, connections = max(self._by_peer.items(), key=lambda item: len(item[1]))
        if len(connections) <= own:
            # The peer is the largest itself: only its idle connections may go, never one that is in use.
            largest, connections = peer, self._by_peer[peer]
        allowed = (State.IDLE,) if largest == peer else (State.IDLE, State.RECEIVING)
        for state in allowed:
            found = [each for each in connections if each.state is state]
            if found:
                return min(found, key=lambda each: each.since)
        return None
