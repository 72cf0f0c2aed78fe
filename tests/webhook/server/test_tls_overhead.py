"""What a connection has sent beside data is charged to its peer, however short it was."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from webhook.server.tls_overhead import HANDSHAKE, INTERVAL, RATE, TlsOverhead, Watched

pytestmark = pytest.mark.pure

PEER = "192.0.2.1"
SENT = int(RATE.burst) + (64 << 10)
NOW = 1000.0


class Wire:
    """A TCP connection on which everything that was sent has been read."""

    def __init__(self, listening: socket.socket) -> None:
        self._client = socket.create_connection(listening.getsockname())
        self.server, _ = listening.accept()

    def send(self, size: int) -> None:
        """Send so many bytes, and have the other side read them."""
        while size > 0:
            part = min(size, 32 << 10)
            self._client.sendall(bytes(part))
            size -= part
            while part > 0:
                part -= len(self.server.recv(part))

    def reset(self) -> None:
        """End as a listener sees it that has closed its own descriptor."""
        self._client.close()
        self.server.close()

    def watched(self, data: int | None) -> Watched:
        """Return it as a listener does when the handshake has ended."""
        return Watched(PEER, self.server.dup(), lambda: data, NOW)


def end(overhead: TlsOverhead) -> None:
    left = overhead.remove("c", NOW)
    assert left is not None
    left.close()


@pytest.fixture
def wire() -> Iterator[Wire]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        made = Wire(listening)
        yield made
        made.reset()


@pytest.mark.parametrize(
    ("data", "over"),
    [(0, True), (SENT, False), (SENT - (64 << 10), False), (None, False)],
    ids=["no data", "data alone", "data with records", "not known"],
)
def test_a_connection_that_ends_before_the_first_look_is_charged(
    wire: Wire, data: int | None, over: bool
) -> None:
    overhead = TlsOverhead()
    watched = wire.watched(data)
    overhead.add("c", watched)
    wire.send(SENT)
    wire.reset()
    assert overhead.remove("c", NOW) is watched.socket
    watched.socket.close()
    assert overhead.is_over(PEER, NOW) is over
    assert overhead.remove("c", NOW) is None


def test_a_young_connection_is_charged_as_it_is_read(wire: Wire) -> None:
    """What it sends after that may make this side close it, and then nothing is known of its end."""
    overhead = TlsOverhead()
    overhead.add("c", wire.watched(0))
    wire.send(SENT)
    assert overhead.on_read("c", NOW + INTERVAL)
    assert overhead.is_over(PEER, NOW + INTERVAL)
    assert not overhead.on_read("c", NOW + 2 * INTERVAL)
    assert not overhead.on_read("another", NOW)
    end(overhead)


def test_nothing_is_charged_twice(wire: Wire) -> None:
    overhead = TlsOverhead()
    overhead.add("c", wire.watched(0))
    wire.send(int(RATE.burst) * 3 // 4)
    overhead.on_read("c", NOW)
    assert not overhead.look(NOW)
    end(overhead)
    assert not overhead.is_over(PEER, NOW)


def test_a_handshake_is_free_up_to_its_usual_size(wire: Wire) -> None:
    overhead = TlsOverhead()
    wire.send(HANDSHAKE)
    overhead.add("c", wire.watched(0))
    wire.send(int(RATE.burst) - 1)
    assert not overhead.look(NOW)
    end(overhead)
    wire.send(2)
    second = TlsOverhead()
    second.add("c", wire.watched(0))
    assert second.look(NOW) == {PEER}
    end(second)
