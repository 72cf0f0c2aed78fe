"""A kept HTTP connection to a server of AWS, for requests that are sent once."""

from __future__ import annotations

import http.client
import select
import ssl
import time
from urllib.parse import urlsplit

from common.version import VERSION
from ipagent.aws import ec2_calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_BYTES = 1 << 25
"""Of an answer: a page of 1000 ENIs has some five million."""
IDLE_SECONDS = 60
"""How long a connection is kept: a NAT gateway forgets one after 350 s, and the next request is lost."""


class NotSentError(Exception):
    """There is no connection to EC2, so the request was not sent."""


class NoAnswerError(Exception):
    """The request was sent, or a part of it, and no answer came."""


class AwsConnection:
    """A connection to one server, made when it is needed; the server's root is one of those in `ca_file`."""

    def __init__(self, endpoint: str, ca_file: str) -> None:
        """Raises OSError where the file can't be read."""
        parts = urlsplit(endpoint)
        self.host = parts.netloc
        self._kept_until = 0.0
        server, within = parts.hostname or "", ec2_calls.CONNECT_SECONDS
        if parts.scheme == "http":
            self._connection = http.client.HTTPConnection(server, parts.port, timeout=within)
        else:
            trust = ssl.create_default_context(cafile=ca_file)
            self._connection = http.client.HTTPSConnection(server, parts.port, timeout=within, context=trust)

    def close(self) -> None:
        """Close it; the next request makes it anew."""
        self._connection.close()

    def post(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Send a form; returns status and body of the answer. Raises NotSentError, NoAnswerError."""
        try:
            self._connect()
            answer = self._exchange(body, {**headers, "user-agent": f"multus-eni-injector/{VERSION}"})
        except BaseException:
            # The answer may still come: it must not be taken for that of another request.
            self._connection.close()
            raise
        self._kept_until = time.monotonic() + IDLE_SECONDS
        return answer

    def _connect(self) -> None:
        """Have a connection; raises NotSentError."""
        sock = self._connection.sock
        if sock is not None:
            poll = select.poll()
            poll.register(sock, select.POLLIN)
            # Readable without a request: the server has closed it.
            if time.monotonic() < self._kept_until and not poll.poll(0):
                return
            self._connection.close()
        try:
            self._connection.connect()
        except OSError as error:
            raise NotSentError(str(error)) from error
        self._connection.sock.settimeout(ec2_calls.READ_SECONDS)

    def _exchange(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Send a request; returns status and body of the answer. Raises NoAnswerError."""
        try:
            self._connection.request("POST", "/", body, headers)
            answer = self._connection.getresponse()
            data = answer.read(MAX_BYTES + 1)
        except TimeoutError:
            raise NoAnswerError(f"no answer within {ec2_calls.READ_SECONDS} s") from None
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswerError(f"the connection ended before the answer: {error}") from None
        if len(data) > MAX_BYTES:
            raise NoAnswerError(f"the answer has more than {MAX_BYTES} bytes")
        return answer.status, data
