"""The actions that assign and unassign addresses and prefixes."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from tests.doubles.ec2 import errors
from tests.doubles.ec2.parameters import (
    Outcome,
    read_addresses,
    read_count,
    read_ipv4_prefixes,
    read_ipv6_prefixes,
    require_one,
)
from tests.doubles.ec2.query_protocol import Parameters, Structure
from tests.doubles.state import addresses, prefixes
from tests.doubles.state.model import World


def assign_private_ip_addresses(world: World, parameters: Parameters, now: float) -> Outcome:
    """AssignPrivateIpAddresses: addresses, a count of them, prefixes or a count of them."""
    interface = parameters.require("NetworkInterfaceId")
    texts = parameters.listing("PrivateIpAddress")
    count = read_count(parameters, "SecondaryPrivateIpAddressCount")
    blocks = read_ipv4_prefixes(parameters.listing("Ipv4Prefix"))
    block_count = read_count(parameters, "Ipv4PrefixCount")
    allow_reassignment = parameters.flag("AllowReassignment")
    parameters.finish()
    require_one(
        {
            "PrivateIpAddress": texts,
            "SecondaryPrivateIpAddressCount": count,
            "Ipv4Prefix": blocks,
            "Ipv4PrefixCount": block_count,
        }
    )
    world.interface(interface)
    assigned: tuple[IPv4Address, ...] = ()
    gained: tuple[IPv4Network | IPv6Network, ...] = ()
    if texts:
        assigned = read_addresses(texts, IPv4Address)
        world = addresses.assign(world, interface, assigned, allow_reassignment=allow_reassignment, now=now)
    elif count is not None:
        world, assigned = addresses.assign_free(world, interface, count, now)
    elif block_count is not None:
        world, gained = prefixes.assign_free_prefixes(world, interface, block_count, 4, now)
    else:
        world, _ = prefixes.assign_prefixes(world, interface, blocks, now)
        gained = blocks
    return world, {
        "return": True,
        "networkInterfaceId": interface,
        "assignedPrivateIpAddressesSet": [{"privateIpAddress": str(address)} for address in assigned],
        "assignedIpv4PrefixSet": [{"ipv4Prefix": str(block)} for block in gained],
    }


def unassign_private_ip_addresses(world: World, parameters: Parameters, now: float) -> Outcome:
    """UnassignPrivateIpAddresses: addresses, prefixes, or both."""
    interface = parameters.require("NetworkInterfaceId")
    texts = parameters.listing("PrivateIpAddress")
    blocks = read_ipv4_prefixes(parameters.listing("Ipv4Prefix"))
    parameters.finish()
    if not texts and not blocks:
        raise errors.missing_parameter("PrivateIpAddress")
    world.interface(interface)
    world = addresses.unassign(world, interface, read_addresses(texts, IPv4Address), now)
    return prefixes.unassign_prefixes(world, interface, blocks, now), {"return": True}


def assign_ipv6_addresses(world: World, parameters: Parameters, now: float) -> Outcome:
    """AssignIpv6Addresses: addresses, a count of them, prefixes or a count of them."""
    interface = parameters.require("NetworkInterfaceId")
    texts = parameters.listing("Ipv6Addresses")
    count = read_count(parameters, "Ipv6AddressCount")
    blocks = read_ipv6_prefixes(parameters.listing("Ipv6Prefix"))
    block_count = read_count(parameters, "Ipv6PrefixCount")
    parameters.finish()
    if texts and count is not None:
        raise errors.ipv6_addresses_and_count()
    require_one(
        {
            "Ipv6Addresses": texts,
            "Ipv6AddressCount": count,
            "Ipv6Prefix": blocks,
            "Ipv6PrefixCount": block_count,
        }
    )
    world.interface(interface)
    gained: tuple[IPv6Address, ...] = ()
    gained_blocks: tuple[IPv4Network | IPv6Network, ...] = ()
    if texts:
        world, gained = addresses.assign_ipv6(world, interface, read_addresses(texts, IPv6Address), now)
    elif count is not None:
        world, gained = addresses.assign_free_ipv6(world, interface, count, now)
    elif block_count is not None:
        world, gained_blocks = prefixes.assign_free_prefixes(world, interface, block_count, 6, now)
    else:
        world, gained_blocks = prefixes.assign_prefixes(world, interface, blocks, now)
    return world, {
        "networkInterfaceId": interface,
        "assignedIpv6Addresses": [str(address) for address in gained],
        "assignedIpv6PrefixSet": _texts(gained_blocks),
    }


def unassign_ipv6_addresses(world: World, parameters: Parameters, now: float) -> Outcome:
    """UnassignIpv6Addresses: addresses, prefixes, or both."""
    interface = parameters.require("NetworkInterfaceId")
    texts = parameters.listing("Ipv6Addresses")
    blocks = read_ipv6_prefixes(parameters.listing("Ipv6Prefix"))
    parameters.finish()
    if not texts and not blocks:
        raise errors.missing_parameter("Ipv6Addresses")
    world.interface(interface)
    lost = read_addresses(texts, IPv6Address)
    world = addresses.unassign_ipv6(world, interface, lost, now)
    return prefixes.unassign_prefixes(world, interface, blocks, now), {
        "networkInterfaceId": interface,
        "unassignedIpv6Addresses": [str(address) for address in lost],
        "unassignedIpv6PrefixSet": _texts(blocks),
    }


def _texts(blocks: tuple[IPv4Network | IPv6Network, ...] | tuple[IPv6Network, ...]) -> Structure | list[str]:
    return [str(block) for block in blocks]
