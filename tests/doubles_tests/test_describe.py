"""Describe calls with real boto3: what they show, how filters find it, and how pages go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from tests.doubles import Doubles
from tests.doubles_tests import worlds

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import FilterTypeDef

    from tests.doubles_tests.conftest import Connect

ALL = {worlds.A0, worlds.A1, worlds.A_FULL, worlds.B0, worlds.B1, worlds.B_CROWDED}


def test_an_interface_is_shown_as_ec2_shows_it(reading: EC2Client) -> None:
    shown = reading.describe_network_interfaces(NetworkInterfaceIds=[worlds.B1])["NetworkInterfaces"]

    assert len(shown) == 1
    attachment: dict[str, Any] = dict(shown[0].pop("Attachment"))
    attached = attachment.pop("AttachTime")
    assert (attached.year, attached.utcoffset().total_seconds()) == (2024, 0)
    assert attachment == {
        "AttachmentId": "eni-attach-0b000000000000001",
        "DeleteOnTermination": False,
        "DeviceIndex": 1,
        "NetworkCardIndex": 0,
        "InstanceId": worlds.NODE_B,
        "InstanceOwnerId": worlds.ACCOUNT,
        "Status": "attached",
    }
    assert shown[0] == {
        "AvailabilityZone": "eu-central-1a",
        "Description": "",
        "Groups": [{"GroupId": "sg-0a000000000000001", "GroupName": "default"}],
        "InterfaceType": "interface",
        "Ipv6Addresses": [
            {"Ipv6Address": "2001:db8:1::20", "IsPrimaryIpv6": False},
            {"Ipv6Address": "2001:db8:1::50", "IsPrimaryIpv6": False},
        ],
        "MacAddress": "02:bb:00:00:00:01",
        "NetworkInterfaceId": worlds.B1,
        "OwnerId": worlds.ACCOUNT,
        "PrivateDnsName": "ip-10-0-1-20.eu-central-1.compute.internal",
        "PrivateIpAddress": "10.0.1.20",
        "PrivateIpAddresses": [
            {
                "Primary": True,
                "PrivateDnsName": "ip-10-0-1-20.eu-central-1.compute.internal",
                "PrivateIpAddress": "10.0.1.20",
            },
            {
                "Primary": False,
                "PrivateDnsName": "ip-10-0-1-50.eu-central-1.compute.internal",
                "PrivateIpAddress": "10.0.1.50",
            },
        ],
        "RequesterManaged": False,
        "SourceDestCheck": True,
        "Status": "in-use",
        "SubnetId": worlds.POD_SUBNET,
        "TagSet": [],
        "VpcId": worlds.VPC,
    }


def test_tags_and_network_card_are_shown(reading: EC2Client) -> None:
    tagged, second_card = reading.describe_network_interfaces(NetworkInterfaceIds=[worlds.A1, worlds.A_FULL])[
        "NetworkInterfaces"
    ]

    assert tagged["TagSet"] == [{"Key": "node.k8s.amazonaws.com/no_manage", "Value": "true"}]
    assert second_card["Attachment"]["NetworkCardIndex"] == 1


def test_an_instance_is_shown_with_its_interfaces_and_metadata_options(reading: EC2Client) -> None:
    reservations = reading.describe_instances(InstanceIds=[worlds.NODE_A])["Reservations"]

    instance = reservations[0]["Instances"][0]
    assert instance["InstanceId"] == worlds.NODE_A
    assert instance["InstanceType"] == "t3.medium"
    assert instance["State"] == {"Code": 16, "Name": "running"}
    assert instance["PrivateIpAddress"] == "10.0.0.10"
    assert instance["Placement"]["AvailabilityZone"] == "eu-central-1a"
    assert instance["Tags"] == [{"Key": "Name", "Value": "node-a"}]
    assert instance["IamInstanceProfile"]["Arn"] == "arn:aws:iam::123456789012:instance-profile/node"
    assert instance["MetadataOptions"] == {
        "State": "applied",
        "HttpTokens": "required",
        "HttpPutResponseHopLimit": 1,
        "HttpEndpoint": "enabled",
        "HttpProtocolIpv6": "disabled",
    }
    interfaces = instance["NetworkInterfaces"]
    shown = [(card["NetworkInterfaceId"], card["Attachment"]["DeviceIndex"]) for card in interfaces]
    assert shown == [(worlds.A0, 0), (worlds.A1, 1), (worlds.A_FULL, 2)]


def test_a_subnet_is_shown_with_its_ranges(reading: EC2Client) -> None:
    subnet = reading.describe_subnets(SubnetIds=[worlds.POD_SUBNET])["Subnets"][0]

    assert subnet["CidrBlock"] == "10.0.1.0/24"
    assert subnet["VpcId"] == worlds.VPC
    assert subnet["State"] == "available"
    assert subnet["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"] == "2001:db8:1::/64"
    assert subnet["Tags"] == [{"Key": "Name", "Value": "pods"}]


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("network-interface-id", [worlds.A1, worlds.B1], {worlds.A1, worlds.B1}),
        ("network-interface-id", ["eni-0a*"], {worlds.A0, worlds.A1, worlds.A_FULL}),
        ("network-interface-id", ["eni-0?000000000000000"], {worlds.A0, worlds.B0}),
        ("network-interface-id", [r"eni-0\?000000000000000"], set()),
        ("network-interface-id", [worlds.GONE], set()),
        ("mac-address", [worlds.A1_MAC], {worlds.A1}),
        ("mac-address", [worlds.A1_MAC.upper()], set()),
        ("subnet-id", [worlds.POD_SUBNET], {worlds.A1, worlds.B1}),
        ("vpc-id", [worlds.VPC], ALL),
        ("availability-zone", ["eu-central-1b"], set()),
        ("group-id", ["sg-0a000000000000001"], ALL),
        ("owner-id", [worlds.ACCOUNT], ALL),
        ("status", ["in-use"], ALL),
        ("status", ["available"], set()),
        ("private-ip-address", ["10.0.1.20"], {worlds.B1}),
        ("private-ip-address", ["10.0.1.50"], set()),
        ("addresses.private-ip-address", ["10.0.1.50"], {worlds.B1}),
        ("addresses.private-ip-address", ["10.0.1.20", "10.0.2.9"], {worlds.B1, worlds.A_FULL}),
        ("addresses.primary", ["true"], ALL),
        ("addresses.primary", ["false"], {worlds.A_FULL, worlds.B1, worlds.B_CROWDED}),
        ("ipv6-addresses.ipv6-address", ["2001:db8:1::50"], {worlds.B1}),
        ("ipv6-addresses.ipv6-address", ["2001:db8:1::51"], set()),
        ("description", [""], ALL),
        ("interface-type", ["interface"], ALL),
        ("requester-managed", ["true"], set()),
        ("source-dest-check", ["true"], ALL),
        ("private-dns-name", ["ip-10-0-1-20.*"], {worlds.B1}),
        ("attachment.attach-time", ["2024-01-01T00:00:00.000Z"], ALL),
        ("attachment.attachment-id", ["eni-attach-0b000000000000001"], {worlds.B1}),
        ("attachment.instance-id", [worlds.NODE_A], {worlds.A0, worlds.A1, worlds.A_FULL}),
        ("attachment.instance-owner-id", [worlds.ACCOUNT], ALL),
        ("attachment.device-index", ["0"], {worlds.A0, worlds.B0}),
        ("attachment.device-index", ["1", "2"], ALL - {worlds.A0, worlds.B0}),
        ("attachment.status", ["attached"], ALL),
        ("attachment.status", ["detaching"], set()),
        ("attachment.delete-on-termination", ["true"], {worlds.A0, worlds.B0}),
        ("tag:node.k8s.amazonaws.com/no_manage", ["true"], {worlds.A1}),
        ("tag:node.k8s.amazonaws.com/no_manage", ["false"], set()),
        ("tag-key", ["node.k8s.amazonaws.com/*"], {worlds.A1}),
        ("tag-value", ["true"], {worlds.A1}),
        ("tag-value", [], set()),
    ],
)
def test_interfaces_are_found_by_filter(
    name: str, values: list[str], expected: set[str], reading: EC2Client
) -> None:
    found = reading.describe_network_interfaces(Filters=[{"Name": name, "Values": values}])

    assert {interface["NetworkInterfaceId"] for interface in found["NetworkInterfaces"]} == expected


def test_filters_and_ids_restrict_each_other(reading: EC2Client) -> None:
    found = reading.describe_network_interfaces(
        NetworkInterfaceIds=[worlds.A1, worlds.B1, worlds.B0],
        Filters=[
            {"Name": "attachment.device-index", "Values": ["1"]},
            {"Name": "attachment.instance-id", "Values": [worlds.NODE_B]},
        ],
    )

    assert [interface["NetworkInterfaceId"] for interface in found["NetworkInterfaces"]] == [worlds.B1]


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("instance-id", [worlds.NODE_B], {worlds.NODE_B}),
        ("instance-type", ["t3.*"], {worlds.NODE_A}),
        ("instance-state-name", ["running"], {worlds.NODE_A, worlds.NODE_B}),
        ("instance-state-code", ["80"], set()),
        ("availability-zone", ["eu-central-1a"], {worlds.NODE_A, worlds.NODE_B}),
        ("subnet-id", [worlds.NODE_SUBNET], {worlds.NODE_A, worlds.NODE_B}),
        ("subnet-id", [worlds.POD_SUBNET], set()),
        ("vpc-id", [worlds.VPC], {worlds.NODE_A, worlds.NODE_B}),
        ("private-ip-address", ["10.0.0.10"], {worlds.NODE_A}),
        ("network-interface.network-interface-id", [worlds.B1], {worlds.NODE_B}),
        ("network-interface.mac-address", [worlds.A1_MAC], {worlds.NODE_A}),
        ("network-interface.addresses.private-ip-address", ["10.0.1.50"], {worlds.NODE_B}),
        ("network-interface.ipv6-addresses.ipv6-address", ["2001:db8:1::20"], {worlds.NODE_B}),
        ("tag:Name", ["node-a"], {worlds.NODE_A}),
    ],
)
def test_instances_are_found_by_filter(
    name: str, values: list[str], expected: set[str], reading: EC2Client
) -> None:
    found = reading.describe_instances(Filters=[{"Name": name, "Values": values}])

    assert {
        instance["InstanceId"]
        for reservation in found["Reservations"]
        for instance in reservation["Instances"]
    } == expected


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("subnet-id", [worlds.POD_SUBNET], {worlds.POD_SUBNET}),
        ("vpc-id", ["vpc-0f000000000000000"], set()),
        ("cidr-block", ["10.0.2.0/28"], {worlds.CROWDED_SUBNET}),
        ("availability-zone", ["eu-central-1b"], set()),
        ("available-ip-address-count", ["0"], {worlds.CROWDED_SUBNET}),
        ("ipv6-cidr-block-association.ipv6-cidr-block", ["2001:db8:1::/64"], {worlds.POD_SUBNET}),
        ("owner-id", ["000000000000"], set()),
        ("state", ["pending"], set()),
        ("tag:Name", ["pods"], {worlds.POD_SUBNET}),
    ],
)
def test_subnets_are_found_by_filter(
    name: str, values: list[str], expected: set[str], reading: EC2Client
) -> None:
    found = reading.describe_subnets(Filters=[{"Name": name, "Values": values}])

    assert {subnet["SubnetId"] for subnet in found["Subnets"]} == expected


def test_pages_give_everything_once(reading: EC2Client) -> None:
    pages = list(
        reading.get_paginator("describe_network_interfaces").paginate(PaginationConfig={"PageSize": 5})
    )

    assert [len(page["NetworkInterfaces"]) for page in pages] == [5, 1]
    found = [interface["NetworkInterfaceId"] for page in pages for interface in page["NetworkInterfaces"]]
    assert sorted(found) == sorted(ALL)


def test_a_last_page_that_is_just_full_has_no_token(reading: EC2Client) -> None:
    first = reading.describe_network_interfaces(
        MaxResults=5, Filters=[{"Name": "addresses.private-ip-address", "Values": ["10.0.*"]}]
    )
    only_five = reading.describe_network_interfaces(
        MaxResults=5, Filters=[{"Name": "network-interface-id", "Values": sorted(ALL)[:5]}]
    )

    assert "NextToken" in first
    assert len(only_five["NetworkInterfaces"]) == 5
    assert "NextToken" not in only_five


def test_pages_go_on_when_the_last_resource_no_longer_matches(ec2: EC2Client) -> None:
    # With these all six interfaces match, and the fifth ends the first page.
    ec2.assign_private_ip_addresses(NetworkInterfaceId=worlds.A0, PrivateIpAddresses=["10.0.0.100"])
    ec2.assign_private_ip_addresses(NetworkInterfaceId=worlds.A1, PrivateIpAddresses=["10.0.1.100"])
    ec2.assign_private_ip_addresses(NetworkInterfaceId=worlds.B0, PrivateIpAddresses=["10.0.0.101"])
    selection: list[FilterTypeDef] = [{"Name": "addresses.primary", "Values": ["false"]}]
    first = ec2.describe_network_interfaces(MaxResults=5, Filters=selection)
    assert first["NetworkInterfaces"][-1]["NetworkInterfaceId"] == worlds.B1

    ec2.unassign_private_ip_addresses(NetworkInterfaceId=worlds.B1, PrivateIpAddresses=["10.0.1.50"])
    second = ec2.describe_network_interfaces(MaxResults=5, Filters=selection, NextToken=first["NextToken"])

    found = [interface["NetworkInterfaceId"] for interface in second["NetworkInterfaces"]]
    assert found == [worlds.B_CROWDED]


def test_a_token_is_good_for_the_same_selection_alone(reading: EC2Client) -> None:
    token = reading.describe_network_interfaces(MaxResults=5)["NextToken"]

    with pytest.raises(ClientError, match="InvalidNextToken"):
        reading.describe_network_interfaces(
            MaxResults=5, NextToken=token, Filters=[{"Name": "status", "Values": ["in-use"]}]
        )


def test_a_reader_may_describe(shared: Doubles, connect: Connect) -> None:
    client = connect(shared, worlds.READER)

    assert len(client.describe_network_interfaces()["NetworkInterfaces"]) == len(ALL)
