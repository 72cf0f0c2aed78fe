"""Which addresses an interface has: what the Assign and Unassign actions do to the world.

IPv4 follows "AssignPrivateIpAddresses" and "UnassignPrivateIpAddresses", IPv6 "AssignIpv6Addresses" and
"UnassignIpv6Addresses" of the EC2 API reference. IPv6 knows no reassignment: what another interface holds
is refused, and must be unassigned there first.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from itertools import islice

from tests.doubles.ec2 import errors
from tests.doubles.state.model import World
from tests.doubles.state.resources import NetworkInterface


def assign(
    world: World,
    identifier: str,
    addresses: Collection[IPv4Address],
    *,
    allow_reassignment: bool,
    now: float,
) -> World:
    """Assign these secondary addresses to the interface, taking them from others if that is allowed.

    Addresses that it has already change nothing. Raises `Ec2Error` as AssignPrivateIpAddresses does.
    """
    interface = world.interface(identifier)
    for address in addresses:
        world.subnets[interface.subnet].admit(address)
    holders = {address: holder for address in addresses if (holder := world.holder_of(address))}
    if primaries := [address for address, holder in holders.items() if address == holder.primary]:
        raise errors.primary_not_movable(primaries)
    if inside := [address for address, holder in holders.items() if address not in holder.secondaries]:
        raise errors.inside_prefix(inside)
    losers = {address: holder.id for address, holder in holders.items() if holder.id != identifier}
    if losers and not allow_reassignment:
        raise errors.move_not_allowed(losers)
    gained = tuple(dict.fromkeys(address for address in addresses if address not in interface.secondaries))
    check_room(world, interface, len(gained))
    changed = {identifier: replace(interface, secondaries=interface.secondaries + gained)}
    for loser in set(losers.values()):
        before = world.interfaces[loser]
        kept = tuple(address for address in before.secondaries if address not in losers)
        changed[loser] = replace(before, secondaries=kept)
    return world.changed(changed, now)


def assign_free(
    world: World, identifier: str, count: int, now: float
) -> tuple[World, tuple[IPv4Address, ...]]:
    """Assign so many free addresses of its subnet to the interface; returns which."""
    interface = world.interface(identifier)
    check_room(world, interface, count)
    chosen = tuple(islice(world.free_addresses(world.subnets[interface.subnet]), count))
    if len(chosen) < count:
        raise errors.subnet_full()
    after = replace(interface, secondaries=interface.secondaries + chosen)
    return world.changed({identifier: after}, now), chosen


def unassign(world: World, identifier: str, addresses: Collection[IPv4Address], now: float) -> World:
    """Take secondary addresses away; raises `Ec2Error` as UnassignPrivateIpAddresses does."""
    interface = world.interface(identifier)
    if interface.primary in addresses:
        raise errors.primary_not_unassignable(interface.primary)
    if not set(addresses) <= set(interface.secondaries):
        raise errors.not_assigned(identifier)
    kept = tuple(address for address in interface.secondaries if address not in addresses)
    return world.changed({identifier: replace(interface, secondaries=kept)}, now)


def assign_ipv6(
    world: World, identifier: str, addresses: Collection[IPv6Address], now: float
) -> tuple[World, tuple[IPv6Address, ...]]:
    """Assign these IPv6 addresses to the interface; returns those that are new on it.

    Raises `Ec2Error` as AssignIpv6Addresses does, for another interface's addresses too.
    """
    interface = world.interface(identifier)
    for address in addresses:
        world.subnets[interface.subnet].admit(address)
    gained = tuple(dict.fromkeys(address for address in addresses if address not in interface.ipv6s))
    if taken := [address for address in gained if world.holder_of(address)]:
        raise errors.ipv6_in_use(taken)
    check_ipv6_room(world, interface, len(gained))
    return world.changed({identifier: replace(interface, ipv6s=interface.ipv6s + gained)}, now), gained


def assign_free_ipv6(
    world: World, identifier: str, count: int, now: float
) -> tuple[World, tuple[IPv6Address, ...]]:
    """Assign so many free IPv6 addresses of its subnet to the interface; returns which.

    EC2 chooses at random, the double takes the lowest.
    """
    interface = world.interface(identifier)
    subnet = world.subnets[interface.subnet]
    if subnet.ipv6_cidr is None:
        raise errors.no_ipv6_range(subnet.id)
    check_ipv6_room(world, interface, count)
    free = (address for address in subnet.assignable_ipv6() if world.holder_of(address) is None)
    chosen = tuple(islice(free, count))
    return world.changed({identifier: replace(interface, ipv6s=interface.ipv6s + chosen)}, now), chosen


def unassign_ipv6(world: World, identifier: str, addresses: Collection[IPv6Address], now: float) -> World:
    """Take IPv6 addresses away; raises `Ec2Error` as UnassignIpv6Addresses does."""
    interface = world.interface(identifier)
    for address in addresses:
        if address not in interface.ipv6s:
            raise errors.ipv6_not_assigned(address, identifier)
    kept = tuple(address for address in interface.ipv6s if address not in addresses)
    return world.changed({identifier: replace(interface, ipv6s=kept)}, now)


# An interface that is attached nowhere has no limit: it is checked when it is attached.
def check_room(world: World, interface: NetworkInterface, more: int) -> None:
    """Raise `Ec2Error` where so many more addresses or prefixes are too many for the instance type."""
    if more and interface.instance:
        limit = world.instances[interface.instance].limits.ipv4_per_interface
        if len(interface.addresses) + len(interface.ipv4_prefixes) + more > limit:
            raise errors.interface_full(interface.id)


def check_ipv6_room(world: World, interface: NetworkInterface, more: int) -> None:
    """Raise `Ec2Error` where so many more IPv6 addresses or prefixes are too many for the instance type."""
    if more and interface.instance:
        limit = world.instances[interface.instance].limits.ipv6_per_interface
        if len(interface.ipv6s) + len(interface.ipv6_prefixes) + more > limit:
            raise errors.ipv6_interface_full(interface.id)
