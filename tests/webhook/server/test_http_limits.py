"""The buffer that all connections are read into."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import cast

import pytest

from webhook.server.http_limits import LimitedHttpProtocol, SharedBuffer

pytestmark = pytest.mark.pure


class FakeProtocol:
    """Records what it gets."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.lost = 0

    def data_received(self, data: memoryview) -> None:
        self.received.append(bytes(data))

    def connection_lost(self, exc: Exception | None) -> None:
        assert exc is None
        self.lost += 1


@pytest.fixture
def no_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def read(buffer: SharedBuffer, data: bytes) -> None:
    """Do as a transport does with what arrives."""
    buffer.get_buffer(len(data))[: len(data)] = data
    buffer.buffer_updated(len(data))


def test_each_protocol_gets_what_its_connection_sent() -> None:
    protocols = [FakeProtocol(), FakeProtocol()]
    buffers = [SharedBuffer(cast(LimitedHttpProtocol, each)) for each in protocols]
    for number, data in enumerate([b"POST /a", b"GET", b" HTTP/1.1", b" /b"]):
        read(buffers[number % 2], data)
    assert [each.received for each in protocols] == [[b"POST /a", b" HTTP/1.1"], [b"GET", b" /b"]]


@pytest.mark.usefixtures("no_collection")
def test_a_closed_connection_is_freed_without_a_collection_of_garbage() -> None:
    protocol = FakeProtocol()
    buffer = SharedBuffer(cast(LimitedHttpProtocol, protocol))
    freed = weakref.ref(protocol)
    buffer.connection_lost(None)
    assert protocol.lost == 1
    del protocol
    assert freed() is None
    # What a transport still calls by then is nothing to anybody.
    read(buffer, b"late")
    buffer.connection_lost(None)
    buffer.pause_writing()
    buffer.resume_writing()
