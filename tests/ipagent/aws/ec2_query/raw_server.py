"""A server that reads requests and sends bytes by a test's script, and hangs up where that says so."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

MAX_BYTES = 1 << 16


@dataclass(frozen=True)
class Sent:
    """What is sent after a request, and whether the connection ends then."""

    data: bytes
    hang_up: bool = False


Script = Callable[[int], Sent]
"""The number of a request, from 0 on -> what is sent."""


@dataclass
class RawServer:
    """A running server: its URL, the requests as they came, and how many connections there were."""

    url: str
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    hung_up: threading.Event = field(default_factory=threading.Event)
    tls: set[str] = field(default_factory=set)

    def serve(self, connection: socket.socket, script: Script) -> None:
        """Answer the requests of one connection, until either side ends it."""
        self.connections += 1
        if isinstance(connection, ssl.SSLSocket):
            self.tls.add(connection.version() or "")
        while request := read_request(connection):
            self.requests.append(request)
            sent = script(len(self.requests) - 1)
            connection.sendall(sent.data)
            if sent.hang_up:
                return


def read_request(connection: socket.socket) -> bytes:
    """Return one request with its body, empty at the connection's end."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(MAX_BYTES)
        if not part:
            return b""
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    length = max(lengths, default=0)
    while len(body) < length:
        body += connection.recv(MAX_BYTES)
    return head + b"\r\n\r\n" + body


@contextmanager
def raw_server(script: Script, tls: ssl.SSLContext | None = None) -> Iterator[RawServer]:
    """Serve one connection after the other."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        served = RawServer(f"http{'s' if tls else ''}://127.0.0.1:{port}")

        def run() -> None:
            while True:
                accepted, _ = listening.accept()
                if over.is_set():
                    accepted.close()
                    return
                # A client that trusts another CA ends the handshake; others go when they like.
                with (
                    suppress(OSError),
                    tls.wrap_socket(accepted, server_side=True) if tls else accepted as connection,
                ):
                    served.serve(connection, script)
                served.hung_up.set()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield served
        finally:
            over.set()
            socket.create_connection(("127.0.0.1", port)).close()
            thread.join()


def answer(body: bytes, head: str = "HTTP/1.1 200 OK") -> bytes:
    """Return a whole HTTP answer."""
    return f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
