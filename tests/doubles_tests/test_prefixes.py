"""Prefixes and subnet CIDR reservations, with real boto3: what EC2 chooses and refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from tests.doubles import Doubles, ManualClock
from tests.doubles_tests import worlds
from tests.doubles_tests.imds_client import MACS, value

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

    from tests.doubles_tests.conftest import Connect

# 10.0.1.10, .20 and .50 of the pods' subnet 10.0.1.0/24 are taken.
FIRST_FREE, SECOND_FREE = "10.0.1.32/28", "10.0.1.64/28"


def assign(ec2: EC2Client, **parameters: Any) -> list[str]:
    answer = ec2.assign_private_ip_addresses(NetworkInterfaceId=worlds.A1, **parameters)
    return [each["Ipv4Prefix"] for each in answer["AssignedIpv4Prefixes"]]


def prefixes(ec2: EC2Client, interface: str = worlds.A1) -> list[str]:
    (shown,) = ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])["NetworkInterfaces"]
    listed: Any = shown.get("Ipv4Prefixes", []) + shown.get("Ipv6Prefixes", [])
    return [text for each in listed for text in each.values()]


def reserve(ec2: EC2Client, cidr: str, kind: Any = "prefix") -> str:
    made = ec2.create_subnet_cidr_reservation(
        SubnetId=worlds.POD_SUBNET, Cidr=cidr, ReservationType=kind, Description="pods"
    )["SubnetCidrReservation"]
    return made["SubnetCidrReservationId"]


def test_ec2_chooses_whole_free_blocks(doubles: Doubles, ec2: EC2Client) -> None:
    assert assign(ec2, Ipv4PrefixCount=2) == [FIRST_FREE, SECOND_FREE]

    assert prefixes(ec2) == [FIRST_FREE, SECOND_FREE]
    assert value(doubles, f"{MACS}{worlds.A1_MAC}/ipv4-prefix") == f"{FIRST_FREE}\n{SECOND_FREE}"
    subnet = ec2.describe_subnets(SubnetIds=[worlds.POD_SUBNET])["Subnets"][0]
    assert subnet["AvailableIpAddressCount"] == 256 - 5 - 3 - 32
    with pytest.raises(ClientError, match="is part of a prefix"):
        assign(ec2, PrivateIpAddresses=["10.0.1.70"], AllowReassignment=True)


def test_a_named_prefix_is_assigned_once(ec2: EC2Client) -> None:
    assert assign(ec2, Ipv4Prefixes=["10.0.1.96/28"]) == ["10.0.1.96/28"]
    assert assign(ec2, Ipv4Prefixes=["10.0.1.96/28"]) == ["10.0.1.96/28"]

    assert prefixes(ec2) == ["10.0.1.96/28"]


def test_a_prefix_that_is_unassigned_is_free_again(doubles: Doubles, ec2: EC2Client) -> None:
    assign(ec2, Ipv4PrefixCount=1)
    assign(ec2, PrivateIpAddresses=["10.0.1.100"])

    ec2.unassign_private_ip_addresses(
        NetworkInterfaceId=worlds.A1, Ipv4Prefixes=[FIRST_FREE], PrivateIpAddresses=["10.0.1.100"]
    )

    assert prefixes(ec2) == []
    assert doubles.secondaries(worlds.A1) == ()
    assert assign(ec2, Ipv4PrefixCount=1) == [FIRST_FREE]


def test_ipv6_prefixes_are_blocks_of_80_bits(ec2: EC2Client) -> None:
    answer = ec2.assign_ipv6_addresses(NetworkInterfaceId=worlds.A1, Ipv6PrefixCount=1)
    # The first block of the subnet holds its reserved addresses.
    assert answer["AssignedIpv6Prefixes"] == ["2001:db8:1:0:1::/80"]
    assert answer["AssignedIpv6Addresses"] == []
    named = ec2.assign_ipv6_addresses(NetworkInterfaceId=worlds.A1, Ipv6Prefixes=["2001:db8:1:0:ff::/80"])
    assert named["AssignedIpv6Prefixes"] == ["2001:db8:1:0:ff::/80"]

    gone = ec2.unassign_ipv6_addresses(NetworkInterfaceId=worlds.A1, Ipv6Prefixes=["2001:db8:1:0:1::/80"])

    assert gone["UnassignedIpv6Prefixes"] == ["2001:db8:1:0:1::/80"]
    assert prefixes(ec2) == ["2001:db8:1:0:ff::/80"]


@pytest.mark.parametrize(
    ("parameters", "refusal"),
    [
        ({"Ipv4Prefixes": ["10.0.1.100/28"]}, "InvalidParameterValue.*10.0.1.100/28"),
        ({"Ipv4Prefixes": ["10.0.1.64/27"]}, "InvalidParameterValue.*expecting a /28"),
        ({"Ipv4Prefixes": ["10.0.0.64/28"]}, "does not fall within the subnet's address range"),
        ({"Ipv4Prefixes": ["10.0.1.0/28"]}, "in subnet's reserved range"),
        ({"Ipv4Prefixes": ["10.0.1.240/28"]}, "in subnet's reserved range"),
        ({"Ipv4Prefixes": ["10.0.1.48/28"]}, "InvalidParameterValue.*10.0.1.48/28 is not free"),
        ({"Ipv4PrefixCount": 0}, "InvalidParameterValue.*ipv4PrefixCount"),
        ({"Ipv4PrefixCount": 6}, "PrivateIpAddressLimitExceeded"),
        (
            {"Ipv4PrefixCount": 1, "SecondaryPrivateIpAddressCount": 1},
            "InvalidParameterCombination.*SecondaryPrivateIpAddressCount cannot be used.* Ipv4PrefixCount",
        ),
        (
            {"Ipv4Prefixes": [FIRST_FREE], "PrivateIpAddresses": ["10.0.1.100"]},
            "InvalidParameterCombination.*PrivateIpAddress cannot be used with the parameter Ipv4Prefix",
        ),
    ],
)
def test_these_prefixes_are_refused(parameters: dict[str, Any], refusal: str, ec2: EC2Client) -> None:
    with pytest.raises(ClientError, match=refusal):
        assign(ec2, **parameters)
    assert prefixes(ec2) == []


def test_another_interfaces_prefix_is_not_moved(ec2: EC2Client) -> None:
    assign(ec2, Ipv4Prefixes=[FIRST_FREE])

    with pytest.raises(ClientError, match="is not free"):
        ec2.assign_private_ip_addresses(
            NetworkInterfaceId=worlds.B1, Ipv4Prefixes=[FIRST_FREE], AllowReassignment=True
        )
    with pytest.raises(ClientError, match="prefixes are not assigned"):
        ec2.unassign_private_ip_addresses(NetworkInterfaceId=worlds.B1, Ipv4Prefixes=[FIRST_FREE])
    assert prefixes(ec2) == [FIRST_FREE]


def test_a_subnet_in_fragments_has_addresses_and_no_block(connect: Connect, clock: ManualClock) -> None:
    # One address in each block of a /26, of which the first and the last are the subnet's.
    subnet = {
        "id": "subnet-0a00000000000000f",
        "vpc": worlds.VPC,
        "cidr": "10.0.9.0/26",
        "az": "eu-central-1a",
    }
    spares = [
        worlds.spare(subnet=subnet["id"], primary="10.0.9.20"),
        worlds.spare(id=worlds.GONE, mac="02:cc:00:00:00:01", subnet=subnet["id"], primary="10.0.9.40"),
    ]
    world = worlds.world(interfaces=spares)
    world["subnets"].append(subnet)
    with Doubles(world, clock=clock) as doubles:
        ec2 = connect(doubles)
        with pytest.raises(ClientError, match=r"InsufficientCidrBlocks.*enough free cidr blocks"):
            ec2.assign_private_ip_addresses(NetworkInterfaceId=worlds.SPARE, Ipv4PrefixCount=1)
        with pytest.raises(ClientError, match=r"InvalidParameterValue.*sufficient free Ipv4 addresses"):
            ec2.assign_private_ip_addresses(NetworkInterfaceId=worlds.SPARE, Ipv4PrefixCount=4)
        ec2.assign_private_ip_addresses(NetworkInterfaceId=worlds.SPARE, SecondaryPrivateIpAddressCount=1)
        assert len(doubles.secondaries(worlds.SPARE)) == 1


def test_only_types_on_nitro_have_prefixes(connect: Connect, clock: ManualClock) -> None:
    instances = [worlds.node_a(type="m4.large", max_interfaces=3), worlds.node_b()]
    with Doubles(worlds.world(instances=instances), clock=clock) as doubles:
        ec2 = connect(doubles)
        with pytest.raises(ClientError, match=r"Prefix delegation is not supported for m4\.large"):
            assign(ec2, Ipv4PrefixCount=1)
        types = ec2.describe_instance_types(InstanceTypes=["m4.large", "m5.large", "m5.metal"])
    shown = {
        each["InstanceType"]: (each.get("Hypervisor"), each["BareMetal"]) for each in types["InstanceTypes"]
    }
    assert shown == {"m4.large": ("xen", False), "m5.large": ("nitro", False), "m5.metal": (None, True)}


@pytest.mark.parametrize(
    ("parameters", "shown"),
    [
        ({"Ipv4PrefixCount": 2}, [FIRST_FREE, SECOND_FREE]),
        (
            {"Ipv4Prefixes": [{"Ipv4Prefix": "10.0.1.96/28"}], "Ipv6PrefixCount": 1},
            ["10.0.1.96/28", "2001:db8:1:0:1::/80"],
        ),
        ({"Ipv6Prefixes": [{"Ipv6Prefix": "2001:db8:1:0:9::/80"}]}, ["2001:db8:1:0:9::/80"]),
    ],
)
def test_an_interface_may_be_created_with_prefixes(
    parameters: dict[str, Any], shown: list[str], ec2: EC2Client
) -> None:
    made = ec2.create_network_interface(SubnetId=worlds.POD_SUBNET, **parameters)["NetworkInterface"]
    assert prefixes(ec2, made["NetworkInterfaceId"]) == shown


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"Ipv4PrefixCount": 1}, {"SecondaryPrivateIpAddressCount": 1}),
        ({"Ipv4PrefixCount": 1}, {"Ipv4Prefixes": [{"Ipv4Prefix": FIRST_FREE}]}),
        (
            {"Ipv4Prefixes": [{"Ipv4Prefix": FIRST_FREE}]},
            {"PrivateIpAddresses": [{"PrivateIpAddress": "10.0.1.100"}]},
        ),
        ({"Ipv6PrefixCount": 1}, {"Ipv6AddressCount": 1}),
        ({"Ipv6PrefixCount": 1}, {"Ipv6Addresses": [{"Ipv6Address": "2001:db8:1::99"}]}),
    ],
)
def test_prefixes_exclude_addresses_and_counts_of_their_family(
    one: dict[str, Any], other: dict[str, Any], ec2: EC2Client
) -> None:
    with pytest.raises(ClientError, match=r"InvalidParameterCombination.*cannot be used with"):
        ec2.create_network_interface(SubnetId=worlds.POD_SUBNET, **one, **other)


def test_prefixes_are_chosen_from_their_reservation_and_addresses_are_not(ec2: EC2Client) -> None:
    reserve(ec2, "10.0.1.192/27")
    reserve(ec2, "10.0.1.64/27", "explicit")
    reserve(ec2, "10.0.1.0/26", "prefix")

    # The other blocks of the third range hold addresses: the subnet's own, 10.0.1.20, 10.0.1.50.
    assert assign(ec2, Ipv4PrefixCount=4) == [
        "10.0.1.192/28",
        "10.0.1.208/28",
        "10.0.1.32/28",
        "10.0.1.96/28",
    ]
    made = ec2.create_network_interface(SubnetId=worlds.POD_SUBNET)["NetworkInterface"]
    assert made["PrivateIpAddress"] == "10.0.1.112"
    assert assign(ec2, PrivateIpAddresses=["10.0.1.70"]) == []


def test_reservations_are_listed_until_they_are_deleted(ec2: EC2Client) -> None:
    ipv4, ipv6 = reserve(ec2, "10.0.1.192/27"), reserve(ec2, "2001:db8:1:0:8000::/66", "explicit")

    shown = ec2.get_subnet_cidr_reservations(SubnetId=worlds.POD_SUBNET)
    (first,) = shown["SubnetIpv4CidrReservations"]
    assert (first["SubnetCidrReservationId"], first["Cidr"]) == (ipv4, "10.0.1.192/27")
    assert (first["ReservationType"], first["Description"]) == ("prefix", "pods")
    assert [each["SubnetCidrReservationId"] for each in shown["SubnetIpv6CidrReservations"]] == [ipv6]

    gone = ec2.delete_subnet_cidr_reservation(SubnetCidrReservationId=ipv4)["DeletedSubnetCidrReservation"]
    assert gone["SubnetCidrReservationId"] == ipv4
    assert ec2.get_subnet_cidr_reservations(SubnetId=worlds.POD_SUBNET)["SubnetIpv4CidrReservations"] == []
    with pytest.raises(ClientError, match=r"InvalidSubnetCidrReservationID\.NotFound"):
        ec2.delete_subnet_cidr_reservation(SubnetCidrReservationId=ipv4)


@pytest.mark.parametrize(
    ("cidr", "kind", "refusal"),
    [
        ("10.0.0.0/27", "prefix", "InvalidParameterValue.*not within the range of the subnet"),
        ("10.0.1.64/28", "prefix", r"InvalidParameterValue.*overlaps the reservation 10\.0\.1\.64/27"),
        ("10.0.1.7/27", "prefix", "InvalidParameterValue.*cidr"),
        ("10.0.1.128/27", "all", "InvalidParameterValue.*reservationType"),
    ],
)
def test_these_reservations_are_refused(cidr: str, kind: str, refusal: str, ec2: EC2Client) -> None:
    reserve(ec2, "10.0.1.64/27")

    with pytest.raises(ClientError, match=refusal):
        reserve(ec2, cidr, kind)
