"""The actions that assign and unassign addresses."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from tests.doubles.ec2 import errors
from tests.doubles.ec2.parameters import Outcome, read_addresses, read_count, refuse_prefixes
from tests.doubles.ec2.query_protocol import Parameters
from tests.doubles.state import addresses
from tests.doubles.state.model import World


def assign_private_ip_addresses(world: World, parameters: Parameters, now: float) -> Outcome:
    """AssignPrivateIpAddresses."""
    interface = parameters.require("NetworkInterfaceId")
    texts = parameters.listing("PrivateIpAddress")
    count = read_count(parameters, "SecondaryPrivateIpAddressCount")
    allow_reassignment = parameters.flag("AllowReassignment")
    refuse_prefixes(parameters, "Ipv4Prefix")
    parameters.finish()
    if texts and count is not None:
        raise errors.excluding_parameters("PrivateIpAddress", "SecondaryPrivateIpAddressCount")
    if not texts and count is None:
        raise errors.missing_parameter("PrivateIpAddress or SecondaryPrivateIpAddressCount")
    world.interface(interface)
    if count is None:
        assigned = read_addresses(texts, IPv4Address)
        world = addresses.assign(world, interface, assigned, allow_reassignment=allow_reassignment, now=now)
    else:
        world, assigned = addresses.assign_free(world, interface, count, now)
    return world, {
        "return": True,
        "networkInterfaceId": interface,
        "assignedPrivateIpAddressesSet": [{"privateIpAddress": str(address)} for address in assigned],
        "assignedIpv4PrefixSet": [],
    }


def unassign_private_ip_addresses(world: World, parameters: Parameters, now: float) -> Outcome:
    """UnassignPrivateIpAddresses."""
    interface = parameters.require("NetworkInterfaceId")
    texts = parameters.listing("PrivateIpAddress")
    refuse_prefixes(parameters, "Ipv4Prefix")
    parameters.finish()
    if not texts:
        raise errors.missing_parameter("PrivateIpAddress")
    world.interface(interface)
    return addresses.unassign(world, interface, read_addresses(texts, IPv4Address), now), {"return": True}


def assign_ipv6_addresses(world: World, parameters: Parameters, now: float) -> Outcome:
    """AssignIpv6Addresses."""
    interface = parameters.require("NetworkInterfaceId")
    texts = parameters.listing("Ipv6Addresses")
    count = read_count(parameters, "Ipv6AddressCount")
    refuse_prefixes(parameters, "Ipv6Prefix")
    parameters.finish()
    if texts and count is not None:
        raise errors.ipv6_addresses_and_count()
    if not texts and count is None:
        raise errors.missing_parameter("Ipv6Addresses or Ipv6AddressCount")
    world.interface(interface)
    if count is None:
        world, gained = addresses.assign_ipv6(world, interface, read_addresses(texts, IPv6Address), now)
    else:
        world, gained = addresses.assign_free_ipv6(world, interface, count, now)
    return world, {
        "networkInterfaceId": interface,
        "assignedIpv6Addresses": [str(address) for address in gained],
        "assignedIpv6PrefixSet": [],
    }


def unassign_ipv6_addresses(world: World, parameters: Parameters, now: float) -> Outcome:
    """UnassignIpv6Addresses."""
    interface = parameters.require("NetworkInterfaceId")
    texts = parameters.listing("Ipv6Addresses")
    refuse_prefixes(parameters, "Ipv6Prefix")
    parameters.finish()
    if not texts:
        raise errors.missing_parameter("Ipv6Addresses")
    world.interface(interface)
    lost = read_addresses(texts, IPv6Address)
    return addresses.unassign_ipv6(world, interface, lost, now), {
        "networkInterfaceId": interface,
        "unassignedIpv6Addresses": [str(address) for address in lost],
        "unassignedIpv6PrefixSet": [],
    }
