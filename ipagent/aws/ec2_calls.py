"""EC2 calls that agents and the controller make alike, by botocore or by what has its methods (`ec2_query`).

They raise what that client raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from ipagent.assign.addresses import IPAddress, parse_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    from mypy_boto3_ec2.client import EC2Client

    Page = TypeVar("Page", bound=Mapping[str, Any])

CONNECT_SECONDS = 3
READ_SECONDS = 6
"""How long a call waits for a connection, and for each part of the answer."""

HOLDER_FILTERS = {4: "addresses.private-ip-address", 6: "ipv6-addresses.ipv6-address"}
"""Of DescribeNetworkInterfaces: by addresses of a family, in whatever role."""


def assign_addresses(
    client: EC2Client, eni_id: str, addresses: Sequence[IPAddress], *, reassign: bool
) -> Mapping[str, Any]:
    """AssignPrivateIpAddresses or AssignIpv6Addresses; IPv6 is never reassigned. Returns EC2's answer."""
    texts = list(map(str, addresses))
    if _version(addresses) == 6:
        return client.assign_ipv6_addresses(NetworkInterfaceId=eni_id, Ipv6Addresses=texts)
    return client.assign_private_ip_addresses(
        NetworkInterfaceId=eni_id, PrivateIpAddresses=texts, AllowReassignment=reassign
    )


def assigned_addresses(answer: Mapping[str, Any]) -> frozenset[IPAddress]:
    """Read which addresses an answer lists: of IPv6 ones EC2 lists only those that are new on the ENI."""
    ipv4 = [each["PrivateIpAddress"] for each in answer.get("AssignedPrivateIpAddresses", [])]
    return frozenset(map(parse_address, [*ipv4, *answer.get("AssignedIpv6Addresses", [])]))


def unassign_addresses(client: EC2Client, eni_id: str, addresses: Sequence[IPAddress]) -> None:
    """UnassignPrivateIpAddresses or UnassignIpv6Addresses."""
    texts = list(map(str, addresses))
    if _version(addresses) == 6:
        client.unassign_ipv6_addresses(NetworkInterfaceId=eni_id, Ipv6Addresses=texts)
    else:
        client.unassign_private_ip_addresses(NetworkInterfaceId=eni_id, PrivateIpAddresses=texts)


class EndlessPagesError(ValueError):
    """A page of a listing points to an earlier one."""


def pages(ask: Callable[..., Page]) -> Iterator[Page]:
    """Return all pages of a listing, which EC2 may divide unasked, too; `ask` takes the token as NextToken.

    Raises EndlessPagesError.
    """
    more: dict[str, str] = {}
    tokens = set[str]()
    while True:
        page = ask(**more)
        yield page
        token = str(page.get("NextToken") or "")
        if not token:
            return
        if token in tokens:
            raise EndlessPagesError("it has no end: a page points to an earlier one")
        tokens.add(token)
        more = {"NextToken": token}


def _version(addresses: Sequence[IPAddress]) -> int:
    (version,) = {address.version for address in addresses}
    return version
