"""Calls EC2's Query API over kept connections.

Its methods are those of botocore's EC2 client, with the same parameters and answers.
"""

from __future__ import annotations

import time

from ipagent.aws.ec2_query.connection_pool import ConnectionPool
from ipagent.aws.ec2_query.query_protocol import form, read_answer
from ipagent.aws.ec2_query.signature import Keys, signed_headers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


class QueryClient:
    """A client of EC2 in one region. `keys` gives the credentials at each call.

    Methods raise what `keys` raises, NotSentError, NoAnswerError, and the errors of `read_answer`.
    """

    def __init__(self, connection: ConnectionPool, region: str, keys: Callable[[], Keys]) -> None:
        self._connection, self._region, self._keys = connection, region, keys

    def close(self) -> None:
        """Close the connections."""
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
        body, keys = form(operation, parameters), self._keys()
        at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        headers = signed_headers(body, host=self._connection.host, region=self._region, keys=keys, at=at)
        return read_answer(operation, *self._connection.post(body, headers))
