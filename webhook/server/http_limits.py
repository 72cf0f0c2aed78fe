"""Limits on what a connection may cost before its request reaches a route.

httptools keeps a request's head, and the trailers of a chunked body, without a limit, and uvicorn has no
timer before a request is complete.
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
    """uvicorn's HTTP/1.1 protocol, with limits on the size and time of a request's head."""

    _in_head = True
    _received = 0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn
        """Start the timer of the first request's head."""
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timer."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the data, and abort a connection that sends too much."""
        self._received += len(data)
        super().data_received(data)
        # A head that arrives in one piece, as nearly all do, needs no timer.
        if self._in_head and self._timer is None and not self.transport.is_closing():
            self._arm()
        limit = MAX_HEAD if self._in_head else MAX_MESSAGE
        if self._received > limit and not self.transport.is_closing():
            self.logger.warning("aborted a connection: its request is larger than %d bytes", limit)
            # close() would wait for the peer, and go on reading from it.
            self.transport.abort()

    def on_message_begin(self) -> None:
        """Start a request's head."""
        self._in_head = True
        self._received = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, drop a trailer."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Cancel the timer: the body has limits of its own, where it is read."""
        self._in_head = False
        self._disarm()
        super().on_headers_complete()

    def _unsupported_upgrade_warning(self) -> None:
        # uvicorn's own message advises to install a WebSocket library.
        self.logger.warning("answered a request to upgrade the protocol in HTTP/1.1")

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
