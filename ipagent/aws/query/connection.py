"""Kept HTTP connections to a server of AWS, for requests that are sent once."""

from __future__ import annotations

import http.client
import select
import ssl
import time
from functools import partial
from urllib.parse import urlsplit

from common.version import VERSION
from ipagent.aws import ec2_calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_BYTES = 1 << 25
"""Of an answer: a page of 1000 ENIs has some five million."""
_PORTS = {"http": 80, "https": 443}
IDLE_SECONDS = 60
"""How long a connection is kept: a NAT gateway forgets one after 350 s, and the next request is lost."""


class NotSentError(Exception):
    """There is no connection to EC2, so the request was not sent."""


class NoAnswerError(Exception):
    """The request was sent, or a part of it, and no answer came."""


class ConnectionPool:
    """Kept connections to one server, whose root is one of those in `ca_file`, for several threads, too.

    Each request has a connection of its own, so that one whose answer never comes holds up no other.
    """

    def __init__(self, endpoint: str, ca_file: str) -> None:
        """Raises OSError where the file can't be read."""
        parts = urlsplit(endpoint)
        self.host = host_of(endpoint)
        server, within = parts.hostname or "", ec2_calls.CONNECT_SECONDS
        # http.client would look for a missing port in an IPv6 address.
        port = parts.port or _PORTS[parts.scheme]
        if parts.scheme == "http":
            self._make = partial(http.client.HTTPConnection, server, port, timeout=within)
        else:
            trust = ssl.create_default_context(cafile=ca_file)
            self._make = partial(http.client.HTTPSConnection, server, port, timeout=within, context=trust)
        # The connections that no request uses, each with the time until which it may be used.
        self._idle: list[tuple[http.client.HTTPConnection, float]] = []

    def close(self) -> None:
        """Close what is not in use."""
        for connection, _ in self._taken():
            connection.close()

    def post(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Send a form; returns status and body of the answer. Raises NotSentError, NoAnswerError."""
        connection = self._kept() or self._make()
        try:
            if connection.sock is None:
                _connect(connection)
            answer = _exchange(connection, body, {**headers, "user-agent": f"multus-eni-injector/{VERSION}"})
        except BaseException:
            # The answer may still come: it must not be taken for that of another request.
            connection.close()
            raise
        self._idle.append((connection, time.monotonic() + IDLE_SECONDS))
        return answer

    def _kept(self) -> http.client.HTTPConnection | None:
        """Return a connection that the server has not closed, None where there is none."""
        for connection, until in self._taken():
            if time.monotonic() < until and _is_open(connection):
                return connection
            connection.close()
        return None

    def _taken(self) -> Iterator[tuple[http.client.HTTPConnection, float]]:
        """Take one after the other, until none is left or another thread has taken the last one."""
        while True:
            try:
                taken = self._idle.pop()
            except IndexError:
                return
            yield taken


def _is_open(connection: http.client.HTTPConnection) -> bool:
    if connection.sock is None:
        return False
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    # Readable without a request: the server has closed it.
    return not poll.poll(0)


def _connect(connection: http.client.HTTPConnection) -> None:
    """Connect; raises NotSentError."""
    try:
        connection.connect()
    except (OSError, UnicodeError) as error:
        # A UnicodeError tells that the server's name can be none.
        raise NotSentError(str(error)) from error
    connection.sock.settimeout(ec2_calls.READ_SECONDS)


def _exchange(
    connection: http.client.HTTPConnection, body: bytes, headers: Mapping[str, str]
) -> tuple[int, bytes]:
    """Send a request; returns status and body of the answer. Raises NoAnswerError."""
    try:
        connection.request("POST", "/", body, headers)
        answer = connection.getresponse()
        data = answer.read(MAX_BYTES + 1)
    except TimeoutError:
        raise NoAnswerError(f"no answer within {ec2_calls.READ_SECONDS} s") from None
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswerError(f"the connection ended before the answer: {error}") from None
    if len(data) > MAX_BYTES:
        raise NoAnswerError(f"the answer has more than {MAX_BYTES} bytes")
    if answer.length:
        raise NoAnswerError(f"the connection ended before the answer: {answer.length} bytes are missing")
    return answer.status, data


def host_of(endpoint: str) -> str:
    """Return the header `Host`, which is signed, too: without the port where that is the usual one."""
    parts = urlsplit(endpoint)
    name = parts.hostname or ""
    host = f"[{name}]" if ":" in name else name
    return host if parts.port in (None, _PORTS[parts.scheme]) else f"{host}:{parts.port}"
