"""Bounds on what a connection may cost before a request reaches a route.

httptools keeps a request's head, and the trailers of a chunked body, for as long as they come, and uvicorn
has no timer before a request is there.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD = 64 << 10
"""Bytes of request line and headers; the API server sends less than one KiB."""
MAX_MESSAGE = 16 << 20
"""Bytes of a whole request, chunk headers and trailers included."""
HEAD_TIMEOUT = 10
"""Seconds for a request's head to arrive, from the connection's start or its first byte."""


class LimitedHttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, with limits on size and time of a request's head."""

    _in_head = True
    _received = 0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has come, and end a connection that sends too much."""
        self._received += len(data)
        super().data_received(data)
        # A head that comes in one piece, as nearly all do, needs no timer.
        if self._in_head and self._timer is None and not self.transport.is_closing():
            self._arm()
        limit = MAX_HEAD if self._in_head else MAX_MESSAGE
        if self._received > limit and not self.transport.is_closing():
            self.logger.warning("A request of more than %d bytes was cut off.", limit)
            # Closing would wait for the other side, and read what it goes on to send.
            self.transport.abort()

    def on_message_begin(self) -> None:
        """Begin a request's head."""
        self._in_head = True
        self._received = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; trailers, which nobody reads, are dropped."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """End the head: the body has its own limits, where it is read."""
        self._in_head = False
        self._disarm()
        super().on_headers_complete()

    def _unsupported_upgrade_warning(self) -> None:
        # uvicorn's own advises to install a WebSocket library.
        self.logger.warning("A request to change the protocol was answered in HTTP/1.1.")

    def _arm(self) -> None:
        self._disarm()
        self._timer = self.loop.call_later(HEAD_TIMEOUT, self._too_slow)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
