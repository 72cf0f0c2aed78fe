"""The buffer that all connections are read into."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import cast

import pytest

from webhook.server.http_limits import BUFFER, LimitedHttpProtocol, SharedBuffer

pytestmark = pytest.mark.pure


class FakeProtocol:
    """Records what it gets."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.lost = 0
        self.reads_on = True

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


@pytest.mark.parametrize(
    ("reads_on", "size", "known"),
    [(True, 100, 100), (False, 100, None), (True, BUFFER, None)],
    ids=["read to its end", "this side has closed", "more may have been read"],
)
def test_after_its_end_a_connection_tells_what_was_data_if_that_was_all(
    reads_on: bool, size: int, known: int | None
) -> None:
    protocol = FakeProtocol()
    buffer = SharedBuffer(cast(LimitedHttpProtocol, protocol))
    read(buffer, b" " * size)
    protocol.reads_on = reads_on
    buffer.connection_lost(None)
    assert buffer.received == known


def test_each_read_is_told_before_the_data_unless_more_may_have_been_read() -> None:
    protocol = FakeProtocol()
    buffer = SharedBuffer(cast(LimitedHttpProtocol, protocol))
    told: list[int] = []
    buffer.on_read = lambda: told.append(len(protocol.received))
    for size in (1, BUFFER, 2):
        read(buffer, b" " * size)
    assert told == [0, 2]
    buffer.connection_lost(None)
    assert buffer.on_read is None
