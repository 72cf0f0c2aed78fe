"""VPC endpoints, route tables and rules of security groups, as real boto3 reads them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from tests.doubles import Doubles
from tests.doubles.config.document import DocumentError
from tests.doubles.config.world_file import load_world
from tests.doubles_tests import worlds
from tests.doubles_tests.worlds import ACCOUNT, NODE_SUBNET, POD_SUBNET, VPC

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

GROUP, DEFAULT_GROUP = "sg-0b000000000000001", "sg-0a000000000000001"
ENDPOINT, GATEWAY = "vpce-0a000000000000001", "vpce-0a000000000000002"
MAIN, OWN, NAT = "rtb-0a000000000000001", "rtb-0b000000000000001", "nat-0a000000000000001"
INGRESS = {"protocol": "tcp", "from": 443, "to": 443, "cidrs": ["10.0.0.0/16"], "groups": [DEFAULT_GROUP]}


def world() -> dict[str, Any]:
    return worlds.world(
        security_groups=[{"id": GROUP, "vpc": VPC, "name": "endpoints", "ingress": [INGRESS]}],
        vpc_endpoints=[
            {
                "id": ENDPOINT,
                "vpc": VPC,
                "service": "com.amazonaws.eu-central-1.ec2",
                "subnets": [NODE_SUBNET],
                "groups": [GROUP],
            },
            {"id": GATEWAY, "vpc": VPC, "service": "com.amazonaws.eu-central-1.s3", "type": "Gateway"},
        ],
        route_tables=[
            {
                "id": OWN,
                "vpc": VPC,
                "subnets": [POD_SUBNET],
                "routes": [
                    {"to": "0.0.0.0/0", "by": NAT, "state": "blackhole"},
                    {"to": "::/0", "by": "eigw-0a000000000000001"},
                    {"to": "pl-0a000000000000001", "by": GATEWAY},
                ],
            }
        ],
    )


@pytest.fixture(scope="module")
def doubles() -> Iterator[Doubles]:
    with Doubles(world()) as doubles:
        yield doubles


def test_an_endpoint_is_shown_with_its_subnets_groups_and_names(ec2: EC2Client) -> None:
    (shown,) = ec2.describe_vpc_endpoints(VpcEndpointIds=[ENDPOINT])["VpcEndpoints"]
    expected = {
        "VpcEndpointType": "Interface",
        "VpcId": VPC,
        "ServiceName": "com.amazonaws.eu-central-1.ec2",
        "State": "available",
        "SubnetIds": [NODE_SUBNET],
        "Groups": [{"GroupId": GROUP, "GroupName": "endpoints"}],
        "PrivateDnsEnabled": True,
        "OwnerId": ACCOUNT,
    }
    assert expected.items() <= shown.items()
    assert shown["DnsEntries"][0]["DnsName"].endswith(".ec2.eu-central-1.vpce.amazonaws.com")


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("vpc-endpoint-type", "Gateway", {GATEWAY}),
        ("service-name", "*.ec2", {ENDPOINT}),
        ("vpc-endpoint-state", "available", {ENDPOINT, GATEWAY}),
        ("vpc-id", "vpc-0f000000000000001", set()),
    ],
)
def test_endpoints_are_found_by_filter(ec2: EC2Client, name: Any, value: str, found: set[str]) -> None:
    pages = ec2.get_paginator("describe_vpc_endpoints").paginate(Filters=[{"Name": name, "Values": [value]}])
    assert {each["VpcEndpointId"] for page in pages for each in page["VpcEndpoints"]} == found


def test_each_vpc_has_a_main_route_table_with_its_own_range_alone(ec2: EC2Client) -> None:
    (shown,) = ec2.describe_route_tables(Filters=[{"Name": "association.main", "Values": ["true"]}])[
        "RouteTables"
    ]
    assert (shown["RouteTableId"], shown["VpcId"]) == (MAIN, VPC)
    (association,) = shown["Associations"]
    assert association["Main"] is True
    assert "SubnetId" not in association
    assert shown["Routes"] == [
        {
            "DestinationCidrBlock": "10.0.0.0/16",
            "GatewayId": "local",
            "Origin": "CreateRouteTable",
            "State": "active",
        }
    ]


def test_a_subnets_own_route_table_has_each_target_under_its_own_name(ec2: EC2Client) -> None:
    (shown,) = ec2.describe_route_tables(Filters=[{"Name": "association.subnet-id", "Values": [POD_SUBNET]}])[
        "RouteTables"
    ]
    (association,) = shown["Associations"]
    assert (association["Main"], association["SubnetId"]) == (False, POD_SUBNET)
    assert shown["Routes"][1:] == [
        {
            "DestinationCidrBlock": "0.0.0.0/0",
            "NatGatewayId": NAT,
            "Origin": "CreateRoute",
            "State": "blackhole",
        },
        {
            "DestinationIpv6CidrBlock": "::/0",
            "EgressOnlyInternetGatewayId": "eigw-0a000000000000001",
            "Origin": "CreateRoute",
            "State": "active",
        },
        {
            "DestinationPrefixListId": "pl-0a000000000000001",
            "GatewayId": GATEWAY,
            "Origin": "CreateRoute",
            "State": "active",
        },
    ]


def test_rules_of_security_groups_are_shown(ec2: EC2Client) -> None:
    shown = ec2.describe_security_groups(GroupIds=[GROUP, DEFAULT_GROUP])["SecurityGroups"]
    rules = {each["GroupId"]: each["IpPermissions"] for each in shown}
    assert rules[GROUP] == [
        {
            "IpProtocol": "tcp",
            "FromPort": 443,
            "ToPort": 443,
            "IpRanges": [{"CidrIp": "10.0.0.0/16"}],
            "Ipv6Ranges": [],
            "PrefixListIds": [],
            "UserIdGroupPairs": [{"GroupId": DEFAULT_GROUP, "UserId": ACCOUNT}],
        }
    ]
    # "Default security groups for your VPCs" in the VPC user guide: from its own members, everything.
    (own,) = rules[DEFAULT_GROUP]
    assert (own["IpProtocol"], own["UserIdGroupPairs"][0]["GroupId"]) == ("-1", DEFAULT_GROUP)
    assert "FromPort" not in own


def test_unknown_identifiers_and_dry_runs_are_refused(ec2: EC2Client) -> None:
    for code, call in (
        (
            "InvalidVpcEndpointId.NotFound",
            lambda: ec2.describe_vpc_endpoints(VpcEndpointIds=["vpce-0c000000"]),
        ),
        ("InvalidRouteTableID.NotFound", lambda: ec2.describe_route_tables(RouteTableIds=["rtb-0c000000"])),
        ("InvalidRouteTableId.Malformed", lambda: ec2.describe_route_tables(RouteTableIds=["table"])),
        ("DryRunOperation", lambda: ec2.describe_route_tables(DryRun=True)),
    ):
        with pytest.raises(ClientError) as raised:
            call()
        assert raised.value.response["Error"]["Code"] == code


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"route_tables": [{"id": MAIN, "vpc": VPC, "routes": [{"to": "0.0.0.0/0", "by": "nat"}]}]},
            "by: must be",
        ),
        ({"vpc_endpoints": [{"id": ENDPOINT, "vpc": "vpc-0f000000", "service": "x"}]}, "has no subnet"),
    ],
)
def test_a_world_that_can_not_be_is_refused(change: dict[str, Any], text: str) -> None:
    with pytest.raises(DocumentError, match=text):
        load_world(worlds.world(**change))
