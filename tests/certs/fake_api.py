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

from tests.cluster.certificates import Authority


@dataclass(frozen=True, slots=True)
class Request:
    """What came in."""

    method: str
    path: str
    parameters: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What to answer: a JSON object, bytes as they are, or chunks of a watch as they come."""

    status: int = 200
    body: object = field(default_factory=dict)
    chunks: Iterable[bytes] | None = None
    date: str | None = None


class FakeApi:
    """Listens from `with` to the end of its block; `answer` is called in a thread for each request."""

    def __init__(self, folder: Path, answer: Callable[[Request], Reply]) -> None:
        authority = Authority("fake-api")
        self.ca = folder / "ca.crt"
        self.ca.write_bytes(authority.pem)
        pair = authority.issue(["127.0.0.1"], folder, "fake-api")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.public, pair.private)
        self._server = _Server(context, answer)
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


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    server_address: tuple[str, int]

    def __init__(self, context: ssl.SSLContext, answer: Callable[[Request], Reply]) -> None:
        self.context = context
        self.answer = answer
        self.requests: list[Request] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        connection.settimeout(10)
        wrapped = self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return wrapped, address

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that go away."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._serve()

    def do_PATCH(self) -> None:
        self._serve()

    def _serve(self) -> None:
        url = urlsplit(self.path)
        length = int(self.headers.get("Content-Length", "0"))
        body = json.loads(self.rfile.read(length)) if length else None
        parameters = dict(parse_qsl(url.query))
        request = Request(self.command, url.path, parameters, dict(self.headers.items()), body)
        self.server.requests.append(request)
        self._send(self.server.answer(request))
        self.close_connection = True

    def _send(self, reply: Reply) -> None:
        self.send_response_only(reply.status)
        if reply.date:
            self.send_header("Date", reply.date)
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
