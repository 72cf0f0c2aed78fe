"""Elastic IPs with real boto3: where they are, what moves and ends them, and what EC2 refuses."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from tests.doubles import DocumentError, Doubles, ManualClock, load_world
from tests.doubles_tests import worlds
from tests.doubles_tests.imds_client import MACS, value

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

    from tests.doubles_tests.conftest import Connect

SIP, RTP, BOSTON = "eipalloc-0a000000000000001", "eipalloc-0a000000000000002", "eipalloc-0a000000000000003"
MINE, OTHERS = "10.0.1.10", "10.0.1.50"
"""The primary of A1, and the secondary of B1."""
ENTRY = f"{MACS}{worlds.A1_MAC}"


@pytest.fixture
def doubles(clock: ManualClock) -> Iterator[Doubles]:
    eips = [
        {"id": SIP, "public_ip": "198.51.100.1", "tags": {"pool": "sip"}},
        {"id": RTP, "public_ip": "198.51.100.2", "tags": {"pool": "rtp"}},
        {"id": BOSTON, "public_ip": "198.51.100.3", "network_border_group": "eu-central-1-bos-1"},
    ]
    with Doubles(worlds.world(elastic_ips=eips), clock=clock) as doubles:
        yield doubles


def associate(ec2: EC2Client, eip: str = SIP, eni: str = worlds.A1, private: str = MINE, **more: Any) -> str:
    return ec2.associate_address(AllocationId=eip, NetworkInterfaceId=eni, PrivateIpAddress=private, **more)[
        "AssociationId"
    ]


def shown(ec2: EC2Client, eip: str = SIP) -> Any:
    return ec2.describe_addresses(AllocationIds=[eip])["Addresses"][0]


def test_an_address_is_allocated_tagged_and_released(ec2: EC2Client) -> None:
    tags: Any = [{"ResourceType": "elastic-ip", "Tags": [{"Key": "pool", "Value": "oam"}]}]
    made = ec2.allocate_address(Domain="vpc", TagSpecifications=tags)
    ec2.create_tags(Resources=[made["AllocationId"]], Tags=[{"Key": "owner", "Value": "us"}])

    found = ec2.describe_addresses(Filters=[{"Name": "tag:pool", "Values": ["oam"]}])["Addresses"]

    assert [each["PublicIp"] for each in found] == [made["PublicIp"]] == ["203.0.113.1"]
    assert {tag["Key"]: tag["Value"] for tag in found[0]["Tags"]} == {"pool": "oam", "owner": "us"}
    assert found[0]["NetworkBorderGroup"] == worlds.REGION
    ec2.release_address(AllocationId=made["AllocationId"])
    assert ec2.describe_addresses(PublicIps=["198.51.100.1"])["Addresses"][0]["AllocationId"] == SIP
    assert len(ec2.describe_addresses()["Addresses"]) == 3


def test_an_association_is_shown_everywhere(doubles: Doubles, ec2: EC2Client) -> None:
    made = associate(ec2)

    found = shown(ec2)
    assert (found["AssociationId"], found["NetworkInterfaceId"]) == (made, worlds.A1)
    assert (found["PrivateIpAddress"], found["InstanceId"]) == (MINE, worlds.NODE_A)
    eni = ec2.describe_network_interfaces(NetworkInterfaceIds=[worlds.A1])["NetworkInterfaces"][0]
    assert eni["PrivateIpAddresses"][0]["Association"]["PublicIp"] == "198.51.100.1"
    assert eni["Association"]["AllocationId"] == SIP
    assert value(doubles, f"{ENTRY}/public-ipv4s") == "198.51.100.1"
    assert value(doubles, f"{ENTRY}/ipv4-associations/198.51.100.1") == MINE
    by_filter = ec2.describe_addresses(Filters=[{"Name": "private-ip-address", "Values": [MINE]}])
    assert [each["AllocationId"] for each in by_filter["Addresses"]] == [SIP]
    ec2.disassociate_address(AssociationId=made)
    assert "AssociationId" not in shown(ec2)
    assert value(doubles, f"{ENTRY}/public-ipv4s") is None


def test_it_follows_an_address_that_moves(doubles: Doubles, ec2: EC2Client, clock: ManualClock) -> None:
    doubles.change_settings(imds_delay_ms=2000)
    made = associate(ec2, eni=worlds.B1, private=OTHERS)

    ec2.assign_private_ip_addresses(
        NetworkInterfaceId=worlds.A1, PrivateIpAddresses=[OTHERS], AllowReassignment=True
    )

    found = shown(ec2)
    assert (found["NetworkInterfaceId"], found["PrivateIpAddress"]) == (worlds.A1, OTHERS)
    assert found["AssociationId"] == made
    assert value(doubles, f"{ENTRY}/public-ipv4s") is None
    clock.advance(2.1)
    assert value(doubles, f"{ENTRY}/ipv4-associations/198.51.100.1") == OTHERS
    assert doubles.remaps == 1


@pytest.mark.parametrize("end", ["unassign", "delete"])
def test_it_ends_with_its_address(end: str, doubles: Doubles, ec2: EC2Client) -> None:
    made = ec2.create_network_interface(SubnetId=worlds.POD_SUBNET, PrivateIpAddress="10.0.1.30")
    eni: Any = made["NetworkInterface"].get("NetworkInterfaceId")
    if end == "unassign":
        associate(ec2, eni=worlds.B1, private=OTHERS)
        ec2.unassign_private_ip_addresses(NetworkInterfaceId=worlds.B1, PrivateIpAddresses=[OTHERS])
    else:
        associate(ec2, eni=eni, private="10.0.1.30")
        ec2.delete_network_interface(NetworkInterfaceId=eni)

    assert "AssociationId" not in shown(ec2)
    assert doubles.elastic_ip(OTHERS) == ()


def test_a_repeat_changes_nothing_and_is_charged(doubles: Doubles, ec2: EC2Client) -> None:
    first = associate(ec2)

    assert associate(ec2) == first
    assert associate(ec2, AllowReassociation=False) == first
    assert doubles.remaps == 3


def test_a_private_address_has_one_elastic_ip(doubles: Doubles, ec2: EC2Client) -> None:
    associate(ec2)
    with pytest.raises(ClientError, match=r"Resource\.AlreadyAssociated"):
        associate(ec2, RTP, AllowReassociation=False)

    associate(ec2, RTP)

    assert doubles.elastic_ip(MINE) == (RTP,)
    assert "AssociationId" not in shown(ec2, SIP)


def test_it_is_taken_from_elsewhere_unless_that_is_forbidden(doubles: Doubles, ec2: EC2Client) -> None:
    first = associate(ec2)
    with pytest.raises(ClientError, match=f"resource {SIP} is already associated with associate-id {first}"):
        associate(ec2, eni=worlds.B1, private=OTHERS, AllowReassociation=False)

    second = associate(ec2, eni=worlds.B1, private=OTHERS)

    assert second != first
    assert (doubles.elastic_ip(MINE), doubles.elastic_ip(OTHERS)) == ((), (SIP,))


REFUSED: list[tuple[str, str, Callable[[EC2Client], object]]] = [
    ("InvalidAllocationID.NotFound", "does not exist", lambda c: associate(c, "eipalloc-0f000000")),
    ("InvalidAllocationID.Malformed", "Invalid id", lambda c: associate(c, "sip")),
    ("InvalidNetworkInterfaceID.NotFound", "does not exist", lambda c: associate(c, eni=worlds.GONE)),
    ("InvalidParameterValue", "is not assigned to", lambda c: associate(c, private="10.0.1.99")),
    ("InvalidParameterValue", "network border group eu-central-1-bos-1", lambda c: associate(c, BOSTON)),
    ("InvalidAssociationID.NotFound", "does not exist",
     lambda c: c.disassociate_address(AssociationId="eipassoc-0f000000")),
    ("InvalidAddress.NotFound", "198.51.100.9", lambda c: c.describe_addresses(PublicIps=["198.51.100.9"])),
    ("InvalidAddress.NotFound", "198.51.100.3",
     lambda c: c.release_address(AllocationId=BOSTON, NetworkBorderGroup=worlds.REGION)),
    ("UnsupportedOperation", "InstanceId",
     lambda c: c.associate_address(AllocationId=SIP, InstanceId=worlds.NODE_A, NetworkInterfaceId=worlds.A1)),
    ("DryRunOperation", "would have succeeded", lambda c: associate(c, DryRun=True)),
]  # fmt: skip


@pytest.mark.parametrize(("code", "message", "call"), REFUSED)
def test_refused(
    code: str, message: str, call: Callable[[EC2Client], object], doubles: Doubles, ec2: EC2Client
) -> None:
    before = doubles.state()

    with pytest.raises(ClientError) as refused:
        call(ec2)

    error = refused.value.response["Error"]
    assert error["Code"] == code
    assert re.search(message, error["Message"]), error["Message"]
    assert doubles.state() == before


def test_an_address_in_use_is_not_released(ec2: EC2Client) -> None:
    associate(ec2)

    with pytest.raises(ClientError, match=r"InvalidIPAddress.InUse.*198\.51\.100\.1 is in use"):
        ec2.release_address(AllocationId=SIP)


def test_a_vpc_needs_an_internet_gateway(doubles: Doubles, ec2: EC2Client) -> None:
    doubles.change_settings(internet_gateways=[])

    with pytest.raises(
        ClientError, match=rf"Gateway.NotAttached.*Network {worlds.VPC} is not attached to any"
    ):
        associate(ec2)
    assert doubles.remaps == 0


def test_the_account_has_a_quota(doubles: Doubles, ec2: EC2Client) -> None:
    doubles.change_settings(elastic_ip_quota=4)
    ec2.allocate_address(Domain="vpc")

    with pytest.raises(ClientError, match=r"AddressLimitExceeded.*maximum number of addresses"):
        ec2.allocate_address(Domain="vpc")


def test_rights_are_asked_for_both_resources(clock: ManualClock, connect: Connect) -> None:
    """AssociateAddress and DisassociateAddress need the elastic-ip and the network interface."""
    pool = {"StringEquals": {"aws:ResourceTag/pool": "sip"}}
    managed = {"StringEquals": {"aws:ResourceTag/node.k8s.amazonaws.com/no_manage": "true"}}
    actions = ["ec2:AssociateAddress", "ec2:DisassociateAddress"]
    arn = "arn:aws:ec2:*:*"
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": actions, "Resource": f"{arn}:elastic-ip/*", "Condition": pool},
            {
                "Effect": "Allow",
                "Action": actions,
                "Resource": f"{arn}:network-interface/*",
                "Condition": managed,
            },
        ],
    }
    keys = [{"id": worlds.ADMIN, "secret": worlds.SECRET, "policy": policy}]
    eips = [
        {"id": SIP, "public_ip": "198.51.100.1", "tags": {"pool": "sip"}},
        {"id": RTP, "public_ip": "198.51.100.2", "tags": {"pool": "rtp"}},
    ]
    with Doubles(worlds.world(elastic_ips=eips, access_keys=keys), clock=clock) as doubles:
        ec2 = connect(doubles)
        made = associate(ec2)
        for eip, eni in ((RTP, worlds.A1), (SIP, worlds.B1)):
            with pytest.raises(ClientError, match=r"UnauthorizedOperation.*AssociateAddress"):
                associate(ec2, eip, eni)
        ec2.disassociate_address(AssociationId=made)
        with pytest.raises(ClientError, match=r"UnauthorizedOperation.*elastic-ip"):
            ec2.allocate_address(Domain="vpc")


@pytest.mark.parametrize(
    ("eips", "message"),
    [
        ([{"id": "sip", "public_ip": "198.51.100.1"}], "eipalloc-"),
        ([{"id": SIP, "public_ip": "banana"}], "an IPv4 address"),
        (
            [{"id": SIP, "public_ip": "198.51.100.1"}, {"id": RTP, "public_ip": "198.51.100.1"}],
            "is there twice",
        ),
    ],
)
def test_a_world_file_with_wrong_elastic_ips_is_refused(eips: list[dict[str, str]], message: str) -> None:
    with pytest.raises(DocumentError, match=message):
        load_world(worlds.world(elastic_ips=eips))
