"""Bounds what a peer sends until its TLS handshake ends.

OpenSSL takes a ClientHello of 128 KiB, and keeps more of some of its extensions than was sent: 190 bytes for
each empty name in certificate_authorities (RFC 8446, section 4.2.4), which has four. And it compares each key
share with each group that the peer names (section 4.2.8): 64 KiB of them took 0.1 s.
"""

from __future__ import annotations

import ssl

MAX_HANDSHAKE = 4 << 10
"""Bytes of all of a peer's records until its handshake ends. Go sends 0.5 KiB, and 1.9 KiB with a
post-quantum key."""
MAX_RECORDS = 16
"""Go sends four. A handshake message may have a record for each of its bytes (RFC 8446, section 5.1)."""
_HEADER = 5


class BoundedHandshake(ssl.SSLObject):
    """One side of a connection: until its handshake ends OpenSSL is given the peer's records one by one."""

    incoming: ssl.MemoryBIO
    waiting: bytearray
    """What the peer has sent and OpenSSL has not been given."""
    _size = 0
    _records = 0

    def do_handshake(self) -> None:
        """Go on with the handshake. Raises ssl.SSLError, also where the peer sends too much for one."""
        self.waiting += self.incoming.read()
        while True:
            try:
                super().do_handshake()
            except ssl.SSLWantReadError:
                record = self._next_record()
                if not record:
                    raise
                self.incoming.write(record)
            else:
                # What follows is data.
                self.incoming.write(self.waiting)
                self.waiting.clear()
                return

    def _next_record(self) -> bytes:
        """Return the next record, empty if it is not complete. Raises ssl.SSLError."""
        if len(self.waiting) < _HEADER:
            return b""
        size = _HEADER + int.from_bytes(self.waiting[3:_HEADER], "big")
        if self._size + size > MAX_HANDSHAKE or self._records == MAX_RECORDS:
            raise ssl.SSLError(f"more than {MAX_HANDSHAKE} bytes or {MAX_RECORDS} records in a handshake")
        if len(self.waiting) < size:
            return b""
        record = bytes(self.waiting[:size])
        del self.waiting[:size]
        self._size += size
        self._records += 1
        return record


class BoundedContext(ssl.SSLContext):
    """A server's context that bounds its peers' handshakes where they are read from memory (`wrap_bio`)."""

    sslobject_class = BoundedHandshake

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Make one side of a connection."""
        made = super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        assert isinstance(made, BoundedHandshake)  # noqa: S101 - it is our sslobject_class
        made.incoming = incoming
        made.waiting = bytearray()
        return made
