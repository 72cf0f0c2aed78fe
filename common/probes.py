"""Probes and metrics of a process over plain HTTP, for kubelet and Prometheus.

Whoever reaches the port can connect: connections, bytes, time and log lines are limited. One thread accepts,
and each connection has a thread of its own until it is answered.
"""

from __future__ import annotations

import errno
import io
import socket
import socketserver
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Self, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, Counter, make_wsgi_app

from common.connection_limits import Connection, ConnectionLimits, ConnectionTable, Refusal, State, peer_of
from common.linger import reset_on_close, would_linger
from common.token_bucket import Rate, TokenBucket

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

LIMITS = ConnectionLimits(connections=32, per_peer=8, connects=Rate(burst=100, refill=30))
"""Each connection costs a thread and its head: less than 4 MiB for all of them."""
MAX_HEAD = 8192
"""Bytes of a request's head: kubelet's has 200, Prometheus' 500. A body is not read."""
HEAD_SECONDS = 5.0
"""How long a request's head may take in all."""
ANSWER_SECONDS = 5.0
"""How long the answer may take to be written."""
TAKE_SECONDS = 2.0
"""How long a peer may take to read it and to close: until then its connection counts."""
FAULTS = Rate(burst=5, refill=1 / 60)
"""Tracebacks of probes and metrics that fail: a peer repeats them as often as it asks."""
NO_DESCRIPTOR_PAUSE = 0.1
"""Seconds until the next accept when the process has no file descriptor left."""

Probes = Mapping[str, Callable[[], bool]]
"""By path: True is answered with 200, False with 503."""


class ProbeServer:
    """Serves the probes and /metrics from `with` to the end of its block. Raises OSError."""

    def __init__(self, registry: CollectorRegistry, probes: Probes, host: str, port: int) -> None:
        self._server = (_Server6 if ":" in host else _Server)((host, port), _Handler)
        self._server.set_app(_application(registry, probes))
        self._server.count_refused = _refused(registry)
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="probes", daemon=True)
        self.port = int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        with suppress(OSError):
            self._server.socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._server.server_close()

    def _serve(self) -> None:
        # Not serve_forever, which wakes up twice a second to see whether it has to end.
        while not self._closing:
            self._server.handle_request()


def _refused(registry: CollectorRegistry) -> Callable[[Refusal], None]:
    counter = Counter(
        "multus_eni_probes_refused_connections",
        "Connections to the probes' port that were refused, or closed for another one, by the reason.",
        ["reason"],
        registry=registry,
    )
    counters = {
        reason: counter.labels(reason.value)
        for reason in (Refusal.TOO_MANY, Refusal.TOO_FAST, Refusal.EVICTED)
    }
    return lambda reason: counters[reason].inc()


def _application(
    registry: CollectorRegistry, probes: Probes
) -> Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]:
    metrics = make_wsgi_app(registry)
    faults = TokenBucket(FAULTS)

    def answer(environment: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = environment.get("PATH_INFO", "")
        try:
            if path == "/metrics":
                return list(metrics(environment, start))
            status, text = _result(probes, path)
        except Exception:  # noqa: BLE001 - whatever it is, the probe has failed, and the server goes on
            if faults.take(time.monotonic()):
                traceback.print_exc(file=sys.stderr)
            status, text = "500 Internal Server Error", b"failed\n"
        start(status, [("Content-Type", "text/plain")])
        return [text]

    return answer


def _result(probes: Probes, path: str) -> tuple[str, bytes]:
    if path not in probes:
        return "404 Not Found", b"not found\n"
    return ("200 OK", b"ok\n") if probes[path]() else ("503 Service Unavailable", b"not yet\n")


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128
    count_refused: Callable[[Refusal], None]

    def __init__(self, address: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        self._table = ConnectionTable(LIMITS)
        self._open: dict[socket.socket, Connection] = {}
        # The accepting thread adds connections, their own threads remove them.
        self._lock = threading.Lock()
        super().__init__(address, handler)

    def server_bind(self) -> None:
        # HTTPServer's own looks the address up in DNS, which may take long where there is none.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def get_request(self) -> tuple[socket.socket, object]:
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                time.sleep(NO_DESCRIPTOR_PAUSE)
            raise

    def verify_request(self, request: object, client_address: tuple[str, int]) -> bool:
        accepted = cast(socket.socket, request)
        peer, now = peer_of(client_address[0]), time.monotonic()
        with self._lock:
            admission = self._table.admit(peer, now)
            if admission.evicted is not None:
                admission.evicted.abort()
                self._table.remove(admission.evicted)
                self.count_refused(Refusal.EVICTED)
            if admission.refusal is None:
                self._open[accepted] = self._table.add(peer, now, lambda: _abort(accepted))
                return True
        self.count_refused(admission.refusal)
        _abort(accepted)
        return False

    def enter(self, request: socket.socket, state: State) -> None:
        """Set what a connection is doing."""
        with self._lock:
            self._open[request].enter(state, time.monotonic())

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        with self._lock:
            connection = self._open.pop(cast(socket.socket, request), None)
            if connection is not None:
                self._table.remove(connection)
        if would_linger(cast(socket.socket, request)):
            reset_on_close(cast(socket.socket, request))
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Write nothing: a peer that has gone, or is too slow, is not worth a line."""


def _abort(request: socket.socket) -> None:
    # Reset instead of an orderly end: nothing waits in the kernel for a peer that does not answer.
    reset_on_close(request)
    with suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    server: _Server

    def handle(self) -> None:
        head = self._read_head()
        if head is None:
            return
        self.server.enter(self.connection, State.ANSWERING)
        self.rfile, self.wfile = io.BytesIO(head), io.BytesIO()
        super().handle()
        # From here on it is the peer that is waited for, and it may give way.
        self.server.enter(self.connection, State.IDLE)
        self._send(self.wfile.getvalue())

    def _send(self, answer: bytes) -> None:
        """Send the answer, and wait until the peer has taken it and has closed. Raises OSError."""
        self.connection.settimeout(ANSWER_SECONDS)
        self.connection.sendall(answer)
        self.connection.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + TAKE_SECONDS
        read = 0
        while read < MAX_HEAD and (left := deadline - time.monotonic()) > 0:
            self.connection.settimeout(left)
            got = self.connection.recv(MAX_HEAD)
            if not got:
                return
            read += len(got)

    def _read_head(self) -> bytes | None:
        """Return the request line and the headers; None if they are too long, too slow or incomplete."""
        head = b""
        deadline = time.monotonic() + HEAD_SECONDS
        while b"\r\n\r\n" not in head:
            left = deadline - time.monotonic()
            if left <= 0 or len(head) >= MAX_HEAD:
                return None
            self.connection.settimeout(left)
            got = self.connection.recv(MAX_HEAD - len(head))
            if not got:
                return None
            head += got
        return head

    def address_string(self) -> str:
        return str(self.client_address[0])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has there
        """Write nothing: probes come every few seconds."""
