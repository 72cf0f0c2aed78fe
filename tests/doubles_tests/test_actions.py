"""The actions without a server: they know their own parameters, and no others."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from tests.doubles import load_world
from tests.doubles.ec2.actions import ACTIONS, perform
from tests.doubles.ec2.errors import Ec2Error
from tests.doubles.ec2.query_protocol import Parameters
from tests.doubles.state.resources import Association, ElasticIp, ReservationType, SubnetCidrReservation
from tests.doubles_tests import worlds

pytestmark = pytest.mark.pure

RESERVATION = "scr-0a000000000000001"
ALLOCATION = "eipalloc-0a000000000000001"
FREE_ALLOCATION = "eipalloc-0a000000000000002"
ASSOCIATION = "eipassoc-0a000000000000001"
VALID = {
    "AllocateAddress": {"Domain": "vpc"},
    "AssociateAddress": {"AllocationId": ALLOCATION, "NetworkInterfaceId": worlds.A1},
    "DescribeAddresses": {"AllocationId.1": ALLOCATION},
    "DisassociateAddress": {"AssociationId": ASSOCIATION},
    "ReleaseAddress": {"AllocationId": FREE_ALLOCATION},
    "AssignIpv6Addresses": {"NetworkInterfaceId": worlds.A1, "Ipv6Addresses.1": "2001:db8:1::100"},
    "AssignPrivateIpAddresses": {"NetworkInterfaceId": worlds.A1, "PrivateIpAddress.1": "10.0.1.100"},
    "AttachNetworkInterface": {
        "NetworkInterfaceId": worlds.SPARE,
        "InstanceId": worlds.NODE_A,
        "DeviceIndex": "5",
    },
    "CreateNetworkInterface": {"SubnetId": worlds.POD_SUBNET},
    "CreateSubnetCidrReservation": {
        "SubnetId": worlds.POD_SUBNET,
        "Cidr": "10.0.1.64/28",
        "ReservationType": "prefix",
    },
    "CreateTags": {"ResourceId.1": worlds.A1, "Tag.1.Key": "a", "Tag.1.Value": "b"},
    "DeleteNetworkInterface": {"NetworkInterfaceId": worlds.SPARE},
    "DeleteSubnetCidrReservation": {"SubnetCidrReservationId": RESERVATION},
    "DeleteTags": {"ResourceId.1": worlds.A1},
    "DescribeInstanceTypes": {"InstanceType.1": "m5.xlarge"},
    "DescribeTags": {"MaxResults": "5"},
    "DetachNetworkInterface": {"AttachmentId": "eni-attach-0a000000000000001"},
    "DescribeInstances": {"InstanceId.1": worlds.NODE_A},
    "DescribeNetworkInterfaces": {"NetworkInterfaceId.1": worlds.A1},
    "DescribeRouteTables": {"RouteTableId.1": "rtb-0a000000000000001"},
    "DescribeSecurityGroups": {},
    "DescribeVpcEndpoints": {"MaxResults": "5"},
    "ModifyNetworkInterfaceAttribute": {
        "NetworkInterfaceId": worlds.SPARE,
        "SourceDestCheck.Value": "false",
    },
    "GetSubnetCidrReservations": {"SubnetId": worlds.POD_SUBNET},
    "DescribeSubnets": {"SubnetId.1": worlds.POD_SUBNET},
    "UnassignIpv6Addresses": {"NetworkInterfaceId": worlds.B1, "Ipv6Addresses.1": "2001:db8:1::50"},
    "UnassignPrivateIpAddresses": {"NetworkInterfaceId": worlds.B1, "PrivateIpAddress.1": "10.0.1.50"},
}


@pytest.mark.parametrize("action", ACTIONS)
def test_a_parameter_that_the_action_does_not_have_is_refused(action: str) -> None:
    instances = [worlds.node_a(max_interfaces=4), worlds.node_b()]
    world = load_world(worlds.world(instances=instances, interfaces=[worlds.spare()]))
    reserved = SubnetCidrReservation(
        RESERVATION, worlds.POD_SUBNET, IPv4Network("10.0.1.96/28"), ReservationType.EXPLICIT
    )
    public = [IPv4Address("198.51.100.1"), IPv4Address("198.51.100.2")]
    eips = {
        key: ElasticIp(key, address, worlds.REGION)
        for key, address in zip((ALLOCATION, FREE_ALLOCATION), public, strict=True)
    }
    held = Association(ASSOCIATION, ALLOCATION, public[0], IPv4Address("10.0.1.10"))
    interfaces = {**world.interfaces, worlds.A1: replace(world.interfaces[worlds.A1], associations=(held,))}
    world = replace(world, reservations={RESERVATION: reserved}, elastic_ips=eips, interfaces=interfaces)

    assert perform(world, action, Parameters(VALID[action]), 0.0)
    with pytest.raises(Ec2Error, match="The parameter Colour is not recognized"):
        perform(world, action, Parameters(VALID[action] | {"Colour": "blue"}), 0.0)


@pytest.mark.parametrize(
    "action", [action for action in ACTIONS if "Assign" in action or "Unassign" in action]
)
def test_there_is_no_dry_run_of_a_change(action: str) -> None:
    with pytest.raises(Ec2Error, match="The parameter DryRun is not recognized"):
        perform(load_world(worlds.world()), action, Parameters(VALID[action] | {"DryRun": "true"}), 0.0)


def test_addresses_are_described_without_pages() -> None:
    with pytest.raises(Ec2Error, match="The parameter MaxResults is not recognized"):
        perform(load_world(worlds.world()), "DescribeAddresses", Parameters({"MaxResults": "5"}), 0.0)
