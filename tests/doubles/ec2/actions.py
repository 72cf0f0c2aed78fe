"""The EC2 actions: parameters of a call -> operation on the world -> structure of the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from tests.doubles.ec2 import (
    address_actions,
    elastic_ip_actions,
    errors,
    network_interface_actions,
    subnet_reservation_actions,
    tag_actions,
)
from tests.doubles.ec2.describe import Kind, Resource, describe
from tests.doubles.ec2.describe_network import INSTANCES, INTERFACES, SUBNETS
from tests.doubles.ec2.describe_types_and_tags import INSTANCE_TYPES, SECURITY_GROUPS, TAGS
from tests.doubles.ec2.describe_vpc import ENDPOINTS, ROUTE_TABLES
from tests.doubles.ec2.parameters import Outcome
from tests.doubles.ec2.query_protocol import Parameters
from tests.doubles.state.model import World

R = TypeVar("R", bound=Resource)


def perform(world: World, action: str, parameters: Parameters, now: float) -> Outcome:
    """Carry out a call at a time; returns the world after it and the answer, or raises `Ec2Error`.

    An interface that was created a moment ago is known to CreateNetworkInterface alone ("Eventual
    consistency in the Amazon EC2 API", EC2 developer guide).
    """
    if action == "CreateNetworkInterface":
        return ACTIONS[action](world, parameters, now)
    young = {key: each for key, each in world.interfaces.items() if each.visible_at > now}
    if not young:
        return ACTIONS[action](world, parameters, now)
    known = {key: each for key, each in world.interfaces.items() if key not in young}
    after, answer = ACTIONS[action](replace(world, interfaces=known), parameters, now)
    return replace(after, interfaces={**after.interfaces, **young}), answer


def _describe(kind: Kind[R], name: str) -> Callable[[World, Parameters, float], Outcome]:
    def action(world: World, parameters: Parameters, _: float) -> Outcome:
        found, token = describe(kind, world, parameters)
        return world, {name: found, "nextToken": token}

    return action


ACTIONS: Mapping[str, Callable[[World, Parameters, float], Outcome]] = {
    "AllocateAddress": elastic_ip_actions.allocate_address,
    "AssignIpv6Addresses": address_actions.assign_ipv6_addresses,
    "AssignPrivateIpAddresses": address_actions.assign_private_ip_addresses,
    "AssociateAddress": elastic_ip_actions.associate_address,
    "AttachNetworkInterface": network_interface_actions.attach_network_interface,
    "CreateNetworkInterface": network_interface_actions.create_network_interface,
    "CreateSubnetCidrReservation": subnet_reservation_actions.create_subnet_cidr_reservation,
    "CreateTags": tag_actions.create_tags,
    "DeleteNetworkInterface": network_interface_actions.delete_network_interface,
    "DeleteSubnetCidrReservation": subnet_reservation_actions.delete_subnet_cidr_reservation,
    "DeleteTags": tag_actions.delete_tags,
    "DescribeAddresses": elastic_ip_actions.describe_addresses,
    "DescribeInstanceTypes": _describe(INSTANCE_TYPES, "instanceTypeSet"),
    "DescribeInstances": _describe(INSTANCES, "reservationSet"),
    "DescribeNetworkInterfaces": _describe(INTERFACES, "networkInterfaceSet"),
    "DescribeRouteTables": _describe(ROUTE_TABLES, "routeTableSet"),
    "DescribeSecurityGroups": _describe(SECURITY_GROUPS, "securityGroupInfo"),
    "DescribeSubnets": _describe(SUBNETS, "subnetSet"),
    "DescribeTags": _describe(TAGS, "tagSet"),
    "DescribeVpcEndpoints": _describe(ENDPOINTS, "vpcEndpointSet"),
    "DetachNetworkInterface": network_interface_actions.detach_network_interface,
    "DisassociateAddress": elastic_ip_actions.disassociate_address,
    "GetSubnetCidrReservations": subnet_reservation_actions.get_subnet_cidr_reservations,
    "ModifyNetworkInterfaceAttribute": network_interface_actions.modify_network_interface_attribute,
    "ReleaseAddress": elastic_ip_actions.release_address,
    "UnassignIpv6Addresses": address_actions.unassign_ipv6_addresses,
    "UnassignPrivateIpAddresses": address_actions.unassign_private_ip_addresses,
}
"""Action -> the function that carries it out."""


def require_action(action: str) -> None:
    """Raise `Ec2Error` for an action that the double does not have."""
    if action not in ACTIONS:
        raise errors.invalid_action(action)
