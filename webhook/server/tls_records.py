"""Bounds what a peer's TLS records cost, by giving OpenSSL one of them at a time.

OpenSSL takes a ClientHello of 128 KiB, and keeps more of some of its extensions than was sent: 190 bytes for
each empty name in certificate_authorities (RFC 8446, section 4.2.4), which has four. And it compares each key
share with each group that the peer names (section 4.2.8): 64 KiB of them took 0.1 s.

After the handshake each record costs the same time, however little data it brings: a KeyUpdate (section
4.6.3) has 27 bytes and takes about 20 µs. OpenSSL itself returns only when it has data or nothing is left, so
what was read at once of many connections would be worked through before anything could be counted.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any, cast

from common.token_bucket import Rate

MAX_HANDSHAKE = 4 << 10
"""Bytes of all of a peer's records until its handshake ends. Go sends 0.5 KiB, and 1.9 KiB with a
post-quantum key."""
MAX_RECORDS = 16
"""Go sends four. A handshake message may have a record for each of its bytes (RFC 8446, section 5.1)."""
MIN_DATA = 256
"""Bytes of data that a record has to bring, or half of its size if that is more: a record may be filled up
(RFC 8446, section 5.4). Go's usual ones have 1.2 or 16 KiB."""
MAX_CREDIT = 2 << 10
"""Bytes that earlier records of a connection have brought beyond that, and a small one may lack: what is
written at once ends with one."""
SMALL_RECORDS = Rate(2048, 512)
"""Records that bring less, or no data at all, which no credit pays: from one peer at once, and a second after
that. A connection's end is one."""
_HEADER = 5


class RecordReader(ssl.SSLObject):
    """One side of a connection, which reads the peer's records one by one."""

    incoming: ssl.MemoryBIO
    """What the peer has sent and OpenSSL has not been given."""
    given: ssl.MemoryBIO
    """What OpenSSL has been given: a record, or the beginning of one."""
    on_small_record: Callable[[], bool]
    """Called for a record that brings too little data; returns whether the connection may go on."""
    _missing = 0
    """Bytes that the record lacks which OpenSSL has been given."""
    _size = 0
    _credit = MAX_CREDIT
    _in_handshake = True
    _handshake_size = 0
    _handshake_records = 0

    def do_handshake(self) -> None:
        """Go on with the handshake. Raises ssl.SSLError, also where the peer sends too much for one."""
        while True:
            try:
                super().do_handshake()
            except ssl.SSLWantReadError:
                if not self._give():
                    raise
            else:
                # What follows is data.
                self._in_handshake = False
                return

    def read(self, len: int = 1024, buffer: Any = None) -> bytes:  # noqa: A002 - the name it has there
        """Read data of one record. Raises ssl.SSLError, also where the peer may send no more small ones."""
        if self.pending():
            # Of a record that has been counted.
            return super().read(len, buffer)
        while self._give():
            try:
                found = super().read(len, buffer)
            except ssl.SSLWantReadError:
                if self._missing:
                    raise
                self._count_small()
            else:
                self._count(found)
                return found
        return super().read(len, buffer)

    def _give(self) -> bool:
        """Give OpenSSL what there is of the next record; returns whether there was anything."""
        begins = not self._missing
        if begins:
            if self.incoming.pending < _HEADER:
                return False
            header = self.incoming.read(_HEADER)
            self._size = self._missing = int.from_bytes(header[3:], "big")
            if self._in_handshake:
                self._count_handshake()
            self.given.write(header)
        content = self.incoming.read(self._missing)
        self._missing -= len(content)
        self.given.write(content)
        return begins or bool(content)

    def _count_handshake(self) -> None:
        self._handshake_size += _HEADER + self._size
        self._handshake_records += 1
        if self._handshake_size > MAX_HANDSHAKE or self._handshake_records > MAX_RECORDS:
            raise ssl.SSLError(f"more than {MAX_HANDSHAKE} bytes or {MAX_RECORDS} records in a handshake")

    def _count(self, found: bytes) -> None:
        # With a buffer it is how many bytes are in it.
        read = cast("bytes | int", found)
        data = (read if isinstance(read, int) else len(read)) + self.pending()
        credit = self._credit + data - max(MIN_DATA, self._size // 2)
        self._credit = max(0, min(credit, MAX_CREDIT))
        if credit < 0:
            self._count_small()

    def _count_small(self) -> None:
        if not self.on_small_record():
            raise ssl.SSLError("too many records with little data")


class BoundedContext(ssl.SSLContext):
    """A server's context that bounds what its peers' records cost where they are read from memory."""

    sslobject_class = RecordReader

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Make one side of a connection."""
        given = ssl.MemoryBIO()
        made = super().wrap_bio(given, outgoing, server_side, server_hostname, session)
        assert isinstance(made, RecordReader)  # noqa: S101 - it is our sslobject_class
        made.incoming = incoming
        made.given = given
        made.on_small_record = _go_on
        return made


def _go_on() -> bool:
    return True
