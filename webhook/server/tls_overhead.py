"""Bounds what peers send in TLS beside data: KeyUpdates, empty records, records of a byte.

Each record costs OpenSSL the same time, however little is in it, and what is not data never reaches HTTP's
limits. So what was read of a connection is compared with what was decrypted, and the rest is charged to the
peer: every INTERVAL, with each read of a connection younger than that, and at a connection's end.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from collections.abc import Callable
from dataclasses import dataclass

from common.token_bucket import BucketsByKey, Rate

INTERVAL = 0.25
"""Seconds between two looks."""
HANDSHAKE = 16 << 10
"""Bytes of a handshake that are free. Go's have 0.4 KiB, and 1.8 KiB with a post-quantum key."""
RATE = Rate(512 << 10, 64 << 10)
"""Bytes beside data that a peer may send after its handshakes: at once, and a second after that. What is read
ahead of a large body, and paid back as it is decrypted, is below 320 KiB."""
SHARE = 8
"""Of data one byte in so many is free: a record has 22 bytes beside its content, and Go's smallest ones have
1.2 KiB."""
_SIZE, _BYTES_RECEIVED = 136, 128
"""Of struct tcp_info (linux/tcp.h), and the offset of tcpi_bytes_received."""


@dataclass(slots=True, eq=False)
class Watched:
    """An open connection: `decrypted` returns its bytes of data, None while it does not read on.

    `socket` is a duplicate, which is still there when the connection has ended; `since` is when its handshake
    ended.
    """

    peer: str
    socket: socket.socket
    decrypted: Callable[[], int | None]
    since: float = 0.0
    handshake: int = 0
    charged: int = 0


class TlsOverhead:
    """What all connections of a listener have sent beside data. `now` is monotonic seconds."""

    def __init__(self) -> None:
        self._buckets: BucketsByKey[str] = BucketsByKey(RATE)
        self._watched: dict[object, Watched] = {}

    def add(self, key: object, watched: Watched) -> None:
        """Look at a connection from now on: its handshake has ended."""
        watched.handshake = min(_read(watched.socket) or 0, HANDSHAKE)
        self._watched[key] = watched

    def is_over(self, peer: str, now: float) -> bool:
        """Return whether a peer has sent too much a moment ago."""
        return self._buckets.of(peer).wait(now, 0) > 0

    def on_read(self, key: object, now: float) -> bool:
        """Charge a connection for what it has sent until now; returns whether it is to be asked for again.

        A look charges what is older than INTERVAL.
        """
        watched = self._watched.get(key)
        if watched is None or now - watched.since > INTERVAL:
            return False
        self._charge(watched, now)
        return True

    def remove(self, key: object, now: float) -> socket.socket | None:
        """Charge a connection that has ended, and forget it; returns its socket if it was looked at."""
        watched = self._watched.pop(key, None)
        if watched is None:
            return None
        self._charge(watched, now)
        return watched.socket

    def look(self, now: float) -> set[str]:
        """Charge all peers; returns those that have sent too much."""
        for each in self._watched.values():
            self._charge(each, now)
        # After all of them: what one connection owes another of the peer may pay back.
        return {peer for peer in {each.peer for each in self._watched.values()} if self.is_over(peer, now)}

    def _charge(self, each: Watched, now: float) -> None:
        data = each.decrypted()
        if data is None or (read := _read(each.socket)) is None:
            return
        beside = read - each.handshake - data - data // SHARE
        change, each.charged = max(0, beside) - each.charged, max(0, beside)
        self._buckets.of(each.peer).charge(change, now)


def _read(connection: socket.socket) -> int | None:
    """Return how many bytes were read of a connection; None where it is closed or the kernel is silent."""
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE)
        (waiting,) = struct.unpack("=i", fcntl.ioctl(connection, termios.FIONREAD, bytes(4)))
    except (OSError, ValueError):
        return None
    if len(info) < _SIZE:
        return None
    (received,) = struct.unpack_from("=Q", info, _BYTES_RECEIVED)
    return int(received) - int(waiting)
