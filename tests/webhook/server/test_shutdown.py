"""How long the end of a replica waits for a request, by a clock that does not run by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing

import pytest
import uvicorn
from uvicorn.server import ServerState

from webhook.server.http_limits import LimitedHttpProtocol
from webhook.server.main import SHUTDOWN

pytestmark = pytest.mark.pure

REQUEST = b"GET / HTTP/1.1\r\nHost: webhook\r\n\r\n"
ROUND_TRIPS = 1.0
"""Seconds that a handshake and a first request take through a network that loses a packet."""


class ManualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time a test moves."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time go by, and do what is due, with what follows from it."""
        self.now += seconds
        for _ in range(10):
            self.run_until_complete(asyncio.sleep(0))


class Peer(asyncio.Transport):
    """A transport that keeps what the peer would get."""

    def __init__(self) -> None:
        super().__init__()
        self.received = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.received += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def resume_reading(self) -> None:
        pass


async def greet(_scope: object, _receive: object, send: Callable[[object], Awaitable[None]]) -> None:
    """Answer as an ASGI application."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


@pytest.fixture
def loop() -> Iterator[ManualLoop]:
    with closing(ManualLoop()) as loop:
        yield loop


@pytest.fixture
def peer() -> Peer:
    return Peer()


@pytest.fixture
def protocol(loop: ManualLoop, peer: Peer) -> LimitedHttpProtocol:
    """Return the server's side of a connection that has just been made."""
    config = uvicorn.Config(greet, http=LimitedHttpProtocol, ws="none", lifespan="off", log_config=None)
    made = LimitedHttpProtocol(config=config, server_state=ServerState(), app_state={}, _loop=loop)
    made.connection_made(peer)
    return made


@pytest.mark.parametrize("begun", [0, 10])
def test_a_request_that_comes_soon_after_the_end_has_begun_is_answered(
    begun: int, loop: ManualLoop, peer: Peer, protocol: LimitedHttpProtocol
) -> None:
    protocol.data_received(REQUEST[:begun])
    protocol.shutdown()
    loop.advance(ROUND_TRIPS)
    assert not peer.closed
    protocol.data_received(REQUEST[begun:])
    loop.advance(0)
    assert peer.received.startswith(b"HTTP/1.1 200")
    assert peer.received.endswith(b"hello")
    assert peer.closed


@pytest.mark.parametrize("begun", [0, 10])
def test_a_request_that_does_not_come_leaves_others_their_time_to_end(
    begun: int, loop: ManualLoop, peer: Peer, protocol: LimitedHttpProtocol
) -> None:
    protocol.data_received(REQUEST[:begun])
    protocol.shutdown()
    loop.advance(SHUTDOWN / 2)
    assert (peer.closed, peer.received) == (True, b"")
