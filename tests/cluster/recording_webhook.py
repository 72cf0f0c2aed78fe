"""A webhook that remembers which paths were called: it shows what selectors select.

It allows everything, and can stand for another injector: then it answers with a patch.
"""

from __future__ import annotations

import base64
import json
import socket
import socketserver
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.cluster.certificates import Authority
from tests.cluster.configuration import Service
from tests.cluster.serving import ThreadedServer


@dataclass(frozen=True, slots=True)
class Call:
    """One review: the path that it came to, and the pod that it asked about."""

    path: str
    namespace: str
    name: str


class RecordingWebhook(ThreadedServer):
    """Listens on 127.0.0.1 from `with` to the end of its block; answers with `patch` (JSON Patch)."""

    def __init__(self, folder: Path, patch: Sequence[dict[str, Any]] = ()) -> None:
        authority = Authority("recorder")
        pair = authority.issue(["127.0.0.1"], folder, "recorder")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.public, pair.private)
        self._server = _Server(context, patch)
        super().__init__(self._server)
        self.service = Service(f"https://127.0.0.1:{self._server.server_address[1]}", authority.pem)

    def calls(self, namespace: str, name: str) -> list[str]:
        """Return the paths to which reviews of one pod came, in order."""
        return [
            call.path for call in list(self._server.calls) if (call.namespace, call.name) == (namespace, name)
        ]


# Not http.server.HTTPServer: it looks its own address up in DNS before it listens.
class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    server_address: tuple[str, int]

    def __init__(self, context: ssl.SSLContext, patch: Sequence[dict[str, Any]]) -> None:
        self.context = context
        self.patch = patch
        self.calls: list[Call] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        connection.settimeout(10)
        # The handshake is left to the connection's own thread, with its first read.
        return (
            self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False),
            address,
        )


class _Handler(BaseHTTPRequestHandler):
    # HTTP/1.0, the default: each connection ends with its answer, and none is left at the end.
    server: _Server

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = review["request"]
        pod = request["object"]["metadata"]
        # The API server adds its timeout as a query.
        path = urlsplit(self.path).path
        self.server.calls.append(Call(path, request["namespace"], pod.get("name", "")))
        response = {"uid": request["uid"], "allowed": True}
        if self.server.patch:
            patch = base64.b64encode(json.dumps(self.server.patch).encode()).decode("ascii")
            response |= {"patchType": "JSONPatch", "patch": patch}
        body = json.dumps({**review, "request": None, "response": response}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Stay silent: what counts is recorded."""
