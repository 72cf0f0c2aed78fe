"""What stands between the API server and Services: an HTTP CONNECT proxy that knows their endpoints.

The API server sends its calls of webhooks behind Services through it (an EgressSelectorConfiguration, as
konnectivity does), so that no address of a Service or a pod has to exist on this machine.
"""

from __future__ import annotations

import json
import random
import select
import socket
import socketserver
from collections.abc import Callable
from pathlib import Path

from tests.cluster.serving import ThreadedServer

Endpoint = tuple[str, int]
Resolve = Callable[[str, int], list[Endpoint]]
"""A Service's address and port -> where its ready endpoints really listen."""


class ServiceProxy(ThreadedServer):
    """Listens on a Unix socket in `folder` from `with` to the end of its block."""

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "egress.sock"
        self.configuration = folder / "egress.yaml"
        self.configuration.write_text(json.dumps(_egress(self._socket)), encoding="utf-8")
        self._server = _Server(str(self._socket))
        super().__init__(self._server)

    def close_connections(self) -> None:
        """End the connections that the API server keeps."""
        self._server.close_connections()

    def resolve_by(self, resolve: Resolve | None) -> None:
        """Say who knows the endpoints; without, there are none."""
        self._server.resolve = resolve


def _egress(path: Path) -> dict[str, object]:
    transport = {"uds": {"udsName": str(path)}}
    connection = {"proxyProtocol": "HTTPConnect", "transport": transport}
    return {
        "apiVersion": "apiserver.k8s.io/v1beta1",
        "kind": "EgressSelectorConfiguration",
        "egressSelections": [{"name": "cluster", "connection": connection}],
    }


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, path: str) -> None:
        self.resolve: Resolve | None = None
        self._open: set[socket.socket] = set()
        super().__init__(path, _Handler)

    def hold_open(self, connection: socket.socket) -> None:
        self._open.add(connection)

    def forget(self, connection: socket.socket) -> None:
        self._open.discard(connection)

    def close_connections(self) -> None:
        for connection in list(self._open):
            connection.shutdown(socket.SHUT_RDWR)


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        method, _, rest = self.rfile.readline(4096).decode("latin-1").partition(" ")
        while self.rfile.readline(4096).strip():
            pass
        host, _, port = rest.split(" ")[0].rpartition(":")
        resolve = self.server.resolve
        found = resolve(host.strip("[]"), int(port)) if method == "CONNECT" and resolve else []
        if not found:
            self.wfile.write(b"HTTP/1.1 503 No endpoints\r\n\r\n")
            return
        try:
            upstream = socket.create_connection(random.choice(found), timeout=10)
        except OSError:
            self.wfile.write(b"HTTP/1.1 502 Endpoint refuses\r\n\r\n")
            return
        with upstream:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            self.server.hold_open(self.connection)
            try:
                _splice(self.connection, upstream)
            except OSError:
                pass
            finally:
                self.server.forget(self.connection)


def _splice(one: socket.socket, other: socket.socket) -> None:
    """Copy both ways until one side ends."""
    peers = {one: other, other: one}
    while True:
        for ready in select.select(list(peers), [], [])[0]:
            data = ready.recv(65536)
            if not data:
                return
            peers[ready].sendall(data)
