"""Connection: what one peer sends and is sent, and an end that leaves nothing of it in the kernel.

Thread: the server's event loop.
"""

from __future__ import annotations

import asyncio
import socket
from abc import ABC, abstractmethod

from common.linger import reset_on_close, would_linger
from ipagent.node.sessions.flow import Flow

LINGER_SECONDS = 2.0
LINGER_BYTES = 1 << 20
"""How much a refused peer may still send: a reset could overtake the answer that says why."""


class Connection(asyncio.BufferedProtocol, ABC):
    """From the accepted socket to its end; subclasses say what its bytes mean.

    `scratch` is where all connections receive, one after the other. A peer has `stall_seconds` to read what
    it is sent.
    """

    def __init__(self, scratch: memoryview, stall_seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._flow = Flow(self._loop)
        self._over = False
        """Nothing more is sent, and nothing that comes means anything."""
        self._scratch = scratch
        self._stall_seconds = stall_seconds
        self._transport: asyncio.Transport | None = None
        self._lingering = LINGER_BYTES

    # For subclasses.

    @abstractmethod
    def _opened(self) -> None:
        """Begin."""

    @abstractmethod
    def _received(self, data: bytes) -> None:
        """Take what the peer has sent."""

    @abstractmethod
    def _writable(self) -> None:
        """Send what has waited for a peer that did not read."""

    @abstractmethod
    def _stopped(self) -> None:
        """Forget what is under way: it is over."""

    @abstractmethod
    def _closed(self) -> None:
        """Forget the connection."""

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless it is over already."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - of a TCP server
        self._transport = transport
        if self._over:
            transport.abort()
            return
        # Whatever the kernel does not take at once counts as unread.
        transport.set_write_buffer_limits(0)
        self._flow.transport = transport
        self._opened()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Receive no more at once than the scratch buffer holds."""
        del sizehint
        return self._scratch

    def buffer_updated(self, nbytes: int) -> None:
        """Pass on what came; when it is over, only its amount counts."""
        if self._over:
            self._lingering -= nbytes
            if self._lingering < 0:
                self.abort()
            return
        self._received(bytes(self._scratch[:nbytes]))

    def eof_received(self) -> bool:
        """End what the peer ends: nobody is there to be answered."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget everything, also what the peer has not taken by now."""
        del exc
        if self._transport:
            self._reset_on_close(self._transport)
        self._transport, self._over = None, True
        self._stop()
        self._closed()

    def pause_writing(self) -> None:
        """Note that the peer does not read."""
        self._flow.start_timer("stalled", self._stall_seconds, self.abort)

    def resume_writing(self) -> None:
        """Go on: the peer reads again."""
        self._flow.cancel("stalled")
        self._writable()

    # Steps.

    @property
    def _stalled(self) -> bool:
        """Whether the peer does not read what it was sent."""
        return self._flow.running("stalled")

    @property
    def _unread(self) -> int:
        """Bytes that wait for the peer to read."""
        return self._transport.get_write_buffer_size() if self._transport else 0

    def _send(self, data: bytes) -> None:
        if self._transport and not self._over:
            self._transport.write(data)

    def _end(self) -> None:
        """Send no more and take no more, but let the peer read what it was told."""
        if self._over or self._transport is None:
            return
        self._over = True
        self._stop()
        self._flow.start_timer("linger", LINGER_SECONDS, self.abort)
        try:
            self._transport.write_eof()
        except OSError:
            # The peer has gone already.
            self.abort()
            return
        self._flow.resume_all()

    def abort(self) -> None:
        """End at once, and have nothing stay in the kernel for a peer that does not read."""
        self._over = True
        if self._transport:
            self._reset_on_close(self._transport)
            self._transport.abort()

    def _stop(self) -> None:
        self._flow.cancel_all()
        self._stopped()

    @staticmethod
    def _reset_on_close(transport: asyncio.Transport) -> None:
        connection: socket.socket | None = transport.get_extra_info("socket")
        if connection is not None and would_linger(connection):
            reset_on_close(connection)
