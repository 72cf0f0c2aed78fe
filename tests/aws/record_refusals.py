"""Calls that EC2 refuses, made on two interfaces of the caller's own, and what it answers.

The calls name interfaces that this module makes in the given subnet: attached nowhere, and deleted at the
end. Only those for a full interface name an attached one, if there is one: they ask for more addresses than
the instance type allows, so that EC2 refuses them whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_network
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

DESCRIPTION = "multus-eni-injector: make test-aws"
"""Of the interfaces that are made, by which one that was left over is found."""
GONE = "eni-0123456789abcdef0"
"""Has the form of an identifier and names nothing."""
ACCEPTED = "accepted"
"""The code of a call that was not refused."""


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface: its primary address, one secondary, and one of IPv6 where the subnet has a range."""

    id: str
    primary: str
    secondary: str
    ipv6: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where the calls are made. `attached` is an attached interface, which can have `limits`, or empty."""

    subnet: str
    cidr: IPv4Network
    mine: Interface
    other: Interface
    attached: str = ""
    limits: tuple[int, int] = (0, 0)
    """How many IPv4 and IPv6 addresses."""

    @property
    def reserved(self) -> str:
        """The first of the addresses that AWS reserves in each subnet."""
        return str(self.cidr[1])

    @property
    def broadcast(self) -> str:
        """The last address of the subnet, which is reserved too."""
        return str(self.cidr[-1])


@dataclass(frozen=True, slots=True)
class Refusal:
    """What was answered to one call, with names in place of identifiers and addresses."""

    case: str
    code: str
    status: int
    message: str


Call = Callable[["EC2Client", Place], object]


def assign(*addresses: str, move: bool = False) -> Call:
    """Assign IPv4 addresses to `mine`; each is a format of Place's fields."""
    return lambda ec2, at: ec2.assign_private_ip_addresses(
        NetworkInterfaceId=at.mine.id, PrivateIpAddresses=_filled(addresses, at), AllowReassignment=move
    )


def unassign(*addresses: str) -> Call:
    """Unassign IPv4 addresses from `mine`."""
    return lambda ec2, at: ec2.unassign_private_ip_addresses(
        NetworkInterfaceId=at.mine.id, PrivateIpAddresses=_filled(addresses, at)
    )


def assign_ipv6(*addresses: str) -> Call:
    """Assign IPv6 addresses to `mine`."""
    return lambda ec2, at: ec2.assign_ipv6_addresses(
        NetworkInterfaceId=at.mine.id, Ipv6Addresses=_filled(addresses, at)
    )


def unassign_ipv6(*addresses: str) -> Call:
    """Unassign IPv6 addresses from `mine`."""
    return lambda ec2, at: ec2.unassign_ipv6_addresses(
        NetworkInterfaceId=at.mine.id, Ipv6Addresses=_filled(addresses, at)
    )


def _filled(addresses: tuple[str, ...], at: Place) -> list[str]:
    return [address.format(at=at) for address in addresses]


CASES: dict[str, Call] = {
    "another interface's secondary without the flag": assign("{at.other.secondary}"),
    "another interface's primary with the flag": assign("{at.other.primary}", move=True),
    "its own primary": assign("{at.mine.primary}", move=True),
    "an address outside the subnet": assign("192.0.2.1"),
    "a reserved address of the subnet": assign("{at.reserved}"),
    "the broadcast address of the subnet": assign("{at.broadcast}"),
    "an address that is none": assign("banana"),
    "unassigning what it does not have": unassign("{at.other.secondary}"),
    "unassigning its primary": unassign("{at.mine.primary}"),
    "an interface that is not there": lambda ec2, _: ec2.assign_private_ip_addresses(
        NetworkInterfaceId=GONE, SecondaryPrivateIpAddressCount=1
    ),
    "an interface of a wrong form": lambda ec2, _: ec2.assign_private_ip_addresses(
        NetworkInterfaceId="eni-banana", SecondaryPrivateIpAddressCount=1
    ),
    "addresses and a count": lambda ec2, at: ec2.assign_private_ip_addresses(
        NetworkInterfaceId=at.mine.id,
        PrivateIpAddresses=[at.mine.secondary],
        SecondaryPrivateIpAddressCount=1,
    ),
    "neither addresses nor a count": lambda ec2, at: ec2.assign_private_ip_addresses(
        NetworkInterfaceId=at.mine.id
    ),
    "a filter that is not there": lambda ec2, _: ec2.describe_network_interfaces(
        Filters=[{"Name": "banana", "Values": ["1"]}]
    ),
    "a dry run": lambda ec2, at: ec2.delete_network_interface(NetworkInterfaceId=at.mine.id, DryRun=True),
}
WITH_IPV6: dict[str, Call] = {
    "another interface's IPv6 address": assign_ipv6("{at.other.ipv6}"),
    "an IPv6 address outside the subnet": assign_ipv6("2001:db8:ffff::1"),
    "unassigning an IPv6 address that it does not have": unassign_ipv6("{at.other.ipv6}"),
    "IPv6 addresses and a count": lambda ec2, at: ec2.assign_ipv6_addresses(
        NetworkInterfaceId=at.mine.id, Ipv6Addresses=[at.mine.ipv6], Ipv6AddressCount=1
    ),
}
WITHOUT_IPV6: dict[str, Call] = {
    "an IPv6 address in a subnet without a range": assign_ipv6("2001:db8:ffff::1"),
    "a count of IPv6 addresses in a subnet without a range": lambda ec2, at: ec2.assign_ipv6_addresses(
        NetworkInterfaceId=at.mine.id, Ipv6AddressCount=1
    ),
}
ATTACHED: dict[str, Call] = {
    "more IPv4 addresses than the type allows": lambda ec2, at: ec2.assign_private_ip_addresses(
        NetworkInterfaceId=at.attached, SecondaryPrivateIpAddressCount=at.limits[0]
    ),
}
ATTACHED_WITH_IPV6: dict[str, Call] = {
    "more IPv6 addresses than the type allows": lambda ec2, at: ec2.assign_ipv6_addresses(
        NetworkInterfaceId=at.attached, Ipv6AddressCount=at.limits[1] + 1
    ),
}


def record(ec2: EC2Client, subnet: str, attached: str = "") -> list[Refusal]:
    """Make all calls that fit the subnet; `attached` is an attached interface in it, or empty.

    Raises botocore's ClientError where interfaces can't be made, described or deleted.
    """
    with _place(ec2, subnet, attached) as at:
        calls = {**CASES, **(WITH_IPV6 if at.mine.ipv6 else WITHOUT_IPV6)}
        if attached:
            calls |= {**ATTACHED, **(ATTACHED_WITH_IPV6 if at.mine.ipv6 else {})}
        return [_refusal(ec2, at, case, call) for case, call in calls.items()]


def _refusal(ec2: EC2Client, at: Place, case: str, call: Call) -> Refusal:
    try:
        call(ec2, at)
    except ClientError as error:
        answer: Any = error.response
        status = int(answer["ResponseMetadata"]["HTTPStatusCode"])
        return Refusal(case, answer["Error"]["Code"], status, anonymous(answer["Error"]["Message"], at))
    return Refusal(case, ACCEPTED, 200, "")


def anonymous(message: str, at: Place) -> str:
    """Replace identifiers and addresses by what they are, so that answers of two accounts compare."""
    names = {
        at.attached: "{attached}",
        at.subnet: "{subnet}",
        str(at.cidr): "{cidr}",
        at.reserved: "{reserved}",
        at.broadcast: "{broadcast}",
    }
    for name, interface in (("mine", at.mine), ("other", at.other)):
        for field in ("id", "primary", "secondary", "ipv6"):
            names[getattr(interface, field)] = f"{{{name}.{field}}}"
    for text in sorted(filter(None, names), key=len, reverse=True):
        message = re.sub(rf"(?<![\w.:]){re.escape(text)}(?!\w|:\w|\.\d)", names[text], message)
    return message


@contextmanager
def _place(ec2: EC2Client, subnet: str, attached: str) -> Iterator[Place]:
    (found,) = ec2.describe_subnets(SubnetIds=[subnet])["Subnets"]
    ranges = found.get("Ipv6CidrBlockAssociationSet", [])
    ipv6 = any(each["Ipv6CidrBlockState"]["State"] == "associated" for each in ranges)
    limits = _limits(ec2, attached) if attached else (0, 0)
    made: list[str] = []
    try:
        mine, other = (_make(ec2, subnet, made, ipv6=ipv6) for _ in range(2))
        cidr = ip_network(found["CidrBlock"])
        assert isinstance(cidr, IPv4Network)
        yield Place(subnet, cidr, mine, other, attached, limits)
    finally:
        _delete(ec2, made)


def _make(ec2: EC2Client, subnet: str, made: list[str], *, ipv6: bool) -> Interface:
    more: Any = {"Ipv6AddressCount": 1} if ipv6 else {}
    answer = ec2.create_network_interface(
        SubnetId=subnet, Description=DESCRIPTION, SecondaryPrivateIpAddressCount=1, **more
    )["NetworkInterface"]
    made.append(answer["NetworkInterfaceId"])
    addresses = {each["Primary"]: each["PrivateIpAddress"] for each in answer["PrivateIpAddresses"]}
    ipv6s = [each["Ipv6Address"] for each in answer.get("Ipv6Addresses", [])]
    return Interface(made[-1], addresses[True], addresses[False], "".join(ipv6s))


def _limits(ec2: EC2Client, attached: str) -> tuple[int, int]:
    (interface,) = ec2.describe_network_interfaces(NetworkInterfaceIds=[attached])["NetworkInterfaces"]
    instance = interface["Attachment"]["InstanceId"]
    (reservation,) = ec2.describe_instances(InstanceIds=[instance])["Reservations"]
    name = reservation["Instances"][0]["InstanceType"]
    (described,) = ec2.describe_instance_types(InstanceTypes=[name])["InstanceTypes"]
    network = described["NetworkInfo"]
    return network["Ipv4AddressesPerInterface"], network["Ipv6AddressesPerInterface"]


def _delete(ec2: EC2Client, made: list[str]) -> None:
    """Delete all, also where one can't be deleted; that one's error comes last."""
    errors: list[ClientError] = []
    for identifier in made:
        try:
            ec2.delete_network_interface(NetworkInterfaceId=identifier)
        except ClientError as error:
            errors.append(error)
    if errors:
        raise errors[0]
