"""The actions on subnet CIDR reservations."""

from __future__ import annotations

from ipaddress import ip_network

from tests.doubles.ec2 import errors
from tests.doubles.ec2.parameters import Outcome, read_tag_specification, refuse_dry_run
from tests.doubles.ec2.query_protocol import Parameters, Structure
from tests.doubles.state import subnet_reservations
from tests.doubles.state.model import World
from tests.doubles.state.resources import ReservationType, SubnetCidrReservation


def create_subnet_cidr_reservation(world: World, parameters: Parameters, now: float) -> Outcome:  # noqa: ARG001 - as all actions
    """CreateSubnetCidrReservation."""
    subnet, text = parameters.require("SubnetId"), parameters.require("Cidr")
    kind = parameters.require("ReservationType")
    description = parameters.take("Description") or ""
    tags = read_tag_specification(parameters, "subnet-cidr-reservation")
    dry_run = parameters.flag("DryRun")
    parameters.finish()
    if kind not in tuple(ReservationType):
        raise errors.invalid_value(kind, "reservationType", "Expecting prefix or explicit.")
    try:
        cidr = ip_network(text)
    except ValueError:
        raise errors.invalid_value(text, "cidr", "Expecting a CIDR block.") from None
    wanted = SubnetCidrReservation("", subnet, cidr, ReservationType(kind), description, tags)
    world, made = subnet_reservations.reserve(world, wanted)
    refuse_dry_run(dry_run)
    return world, {"subnetCidrReservation": _structure(world, made)}


def get_subnet_cidr_reservations(world: World, parameters: Parameters, now: float) -> Outcome:  # noqa: ARG001 - as all actions
    """GetSubnetCidrReservations of a subnet, all on one page."""
    subnet = world.subnet(parameters.require("SubnetId"))
    dry_run = parameters.flag("DryRun")
    parameters.finish()
    refuse_dry_run(dry_run)
    found = [each for each in world.reservations.values() if each.subnet == subnet.id]
    return world, {
        f"subnetIpv{version}CidrReservationSet": [
            _structure(world, each) for each in found if each.cidr.version == version
        ]
        for version in (4, 6)
    }


def delete_subnet_cidr_reservation(world: World, parameters: Parameters, now: float) -> Outcome:  # noqa: ARG001 - as all actions
    """DeleteSubnetCidrReservation."""
    identifier = parameters.require("SubnetCidrReservationId")
    dry_run = parameters.flag("DryRun")
    parameters.finish()
    world, gone = subnet_reservations.release(world, identifier)
    refuse_dry_run(dry_run)
    return world, {"deletedSubnetCidrReservation": _structure(world, gone)}


def _structure(world: World, found: SubnetCidrReservation) -> Structure:
    return {
        "subnetCidrReservationId": found.id,
        "subnetId": found.subnet,
        "cidr": str(found.cidr),
        "reservationType": str(found.type),
        "ownerId": world.account,
        "description": found.description or None,
        "tagSet": [{"key": key, "value": value} for key, value in found.tags.items()],
    }
