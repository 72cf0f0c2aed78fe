"""The actions that make, attach, detach and delete interfaces."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from tests.doubles.ec2 import errors
from tests.doubles.ec2.describe_network import interface_structure, security_group
from tests.doubles.ec2.parameters import (
    Outcome,
    read_address,
    read_addresses,
    read_count,
    read_tags,
    refuse_dry_run,
)
from tests.doubles.ec2.query_protocol import Parameters
from tests.doubles.state import network_interfaces
from tests.doubles.state.model import World
from tests.doubles.state.network_interfaces import Creation, Slot
from tests.doubles.state.resource_tags import check_tags


def attach_network_interface(world: World, parameters: Parameters, now: float) -> Outcome:
    """AttachNetworkInterface."""
    interface = parameters.require("NetworkInterfaceId")
    instance = parameters.require("InstanceId")
    device = parameters.number("DeviceIndex")
    card = parameters.number("NetworkCardIndex") or 0
    dry_run = parameters.flag("DryRun")
    parameters.finish()
    if device is None:
        raise errors.missing_parameter("DeviceIndex")
    world, attachment = network_interfaces.attach(world, interface, Slot(instance, device, card), now)
    refuse_dry_run(dry_run)
    return world, {"attachmentId": attachment.id, "networkCardIndex": card}


def detach_network_interface(world: World, parameters: Parameters, now: float) -> Outcome:
    """DetachNetworkInterface; `Force` makes no difference here."""
    attachment = parameters.require("AttachmentId")
    parameters.flag("Force")
    dry_run = parameters.flag("DryRun")
    parameters.finish()
    world = network_interfaces.detach(world, attachment, now)
    refuse_dry_run(dry_run)
    return world, {"return": True}


def create_network_interface(world: World, parameters: Parameters, now: float) -> Outcome:
    """CreateNetworkInterface; the double has one security group a VPC, and gives out no prefixes."""
    subnet = world.subnet(parameters.require("SubnetId"))
    for group in parameters.listing("SecurityGroupId"):
        if group != security_group(subnet.vpc):
            raise errors.no_such_group(group)
    wanted = _creation(subnet.id, parameters)
    token = parameters.take("ClientToken")
    dry_run = parameters.flag("DryRun")
    parameters.finish()
    world, made = network_interfaces.create(world, wanted, now)
    refuse_dry_run(dry_run)
    return world, {"networkInterface": interface_structure(world, made), "clientToken": token}


def _creation(subnet: str, parameters: Parameters) -> Creation:
    primary = parameters.take("PrivateIpAddress")
    addresses: list[IPv4Address] = []
    for part in parameters.parts("PrivateIpAddresses"):
        address = part.require("PrivateIpAddress")
        if part.flag("Primary"):
            primary = address
        else:
            addresses.append(read_address(address, IPv4Address))
        part.finish()
    ipv6s = [part.require("Ipv6Address") for part in parameters.parts("Ipv6Addresses")]
    tags: dict[str, str] = {}
    for part in parameters.parts("TagSpecification"):
        if part.require("ResourceType") != "network-interface":
            raise errors.wrong_tag("The resource type of the tags must be network-interface.")
        tags |= read_tags(part)
        part.finish()
    check_tags(tags)
    return Creation(
        subnet=subnet,
        primary=read_address(primary, IPv4Address) if primary else None,
        secondaries=tuple(addresses),
        count=read_count(parameters, "SecondaryPrivateIpAddressCount") or 0,
        ipv6s=read_addresses(ipv6s, IPv6Address),
        ipv6_count=read_count(parameters, "Ipv6AddressCount") or 0,
        description=parameters.take("Description") or "",
        tags=tags,
    )


def delete_network_interface(world: World, parameters: Parameters, now: float) -> Outcome:
    """DeleteNetworkInterface."""
    interface = parameters.require("NetworkInterfaceId")
    dry_run = parameters.flag("DryRun")
    parameters.finish()
    world = network_interfaces.delete(world, interface, now)
    refuse_dry_run(dry_run)
    return world, {"return": True}
