"""TLS records that Python's ssl does not send: KeyUpdates, and records without content (RFC 8446)."""

from __future__ import annotations

import hmac
import socket
import ssl
import struct
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.cluster.webhook import WebhookServer

HANDSHAKE, DATA = 0x16, 0x17
"""Content types (section 5.1)."""
_KEY_UPDATE = b"\x18\x00\x00\x01\x00"
"""The message (section 4.6.3), which asks for no KeyUpdate in return."""
_SECRET = "CLIENT_TRAFFIC_SECRET_0"
_NONCE = 12
_TAG = 16


class RecordWriter:
    """Writes a client's TLS 1.3 records after a handshake that Python's ssl has made.

    `keys` is what Python wrote of it (`keylog_filename`), `suite` the cipher suite's name.
    """

    def __init__(self, keys: Path, suite: str) -> None:
        assert "AES" in suite, suite
        self._hash = "sha384" if "SHA384" in suite else "sha256"
        self._key_size = 32 if "AES_256" in suite else 16
        lines = keys.read_text(encoding="ascii").splitlines()
        (line,) = (each for each in lines if each.startswith(_SECRET))
        self._secret = bytes.fromhex(line.split()[2])
        self._take_keys()

    def record(self, content: bytes, kind: int = DATA, padding: int = 0) -> bytes:
        """Write the next record, filled up with so many bytes."""
        text = content + bytes((kind,)) + bytes(padding)
        header = b"\x17\x03\x03" + struct.pack(">H", len(text) + _TAG)
        nonce = (self._iv ^ self._number).to_bytes(_NONCE, "big")
        self._number += 1
        return header + self._cipher.encrypt(nonce, text, header)

    def key_update(self) -> bytes:
        """Write a KeyUpdate, and go on with the next key."""
        record = self.record(_KEY_UPDATE, HANDSHAKE)
        self._secret = self._expand(b"traffic upd", len(self._secret))
        self._take_keys()
        return record

    def _take_keys(self) -> None:
        self._cipher = AESGCM(self._expand(b"key", self._key_size))
        self._iv = int.from_bytes(self._expand(b"iv", _NONCE), "big")
        self._number = 0

    def _expand(self, label: bytes, size: int) -> bytes:
        """HKDF-Expand-Label of one block (section 7.1), without context."""
        name = b"tls13 " + label
        info = struct.pack(">HB", size, len(name)) + name + b"\x00"
        return hmac.digest(self._secret, info + b"\x01", self._hash)[:size]


class RawRecords:
    """One TLS 1.3 connection from `with` to the end of its block, whose handshake is Python's.

    `folder` is for the secret that Python writes (`keylog_filename`). Raises OSError where the server has
    closed.
    """

    def __init__(self, server: WebhookServer, folder: Path, source: str) -> None:
        trust = ssl.create_default_context(cadata=server.service.ca.decode())
        keys = folder / "keys"
        keys.unlink(missing_ok=True)
        trust.keylog_filename = str(keys)
        self._socket = socket.create_connection(
            ("127.0.0.1", server.port), timeout=20, source_address=(source, 0)
        )
        try:
            suite = self._shake_hands(trust)
        except BaseException:
            self._socket.close()
            raise
        self._writer = RecordWriter(keys, suite)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Without close_notify.
        self._socket.close()

    def send(self, content: bytes) -> None:
        """Send data in one record."""
        self._socket.sendall(self._writer.record(content))

    def update_key(self, count: int = 1) -> None:
        """Send so many KeyUpdates at once."""
        self._socket.sendall(b"".join(self._writer.key_update() for _ in range(count)))

    def receive(self, size: int) -> None:
        """Wait for at least so many bytes from the server."""
        while size > 0 and (received := self._socket.recv(1 << 16)):
            size -= len(received)

    def _shake_hands(self, trust: ssl.SSLContext) -> str:
        """Do the handshake; returns the cipher suite.

        Not by `wrap_socket`: it leaves its socket open where the server has reset the connection by then.
        """
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = trust.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._socket.sendall(outgoing.read())
            received = self._socket.recv(1 << 16)
            if not received:
                raise ConnectionResetError("closed within the handshake")
            incoming.write(received)
        self._socket.sendall(outgoing.read())
        return (tls.cipher() or ("",))[0]
