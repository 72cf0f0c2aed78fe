"""The actions on Elastic IPs, and how they look in EC2's answers.

Element names and filters are those of DescribeAddresses in the EC2 API reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address

from tests.doubles.ec2 import errors
from tests.doubles.ec2.describe import Kind, describe
from tests.doubles.ec2.parameters import Outcome, read_address, read_tag_specification, refuse_dry_run
from tests.doubles.ec2.query_protocol import Parameters, Structure
from tests.doubles.state import elastic_ips
from tests.doubles.state.elastic_ips import Held
from tests.doubles.state.identifiers import ALLOCATION
from tests.doubles.state.model import World
from tests.doubles.state.resource_tags import check_tags
from tests.doubles.state.resources import ElasticIp

POOL = "amazon"


def allocate_address(world: World, parameters: Parameters, now: float) -> Outcome:  # noqa: ARG001 - as all actions
    """AllocateAddress, from Amazon's pool; the public address is EC2's choice."""
    domain = parameters.take("Domain") or "vpc"
    group = parameters.take("NetworkBorderGroup") or world.region
    tags = read_tag_specification(parameters, "elastic-ip")
    dry_run = parameters.flag("DryRun")
    parameters.finish()
    if domain != "vpc":
        raise errors.invalid_value(domain, "domain", "Expecting vpc.")
    check_tags(tags)
    world, made = elastic_ips.allocate(world, group, tags)
    refuse_dry_run(dry_run)
    return world, {
        "publicIp": str(made.public_ip),
        "allocationId": made.id,
        "domain": domain,
        "publicIpv4Pool": POOL,
        "networkBorderGroup": made.border_group,
    }


def release_address(world: World, parameters: Parameters, now: float) -> Outcome:  # noqa: ARG001 - as all actions
    """ReleaseAddress by its allocation."""
    allocation = parameters.require("AllocationId")
    group = parameters.take("NetworkBorderGroup")
    dry_run = parameters.flag("DryRun")
    parameters.finish()
    world = elastic_ips.release(world, allocation, group)
    refuse_dry_run(dry_run)
    return world, {"return": True}


def associate_address(world: World, parameters: Parameters, now: float) -> Outcome:
    """AssociateAddress with a network interface; instances are not named here."""
    allocation = parameters.require("AllocationId")
    interface = parameters.require("NetworkInterfaceId")
    private = parameters.take("PrivateIpAddress")
    allow = parameters.flag("AllowReassociation") if "AllowReassociation" in parameters.sent else True
    dry_run = parameters.flag("DryRun")
    if "InstanceId" in parameters.sent:
        raise errors.unsupported_parameter("InstanceId")
    parameters.finish()
    world, made = elastic_ips.associate(
        world,
        allocation,
        interface,
        read_address(private, IPv4Address) if private else None,
        allow_reassociation=allow,
        now=now,
    )
    refuse_dry_run(dry_run)
    return world, {"return": True, "associationId": made.id}


def disassociate_address(world: World, parameters: Parameters, now: float) -> Outcome:
    """DisassociateAddress by its association."""
    association = parameters.require("AssociationId")
    dry_run = parameters.flag("DryRun")
    parameters.finish()
    world = elastic_ips.disassociate(world, association, now)
    refuse_dry_run(dry_run)
    return world, {"return": True}


def describe_addresses(world: World, parameters: Parameters, now: float) -> Outcome:  # noqa: ARG001 - as all actions
    """DescribeAddresses, all on one page: the action knows no others."""
    for name in ("MaxResults", "NextToken"):
        if name in parameters.sent:
            raise errors.unknown_parameter(name)
    public = parameters.listing("PublicIp")
    known = {str(each.public_ip) for each in world.elastic_ips.values()}
    for address in public:
        if address not in known:
            raise errors.no_such_address(address)
    found, _ = describe(ADDRESSES, world, parameters)
    return world, {"addressesSet": [each for each in found if not public or each["publicIp"] in public]}


def _structure(world: World, found: ElasticIp) -> Structure:
    held = elastic_ips.held_by(world, found.id)
    place: Structure = {}
    if held:
        place = {
            "instanceId": held.interface.instance,
            "associationId": held.association.id,
            "networkInterfaceId": held.interface.id,
            "networkInterfaceOwnerId": world.account,
            "privateIpAddress": str(held.association.private),
        }
    return {
        "publicIp": str(found.public_ip),
        "allocationId": found.id,
        "domain": "vpc",
        "publicIpv4Pool": POOL,
        "networkBorderGroup": found.border_group,
        **place,
        "tagSet": [{"key": key, "value": value} for key, value in found.tags.items()],
    }


def _of_place(value: Callable[[World, Held], object]) -> Callable[[World, ElasticIp], Iterable[object]]:
    """A filter's value that only associated addresses have."""

    def values(world: World, found: ElasticIp) -> Iterable[object]:
        held = elastic_ips.held_by(world, found.id)
        return filter(None, [value(world, held)]) if held else []

    return values


ADDRESSES = Kind[ElasticIp](
    ids_parameter="AllocationId",
    everything=lambda world: world.elastic_ips,
    require=lambda world, identifier: ALLOCATION.find(world.elastic_ips, identifier),
    filters={
        "allocation-id": lambda _, found: [found.id],
        "association-id": _of_place(lambda _, held: held.association.id),
        "instance-id": _of_place(lambda _, held: held.interface.instance),
        "network-border-group": lambda _, found: [found.border_group],
        "network-interface-id": _of_place(lambda _, held: held.interface.id),
        "network-interface-owner-id": _of_place(lambda world, _: world.account),
        "private-ip-address": _of_place(lambda _, held: held.association.private),
        "public-ip": lambda _, found: [found.public_ip],
    },
    show=_structure,
)
