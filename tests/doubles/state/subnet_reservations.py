"""Subnet CIDR reservations: what CreateSubnetCidrReservation and DeleteSubnetCidrReservation do.

Source: "Subnet CIDR reservations" in the VPC user guide. From a range of type `prefix` EC2 chooses prefixes,
from one of type `explicit` nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from tests.doubles.ec2 import errors
from tests.doubles.state.identifiers import RESERVATION
from tests.doubles.state.model import World
from tests.doubles.state.resources import SubnetCidrReservation


def reserve(world: World, wanted: SubnetCidrReservation) -> tuple[World, SubnetCidrReservation]:
    """Reserve a range of a subnet; raises `Ec2Error` outside of the subnet and over another reservation."""
    subnet = world.subnet(wanted.subnet)
    whole = subnet.cidr if wanted.cidr.version == 4 else subnet.ipv6_cidr
    if whole is None or wanted.cidr[0] not in whole or wanted.cidr[-1] not in whole:
        raise errors.reservation_outside_subnet(wanted.cidr)
    for other in world.reservations.values():
        if other.cidr.version == wanted.cidr.version and other.cidr.overlaps(wanted.cidr):
            raise errors.reservation_overlaps(wanted.cidr, other.cidr)
    serial = world.serial + 1
    digits = hashlib.sha256(f"reservation {world.account} {serial}".encode()).hexdigest()[:17]
    made = replace(wanted, id=f"{RESERVATION.prefix}{digits}")
    return replace(world, reservations={**world.reservations, made.id: made}, serial=serial), made


def release(world: World, identifier: str) -> tuple[World, SubnetCidrReservation]:
    """Delete a reservation; what was assigned from it stays assigned."""
    gone = RESERVATION.find(world.reservations, identifier)
    kept = {key: each for key, each in world.reservations.items() if key != identifier}
    return replace(world, reservations=kept), gone
