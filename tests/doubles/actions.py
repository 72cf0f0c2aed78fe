"""The EC2 actions: parameters of a call -> operation on the world -> structure of the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address
from typing import TypeAlias

from tests.doubles import refusals
from tests.doubles.describe import INSTANCES, INTERFACES, SUBNETS
from tests.doubles.model import World
from tests.doubles.selection import describe
from tests.doubles.wire import Parameters, Structure

Outcome: TypeAlias = tuple[World, Structure]


def perform(world: World, action: str, parameters: Parameters, now: float) -> Outcome:
    """Carry out a call at a time; returns the world after it and the answer, or raises `Ec2Error`."""
    return ACTIONS[action](world, parameters, now)


def resource_arn(world: World, parameters: Parameters) -> str:
    """Give the resource that a refusal for lack of rights names."""
    interface = parameters.sent.get("NetworkInterfaceId")
    if interface is None:
        return "*"
    return f"arn:aws:ec2:{world.region}:{world.account}:network-interface/{interface}"


def _describe_network_interfaces(world: World, parameters: Parameters, _: float) -> Outcome:
    found, token = describe(INTERFACES, world, parameters)
    return world, {"networkInterfaceSet": found, "nextToken": token}


def _describe_instances(world: World, parameters: Parameters, _: float) -> Outcome:
    found, token = describe(INSTANCES, world, parameters)
    return world, {"reservationSet": found, "nextToken": token}


def _describe_subnets(world: World, parameters: Parameters, _: float) -> Outcome:
    found, token = describe(SUBNETS, world, parameters)
    return world, {"subnetSet": found, "nextToken": token}


def _assign_private_ip_addresses(world: World, parameters: Parameters, now: float) -> Outcome:
    interface = parameters.require("NetworkInterfaceId")
    texts = parameters.listing("PrivateIpAddress")
    count = parameters.number("SecondaryPrivateIpAddressCount")
    allow_reassignment = parameters.flag("AllowReassignment")
    _refuse_prefixes(parameters)
    parameters.finish()
    if texts and count is not None:
        raise refusals.excluding_parameters("PrivateIpAddress", "SecondaryPrivateIpAddressCount")
    if not texts and count is None:
        raise refusals.missing_parameter("PrivateIpAddress or SecondaryPrivateIpAddressCount")
    world.interface(interface)
    if count is None:
        assigned = _addresses(texts)
        world = world.assign(interface, assigned, allow_reassignment=allow_reassignment, now=now)
    elif count < 1:
        expected = "Expecting a value greater than 0."
        raise refusals.invalid_value(count, "secondaryPrivateIpAddressCount", expected)
    else:
        world, assigned = world.assign_free(interface, count, now)
    return world, {
        "return": True,
        "networkInterfaceId": interface,
        "assignedPrivateIpAddressesSet": [{"privateIpAddress": str(address)} for address in assigned],
        "assignedIpv4PrefixSet": [],
    }


def _unassign_private_ip_addresses(world: World, parameters: Parameters, now: float) -> Outcome:
    interface = parameters.require("NetworkInterfaceId")
    texts = parameters.listing("PrivateIpAddress")
    _refuse_prefixes(parameters)
    parameters.finish()
    if not texts:
        raise refusals.missing_parameter("PrivateIpAddress")
    world.interface(interface)
    return world.unassign(interface, _addresses(texts), now), {"return": True}


def _addresses(texts: Iterable[str]) -> tuple[IPv4Address, ...]:
    return tuple(dict.fromkeys(_address(text) for text in texts))


def _address(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except ValueError:
        raise refusals.malformed_address(text) from None


def _refuse_prefixes(parameters: Parameters) -> None:
    for name, given in (
        ("Ipv4Prefix", parameters.listing("Ipv4Prefix")),
        ("Ipv4PrefixCount", parameters.number("Ipv4PrefixCount") is not None),
    ):
        if given:
            raise refusals.unsupported_parameter(name)


ACTIONS: Mapping[str, Callable[[World, Parameters, float], Outcome]] = {
    "AssignPrivateIpAddresses": _assign_private_ip_addresses,
    "DescribeInstances": _describe_instances,
    "DescribeNetworkInterfaces": _describe_network_interfaces,
    "DescribeSubnets": _describe_subnets,
    "UnassignPrivateIpAddresses": _unassign_private_ip_addresses,
}
"""Action -> the function that carries it out."""


def require_action(action: str) -> None:
    """Raise `Ec2Error` for an action that the double does not have."""
    if action not in ACTIONS:
        raise refusals.invalid_action(action)
