"""IPv6 addresses of interfaces with real boto3: assigned, never moved, unassigned, described, and in IMDS."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from tests.doubles import Doubles, ManualClock
from tests.doubles_tests import worlds
from tests.doubles_tests.imds_client import MACS, value

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

    from tests.doubles_tests.conftest import Connect

FREE = "2001:db8:1::100"
HELD = "2001:db8:1::50"
"""On B1."""


def assign(interface: str, *addresses: str, **more: Any) -> Callable[[EC2Client], object]:
    given = more | ({"Ipv6Addresses": list(addresses)} if addresses else {})
    return lambda client: client.assign_ipv6_addresses(NetworkInterfaceId=interface, **given)


def unassign(interface: str, *addresses: str, **more: Any) -> Callable[[EC2Client], object]:
    given = more | ({"Ipv6Addresses": list(addresses)} if addresses else {})
    return lambda client: client.unassign_ipv6_addresses(NetworkInterfaceId=interface, **given)


def test_assigned_addresses_are_on_the_interface_and_in_the_answer(doubles: Doubles, ec2: EC2Client) -> None:
    answer = ec2.assign_ipv6_addresses(
        NetworkInterfaceId=worlds.A1, Ipv6Addresses=["2001:DB8:1:0:0:0:0:101", FREE]
    )

    assert answer["NetworkInterfaceId"] == worlds.A1
    assert answer["AssignedIpv6Addresses"] == ["2001:db8:1::101", FREE]
    assert answer["AssignedIpv6Prefixes"] == []
    assert doubles.ipv6s(worlds.A1) == ("2001:db8:1::101", FREE)
    assert doubles.holder_of(FREE) == worlds.A1
    assert doubles.secondaries(worlds.A1) == ()


def test_a_repeat_succeeds_and_lists_what_is_new(doubles: Doubles, ec2: EC2Client) -> None:
    before = doubles.state()

    again = ec2.assign_ipv6_addresses(NetworkInterfaceId=worlds.B1, Ipv6Addresses=[HELD, HELD])
    assert again["AssignedIpv6Addresses"] == []
    assert doubles.state() == before

    both = ec2.assign_ipv6_addresses(NetworkInterfaceId=worlds.B1, Ipv6Addresses=[HELD, FREE])
    assert both["AssignedIpv6Addresses"] == [FREE]


def test_a_move_is_unassign_and_assign(doubles: Doubles, ec2: EC2Client) -> None:
    answer = ec2.unassign_ipv6_addresses(NetworkInterfaceId=worlds.B1, Ipv6Addresses=[HELD])
    assert answer["NetworkInterfaceId"] == worlds.B1
    assert answer["UnassignedIpv6Addresses"] == [HELD]
    assert doubles.holder_of(HELD) is None

    ec2.assign_ipv6_addresses(NetworkInterfaceId=worlds.A1, Ipv6Addresses=[HELD])

    assert doubles.ipv6s(worlds.B1) == ("2001:db8:1::20",)
    found = ec2.describe_network_interfaces(
        Filters=[{"Name": "ipv6-addresses.ipv6-address", "Values": [HELD]}]
    )
    assert [interface["NetworkInterfaceId"] for interface in found["NetworkInterfaces"]] == [worlds.A1]


def test_a_count_gets_free_addresses(doubles: Doubles, ec2: EC2Client) -> None:
    ec2.assign_ipv6_addresses(NetworkInterfaceId=worlds.A1, Ipv6Addresses=["2001:db8:1::5"])

    answer = ec2.assign_ipv6_addresses(NetworkInterfaceId=worlds.A1, Ipv6AddressCount=2)

    # ::0 to ::3 are reserved.
    assert answer["AssignedIpv6Addresses"] == ["2001:db8:1::4", "2001:db8:1::6"]
    assert doubles.ipv6s(worlds.A1) == ("2001:db8:1::5", "2001:db8:1::4", "2001:db8:1::6")


def test_the_families_do_not_share_a_limit(doubles: Doubles, ec2: EC2Client) -> None:
    ec2.assign_private_ip_addresses(
        NetworkInterfaceId=worlds.A1, PrivateIpAddresses=[f"10.0.1.{last}" for last in range(100, 105)]
    )

    ec2.assign_ipv6_addresses(
        NetworkInterfaceId=worlds.A1, Ipv6Addresses=[f"2001:db8:1::{last}" for last in range(100, 106)]
    )

    assert len(doubles.ipv6s(worlds.A1)) == 6
    with pytest.raises(ClientError, match="PrivateIpAddressLimitExceeded"):
        ec2.assign_ipv6_addresses(NetworkInterfaceId=worlds.A1, Ipv6Addresses=["2001:db8:1::106"])
    with pytest.raises(ClientError, match="PrivateIpAddressLimitExceeded"):
        ec2.assign_ipv6_addresses(NetworkInterfaceId=worlds.A1, Ipv6AddressCount=1)


def test_ipv6_addresses_do_not_count_as_used_ipv4_addresses(ec2: EC2Client) -> None:
    def free() -> int:
        return ec2.describe_subnets(SubnetIds=[worlds.POD_SUBNET])["Subnets"][0]["AvailableIpAddressCount"]

    before = free()
    ec2.assign_ipv6_addresses(NetworkInterfaceId=worlds.A1, Ipv6Addresses=[FREE])
    assert free() == before


@dataclass(frozen=True)
class Case:
    name: str
    call: Callable[[EC2Client], object]
    code: str
    message: str
    key: str = worlds.ADMIN


NO_RANGE = "has no IPv6 CIDR block"
CASES = [
    Case(
        "another interface's address",
        assign(worlds.A1, FREE, HELD),
        "InvalidIPAddress.InUse",
        r"^\[2001:db8:1::50\] .*already in use",
    ),
    Case(
        "another interface's address, written otherwise",
        assign(worlds.A1, "2001:0DB8:1:0:0::0050"),
        "InvalidIPAddress.InUse",
        r"^\[2001:db8:1::50\]",
    ),
    Case(
        "outside the subnet",
        assign(worlds.A1, FREE, "2001:db8:2::100"),
        "InvalidParameterValue",
        "2001:db8:2::100 does not fall within the subnet's address range",
    ),
    *(
        Case(
            f"the subnet's reserved address {address}",
            assign(worlds.A1, address),
            "InvalidParameterValue",
            "is in subnet's reserved range",
        )
        for address in ("2001:db8:1::", "2001:db8:1::3", "2001:db8:1:0:ffff:ffff:ffff:ffff")
    ),
    Case("a subnet without a range", assign(worlds.A0, FREE), "InvalidParameterValue", NO_RANGE),
    Case(
        "a count in a subnet without a range",
        assign(worlds.A0, Ipv6AddressCount=1),
        "InvalidParameterValue",
        NO_RANGE,
    ),
    *(
        Case(
            f"{text} as IPv6 address",
            assign(worlds.A1, FREE, text),
            "InvalidParameterValue",
            f"invalid value for parameter address: {text}",
        )
        for text in ("10.0.1.100", "banana", "2001:db8:1::100%eth0", "2001:db8:1::100/128")
    ),
    Case(
        "one more than the instance type allows",
        assign(worlds.A1, *(f"2001:db8:1::{last}" for last in range(100, 107))),
        "PrivateIpAddressLimitExceeded",
        "Number of IPv6 addresses will exceed limit",
    ),
    Case(
        "a count of nothing",
        assign(worlds.A1, Ipv6AddressCount=0),
        "InvalidParameterValue",
        "ipv6AddressCount",
    ),
    Case("nothing", assign(worlds.A1), "MissingParameter", "Ipv6Addresses or Ipv6AddressCount"),
    Case(
        "addresses and a count",
        assign(worlds.A1, FREE, Ipv6AddressCount=1),
        "InvalidParameterCombination",
        "may not be specified on the same request",
    ),
    Case(
        "a prefix and an address",
        assign(worlds.A1, FREE, Ipv6PrefixCount=1),
        "InvalidParameterCombination",
        "Ipv6Addresses cannot be used with the parameter Ipv6PrefixCount",
    ),
    Case(
        "assign to an interface that is gone",
        assign(worlds.GONE, FREE),
        "InvalidNetworkInterfaceID.NotFound",
        "",
    ),
    Case("assign to no id", assign("eni-xyz", FREE), "InvalidNetworkInterfaceId.Malformed", "eni-xyz"),
    Case(
        "assign without the right to it",
        assign(worlds.A1, FREE),
        "UnauthorizedOperation",
        "not authorized to perform: ec2:AssignIpv6Addresses on resource: arn:aws:ec2:.*network-interface/",
        key=worlds.READER,
    ),
    Case(
        "unassign what it does not have",
        unassign(worlds.A1, FREE),
        "InvalidParameterValue",
        f"^The address '{FREE}' is not mapped to interface ID '{worlds.A1}'$",
    ),
    Case(
        "unassign what another interface has",
        unassign(worlds.A1, HELD),
        "InvalidParameterValue",
        "is not mapped to interface ID",
    ),
    Case(
        "unassign one that it has and one that it has not",
        unassign(worlds.B1, HELD, FREE),
        "InvalidParameterValue",
        f"^The address '{FREE}' is not mapped",
    ),
    Case("unassign nothing", unassign(worlds.B1), "MissingParameter", "Ipv6Addresses"),
    Case(
        "unassign a prefix that it does not have",
        unassign(worlds.B1, Ipv6Prefixes=["2001:db8:1:0:1::/80"]),
        "InvalidParameterValue",
        "prefixes are not assigned to interface",
    ),
    Case(
        "unassign an IPv4 address",
        unassign(worlds.B1, "10.0.1.50"),
        "InvalidParameterValue",
        "invalid value for parameter address: 10.0.1.50",
    ),
    Case("unassign from what is gone", unassign(worlds.GONE, FREE), "InvalidNetworkInterfaceID.NotFound", ""),
    Case(
        "unassign without the right to it",
        unassign(worlds.B1, HELD),
        "UnauthorizedOperation",
        "ec2:UnassignIpv6Addresses",
        key=worlds.READER,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_refused_call_changes_nothing(case: Case, shared: Doubles, connect: Connect) -> None:
    before = shared.state()

    with pytest.raises(ClientError) as refused:
        case.call(connect(shared, case.key))

    error = refused.value.response["Error"]
    assert error["Code"] == case.code
    assert re.search(case.message, error["Message"]), error["Message"]
    assert shared.state() == before
    assert shared.journal()[-1].result == case.code


@pytest.fixture
def delegated(clock: ManualClock) -> Iterator[Doubles]:
    """A double in which A1 has prefixes, and IMDS is two seconds behind."""
    world = worlds.world(imds_delay_ms=2000)
    world["instances"][0]["interfaces"][1] |= {
        "ipv4_prefixes": ["10.0.1.64/28", "10.0.1.96/28"],
        "ipv6_prefixes": ["2001:db8:1:0:1::/80"],
    }
    with Doubles(world, clock=clock) as doubles:
        yield doubles


def test_prefixes_take_a_slot_each(delegated: Doubles, connect: Connect) -> None:
    ec2 = connect(delegated)
    fill = [f"2001:db8:1::{last}" for last in range(100, 105)]

    ec2.assign_private_ip_addresses(NetworkInterfaceId=worlds.A1, SecondaryPrivateIpAddressCount=3)
    ec2.assign_ipv6_addresses(NetworkInterfaceId=worlds.A1, Ipv6Addresses=fill)

    with pytest.raises(ClientError, match="PrivateIpAddressLimitExceeded"):
        ec2.assign_private_ip_addresses(NetworkInterfaceId=worlds.A1, SecondaryPrivateIpAddressCount=1)
    with pytest.raises(ClientError, match="PrivateIpAddressLimitExceeded"):
        ec2.assign_ipv6_addresses(NetworkInterfaceId=worlds.A1, Ipv6Addresses=["2001:db8:1::105"])


@pytest.mark.parametrize("interface", [worlds.A1, worlds.B1])
def test_addresses_of_a_prefix_are_not_free(interface: str, delegated: Doubles, connect: Connect) -> None:
    ec2 = connect(delegated)

    with pytest.raises(ClientError, match=r"InvalidParameterValue.*\[10\.0\.1\.70\] is part of a prefix"):
        ec2.assign_private_ip_addresses(
            NetworkInterfaceId=interface, PrivateIpAddresses=["10.0.1.70"], AllowReassignment=True
        )
    with pytest.raises(ClientError, match=r"InvalidIPAddress\.InUse"):
        ec2.assign_ipv6_addresses(NetworkInterfaceId=interface, Ipv6Addresses=["2001:db8:1:0:1::5"])
    assert delegated.holder_of("10.0.1.70") == delegated.holder_of("2001:db8:1:0:1::5") == worlds.A1
    subnet = ec2.describe_subnets(SubnetIds=[worlds.POD_SUBNET])["Subnets"][0]
    assert subnet["AvailableIpAddressCount"] == 256 - 5 - 3 - 2 * 16


def test_prefixes_are_shown(delegated: Doubles, connect: Connect) -> None:
    (shown,) = connect(delegated).describe_network_interfaces(NetworkInterfaceIds=[worlds.A1])[
        "NetworkInterfaces"
    ]

    assert shown["Ipv4Prefixes"] == [{"Ipv4Prefix": "10.0.1.64/28"}, {"Ipv4Prefix": "10.0.1.96/28"}]
    assert shown["Ipv6Prefixes"] == [{"Ipv6Prefix": "2001:db8:1:0:1::/80"}]
    assert value(delegated, f"{MACS}{worlds.A1_MAC}/ipv4-prefix") == "10.0.1.64/28\n10.0.1.96/28"
    assert value(delegated, f"{MACS}{worlds.A1_MAC}/ipv6-prefix") == "2001:db8:1:0:1::/80"


def test_imds_shows_ipv6_addresses_after_the_delay(
    delegated: Doubles, clock: ManualClock, connect: Connect
) -> None:
    gaining, losing = f"{MACS}{worlds.A1_MAC}/ipv6s", f"{MACS}02:bb:00:00:00:01/ipv6s"
    ec2 = connect(delegated)
    ec2.unassign_ipv6_addresses(NetworkInterfaceId=worlds.B1, Ipv6Addresses=[HELD])
    clock.advance(1)
    ec2.assign_ipv6_addresses(NetworkInterfaceId=worlds.A1, Ipv6Addresses=[HELD])

    assert value(delegated, gaining) is None
    assert value(delegated, losing, worlds.POD_B) == f"2001:db8:1::20\n{HELD}"
    clock.advance(1)
    assert value(delegated, gaining) is None
    assert value(delegated, losing, worlds.POD_B) == "2001:db8:1::20"
    clock.advance(1)
    assert value(delegated, gaining) == HELD
