"""Elastic IPs: what AllocateAddress, AssociateAddress, DisassociateAddress and ReleaseAddress do.

Source: the actions' pages in the EC2 API reference and "Elastic IP addresses" in the EC2 user guide. An
association belongs to a private address: `World.changed` moves it with the address.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from tests.doubles.ec2 import errors
from tests.doubles.state.identifiers import ALLOCATION, ASSOCIATION
from tests.doubles.state.model import World
from tests.doubles.state.resources import Association, ElasticIp, NetworkInterface

FIRST_PUBLIC = IPv4Address("203.0.113.1")
"""TEST-NET-3 of RFC 5737: from here on the double allocates."""


def border_group(world: World, zone: str) -> str:
    """Return the network border group of a zone: the region's, or that of a Local or Wavelength Zone."""
    return world.region if zone[:-1] == world.region else zone[:-1]


def allocate(world: World, group: str, tags: Mapping[str, str]) -> tuple[World, ElasticIp]:
    """Allocate an address; raises `Ec2Error` beyond the quota."""
    if len(world.elastic_ips) >= world.elastic_ip_quota:
        raise errors.address_quota()
    taken = {each.public_ip for each in world.elastic_ips.values()}
    public = next(
        address for count in range(len(taken) + 1) if (address := FIRST_PUBLIC + count) not in taken
    )
    serial = world.serial + 1
    made = ElasticIp(f"{ALLOCATION.prefix}{_digits(world, serial)}", public, group, dict(tags))
    return replace(world, elastic_ips={**world.elastic_ips, made.id: made}, serial=serial), made


def release(world: World, identifier: str, group: str | None) -> World:
    """Give an address back; raises `Ec2Error` for one that is associated."""
    found = ALLOCATION.find(world.elastic_ips, identifier)
    if group is not None and group != found.border_group:
        raise errors.no_such_address(found.public_ip)
    if held_by(world, identifier):
        raise errors.address_associated(found.public_ip)
    kept = {key: each for key, each in world.elastic_ips.items() if key != identifier}
    return replace(world, elastic_ips=kept)


@dataclass(frozen=True)
class Held:
    """Where an Elastic IP is."""

    interface: NetworkInterface
    association: Association


def held_by(world: World, identifier: str) -> Held | None:
    """Return where an Elastic IP is associated."""
    return next(
        (
            Held(interface, association)
            for interface in world.interfaces.values()
            for association in interface.associations
            if association.allocation == identifier
        ),
        None,
    )


def associate(
    world: World,
    identifier: str,
    interface_id: str,
    private: IPv4Address | None,
    *,
    allow_reassociation: bool,
    now: float,
) -> tuple[World, Association]:
    """Associate an address; raises `Ec2Error` as AssociateAddress does.

    Every call that succeeds is a remap, also one that changes nothing.
    """
    found = ALLOCATION.find(world.elastic_ips, identifier)
    interface = world.interface(interface_id)
    private = private or interface.primary
    _check_place(world, found, interface, private)
    before = held_by(world, identifier)
    there = next((each for each in interface.associations if each.private == private), None)
    same = before is not None and before.association == there
    if not same and not allow_reassociation:
        if before:
            raise errors.already_associated(identifier, before.association.id)
        if there:
            raise errors.already_associated(interface_id, there.id)
    counted = {**world.elastic_ips, identifier: replace(found, remaps=found.remaps + 1)}
    world = replace(world, elastic_ips=counted)
    if same and there:
        return world, there
    serial = world.serial + 1
    made = Association(f"{ASSOCIATION.prefix}{_digits(world, serial)}", identifier, found.public_ip, private)
    changes = {}
    if before:
        changes[before.interface.id] = _without(before.interface, before.association)
    target = changes.get(interface_id, interface)
    changes[interface_id] = replace(
        target,
        associations=(*(each for each in target.associations if each.private != private), made),
    )
    return replace(world.changed(changes, now), serial=serial), made


def _check_place(world: World, found: ElasticIp, interface: NetworkInterface, private: IPv4Address) -> None:
    subnet = world.subnets[interface.subnet]
    if private not in interface.addresses:
        raise errors.private_address_not_there(private, interface.id)
    if not world.has_internet_gateway(subnet.vpc):
        raise errors.no_internet_gateway(subnet.vpc)
    if found.border_group != border_group(world, subnet.az):
        raise errors.other_border_group(found.id, found.border_group, border_group(world, subnet.az))


def disassociate(world: World, identifier: str, now: float) -> World:
    """End an association; raises `Ec2Error` for one that is not there."""
    places = {
        association.id: Held(interface, association)
        for interface in world.interfaces.values()
        for association in interface.associations
    }
    held = ASSOCIATION.find(places, identifier)
    return world.changed({held.interface.id: _without(held.interface, held.association)}, now)


def _without(interface: NetworkInterface, association: Association) -> NetworkInterface:
    kept = tuple(each for each in interface.associations if each != association)
    return replace(interface, associations=kept)


def _digits(world: World, serial: int) -> str:
    return hashlib.sha256(f"elastic IP {world.account} {serial}".encode()).hexdigest()[:17]
