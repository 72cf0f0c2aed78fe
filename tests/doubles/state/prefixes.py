"""Which prefixes an interface has: what the Assign and Unassign actions do with /28 and /80 blocks.

Sources: "Prefix delegation for Amazon EC2 network interfaces" in the EC2 user guide, "Subnet CIDR
reservations" in the VPC user guide. A prefix takes one address's place of what the instance type allows; it
is never moved.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network
from itertools import islice
from typing import TypeVar

from tests.doubles.ec2 import errors
from tests.doubles.state.addresses import check_ipv6_room, check_room
from tests.doubles.state.model import World
from tests.doubles.state.resources import NetworkInterface, ReservationType, Subnet

LENGTHS = {4: 28, 6: 80}
"""The one length of a prefix, by IP version."""

Block = TypeVar("Block", IPv4Network, IPv6Network)


def assign_prefixes(
    world: World, identifier: str, blocks: Sequence[Block], now: float
) -> tuple[World, tuple[Block, ...]]:
    """Assign these prefixes to the interface; returns those that are new on it.

    Raises `Ec2Error` for blocks outside the subnet, with reserved addresses, or of which anything is taken.
    """
    interface = world.interface(identifier)
    subnet = world.subnets[interface.subnet]
    gained = tuple(dict.fromkeys(block for block in blocks if block not in _prefixes(interface, block)))
    for block in gained:
        subnet.admit(block[0])
        subnet.admit(block[-1])
        if _taken(world, subnet, block):
            raise errors.prefix_in_use(block)
    return _with_more(world, interface, gained, now), gained


def assign_free_prefixes(
    world: World, identifier: str, count: int, version: int, now: float
) -> tuple[World, tuple[IPv4Network | IPv6Network, ...]]:
    """Assign so many free prefixes of its subnet to the interface; returns which.

    Blocks of a reservation for prefixes come first, those of an explicit one are not chosen.
    """
    interface = world.interface(identifier)
    subnet = world.subnets[interface.subnet]
    if version == 6 and subnet.ipv6_cidr is None:
        raise errors.no_ipv6_range(subnet.id)
    _check_room(world, interface, count, version)
    chosen = tuple(islice(_free(world, subnet, version), count))
    if len(chosen) < count:
        few = version == 4 and world.free_address_count(subnet) < 16 * count
        raise errors.too_few_addresses_for_prefixes() if few else errors.no_free_block()
    return _with_more(world, interface, chosen, now), chosen


def unassign_prefixes(
    world: World, identifier: str, blocks: Sequence[IPv4Network | IPv6Network], now: float
) -> World:
    """Take prefixes away; raises `Ec2Error` for those that the interface does not have."""
    interface = world.interface(identifier)
    if not all(block in _prefixes(interface, block) for block in blocks):
        raise errors.prefixes_not_assigned(identifier)
    after = replace(
        interface,
        ipv4_prefixes=tuple(block for block in interface.ipv4_prefixes if block not in blocks),
        ipv6_prefixes=tuple(block for block in interface.ipv6_prefixes if block not in blocks),
    )
    return world.changed({identifier: after}, now)


def _prefixes(
    interface: NetworkInterface, block: IPv4Network | IPv6Network
) -> tuple[IPv4Network, ...] | tuple[IPv6Network, ...]:
    return interface.ipv4_prefixes if block.version == 4 else interface.ipv6_prefixes


def _with_more(
    world: World, interface: NetworkInterface, blocks: Sequence[IPv4Network | IPv6Network], now: float
) -> World:
    for version in (4, 6):
        more = [block for block in blocks if block.version == version]
        _check_room(world, interface, len(more), version)
    after = replace(
        interface,
        ipv4_prefixes=(*interface.ipv4_prefixes, *(b for b in blocks if isinstance(b, IPv4Network))),
        ipv6_prefixes=(*interface.ipv6_prefixes, *(b for b in blocks if isinstance(b, IPv6Network))),
    )
    return world.changed({interface.id: after}, now)


def _check_room(world: World, interface: NetworkInterface, more: int, version: int) -> None:
    if more and interface.instance and not world.instances[interface.instance].limits.prefixes:
        raise errors.no_prefix_delegation(world.instances[interface.instance].type)
    (check_room if version == 4 else check_ipv6_room)(world, interface, more)


def _free(world: World, subnet: Subnet, version: int) -> Iterator[IPv4Network | IPv6Network]:
    """Return the blocks that may be chosen, those of reservations for prefixes first."""
    cidr = subnet.cidr if version == 4 else subnet.ipv6_cidr
    held = [each for each in world.reservations.values() if each.subnet == subnet.id]
    own = [each.cidr for each in held if each.type is ReservationType.PREFIX]
    reserved = [each.cidr for each in held]
    ranges = [found for found in own if found.version == version]
    for found in ranges:
        yield from (block for block in _blocks(found, version) if _may_be_chosen(world, subnet, block))
    for block in _blocks(cidr, version):
        if not any(_overlap(block, other) for other in reserved) and _may_be_chosen(world, subnet, block):
            yield block


def _blocks(cidr: IPv4Network | IPv6Network | None, version: int) -> Iterator[IPv4Network | IPv6Network]:
    if cidr is None or cidr.prefixlen > LENGTHS[version]:
        return iter(())
    return iter(cidr.subnets(new_prefix=LENGTHS[version]))


def _may_be_chosen(world: World, subnet: Subnet, block: IPv4Network | IPv6Network) -> bool:
    cidr = subnet.cidr if block.version == 4 else subnet.ipv6_cidr
    # The first four addresses of a subnet and its last one are nobody's ("Subnet sizing", VPC user guide).
    edge = cidr is None or cidr[0] in block or cidr[-1] in block
    return not edge and not _taken(world, subnet, block)


def _taken(world: World, subnet: Subnet, block: IPv4Network | IPv6Network) -> bool:
    """Whether an interface has an address or a prefix inside a block."""
    for held in world.interfaces.values():
        if held.subnet != subnet.id:
            continue
        if any(address in block for address in (*held.addresses, *held.ipv6s)):
            return True
        if any(_overlap(block, other) for other in held.prefixes):
            return True
    return False


def _overlap(one: IPv4Network | IPv6Network, other: IPv4Network | IPv6Network) -> bool:
    return one.version == other.version and one.overlaps(other)
