"""The life of an ENI by real boto3: made once for a token, attached, changed, gone with its instance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from botocore.exceptions import ClientError

from tests.doubles import Doubles, ManualClock
from tests.doubles_tests import worlds

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

    from tests.doubles_tests.conftest import Connect

GROUP = "sg-0b000000000000001"
OTHER_VPC = "vpc-0b000000000000002"
FOREIGN_GROUP = "sg-0c000000000000002"


def world(**changes: Any) -> dict[str, Any]:
    return worlds.world(
        instances=[worlds.node_a(max_interfaces=6), worlds.node_b()],
        subnets=[
            *worlds.world()["subnets"],
            {
                "id": "subnet-0b000000000000009",
                "vpc": OTHER_VPC,
                "cidr": "192.168.9.0/24",
                "az": "eu-central-1a",
            },
        ],
        security_groups=[
            {"id": GROUP, "vpc": worlds.VPC, "name": "multus", "tags": {"multus": "oam"}},
            {"id": FOREIGN_GROUP, "vpc": OTHER_VPC, "name": "foreign"},
        ],
        **changes,
    )


@pytest.fixture
def doubles(clock: ManualClock) -> Iterator[Doubles]:
    with Doubles(world(), clock=clock) as doubles:
        yield doubles


def described(ec2: EC2Client, interface: str) -> Any:
    return ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])["NetworkInterfaces"][0]


def create(ec2: EC2Client, **more: Any) -> Any:
    return ec2.create_network_interface(SubnetId=worlds.NODE_SUBNET, Groups=[GROUP], **more)[
        "NetworkInterface"
    ]


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(ClientError) as caught:
        call()
    return caught.value.response["Error"]["Code"]


def test_security_groups_are_found_by_tag_and_vpc(ec2: EC2Client) -> None:
    def found(name: str, value: str) -> list[str]:
        shown = ec2.describe_security_groups(Filters=[{"Name": name, "Values": [value]}])
        return sorted(group["GroupName"] for group in shown["SecurityGroups"])

    assert found("tag:multus", "oam") == ["multus"]
    assert found("vpc-id", worlds.VPC) == ["default", "multus"]
    assert found("group-name", "foreign") == ["foreign"]


def test_subnets_are_found_by_tag(ec2: EC2Client) -> None:
    ec2.create_tags(Resources=[worlds.NODE_SUBNET], Tags=[{"Key": "multus", "Value": "oam"}])
    shown = ec2.describe_subnets(Filters=[{"Name": "tag:multus", "Values": ["oam"]}])["Subnets"]
    assert [subnet["SubnetId"] for subnet in shown] == [worlds.NODE_SUBNET]


def test_one_token_makes_one_interface(doubles: Doubles, ec2: EC2Client) -> None:
    first = create(ec2, ClientToken="one", Description="oam")
    again = create(ec2, ClientToken="one", Description="oam")
    other = create(ec2, ClientToken="two", Description="oam")
    assert first["NetworkInterfaceId"] == again["NetworkInterfaceId"] != other["NetworkInterfaceId"]
    assert refused(lambda: create(ec2, ClientToken="one", Description="sig")) == "IdempotentParameterMismatch"
    made = [each for each in doubles.world.interfaces.values() if each.description == "oam"]
    assert len(made) == 2


def test_an_interface_has_the_groups_that_it_was_made_with(ec2: EC2Client) -> None:
    made = create(ec2)
    assert [group["GroupName"] for group in described(ec2, made["NetworkInterfaceId"])["Groups"]] == [
        "multus"
    ]
    for group, code in (
        (FOREIGN_GROUP, "InvalidParameterValue"),
        ("sg-0b000000000000009", "InvalidGroup.NotFound"),
    ):
        with pytest.raises(ClientError, match=code):
            ec2.create_network_interface(SubnetId=worlds.NODE_SUBNET, Groups=[group])


def test_each_attribute_is_changed_by_a_call_of_its_own(ec2: EC2Client) -> None:
    eni = create(ec2)["NetworkInterfaceId"]
    change = ec2.modify_network_interface_attribute
    attachment = ec2.attach_network_interface(
        NetworkInterfaceId=eni, InstanceId=worlds.NODE_A, DeviceIndex=3, NetworkCardIndex=0
    )["AttachmentId"]
    assert described(ec2, eni)["Attachment"]["DeleteOnTermination"] is False
    change(NetworkInterfaceId=eni, SourceDestCheck={"Value": False})
    change(NetworkInterfaceId=eni, Description={"Value": "changed"})
    change(NetworkInterfaceId=eni, Groups=["sg-" + worlds.VPC.removeprefix("vpc-")])
    change(NetworkInterfaceId=eni, Attachment={"AttachmentId": attachment, "DeleteOnTermination": True})
    shown = described(ec2, eni)
    assert (shown["SourceDestCheck"], shown["Description"]) == (False, "changed")
    assert [group["GroupName"] for group in shown["Groups"]] == ["default"]
    assert shown["Attachment"]["DeleteOnTermination"] is True
    filters = [{"Name": "attachment.delete-on-termination", "Values": ["true"]}]
    found = ec2.describe_network_interfaces(Filters=filters)["NetworkInterfaces"]  # type: ignore[arg-type] # by name
    assert eni in [each["NetworkInterfaceId"] for each in found]


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ({}, "MissingParameter"),
        (
            {"SourceDestCheck": {"Value": False}, "Description": {"Value": "x"}},
            "InvalidParameterCombination",
        ),
        ({"Groups": [FOREIGN_GROUP]}, "InvalidParameterValue"),
        (
            {"Attachment": {"AttachmentId": "eni-attach-0b000000000000001", "DeleteOnTermination": True}},
            "InvalidAttachmentID.NotFound",
        ),
    ],
)
def test_a_change_that_ec2_refuses_changes_nothing(
    doubles: Doubles, ec2: EC2Client, attributes: dict[str, Any], code: str
) -> None:
    eni = create(ec2)["NetworkInterfaceId"]
    before = doubles.world.interfaces
    change = ec2.modify_network_interface_attribute
    assert refused(lambda: change(NetworkInterfaceId=eni, **attributes)) == code
    assert doubles.world.interfaces == before


def test_other_calls_know_a_new_interface_only_after_a_while(
    doubles: Doubles, ec2: EC2Client, clock: ManualClock
) -> None:
    doubles.change_settings(describe_delay_ms=3000)
    eni = create(ec2)["NetworkInterfaceId"]

    def attach() -> object:
        return ec2.attach_network_interface(NetworkInterfaceId=eni, InstanceId=worlds.NODE_A, DeviceIndex=3)

    assert refused(lambda: described(ec2, eni)) == "InvalidNetworkInterfaceID.NotFound"
    assert refused(attach) == "InvalidNetworkInterfaceID.NotFound"
    listed = ec2.describe_network_interfaces()["NetworkInterfaces"]
    assert eni not in [each["NetworkInterfaceId"] for each in listed]
    clock.advance(3)
    attach()
    assert described(ec2, eni)["Attachment"]["InstanceId"] == worlds.NODE_A


def set_state(doubles: Doubles, state: str) -> httpx.Response:
    return httpx.patch(f"{doubles.ec2_url}/_double/instances/{worlds.NODE_A}", json={"state": state})


def test_termination_takes_the_interfaces_that_end_with_the_instance(
    doubles: Doubles, ec2: EC2Client
) -> None:
    kept, ending = (create(ec2)["NetworkInterfaceId"] for _ in range(2))
    for device, eni in ((2, kept), (3, ending)):
        ec2.attach_network_interface(NetworkInterfaceId=eni, InstanceId=worlds.NODE_A, DeviceIndex=device)
    attachment = described(ec2, ending)["Attachment"]["AttachmentId"]
    ec2.modify_network_interface_attribute(
        NetworkInterfaceId=ending, Attachment={"AttachmentId": attachment, "DeleteOnTermination": True}
    )
    primary = doubles.world.interfaces_of(worlds.NODE_A)[0].id
    assert set_state(doubles, "terminated").json()["state"] == "terminated"
    assert described(ec2, kept)["Status"] == "available"
    for gone in (ending, primary):
        assert refused(lambda gone=gone: described(ec2, gone)) == "InvalidNetworkInterfaceID.NotFound"  # type: ignore[misc] # bound now
    (shown,) = ec2.describe_instances(InstanceIds=[worlds.NODE_A])["Reservations"][0]["Instances"]
    assert (shown["State"]["Name"], shown["NetworkInterfaces"]) == ("terminated", [])


@pytest.mark.parametrize("state", ["pending", "terminated"])
def test_an_instance_that_does_not_run_takes_no_interface(
    doubles: Doubles, ec2: EC2Client, state: str
) -> None:
    eni = create(ec2)["NetworkInterfaceId"]
    set_state(doubles, state)

    def attach() -> object:
        return ec2.attach_network_interface(NetworkInterfaceId=eni, InstanceId=worlds.NODE_A, DeviceIndex=3)

    assert refused(attach) == "IncorrectState"
    assert set_state(doubles, "asleep").status_code == 400


POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": "ec2:Describe*", "Resource": "*"},
        {
            "Effect": "Allow",
            "Action": "ec2:CreateNetworkInterface",
            "Resource": "arn:aws:ec2:*:*:network-interface/*",
            "Condition": {"StringEquals": {"aws:RequestTag/cluster": "mine"}},
        },
        {
            "Effect": "Allow",
            "Action": "ec2:CreateNetworkInterface",
            "Resource": ["arn:aws:ec2:*:*:subnet/*", "arn:aws:ec2:*:*:security-group/*"],
        },
        {
            "Effect": "Allow",
            "Action": "ec2:CreateTags",
            "Resource": "arn:aws:ec2:*:*:network-interface/*",
            "Condition": {"StringEquals": {"ec2:CreateAction": "CreateNetworkInterface"}},
        },
        {
            "Effect": "Allow",
            "Action": [
                "ec2:AttachNetworkInterface",
                "ec2:DetachNetworkInterface",
                "ec2:ModifyNetworkInterfaceAttribute",
                "ec2:DeleteNetworkInterface",
            ],
            "Resource": "arn:aws:ec2:*:*:network-interface/*",
            "Condition": {"StringEquals": {"aws:ResourceTag/cluster": "mine"}},
        },
        {
            "Effect": "Allow",
            "Action": ["ec2:AttachNetworkInterface", "ec2:DetachNetworkInterface"],
            "Resource": "arn:aws:ec2:*:*:instance/*",
        },
    ],
}


def tagged(cluster: str) -> list[dict[str, Any]]:
    return [{"ResourceType": "network-interface", "Tags": [{"Key": "cluster", "Value": cluster}]}]


def test_rights_end_where_the_conditions_of_a_policy_do(connect: Connect, clock: ManualClock) -> None:
    keys = [
        {"id": "AKIAIOSFODNN7EXAMPLE", "secret": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "policy": POLICY}
    ]
    with Doubles(world(access_keys=keys, interfaces=[worlds.spare()]), clock=clock) as doubles:
        ec2 = connect(doubles)
        denied = "UnauthorizedOperation"
        assert refused(lambda: create(ec2)) == denied
        assert refused(lambda: create(ec2, TagSpecifications=tagged("other"))) == denied
        eni = create(ec2, TagSpecifications=tagged("mine"))["NetworkInterfaceId"]
        attach = ec2.attach_network_interface
        assert (
            refused(lambda: attach(NetworkInterfaceId=worlds.SPARE, InstanceId=worlds.NODE_A, DeviceIndex=3))
            == denied
        )
        attachment = attach(NetworkInterfaceId=eni, InstanceId=worlds.NODE_A, DeviceIndex=3)["AttachmentId"]
        ec2.modify_network_interface_attribute(NetworkInterfaceId=eni, SourceDestCheck={"Value": False})
        # The attribute Attachment is the instance's too, which this policy leaves out.
        of_attachment: Any = {"AttachmentId": attachment, "DeleteOnTermination": True}
        assert (
            refused(
                lambda: ec2.modify_network_interface_attribute(
                    NetworkInterfaceId=eni, Attachment=of_attachment
                )
            )
            == denied
        )
        assert (
            refused(
                lambda: ec2.create_tags(Resources=[worlds.SPARE], Tags=[{"Key": "cluster", "Value": "mine"}])
            )
            == denied
        )
        other = doubles.world.interfaces_of(worlds.NODE_B)[1].attachment
        assert other is not None
        assert refused(lambda: ec2.detach_network_interface(AttachmentId=other.id)) == denied
        assert refused(lambda: ec2.delete_network_interface(NetworkInterfaceId=worlds.SPARE)) == denied
        ec2.detach_network_interface(AttachmentId=attachment)
        ec2.delete_network_interface(NetworkInterfaceId=eni)
        assert eni not in doubles.world.interfaces
