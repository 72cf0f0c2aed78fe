"""The TLS listener: accepts connections within the limits and hands them to uvicorn's protocol.

uvicorn's own listener accepts whatever comes. This one decides before the TLS handshake, which is what costs
most: a connection that is refused is reset at once (RST), without a byte read or written.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import ssl
from collections.abc import Callable
from typing import Any

from common.connection_limits import (
    AdmitResult,
    Connection,
    ConnectionLimits,
    ConnectionTable,
    Refusal,
    State,
    peer_of,
)
from common.linger import reset, reset_on_close, would_linger
from common.token_bucket import BucketsByKey, Rate
from webhook.server.http_limits import WRITE_TIMEOUT, SharedBuffer
from webhook.server.log import Log
from webhook.server.metrics import Metrics
from webhook.server.tls_records import SMALL_RECORDS, RecordReader

LIMITS = ConnectionLimits(connections=256, per_peer=224, connects=Rate(448, 100))
"""An API server has one connection for each review in flight, at most 200 by default
(--max-mutating-requests-inflight), and keeps 25 idle. All 256 with full buffers take about 65 MiB."""
KERNEL_BUFFER = 32 << 10
"""Bytes that the kernel buffers for a connection each way; it doubles them (socket(7), SO_RCVBUF)."""
HANDSHAKE_TIMEOUT = 5
"""Seconds."""
SHUTDOWN_TIMEOUT = 2
"""Seconds that a peer may take to close its side of a TLS connection."""
INTERVAL = 0.25
"""Seconds between two looks at whether it has."""
BACKLOG = 2048
"""Connections that the kernel keeps until they are accepted (listen(2))."""
ACCEPTS = 64
"""Connections that are accepted before requests get their turn again."""
PAUSE = 0.1
"""Seconds without accepting when the process has no file descriptor left."""


class TlsListener:
    """Accepts on a listening socket from `start` to `close`."""

    def __init__(self, listening: socket.socket, context: ssl.SSLContext, metrics: Metrics, log: Log) -> None:
        listening.setblocking(False)
        # Accepted connections inherit both.
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            listening.setsockopt(socket.SOL_SOCKET, option, KERNEL_BUFFER)
        # uvloop has no timer for a peer that has ended its side and does not read the answers.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, WRITE_TIMEOUT * 1000)
        self.table = ConnectionTable(LIMITS)
        self._socket = listening
        self._context = context
        self._metrics = metrics
        self._log = log
        self._loop: asyncio.AbstractEventLoop | None = None
        self._make_protocol: Callable[[], Any] | None = None
        metrics.connections.set_function(lambda: self.table.total)
        self._stopped = False
        self._handshakes: set[asyncio.Task[None]] = set()
        self._small_records: BucketsByKey[str] = BucketsByKey(SMALL_RECORDS)
        self._duplicates: dict[Connection, socket.socket] = {}
        """Of the sockets of open connections: uvloop closes its own before it says so."""
        self._looking = False
        self._leaving: dict[Connection, tuple[socket.socket, float]] = {}
        """Connections that have ended here, and until when their peers may take the rest."""

    def start(self, make_protocol: Callable[[], Any]) -> None:
        """Start accepting. Call it in the event loop's thread."""
        self._make_protocol = make_protocol
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._accept)

    def stop(self) -> None:
        """Accept what has connected already, and close the listening socket."""
        # As much as may wait there: who goes on connecting does not hold up the end.
        for _ in range(math.ceil(BACKLOG / ACCEPTS)):
            if not self._accept():
                break
        if self._loop is not None:
            self._loop.remove_reader(self._socket)
        self._stopped = True
        self._socket.close()

    async def handshakes(self, seconds: float) -> None:
        """Wait until those that have begun have ended, and no longer than that."""
        if self._handshakes:
            await asyncio.wait(self._handshakes, timeout=seconds)

    def close(self) -> None:
        """Abort the handshakes, and leave what was answered to the kernel."""
        self._loop = None
        for handshake in self._handshakes:
            handshake.cancel()
        for connection, (left, _) in list(self._leaving.items()):
            left.close()
            self._left(connection)

    async def wait_closed(self) -> None:
        """Wait until the handshakes have ended, as uvicorn does for its own listener."""
        await asyncio.gather(*self._handshakes, return_exceptions=True)

    def _accept(self) -> bool:
        """Accept some; returns whether more may have connected."""
        for _ in range(ACCEPTS):
            try:
                accepted, address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return False
            except OSError as error:
                self._pause(error)
                return False
            self._admit(accepted, peer_of(str(address[0])))
        return True

    def _pause(self, error: OSError) -> None:
        loop = self._loop
        if loop is None:
            return
        self._log.write("error", "accept_failed", message=error.strerror)
        loop.remove_reader(self._socket)
        loop.call_later(PAUSE, self._resume)

    def _resume(self) -> None:
        if self._loop is not None and not self._stopped:
            self._loop.add_reader(self._socket, self._accept)

    def _admit(self, accepted: socket.socket, peer: str) -> None:
        loop = asyncio.get_running_loop()
        over = self._small_records.of(peer).wait(loop.time(), 0) > 0
        result = AdmitResult(Refusal.OVERHEAD) if over else self.table.admit(peer, loop.time())
        if result.refusal is not None:
            self._metrics.refused_connections[result.refusal].inc()
            reset(accepted)
            return
        if result.evicted is not None:
            self._metrics.refused_connections[Refusal.EVICTED].inc()
            self.table.remove(result.evicted)
            result.evicted.abort()
        accepted.setblocking(False)
        # Until its handshake has ended: nothing of it stays in the kernel then, whoever closes it.
        reset_on_close(accepted)
        # Assigned before the task runs: the task is started by the event loop, not here.
        connection = self.table.add(peer, loop.time(), lambda: None)
        handshake = loop.create_task(self._handshake(accepted, connection))
        connection.abort = handshake.cancel
        self._handshakes.add(handshake)
        handshake.add_done_callback(self._handshakes.discard)

    async def _handshake(self, accepted: socket.socket, connection: Connection) -> None:
        make_protocol = self._make_protocol
        if make_protocol is None:
            raise RuntimeError("the listener has not been started")
        protocol = make_protocol()
        protocol.connection = connection
        protocol.forget = self._forget

        def opened(transport: asyncio.BaseTransport) -> None:
            self._opened(connection, accepted, transport.get_extra_info("ssl_object"))

        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: SharedBuffer(protocol, opened),
                accepted,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT,
                ssl_shutdown_timeout=SHUTDOWN_TIMEOUT,
            )
        except (OSError, asyncio.CancelledError) as error:
            # Whatever the peer did wrong in its handshake is its own affair, and not worth a log line.
            if not isinstance(error, asyncio.CancelledError):
                self._metrics.refused_connections[Refusal.HANDSHAKE].inc()
            self.table.remove(connection)
            accepted.close()

    def _opened(self, connection: Connection, accepted: socket.socket, tls: RecordReader) -> None:
        loop = asyncio.get_running_loop()
        reset_on_close(accepted, by_reset=False)
        try:
            duplicate = accepted.dup()
        except OSError:
            # No descriptor is left: then its end is not looked at.
            duplicate = accepted
        end, peer = connection.abort, connection.peer

        def abort() -> None:
            reset_on_close(duplicate)
            end()

        def on_small_record() -> bool:
            if self._small_records.of(peer).charge(1, loop.time()) == 0:
                return True
            self._metrics.refused_connections[Refusal.OVERHEAD].inc()
            reset_on_close(duplicate)
            return False

        connection.abort = abort
        tls.on_small_record = on_small_record
        self._duplicates[connection] = duplicate

    def _look(self) -> None:
        """Close what has been left to the peers, and has been taken or has waited for too long."""
        loop = asyncio.get_running_loop()
        for connection, (left, until) in list(self._leaving.items()):
            if loop.time() >= until:
                reset(left)
            elif not would_linger(left):
                left.close()
            if left.fileno() < 0:
                self._left(connection)
        self._looking = bool(self._leaving)
        if self._looking:
            loop.call_later(INTERVAL, self._look)

    def _forget(self, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        left = self._duplicates.pop(connection, None)
        if self._loop is None or left is None or not would_linger(left):
            if left is not None:
                left.close()
            self.table.remove(connection)
            return
        # It counts on, and may give way to others, until the peer has taken what it was answered.
        with contextlib.suppress(OSError):
            left.shutdown(socket.SHUT_WR)
        connection.enter(State.IDLE, loop.time())
        self._leaving[connection] = left, loop.time() + SHUTDOWN_TIMEOUT

        def abort() -> None:
            reset(left)
            self._left(connection)

        connection.abort = abort
        if not self._looking:
            self._looking = True
            loop.call_later(INTERVAL, self._look)

    def _left(self, connection: Connection) -> None:
        del self._leaving[connection]
        self.table.remove(connection)
