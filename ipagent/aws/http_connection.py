"""A connection to a server by HTTP/1.1, for one request after the other."""

from __future__ import annotations

import select
import socket

from ipagent.aws.http_messages import ResponseReader, encode_request
from ipagent.aws.urls import PORTS, host_of, split_url

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping
    from typing import Any

    from ipagent.aws.http_messages import Response

_RECEIVED = 1 << 14
"""At a time, in bytes: what a TLS record has at most."""


class HttpConnection:
    """A connection to the server of a URL: made with the first request, and with the next after each end.

    Seconds are those for connecting, and for each part of an answer.
    """

    begun = False
    """Whether anything has come of the answer to the last request."""

    def __init__(
        self, url: str, *, connect_seconds: float, read_seconds: float, tls: ssl.SSLContext | None = None
    ) -> None:
        """Raises ValueError for a URL that is none, or whose server's name is not of ASCII alone."""
        parts = split_url(url)
        # Of a text Python would make an internationalized name, by a codec that costs a megabyte.
        self._server: Any = parts.hostname.encode("ascii")
        self._port = parts.port or PORTS[parts.scheme]
        self._host = host_of(url)
        self._connect_seconds, self._read_seconds = connect_seconds, read_seconds
        self._tls = tls
        self._socket: socket.socket | None = None

    def is_open(self) -> bool:
        """Whether it is there, and the server has not closed it."""
        if self._socket is None:
            return False
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        # Readable without a request: the server has closed it.
        return not poll.poll(0)

    def connect(self) -> socket.socket:
        """Connect; raises OSError."""
        sock = socket.create_connection((self._server, self._port), self._connect_seconds)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls:
                sock = self._tls.wrap_socket(sock, server_hostname=self._server)
            sock.settimeout(self._read_seconds)
        except BaseException:
            sock.close()
            raise
        self._socket = sock
        return sock

    def request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"", *, max_bytes: int
    ) -> Response:
        """Send a request and read its answer; raises OSError, MalformedError, ValueError.

        ConnectionResetError, too, where the connection ended without an answer.
        """
        self.begun = False
        try:
            data = encode_request(
                method, path, {"host": self._host, "accept-encoding": "identity", **headers}, body
            )
            response = self._exchanged(self._socket or self.connect(), data, max_bytes)
        except BaseException:
            # The answer may still come: it must not be taken for that of another request.
            self.close()
            raise
        if not response.persists:
            self.close()
        return response

    def close(self) -> None:
        """Close it."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _exchanged(self, sock: socket.socket, data: bytes, max_bytes: int) -> Response:
        sock.sendall(data)
        reader = ResponseReader(max_bytes)
        received = sock.recv(_RECEIVED)
        if not received:
            raise ConnectionResetError("Remote end closed connection without response")
        self.begun = True
        while (response := reader.feed(received)) is None:
            received = sock.recv(_RECEIVED)
        return response
