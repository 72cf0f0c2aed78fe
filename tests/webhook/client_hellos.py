"""ClientHellos that Python's ssl does not send (RFC 8446, sections 4.1.2 and 5.1)."""

from __future__ import annotations

import ssl
import struct
from typing import NamedTuple

_AUTHORITIES = 47
_EMPTY_NAME = b"\x00\x02\x30\x00"
_VERSION_AND_RANDOM = 34


class Hello(NamedTuple):
    """A ClientHello in pieces: all before the extensions, and these."""

    start: bytes
    extensions: bytes


def usual() -> Hello:
    """Return the one that Python's client sends."""
    sent = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), sent, server_hostname="webhook")
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        message = sent.read()[5:]
    at = 4 + _VERSION_AND_RANDOM
    at += 1 + message[at]
    at += 2 + int.from_bytes(message[at : at + 2], "big")
    at += 1 + message[at]
    return Hello(message[4:at], message[at + 2 :])


def message(hello: Hello, *more: bytes) -> bytes:
    """Return the handshake message, with more extensions."""
    extensions = hello.extensions + b"".join(more)
    body = hello.start + struct.pack(">H", len(extensions)) + extensions
    return b"\x01" + len(body).to_bytes(3, "big") + body


def authorities(count: int) -> bytes:
    """Return the extension certificate_authorities with so many empty names."""
    names = _EMPTY_NAME * count
    return struct.pack(">HHH", _AUTHORITIES, len(names) + 2, len(names)) + names


def records(content: bytes, size: int = 16_384) -> bytes:
    """Return a message in records of at most so many bytes."""
    parts = (content[at : at + size] for at in range(0, len(content), size))
    return b"".join(b"\x16\x03\x01" + struct.pack(">H", len(part)) + part for part in parts)
