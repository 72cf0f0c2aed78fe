"""A peer's TLS records are bounded before OpenSSL has them, and what comes with a handshake's end is data."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from tests.cluster.certificates import Authority
from tests.webhook import client_hellos
from tests.webhook.tls_records import RecordWriter
from webhook.server.tls_records import (
    MAX_CREDIT,
    MAX_HANDSHAKE,
    MAX_RECORDS,
    MIN_DATA,
    BoundedContext,
    RecordReader,
)

pytestmark = pytest.mark.pure

USUAL = client_hellos.message(client_hellos.usual())


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> BoundedContext:
    pair = Authority().issue(["webhook"], tmp_path_factory.mktemp("tls"))
    made = BoundedContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(pair.public, pair.private)
    return made


class Server:
    """The server's side of a connection in memory."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.received, self.sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.received, self.sent, server_side=True)

    def receive(self, data: bytes, size: int) -> None:
        """Go on with the handshake after each so many bytes. Raises ssl.SSLError."""
        for at in range(0, len(data), size):
            self.received.write(data[at : at + size])
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                continue
            self.received.write(data[at + size :])
            return


def flights(
    client: ssl.SSLObject, received: ssl.MemoryBIO, sent: ssl.MemoryBIO, server: Server
) -> Iterator[bytes]:
    """Yield what a client sends until its handshake has ended."""
    while True:
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            yield sent.read()
            received.write(server.sent.read())
        else:
            return


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("size", [1, 7, 1 << 16])
def test_a_handshake_and_the_data_that_come_with_it(
    context: ssl.SSLContext, version: ssl.TLSVersion, size: int
) -> None:
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    trust.minimum_version = trust.maximum_version = version
    server = Server(context)
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trust.wrap_bio(received, sent, server_hostname="webhook")
    for flight in flights(client, received, sent, server):
        server.receive(flight, size)
    data = b"review" * 40_000
    at = 0
    while at < len(data):
        at += client.write(data[at:])
    # In TLS 1.3 the client's last message of the handshake comes with its data.
    server.receive(sent.read(), size)
    found = b""
    while len(found) < len(data):
        found += server.tls.read(1 << 16)
    assert found == data
    assert server.tls.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]


@pytest.mark.parametrize("size", [97, 1 << 16])
def test_a_large_hello_is_not_passed_on(context: ssl.SSLContext, size: int) -> None:
    hello = client_hellos.message(client_hellos.usual(), client_hellos.authorities(MAX_HANDSHAKE // 4))
    server = Server(context)
    with pytest.raises(ssl.SSLError, match="bytes"):
        server.receive(client_hellos.records(hello), size)
    assert server.sent.pending == 0


def test_a_hello_in_many_records_is_not_passed_on(context: ssl.SSLContext) -> None:
    few, many = Server(context), Server(context)
    few.receive(client_hellos.records(USUAL, len(USUAL) // (MAX_RECORDS - 1) + 1), 1 << 16)
    assert few.sent.pending > 0
    with pytest.raises(ssl.SSLError, match="records"):
        many.receive(client_hellos.records(USUAL, 1), 1 << 16)
    assert many.sent.pending == 0


def test_what_is_not_tls_ends_at_once(context: ssl.SSLContext) -> None:
    with pytest.raises(ssl.SSLError):
        Server(context).receive(b"GET / HTTP/1.1\r\nHost: webhook\r\n\r\n", 1 << 16)


class Opened:
    """A connection in memory whose handshake has ended, and how many small records of it were counted."""

    def __init__(self, context: ssl.SSLContext, folder: Path) -> None:
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
        trust.keylog_filename = str(folder / "keys")
        self._server = Server(context)
        received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = trust.wrap_bio(received, sent, server_hostname="webhook")
        for flight in flights(client, received, sent, self._server):
            self._server.receive(flight, 1 << 16)
        self._server.receive(sent.read(), 1 << 16)
        assert isinstance(self._server.tls, RecordReader)
        self._server.tls.on_small_record = self._on_small_record
        self.writer = RecordWriter(folder / "keys", (client.cipher() or ("",))[0])
        self.allowed = 1 << 30
        self.small = 0

    def _on_small_record(self) -> bool:
        self.small += 1
        return self.small <= self.allowed

    def receive(self, data: bytes, buffer: bytearray | None = None) -> int:
        """Read all the data that there is, and return its size. Raises ssl.SSLError."""
        self._server.received.write(data)
        size = 0
        while self._server.received.pending or self._server.tls.pending():
            try:
                size += self._read(buffer)
            except ssl.SSLWantReadError:
                break
        return size

    def _read(self, buffer: bytearray | None) -> int:
        if buffer is None:
            return len(self._server.tls.read(1 << 16))
        return cast(int, self._server.tls.read(len(buffer), buffer))

    @property
    def pending(self) -> int:
        """Bytes that OpenSSL has not been given."""
        return self._server.received.pending


@pytest.fixture
def opened(context: BoundedContext, tmp_path: Path) -> Opened:
    return Opened(context, tmp_path)


@pytest.mark.parametrize("kind", ["KeyUpdates", "empty records", "records of a byte"])
def test_records_beyond_the_limit_are_not_passed_on(opened: Opened, kind: str) -> None:
    kinds: dict[str, Callable[[], bytes]] = {
        "KeyUpdates": opened.writer.key_update,
        "empty records": lambda: opened.writer.record(b""),
        "records of a byte": lambda: opened.writer.record(b" "),
    }
    sent = [kinds[kind]() for _ in range(100)]
    opened.allowed = 10
    with pytest.raises(ssl.SSLError, match="little data"):
        opened.receive(b"".join(sent))
    free = MAX_CREDIT // (MIN_DATA - 1) if kind == "records of a byte" else 0
    assert opened.pending == sum(map(len, sent[free + opened.allowed + 1 :]))


@pytest.mark.parametrize("size", [1, 7, 1 << 16], ids=["byte by byte", "in pieces", "at once"])
def test_key_updates_are_counted_however_they_arrive(opened: Opened, size: int) -> None:
    sent = b"".join([*(opened.writer.key_update() for _ in range(20)), opened.writer.record(b" " * MIN_DATA)])
    found = sum(opened.receive(sent[at : at + size]) for at in range(0, len(sent), size))
    assert (found, opened.small) == (MIN_DATA, 20)


@pytest.mark.parametrize(
    ("sizes", "padding", "small"),
    [
        ([150, 1200, 1200, 30] * 100, 0, 0),
        ([16384] * 50 + [1], 0, 0),
        ([MIN_DATA] * 100, 0, 0),
        ([100, 1200] * 100, 0, 0),
        ([100] * 100, 0, 100 - MAX_CREDIT // (MIN_DATA - 100)),
        ([1200, *[0] * 20] * 10, 0, 200),
        ([MIN_DATA] * 100, 16_000, 100),
    ],
    ids=["requests", "a large body", "least", "head and body", "pieces", "empty ones between", "filled up"],
)
@pytest.mark.parametrize(
    "buffer", [None, bytearray(1 << 16), bytearray(97)], ids=["copied", "large", "small"]
)
def test_only_records_with_little_data_are_counted(
    opened: Opened, sizes: list[int], padding: int, small: int, buffer: bytearray | None
) -> None:
    sent = b"".join(opened.writer.record(b" " * size, padding=padding) for size in sizes)
    assert opened.receive(sent, buffer) == sum(sizes)
    assert opened.small == small
