"""Another caller of EC2 in the same account, such as an operator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from tests.cluster.nodes.cloud import CloudControl

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

THROTTLED = "RequestLimitExceeded"


class ExternalCaller:
    """Calls EC2 with rights to everything."""

    def __init__(self, ec2: EC2Client) -> None:
        self._ec2 = ec2

    def assign(self, eni: str, addresses: Iterable[str]) -> None:
        """Assign IPv4 addresses."""
        self._ec2.assign_private_ip_addresses(NetworkInterfaceId=eni, PrivateIpAddresses=list(addresses))

    def unassign(self, eni: str, addresses: Iterable[str]) -> None:
        """Take IPv4 addresses off an ENI."""
        self._ec2.unassign_private_ip_addresses(NetworkInterfaceId=eni, PrivateIpAddresses=list(addresses))

    def use_up(self, eni: str, address: str) -> None:
        """Assign the same address again and again, until EC2 throttles."""
        while True:
            try:
                self.assign(eni, [address])
            except ClientError as error:
                if error.response["Error"]["Code"] != THROTTLED:
                    raise
                return


@contextmanager
def external_caller_in(cloud: CloudControl) -> Iterator[ExternalCaller]:
    """Make the caller, for the length of a block."""
    with closing(cloud.ec2()) as ec2:
        yield ExternalCaller(ec2)
