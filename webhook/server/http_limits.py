"""Limits on what a connection may cost before its request reaches a route.

httptools keeps a request's head, and the trailers of a chunked body, without a limit, and uvicorn has no
timer before a request is complete.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sized

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from common.connection_limits import Connection, State
from webhook.server.body import SMALL_BODY

MAX_HEAD = 64 << 10
"""Bytes of request line and headers; the API server sends less than one KiB."""
MAX_MESSAGE = 16 << 20
"""Bytes of a whole request, chunk headers and trailers included."""
HEAD_TIMEOUT = 10
"""Seconds for a request's head to arrive, from the connection's start or its first byte."""
LAST_REQUEST = 2
"""Seconds, at the end of a replica, for a handshake that has begun, and for a request that is to come."""
WRITE_TIMEOUT = 10
"""Seconds that a peer may leave its responses unread once the buffers are full."""
BUFFER = 64 << 10
"""Bytes that wait to be parsed, or to be sent, before reading or answering pauses. uvloop's own limits for
TLS are 256 and 512 KiB."""
MAX_PIPELINE = 32
"""Requests of one connection that wait for the response to an earlier one. The API server never has any."""
MAX_FRAMES = 512
"""Header lines and chunks of a connection's requests that are not answered yet.

Each costs the parser the same time, however few bytes it has. The API server sends 8 header lines and no
chunks; a body of 7 MiB in Go's chunks of 32 KiB has 224."""


BODY_COMPLETE = "multus_eni.body_complete"
"""Key in the ASGI scope of a request whose body is complete: reading it does not wait."""


class TooManyRequests(Exception):
    """A peer sends requests without waiting for responses."""


class TooManyFrames(Exception):
    """A peer sends a request in too many pieces."""


class LimitedHttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol, with limits on the size and time of a request's head."""

    connection: Connection | None = None
    """What the listener counts this connection as; None without such a listener."""
    forget: Callable[[Connection], None] | None = None
    """Called with it when the connection is closed."""

    _in_head = True
    _last = False
    """Whether the connection ends after its next answer."""
    _chunked = False
    _received = 0
    _frames = 0
    _timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn
        """Start the timer of the first request's head."""
        super().connection_made(transport)
        self.flow = _PipelineFlow(transport, self.pipeline)
        if self.connection is not None:
            self.connection.abort = transport.abort
            transport.set_write_buffer_limits(BUFFER)
            # Only a TLS transport has it, and asyncio's interface does not name it.
            limit: Callable[[int], None] = getattr(transport, "set_read_buffer_limits", _no_limit)
            limit(BUFFER)
        self._enter(State.IDLE)
        self._arm(HEAD_TIMEOUT)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers."""
        self._disarm()
        self._disarm_write()
        if self.connection is not None and self.forget is not None:
            self.forget(self.connection)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Start the timer of a peer that does not read its responses."""
        super().pause_writing()
        self._enter(State.RECEIVING)
        self._disarm_write()
        self._write_timer = self.loop.call_later(WRITE_TIMEOUT, self._abort)

    def resume_writing(self) -> None:
        """Cancel that timer."""
        self._disarm_write()
        self._enter(State.ANSWERING)
        super().resume_writing()

    def shutdown(self) -> None:
        """Close the connection if it is idle, as uvicorn does; wait where the first request is to come.

        Likewise where another one has begun to arrive.
        """
        self._last = True
        if self._in_head and not self.transport.is_closing():
            self._arm(LAST_REQUEST)
        else:
            super().shutdown()

    def data_received(self, data: bytes | memoryview) -> None:
        """Parse the data, and abort a connection that sends too much."""
        self._received += len(data)
        super().data_received(data)  # type: ignore[arg-type] # httptools reads any buffer
        # A head that arrives in one piece, as nearly all do, needs no timer.
        if self._in_head and self._timer is None and not self.transport.is_closing():
            self._arm(HEAD_TIMEOUT)
        limit = MAX_HEAD if self._in_head else MAX_MESSAGE
        if self._received > limit and not self.transport.is_closing():
            self.logger.warning("aborted a connection: its request is larger than %d bytes", limit)
            # close() would wait for the peer, and go on reading from it.
            self._abort()

    def on_message_begin(self) -> None:
        """Start a request's head. Raises TooManyRequests, which the parser turns into a 400."""
        if len(self.pipeline) >= MAX_PIPELINE:
            raise TooManyRequests
        # There is no cycle before the first request.
        if getattr(self.cycle, "response_complete", True):
            self._frames = 0
        self._in_head = True
        self._chunked = False
        self._received = 0
        self._enter(State.RECEIVING)
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, drop a trailer. Raises TooManyFrames."""
        self._count_frame()
        if self._in_head:
            super().on_header(name, value)

    def on_chunk_header(self) -> None:
        """Count a chunk. Raises TooManyFrames."""
        self._chunked = True
        self._count_frame()

    def on_headers_complete(self) -> None:
        """Cancel the timer: the body has limits of its own, where it is read."""
        self._in_head = False
        self._disarm()
        super().on_headers_complete()
        if self._last:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Note that the whole request is there. A large one waits for others, and may give way."""
        if self._received <= SMALL_BODY and not self._chunked:
            self._enter(State.ANSWERING)
        self.scope[BODY_COMPLETE] = True  # type: ignore[literal-required] # a key of our own
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Note that the connection is idle."""
        self._enter(State.IDLE)
        super().on_response_complete()

    def _count_frame(self) -> None:
        self._frames += 1
        if self._frames > MAX_FRAMES:
            raise TooManyFrames

    def _abort(self) -> None:
        if self.connection is not None:
            self.connection.abort()
        else:
            self.transport.abort()

    def _enter(self, state: State) -> None:
        if self.connection is not None:
            self.connection.enter(state, self.loop.time())

    def _unsupported_upgrade_warning(self) -> None:
        # uvicorn's own message advises to install a WebSocket library.
        self.logger.warning("answered a request to upgrade the protocol in HTTP/1.1")

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._timer = self.loop.call_later(seconds, self._too_slow)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()

    def _disarm_write(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None


class SharedBuffer(asyncio.BufferedProtocol):
    """Reads from a transport into one buffer that all connections share, and passes it on.

    Without it uvloop allocates 256 KiB for each read (sslproto.pyx, _do_read__copied), a block that malloc
    maps and unmaps each time. What is read is parsed before anything else is read.
    """

    _buffer = memoryview(bytearray(BUFFER))

    def __init__(
        self,
        protocol: LimitedHttpProtocol,
        opened: Callable[[asyncio.BaseTransport], None] = lambda _: None,
    ) -> None:
        self._protocol: LimitedHttpProtocol | None = protocol
        self._opened: Callable[[asyncio.BaseTransport], None] | None = opened

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the connection, whose handshake has ended."""
        if self._protocol is not None:
            self._protocol.connection_made(transport)  # type: ignore[arg-type] # as uvicorn
        opened, self._opened = self._opened, None
        if opened is not None:
            opened(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the connection.

        uvloop's transport keeps this object. Without a reference from here back to it, the 256 KiB that it
        has for a connection are freed at once, and not when garbage is collected.
        """
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connection_lost(exc)

    def eof_received(self) -> None:
        """Let the transport close when the peer sends no more, as uvicorn's protocol does."""

    def pause_writing(self) -> None:
        """Pass on that the peer does not read."""
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that the peer reads again."""
        if self._protocol is not None:
            self._protocol.resume_writing()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the protocol's signature
        """Return the buffer to read into."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Pass on what was read."""
        if self._protocol is not None:
            self._protocol.data_received(self._buffer[:nbytes])


class _PipelineFlow(FlowControl):
    """Reads no further while a request waits: uvicorn's own reads more with each response."""

    def __init__(self, transport: asyncio.Transport, pipeline: Sized) -> None:
        super().__init__(transport)
        self._pipeline = pipeline

    def resume_reading(self) -> None:
        if not self._pipeline:
            super().resume_reading()


def _no_limit(_high: int) -> None:
    pass
