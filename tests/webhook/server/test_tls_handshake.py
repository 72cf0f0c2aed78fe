"""What a peer sends before its handshake ends is bounded, and what comes with its end is data."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import pytest

from tests.cluster.certificates import Authority
from tests.webhook import client_hellos
from webhook.server.tls_handshake import MAX_HANDSHAKE, MAX_RECORDS, BoundedContext

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
