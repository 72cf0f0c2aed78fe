"""An API server that answers as a test says, over TLS on 127.0.0.1."""

from __future__ import annotations

import json
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from common.kube.client import Client, Endpoint
from common.kube.rest_config import InCluster
from tests.cluster.certificates import Authority


@dataclass(frozen=True, slots=True)
class Request:
    """What came in."""

    method: str
    path: str
    parameters: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any = None
    port: int = 0
    """The client's: one a connection."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What to answer: a JSON object, bytes as they are, or chunks of a watch as they come."""

    status: int = 200
    body: object = field(default_factory=dict)
    chunks: Iterable[bytes] | None = None
    date: str | None = None
    keep: bool = False
    """Leave the connection open for another request."""
    closing: bool = False
    """Say beforehand that it is not: `Connection: close`, as an API server does that is about to end."""


class FakeApi:
    """Listens from `with` to the end of its block; `answer` is called in a thread for each request.

    A connection that says nothing is closed after `lasting` seconds. Any `port` that is free is taken for 0.
    """

    def __init__(
        self, folder: Path, answer: Callable[[Request], Reply], *, lasting: float = 10.0, port: int = 0
    ) -> None:
        authority = Authority("fake-api")
        self.ca = folder / "ca.crt"
        self.ca.write_bytes(authority.pem)
        pair = authority.issue(["127.0.0.1"], folder, "fake-api")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.public, pair.private)
        self._server = _Server(context, answer, lasting, port)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.port: int = self._server.server_address[1]
        self.requests = self._server.requests

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def open(self) -> int:
        """How many connections are open."""
        return self._server.open

    def cluster(self, folder: Path, token: str = "first") -> InCluster:
        """Find it as a pod does, by a ServiceAccount's files in this folder."""
        (folder / "token").write_text(f"{token}\n", encoding="ascii")
        if self.ca != folder / "ca.crt":
            (folder / "ca.crt").write_bytes(self.ca.read_bytes())
        return InCluster(Endpoint("127.0.0.1", self.port), folder)

    def client(self, folder: Path, **more: Any) -> Client:
        """Make a client of it."""
        return Client(self.cluster(folder), "tests", **more)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    server_address: tuple[str, int]

    def __init__(
        self, context: ssl.SSLContext, answer: Callable[[Request], Reply], lasting: float, port: int
    ) -> None:
        self.lasting = lasting
        self.open = 0
        self.context = context
        self.answer = answer
        self.requests: list[Request] = []
        super().__init__(("127.0.0.1", port), _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        connection.settimeout(self.lasting)
        wrapped = self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return wrapped, address

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        self.open += 1
        super().process_request_thread(request, client_address)
        self.open -= 1

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that go away."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._serve()

    def do_PATCH(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        url = urlsplit(self.path)
        length = int(self.headers.get("Content-Length", "0"))
        body = json.loads(self.rfile.read(length)) if length else None
        parameters = dict(parse_qsl(url.query))
        request = Request(
            self.command, url.path, parameters, dict(self.headers.items()), body, self.client_address[1]
        )
        self.server.requests.append(request)
        reply = self.server.answer(request)
        self._send(reply)
        self.close_connection = not reply.keep

    def _send(self, reply: Reply) -> None:
        self.send_response_only(reply.status)
        if reply.date:
            self.send_header("Date", reply.date)
        if reply.closing:
            self.send_header("Connection", "close")
        if reply.chunks is None:
            body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for chunk in reply.chunks:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_arguments: object) -> None:
        """Say nothing: what counts is recorded."""
