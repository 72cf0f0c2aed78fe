"""What EC2 refuses, case by case, and what moto makes of it. The table is run against the double and moto."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from tests.doubles_tests import worlds

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client


class Moto(StrEnum):
    """What moto answers."""

    ACCEPTS = "accepts"
    REFUSES = "refuses with the same code"
    OTHERWISE = "refuses with another code"
    CRASHES = "fails inside: HTTP 500 from its server"


@dataclass(frozen=True)
class Place:
    """The interfaces on which a case is tried; addresses are the same everywhere (see `worlds`)."""

    mine: str
    other: str
    full: str
    crowded: str
    gone: str = worlds.GONE


@dataclass(frozen=True)
class Case:
    """A call, the refusal that EC2 answers it with (message as a regular expression), and moto's answer."""

    name: str
    call: Callable[[EC2Client, Place], object]
    code: str
    message: str
    moto: Moto
    key: str = worlds.ADMIN


MINE_PRIMARY = "10.0.1.10"
OTHER_PRIMARY = "10.0.1.20"
OTHER_SECONDARY = "10.0.1.50"
FREE = "10.0.1.100"


def assign(interface: str, *addresses: str, move: bool | None = None) -> Callable[[EC2Client, Place], object]:
    """Return a call that assigns to one of the place's interfaces."""

    def call(client: EC2Client, place: Place) -> object:
        parameters: dict[str, Any] = {} if move is None else {"AllowReassignment": move}
        target = getattr(place, interface, interface)
        return client.assign_private_ip_addresses(
            NetworkInterfaceId=target, PrivateIpAddresses=list(addresses), **parameters
        )

    return call


def assign_count(interface: str, count: int) -> Callable[[EC2Client, Place], object]:
    """Return a call that lets EC2 choose so many addresses."""
    return lambda client, place: client.assign_private_ip_addresses(
        NetworkInterfaceId=getattr(place, interface), SecondaryPrivateIpAddressCount=count
    )


def unassign(interface: str, *addresses: str) -> Callable[[EC2Client, Place], object]:
    """Return a call that unassigns from one of the place's interfaces."""
    return lambda client, place: client.unassign_private_ip_addresses(
        NetworkInterfaceId=getattr(place, interface, interface), PrivateIpAddresses=list(addresses)
    )


def describe(**parameters: Any) -> Callable[[EC2Client, Place], object]:
    """Return a call that describes interfaces; the text `mine` stands for that interface."""

    def call(client: EC2Client, place: Place) -> object:
        if identifiers := parameters.get("NetworkInterfaceIds"):
            given = {"NetworkInterfaceIds": [getattr(place, name, name) for name in identifiers]}
            return client.describe_network_interfaces(**(parameters | given))
        return client.describe_network_interfaces(**parameters)

    return call


CASES = [
    Case(
        "another interface's secondary without the flag",
        assign("mine", OTHER_SECONDARY),
        "InvalidParameterValue",
        r"^\[10\.0\.1\.50\] assigned, but move is not allowed\.$",
        Moto.ACCEPTS,
    ),
    Case(
        "another interface's secondary with the flag false",
        assign("mine", FREE, OTHER_SECONDARY, move=False),
        "InvalidParameterValue",
        r"^\[10\.0\.1\.50\] assigned, but move is not allowed\.$",
        Moto.ACCEPTS,
    ),
    Case(
        "another interface's primary without the flag",
        assign("mine", OTHER_PRIMARY),
        "InvalidParameterValue",
        r"^\[10\.0\.1\.20\] is the primary address",
        Moto.ACCEPTS,
    ),
    Case(
        "another interface's primary with the flag",
        assign("mine", FREE, OTHER_PRIMARY, move=True),
        "InvalidParameterValue",
        r"^\[10\.0\.1\.20\] is the primary address",
        Moto.ACCEPTS,
    ),
    Case(
        "the interface's own primary",
        assign("mine", MINE_PRIMARY, move=True),
        "InvalidParameterValue",
        r"^\[10\.0\.1\.10\] is the primary address",
        Moto.ACCEPTS,
    ),
    Case(
        "outside the subnet",
        assign("mine", FREE, "10.0.9.9"),
        "InvalidParameterValue",
        r"10\.0\.9\.9 does not fall within the subnet's address range",
        Moto.ACCEPTS,
    ),
    Case(
        "in another subnet, where another interface has it",
        assign("mine", "10.0.2.5", move=True),
        "InvalidParameterValue",
        "does not fall within the subnet's address range",
        Moto.ACCEPTS,
    ),
    *(
        Case(
            f"the subnet's reserved address .{last}",
            assign("mine", f"10.0.1.{last}"),
            "InvalidParameterValue",
            rf"10\.0\.1\.{last} is in subnet's reserved range",
            Moto.ACCEPTS,
        )
        for last in (0, 1, 2, 3, 255)
    ),
    Case(
        "text that is not an address",
        assign("mine", "banana"),
        "InvalidParameterValue",
        "invalid value for parameter address: banana",
        Moto.ACCEPTS,
    ),
    Case(
        "an IPv6 address as private address",
        assign("mine", "2001:db8:1::5"),
        "InvalidParameterValue",
        "invalid value for parameter address: 2001:db8:1::5",
        Moto.ACCEPTS,
    ),
    Case(
        "one more than the instance type allows",
        assign("mine", *(f"10.0.1.{last}" for last in range(100, 106))),
        "PrivateIpAddressLimitExceeded",
        "Number of private addresses will exceed limit",
        Moto.ACCEPTS,
    ),
    Case(
        "a move to an interface that is full",
        assign("full", "10.0.2.11", move=True),
        "PrivateIpAddressLimitExceeded",
        "Number of private addresses will exceed limit",
        Moto.ACCEPTS,
    ),
    Case(
        "a count beyond what the instance type allows",
        assign_count("mine", 6),
        "PrivateIpAddressLimitExceeded",
        "Number of private addresses will exceed limit",
        Moto.ACCEPTS,
    ),
    Case(
        "a count in a subnet without a free address",
        assign_count("crowded", 1),
        "InsufficientFreeAddressesInSubnet",
        "does not have enough free addresses",
        Moto.ACCEPTS,
    ),
    Case(
        "a count of nothing",
        assign_count("mine", 0),
        "InvalidParameterValue",
        "secondaryPrivateIpAddressCount is invalid",
        Moto.ACCEPTS,
    ),
    Case(
        "no address and no count",
        lambda client, place: client.assign_private_ip_addresses(NetworkInterfaceId=place.mine),
        "MissingParameter",
        "PrivateIpAddress or SecondaryPrivateIpAddressCount",
        Moto.ACCEPTS,
    ),
    Case(
        "addresses and a count",
        lambda client, place: client.assign_private_ip_addresses(
            NetworkInterfaceId=place.mine, PrivateIpAddresses=[FREE], SecondaryPrivateIpAddressCount=1
        ),
        "InvalidParameterCombination",
        "cannot be used with the parameter SecondaryPrivateIpAddressCount",
        Moto.ACCEPTS,
    ),
    Case(
        "assign to an interface that is gone",
        assign("gone", FREE),
        "InvalidNetworkInterfaceID.NotFound",
        "'eni-0f000000000000000' does not exist",
        Moto.REFUSES,
    ),
    Case(
        "assign to a malformed interface id",
        assign("eni-xyz", FREE),
        "InvalidNetworkInterfaceId.Malformed",
        'Invalid id: "eni-xyz"',
        Moto.OTHERWISE,
    ),
    Case(
        "assign without the right to it",
        assign("mine", FREE),
        "UnauthorizedOperation",
        r"not authorized to perform: ec2:AssignPrivateIpAddresses on resource: arn:aws:ec2:.*"
        r" Encoded authorization failure message: [A-Za-z0-9_-]{200,}$",
        Moto.ACCEPTS,
        key=worlds.READER,
    ),
    Case(
        "unassign an address that the interface has not",
        unassign("mine", FREE),
        "InvalidParameterValue",
        r"^Some of the specified addresses are not assigned to interface eni-\w+$",
        Moto.ACCEPTS,
    ),
    Case(
        "unassign an address that another interface has",
        unassign("mine", OTHER_SECONDARY),
        "InvalidParameterValue",
        "^Some of the specified addresses are not assigned to interface",
        Moto.ACCEPTS,
    ),
    Case(
        "unassign one that it has and one that it has not",
        unassign("other", OTHER_SECONDARY, FREE),
        "InvalidParameterValue",
        "^Some of the specified addresses are not assigned to interface",
        Moto.ACCEPTS,
    ),
    Case(
        "unassign the primary",
        unassign("mine", MINE_PRIMARY),
        "InvalidParameterValue",
        r"10\.0\.1\.10 is the primary address",
        Moto.ACCEPTS,
    ),
    Case(
        "unassign nothing",
        lambda client, place: client.unassign_private_ip_addresses(NetworkInterfaceId=place.mine),
        "MissingParameter",
        "PrivateIpAddress",
        Moto.ACCEPTS,
    ),
    Case(
        "unassign text that is not an address",
        unassign("mine", "banana"),
        "InvalidParameterValue",
        "invalid value for parameter address: banana",
        Moto.ACCEPTS,
    ),
    Case(
        "unassign from an interface that is gone",
        unassign("gone", FREE),
        "InvalidNetworkInterfaceID.NotFound",
        "does not exist",
        Moto.REFUSES,
    ),
    Case(
        "unassign from a malformed interface id",
        unassign("eni-xyz", FREE),
        "InvalidNetworkInterfaceId.Malformed",
        'Invalid id: "eni-xyz"',
        Moto.OTHERWISE,
    ),
    Case(
        "unassign without the right to it",
        unassign("other", OTHER_SECONDARY),
        "UnauthorizedOperation",
        "not authorized to perform: ec2:UnassignPrivateIpAddresses",
        Moto.ACCEPTS,
        key=worlds.READER,
    ),
    Case(
        "describe without the right to it",
        describe(),
        "UnauthorizedOperation",
        r"not authorized to perform: ec2:DescribeNetworkInterfaces on resource: \* because",
        Moto.ACCEPTS,
        key=worlds.NOBODY,
    ),
    Case(
        "describe an interface that is gone",
        describe(NetworkInterfaceIds=["mine", "gone"]),
        "InvalidNetworkInterfaceID.NotFound",
        "does not exist",
        Moto.REFUSES,
    ),
    Case(
        "describe a malformed interface id",
        describe(NetworkInterfaceIds=["eni-xyz"]),
        "InvalidNetworkInterfaceId.Malformed",
        'Invalid id: "eni-xyz"',
        Moto.OTHERWISE,
    ),
    Case(
        "describe by a filter that does not exist",
        describe(Filters=[{"Name": "colour", "Values": ["blue"]}]),
        "InvalidParameterValue",
        "The filter 'colour' is invalid",
        Moto.CRASHES,
    ),
    Case(
        "describe with more filter values than allowed",
        describe(Filters=[{"Name": "mac-address", "Values": [str(number) for number in range(201)]}]),
        "FilterLimitExceeded",
        "maximum number of filter values",
        Moto.ACCEPTS,
    ),
    Case(
        "describe ids page by page",
        describe(NetworkInterfaceIds=["mine"], MaxResults=5),
        "InvalidParameterCombination",
        "NetworkInterfaceId cannot be used with the parameter MaxResults",
        Moto.ACCEPTS,
    ),
    Case(
        "describe in pages that are too small",
        describe(MaxResults=4),
        "InvalidParameterValue",
        r"Value \( 4 \) for parameter maxResults is invalid",
        Moto.ACCEPTS,
    ),
    Case(
        "describe in pages that are too large",
        describe(MaxResults=1001),
        "InvalidParameterValue",
        r"Value \( 1001 \) for parameter maxResults is invalid",
        Moto.ACCEPTS,
    ),
    Case(
        "describe from a page that was never given",
        describe(MaxResults=5, NextToken="banana"),
        "InvalidNextToken",
        "NextToken is not valid",
        Moto.ACCEPTS,
    ),
    Case(
        "describe as a dry run",
        describe(DryRun=True),
        "DryRunOperation",
        "Request would have succeeded",
        Moto.REFUSES,
    ),
    Case(
        "describe an instance that is gone",
        lambda client, _: client.describe_instances(InstanceIds=["i-0f000000000000000"]),
        "InvalidInstanceID.NotFound",
        "The instance ID 'i-0f000000000000000' does not exist",
        Moto.REFUSES,
    ),
    Case(
        "describe a malformed instance id",
        lambda client, _: client.describe_instances(InstanceIds=["node-a"]),
        "InvalidInstanceID.Malformed",
        'Invalid id: "node-a"',
        Moto.OTHERWISE,
    ),
    Case(
        "describe a subnet that is gone",
        lambda client, _: client.describe_subnets(SubnetIds=["subnet-0f000000000000000"]),
        "InvalidSubnetID.NotFound",
        "does not exist",
        Moto.REFUSES,
    ),
    Case(
        "describe a malformed subnet id",
        lambda client, _: client.describe_subnets(SubnetIds=["pods"]),
        "InvalidSubnetID.Malformed",
        'Invalid id: "pods"',
        Moto.OTHERWISE,
    ),
]
