"""Calls EC2's Query API over one kept connection.

Its methods are those of botocore's EC2 client, with the same parameters and answers.
"""

from __future__ import annotations

import http.client
import select
import ssl
import time
from typing import Any
from urllib.parse import urlsplit

from common.version import VERSION
from ipagent.aws import ec2_calls
from ipagent.aws.query.messages import form, read_answer
from ipagent.aws.query.signature import Keys, signed_headers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_BYTES = 1 << 25
"""Of an answer: a page of 1000 ENIs has some five million."""


class NotSentError(Exception):
    """There is no connection to EC2, so the request was not sent."""


class NoAnswerError(Exception):
    """The request was sent, or a part of it, and no answer came."""


class QueryClient:
    """A client of EC2 in one region. `keys` gives the credentials at each call.

    Methods raise what `keys` raises, NotSentError, NoAnswerError, and the errors of `read_answer`.
    """

    def __init__(self, endpoint: str, region: str, keys: Callable[[], Keys], ca_file: str) -> None:
        parts = urlsplit(endpoint)
        self._host, self._region, self._keys = parts.netloc, region, keys
        server = parts.hostname or ""
        if parts.scheme == "http":
            self._connection = http.client.HTTPConnection(
                server, parts.port, timeout=ec2_calls.CONNECT_SECONDS
            )
        else:
            context = ssl.create_default_context(cafile=ca_file)
            self._connection = http.client.HTTPSConnection(
                server, parts.port, timeout=ec2_calls.CONNECT_SECONDS, context=context
            )

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def assign_private_ip_addresses(self, **parameters: Any) -> dict[str, Any]:
        """AssignPrivateIpAddresses."""
        return self._call("AssignPrivateIpAddresses", parameters)

    def assign_ipv6_addresses(self, **parameters: Any) -> dict[str, Any]:
        """AssignIpv6Addresses."""
        return self._call("AssignIpv6Addresses", parameters)

    def unassign_private_ip_addresses(self, **parameters: Any) -> dict[str, Any]:
        """UnassignPrivateIpAddresses."""
        return self._call("UnassignPrivateIpAddresses", parameters)

    def unassign_ipv6_addresses(self, **parameters: Any) -> dict[str, Any]:
        """UnassignIpv6Addresses."""
        return self._call("UnassignIpv6Addresses", parameters)

    def describe_network_interfaces(self, **parameters: Any) -> dict[str, Any]:
        """DescribeNetworkInterfaces."""
        return self._call("DescribeNetworkInterfaces", parameters)

    def describe_subnets(self, **parameters: Any) -> dict[str, Any]:
        """DescribeSubnets."""
        return self._call("DescribeSubnets", parameters)

    def _call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        body = form(operation, parameters)
        at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        headers = signed_headers(body, host=self._host, region=self._region, keys=self._keys(), at=at)
        headers["user-agent"] = f"multus-eni-injector/{VERSION}"
        try:
            self._connect()
            status, answer = self._exchange(body, headers)
        except BaseException:
            # The answer may still come: it must not be taken for that of another request.
            self._connection.close()
            raise
        return read_answer(operation, status, answer)

    def _connect(self) -> None:
        """Have a connection; raises NotSentError."""
        sock = self._connection.sock
        if sock is not None:
            poll = select.poll()
            poll.register(sock, select.POLLIN)
            if not poll.poll(0):
                return
            # EC2 has closed it meanwhile.
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
