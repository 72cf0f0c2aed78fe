"""Interfaces that come and go, tags and instance types, with real boto3."""

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
    from mypy_boto3_ec2.type_defs import TagTypeDef

    from tests.doubles_tests.conftest import Connect

SPARE_MAC = "02:cc:00:00:00:00"
A1_ATTACHMENT = "eni-attach-0a000000000000001"


def world(**changes: Any) -> dict[str, Any]:
    """Return a world with a spare interface, and room for it on node A alone."""
    instances = [worlds.node_a(max_interfaces=4), worlds.node_b()]
    return worlds.world(instances=instances, interfaces=[worlds.spare()], **changes)


@pytest.fixture
def doubles(clock: ManualClock) -> Iterator[Doubles]:
    with Doubles(world(), clock=clock) as doubles:
        yield doubles


def described(ec2: EC2Client, interface: str) -> Any:
    return ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])["NetworkInterfaces"][0]


def test_a_spare_interface_is_available(ec2: EC2Client) -> None:
    shown = described(ec2, worlds.SPARE)

    assert shown["Status"] == "available"
    assert "Attachment" not in shown
    found = ec2.describe_network_interfaces(Filters=[{"Name": "attachment.status", "Values": ["attached"]}])
    assert worlds.SPARE not in [card["NetworkInterfaceId"] for card in found["NetworkInterfaces"]]


def test_an_attached_interface_is_on_the_instance_and_in_imds(doubles: Doubles, ec2: EC2Client) -> None:
    answer = ec2.attach_network_interface(
        NetworkInterfaceId=worlds.SPARE, InstanceId=worlds.NODE_A, DeviceIndex=3
    )

    attachment = described(ec2, worlds.SPARE)["Attachment"]
    assert attachment["AttachmentId"] == answer["AttachmentId"]
    assert (attachment["InstanceId"], attachment["DeviceIndex"]) == (worlds.NODE_A, 3)
    assert (attachment["Status"], attachment["DeleteOnTermination"]) == ("attached", False)
    assert value(doubles, f"{MACS}{SPARE_MAC}/device-number") == "3"


def test_a_detached_interface_is_gone_and_may_go_elsewhere(doubles: Doubles, ec2: EC2Client) -> None:
    ec2.detach_network_interface(AttachmentId=A1_ATTACHMENT)

    assert described(ec2, worlds.A1)["Status"] == "available"
    assert value(doubles, f"{MACS}{worlds.A1_MAC}/interface-id") is None
    again = ec2.attach_network_interface(
        NetworkInterfaceId=worlds.A1, InstanceId=worlds.NODE_A, DeviceIndex=1
    )
    assert again["AttachmentId"] != A1_ATTACHMENT


def test_attaching_and_detaching_take_their_time(
    doubles: Doubles, ec2: EC2Client, clock: ManualClock
) -> None:
    doubles.change_settings(attach_delay_ms=2000, imds_delay_ms=1000)
    path = f"{MACS}{SPARE_MAC}/interface-id"

    def status() -> str | None:
        attachment = described(ec2, worlds.SPARE).get("Attachment")
        return attachment["Status"] if attachment else None

    attachment = ec2.attach_network_interface(
        NetworkInterfaceId=worlds.SPARE, InstanceId=worlds.NODE_A, DeviceIndex=3
    )["AttachmentId"]
    assert (status(), value(doubles, path)) == ("attaching", None)
    clock.advance(2)
    assert (status(), value(doubles, path)) == ("attached", None)
    clock.advance(1)
    assert value(doubles, path) == worlds.SPARE

    ec2.detach_network_interface(AttachmentId=attachment)
    ec2.detach_network_interface(AttachmentId=attachment)
    assert (status(), value(doubles, path)) == ("detaching", worlds.SPARE)
    # Nobody asks EC2 in between: it happens anyway.
    clock.advance(2.5)
    assert value(doubles, path) == worlds.SPARE
    clock.advance(0.5)
    assert value(doubles, path) is None
    assert status() is None


def test_an_interface_without_instance_has_no_limit_until_it_is_attached(ec2: EC2Client) -> None:
    ec2.assign_private_ip_addresses(NetworkInterfaceId=worlds.SPARE, SecondaryPrivateIpAddressCount=6)

    with pytest.raises(ClientError, match="PrivateIpAddressLimitExceeded"):
        ec2.attach_network_interface(NetworkInterfaceId=worlds.SPARE, InstanceId=worlds.NODE_A, DeviceIndex=3)


def test_a_new_interface_has_what_was_asked_for(doubles: Doubles, ec2: EC2Client) -> None:
    made = ec2.create_network_interface(
        SubnetId=worlds.POD_SUBNET,
        Description="for pods",
        PrivateIpAddresses=[
            {"PrivateIpAddress": "10.0.1.101", "Primary": False},
            {"PrivateIpAddress": "10.0.1.100", "Primary": True},
        ],
        Ipv6Addresses=[{"Ipv6Address": "2001:db8:1::100"}],
        Groups=["sg-0a000000000000001"],
        TagSpecifications=[
            {
                "ResourceType": "network-interface",
                "Tags": [{"Key": "Name", "Value": "pods"}, {"Key": "x", "Value": ""}],
            }
        ],
    )["NetworkInterface"]

    identifier = made["NetworkInterfaceId"]
    assert re.fullmatch(r"eni-[0-9a-f]{17}", identifier)
    assert re.fullmatch(r"06(:[0-9a-f]{2}){5}", made["MacAddress"])
    assert (made["Status"], made["Description"]) == ("available", "for pods")
    assert made["PrivateIpAddress"] == "10.0.1.100"
    assert doubles.secondaries(identifier) == ("10.0.1.101",)
    assert doubles.ipv6s(identifier) == ("2001:db8:1::100",)
    assert made["TagSet"] == [{"Key": "Name", "Value": "pods"}, {"Key": "x", "Value": ""}]
    assert described(ec2, identifier) == made


def test_ec2_chooses_addresses_of_a_new_interface(doubles: Doubles, ec2: EC2Client) -> None:
    one, other = (
        ec2.create_network_interface(
            SubnetId=worlds.POD_SUBNET, SecondaryPrivateIpAddressCount=2, Ipv6AddressCount=1
        )["NetworkInterface"]
        for _ in range(2)
    )

    assert one["PrivateIpAddress"] == "10.0.1.4"
    assert doubles.secondaries(one["NetworkInterfaceId"]) == ("10.0.1.5", "10.0.1.6")
    assert other["PrivateIpAddress"] == "10.0.1.7"
    assert doubles.ipv6s(other["NetworkInterfaceId"]) == ("2001:db8:1::5",)
    assert one["MacAddress"] != other["MacAddress"]


def test_a_deleted_interface_gives_its_addresses_back(doubles: Doubles, ec2: EC2Client) -> None:
    ec2.delete_network_interface(NetworkInterfaceId=worlds.SPARE)

    assert doubles.holder_of("10.0.1.30") is None
    with pytest.raises(ClientError, match=r"InvalidNetworkInterfaceID\.NotFound"):
        described(ec2, worlds.SPARE)


def test_tags_are_set_changed_and_deleted(ec2: EC2Client) -> None:
    def tags() -> dict[str, str]:
        return {tag["Key"]: tag["Value"] for tag in described(ec2, worlds.A1)["TagSet"]}

    before = tags()
    first: list[TagTypeDef] = [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]
    ec2.create_tags(Resources=[worlds.A1, worlds.NODE_A, worlds.POD_SUBNET], Tags=first)
    ec2.create_tags(Resources=[worlds.A1], Tags=[{"Key": "a", "Value": "3"}])
    assert tags() == before | {"a": "3", "b": "2"}
    instance = ec2.describe_instances(InstanceIds=[worlds.NODE_A])["Reservations"][0]["Instances"][0]
    assert {"Key": "a", "Value": "1"} in instance["Tags"]

    ec2.delete_tags(Resources=[worlds.A1], Tags=[{"Key": "a", "Value": "1"}, {"Key": "b"}])
    assert tags() == before | {"a": "3"}
    ec2.delete_tags(Resources=[worlds.A1])
    assert tags() == {}


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([("resource-type", "instance")], {(worlds.NODE_A, "Name", "node-a")}),
        ([("resource-id", worlds.POD_SUBNET)], {(worlds.POD_SUBNET, "Name", "pods")}),
        ([("key", "*no_manage")], {(worlds.A1, "node.k8s.amazonaws.com/no_manage", "true")}),
        ([("value", "pods")], {(worlds.POD_SUBNET, "Name", "pods")}),
        ([("tag:Name", "node-*")], {(worlds.NODE_A, "Name", "node-a")}),
        ([("key", "Name"), ("resource-type", "subnet")], {(worlds.POD_SUBNET, "Name", "pods")}),
    ],
)
def test_tags_are_found_by_filter(
    filters: list[tuple[str, str]], expected: set[tuple[str, str, str]], reading: EC2Client
) -> None:
    found = reading.describe_tags(Filters=[{"Name": name, "Values": [value]} for name, value in filters])

    assert {(tag["ResourceId"], tag["Key"], tag["Value"]) for tag in found["Tags"]} == expected


def test_tags_come_page_by_page(ec2: EC2Client) -> None:
    ec2.create_tags(Resources=[worlds.B1], Tags=[{"Key": f"k{n}", "Value": str(n)} for n in range(10)])

    pages = list(ec2.get_paginator("describe_tags").paginate(PaginationConfig={"PageSize": 5}))

    assert [len(page["Tags"]) for page in pages] == [5, 5, 3]


def test_an_instance_type_tells_its_limits(doubles: Doubles, ec2: EC2Client) -> None:
    (card,) = ec2.describe_instance_types(InstanceTypes=["p4d.24xlarge"])["InstanceTypes"]
    assert card["NetworkInfo"]["MaximumNetworkInterfaces"] == 60
    assert [part["MaximumNetworkInterfaces"] for part in card["NetworkInfo"]["NetworkCards"]] == [15] * 4

    found = ec2.describe_instance_types(
        Filters=[
            {"Name": "network-info.ipv6-addresses-per-interface", "Values": ["6"]},
            {"Name": "instance-type", "Values": ["t3.*"]},
        ]
    )["InstanceTypes"]
    assert [card["InstanceType"] for card in found] == ["t3.medium"]
    # The world's node A of this type states another limit.
    assert found[0]["NetworkInfo"]["MaximumNetworkInterfaces"] == 4
    limits = doubles.world.instances[worlds.NODE_A].limits
    assert found[0]["NetworkInfo"]["Ipv4AddressesPerInterface"] == limits.ipv4_per_interface


def test_instance_types_come_page_by_page(reading: EC2Client) -> None:
    pages = list(reading.get_paginator("describe_instance_types").paginate(PaginationConfig={"PageSize": 10}))

    names = [found["InstanceType"] for page in pages for found in page["InstanceTypes"]]
    assert len(names) == len(set(names)) > 30
    assert {"m5.xlarge", "t3.medium"} <= set(names)


@dataclass(frozen=True)
class Case:
    name: str
    call: Callable[[EC2Client], object]
    code: str
    message: str = ""


def attach(interface: str, instance: str, device: int, **more: Any) -> Callable[[EC2Client], object]:
    return lambda client: client.attach_network_interface(
        NetworkInterfaceId=interface, InstanceId=instance, DeviceIndex=device, **more
    )


def detach(attachment: str, **more: Any) -> Callable[[EC2Client], object]:
    return lambda client: client.detach_network_interface(AttachmentId=attachment, **more)


def create(subnet: str = worlds.POD_SUBNET, **more: Any) -> Callable[[EC2Client], object]:
    return lambda client: client.create_network_interface(SubnetId=subnet, **more)


def tag(resource: str, *tags: tuple[str, str], **more: Any) -> Callable[[EC2Client], object]:
    return lambda client: client.create_tags(
        Resources=[resource], Tags=[{"Key": key, "Value": value} for key, value in tags], **more
    )


CASES = [
    Case(
        "attach what is attached",
        attach(worlds.B1, worlds.NODE_A, 3),
        "InvalidNetworkInterface.InUse",
        worlds.B1,
    ),
    Case(
        "attach where another is",
        attach(worlds.SPARE, worlds.NODE_A, 1),
        "InvalidParameterValue",
        "device index '1'",
    ),
    Case(
        "attach more than the type allows",
        attach(worlds.SPARE, worlds.NODE_B, 3),
        "AttachmentLimitExceeded",
        "Interface count 4 exceeds the limit for m5.large",
    ),
    Case(
        "attach to a network card that is not there",
        attach(worlds.SPARE, worlds.NODE_A, 3, NetworkCardIndex=1),
        "InvalidParameterValue",
        "network card",
    ),
    Case("attach to nothing", attach(worlds.SPARE, "i-0f000000000000000", 3), "InvalidInstanceID.NotFound"),
    Case("attach nothing", attach(worlds.GONE, worlds.NODE_A, 3), "InvalidNetworkInterfaceID.NotFound"),
    Case("attach as a dry run", attach(worlds.SPARE, worlds.NODE_A, 3, DryRun=True), "DryRunOperation"),
    Case(
        "detach the node's own",
        detach("eni-attach-0a000000000000000"),
        "OperationNotPermitted",
        "device index 0",
    ),
    Case(
        "detach what is not attached", detach("eni-attach-0f000000000000000"), "InvalidAttachmentID.NotFound"
    ),
    Case("detach by an interface", detach(worlds.A1), "InvalidNetworkInterfaceAttachmentId.Malformed"),
    Case("detach as a dry run", detach(A1_ATTACHMENT, DryRun=True), "DryRunOperation"),
    Case(
        "delete what is attached",
        lambda client: client.delete_network_interface(NetworkInterfaceId=worlds.A1),
        "InvalidParameterValue",
        "is currently in use",
    ),
    Case(
        "delete nothing",
        lambda client: client.delete_network_interface(NetworkInterfaceId=worlds.GONE),
        "InvalidNetworkInterfaceID.NotFound",
    ),
    Case(
        "delete as a dry run",
        lambda client: client.delete_network_interface(NetworkInterfaceId=worlds.SPARE, DryRun=True),
        "DryRunOperation",
    ),
    Case("create nowhere", create("subnet-0f000000000000000"), "InvalidSubnetID.NotFound"),
    Case("create in a full subnet", create(worlds.CROWDED_SUBNET), "InsufficientFreeAddressesInSubnet"),
    Case("create with another's address", create(PrivateIpAddress="10.0.1.50"), "InvalidIPAddress.InUse"),
    Case(
        "create outside the subnet",
        create(PrivateIpAddress="10.0.9.9"),
        "InvalidParameterValue",
        "fall within",
    ),
    Case("create with no address", create(PrivateIpAddress="banana"), "InvalidParameterValue", "banana"),
    Case(
        "create with another's IPv6 address",
        create(Ipv6Addresses=[{"Ipv6Address": "2001:db8:1::50"}]),
        "InvalidIPAddress.InUse",
    ),
    Case("create with no group", create(Groups=["sg-0f000000000000000"]), "InvalidGroup.NotFound"),
    Case(
        "create with tags of something else",
        create(TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "a", "Value": "b"}]}]),
        "InvalidParameterValue",
        "network-interface",
    ),
    Case("create with a count of nothing", create(SecondaryPrivateIpAddressCount=0), "InvalidParameterValue"),
    Case("create as a dry run", create(DryRun=True), "DryRunOperation"),
    Case("tag nothing", tag(worlds.GONE, ("a", "b")), "InvalidNetworkInterfaceID.NotFound"),
    Case("tag what has no id", tag("node-a", ("a", "b")), "InvalidID", "'node-a' is not valid"),
    Case("tag with nothing", tag(worlds.A1), "MissingParameter", "Tag"),
    Case("tag with AWS's own", tag(worlds.A1, ("AWS:x", "b")), "InvalidParameterValue", "reserved"),
    Case("tag with a long key", tag(worlds.A1, ("k" * 129, "b")), "InvalidParameterValue", "128"),
    Case("tag with a long value", tag(worlds.A1, ("k", "v" * 257)), "InvalidParameterValue", "256"),
    Case(
        "tag twice", tag(worlds.A1, ("k", "1"), ("k", "2")), "InvalidParameterValue", "Duplicate tag key 'k'"
    ),
    Case("tag too often", tag(worlds.A1, *((f"k{n}", "v") for n in range(50))), "TagLimitExceeded"),
    Case("tag as a dry run", tag(worlds.A1, ("a", "b"), DryRun=True), "DryRunOperation"),
    Case(
        "untag nothing",
        lambda client: client.delete_tags(Resources=[worlds.GONE]),
        "InvalidNetworkInterfaceID.NotFound",
    ),
    Case(
        "untag no resource", lambda client: client.delete_tags(Resources=[]), "MissingParameter", "ResourceId"
    ),
    Case(
        "describe an unknown type",
        lambda client: client.describe_instance_types(InstanceTypes=["x9.huge"]),  # type: ignore[list-item] # unknown
        "InvalidInstanceType",
        "x9.huge",
    ),
    Case(
        "describe types by tag",
        lambda client: client.describe_instance_types(Filters=[{"Name": "tag:a", "Values": ["b"]}]),
        "InvalidParameterValue",
        "filter 'tag:a' is invalid",
    ),
    Case(
        "describe types in large pages",
        lambda client: client.describe_instance_types(MaxResults=101),
        "InvalidParameterValue",
        "maxResults",
    ),
]


@pytest.fixture(scope="module")
def unchanged() -> Iterator[Doubles]:
    with Doubles(world()) as doubles:
        yield doubles


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_refused_call_changes_nothing(case: Case, unchanged: Doubles, connect: Connect) -> None:
    before = unchanged.state()

    with pytest.raises(ClientError) as refused:
        case.call(connect(unchanged))

    error = refused.value.response["Error"]
    assert error["Code"] == case.code
    assert re.search(case.message, error["Message"]), error["Message"]
    assert unchanged.state() == before


def test_an_interface_of_another_zone_is_not_attached(connect: Connect) -> None:
    elsewhere = {
        "id": "subnet-0a000000000000009",
        "vpc": worlds.VPC,
        "cidr": "10.0.9.0/24",
        "az": "eu-central-1b",
    }
    given = world()
    given["subnets"].append(elsewhere)
    given["interfaces"] = [worlds.spare(subnet=elsewhere["id"], primary="10.0.9.9")]
    with Doubles(given) as doubles, pytest.raises(ClientError, match="not in the same availability zone"):
        attach(worlds.SPARE, worlds.NODE_A, 3)(connect(doubles))
