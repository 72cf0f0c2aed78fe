"""Kept HTTP connections to a server of AWS, for requests that are sent once."""

from __future__ import annotations

import ssl
import time

from common.version import VERSION
from ipagent.aws import ec2_calls
from ipagent.aws.http_connection import HttpConnection
from ipagent.aws.http_messages import MalformedError
from ipagent.aws.urls import host_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_BYTES = 1 << 25
"""Of an answer: a page of 1000 ENIs has some five million."""
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
        self.host = host_of(endpoint)
        self._endpoint = endpoint
        is_plain = endpoint.startswith("http:")
        self._tls = None if is_plain else ssl.create_default_context(cafile=ca_file)
        # The connections that no request uses, each with the time until which it may be used.
        self._idle: list[tuple[HttpConnection, float]] = []

    def close(self) -> None:
        """Close what is not in use."""
        for connection, _ in self._taken():
            connection.close()

    def post(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Send a form; returns status and body of the answer. Raises NotSentError, NoAnswerError."""
        connection = self._kept() or self._connected()
        answer = _exchange(connection, body, {**headers, "user-agent": f"multus-eni-injector/{VERSION}"})
        self._idle.append((connection, time.monotonic() + IDLE_SECONDS))
        return answer

    def _connected(self) -> HttpConnection:
        """Connect; raises NotSentError."""
        connection = HttpConnection(
            self._endpoint,
            connect_seconds=ec2_calls.CONNECT_SECONDS,
            read_seconds=ec2_calls.READ_SECONDS,
            tls=self._tls,
        )
        try:
            connection.connect()
        except OSError as error:
            raise NotSentError(str(error)) from error
        return connection

    def _kept(self) -> HttpConnection | None:
        """Return a connection that the server has not closed, None where there is none."""
        for connection, until in self._taken():
            if time.monotonic() < until and connection.is_open():
                return connection
            connection.close()
        return None

    def _taken(self) -> Iterator[tuple[HttpConnection, float]]:
        """Take one after the other, until none is left or another thread has taken the last one."""
        while True:
            try:
                taken = self._idle.pop()
            except IndexError:
                return
            yield taken


def _exchange(connection: HttpConnection, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
    """Send a request; returns status and body of the answer. Raises NoAnswerError."""
    try:
        answer = connection.request("POST", "/", headers, body, max_bytes=MAX_BYTES)
    except TimeoutError:
        raise NoAnswerError(f"no answer within {ec2_calls.READ_SECONDS} s") from None
    except OSError as error:
        raise NoAnswerError(f"the connection ended before the answer: {error}") from None
    except MalformedError as error:
        raise NoAnswerError(str(error)) from None
    return answer.status, answer.body
