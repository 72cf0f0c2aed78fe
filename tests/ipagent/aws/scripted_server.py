"""An HTTP server in the place of IMDS or EC2: answers by a test's script, as the strict double never does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.netns import Node

Answer = tuple[int, str]
Script = Callable[[str, str, dict[str, str]], Answer | None]


@dataclass
class ScriptedServer:
    """A running server: its URL, and its requests ("METHOD path", in order)."""

    url: str
    asked: list[str] = field(default_factory=list)


@contextmanager
def scripted_server(script: Script, *, keep_alive: bool = True) -> Iterator[ScriptedServer]:
    """Serve the script's answer to method, path and headers (lower case); None leaves the caller waiting."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            served.asked.append(f"{self.command} {self.path}")
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            scripted = script(self.command, self.path, headers)
            if scripted is None:
                over.wait(30)
                self.close_connection = True
                return
            status, body = scripted
            data = body.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            # As a server whose keep-alive has run out: it hangs up without a `Connection: close`.
            self.close_connection = not keep_alive

        do_GET = do_PUT = do_POST = answer  # noqa: N815 - names of the library

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - name of the library
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = ScriptedServer(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield served
    finally:
        over.set()
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def imds_of_version_1(node: Node, behind: str) -> Iterator[str]:
    """Put an IMDS that knows version 1 alone before a node's; yields the endpoint for its pods."""

    def answer(method: str, path: str) -> Answer:
        if method == "PUT":
            return 404, ""
        response = node.http("GET", behind + path)
        return response.status, response.body.decode()

    port = 1338
    with node.listen(node.address, port) as listening:
        over = threading.Event()
        thread = threading.Thread(target=_serve, args=(listening, answer, over))
        thread.start()
        try:
            yield f"http://{node.address}:{port}"
        finally:
            over.set()
            node.connect(node.address, port).close()
            thread.join()


def _serve(listening: socket.socket, answer: Callable[[str, str], Answer], over: threading.Event) -> None:
    """Answer one request a connection, as HTTP/1.0 does."""
    while not over.is_set():
        connection, _ = listening.accept()
        with connection, connection.makefile("rb") as lines:
            method, path, *_ = [*lines.readline().decode().split(), "", ""]
            while lines.readline().strip():
                continue
            if not method:
                continue
            status, body = answer(method, path)
            connection.sendall(f"HTTP/1.0 {status} Odd\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
