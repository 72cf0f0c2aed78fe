"""The actions that make, attach, detach and delete interfaces."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from tests.doubles.ec2 import errors
from tests.doubles.ec2.describe_network import interface_structure
from tests.doubles.ec2.parameters import (
    Outcome,
    read_address,
    read_addresses,
    read_count,
    read_ipv4_prefixes,
    read_ipv6_prefixes,
    read_tag_specification,
    refuse_dry_run,
    refuse_several,
)
from tests.doubles.ec2.query_protocol import Parameters
from tests.doubles.state import network_interfaces
from tests.doubles.state.model import Idempotent, World
from tests.doubles.state.network_interfaces import Creation, Modification, Slot
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
    """CreateNetworkInterface: a ClientToken that comes again makes nothing new."""
    sent = {name: value for name, value in parameters.sent.items() if name not in ("ClientToken", "DryRun")}
    subnet = world.subnet(parameters.require("SubnetId"))
    groups = parameters.listing("SecurityGroupId")
    network_interfaces.check_groups(world, groups, subnet.id)
    wanted = replace(_creation(subnet.id, parameters), groups=groups)
    token = parameters.take("ClientToken")
    dry_run = parameters.flag("DryRun")
    parameters.finish()
    before = world.creations.get(token or "")
    if before and before.parameters != sent:
        raise errors.other_parameters(token or "")
    made = before.interface if before else None
    if made is None:
        world, made = network_interfaces.create(world, wanted, now)
        if token:
            world = replace(world, creations={**world.creations, token: Idempotent(sent, made)})
    refuse_dry_run(dry_run)
    return world, {"networkInterface": interface_structure(world, made), "clientToken": token}


def modify_network_interface_attribute(world: World, parameters: Parameters, now: float) -> Outcome:
    """ModifyNetworkInterfaceAttribute: exactly one attribute a call."""
    interface = parameters.require("NetworkInterfaceId")
    description = parameters.take("Description.Value")
    groups = parameters.listing("SecurityGroupId")
    check = parameters.flag("SourceDestCheck.Value") if "SourceDestCheck.Value" in parameters.sent else None
    attachment = parameters.take("Attachment.AttachmentId")
    ending = "Attachment.DeleteOnTermination"
    ends = parameters.flag(ending) if ending in parameters.sent else None
    dry_run = parameters.flag("DryRun")
    parameters.finish()
    given = [each for each in (description, groups or None, check, ends) if each is not None]
    if not given:
        raise errors.no_attribute()
    if len(given) > 1:
        raise errors.one_attribute()
    wanted = Modification(description, groups or None, check, attachment, ends)
    world = network_interfaces.modify(world, interface, wanted, now)
    refuse_dry_run(dry_run)
    return world, {"return": True}


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
    tags = read_tag_specification(parameters, "network-interface")
    check_tags(tags)
    wanted = Creation(
        subnet=subnet,
        primary=read_address(primary, IPv4Address) if primary else None,
        secondaries=tuple(addresses),
        count=read_count(parameters, "SecondaryPrivateIpAddressCount") or 0,
        ipv4_prefixes=read_ipv4_prefixes(_prefix_texts(parameters, "Ipv4Prefix")),
        ipv4_prefix_count=read_count(parameters, "Ipv4PrefixCount") or 0,
        ipv6s=read_addresses(ipv6s, IPv6Address),
        ipv6_count=read_count(parameters, "Ipv6AddressCount") or 0,
        ipv6_prefixes=read_ipv6_prefixes(_prefix_texts(parameters, "Ipv6Prefix")),
        ipv6_prefix_count=read_count(parameters, "Ipv6PrefixCount") or 0,
        description=parameters.take("Description") or "",
        tags=tags,
    )
    # "Ipv4Prefix.N" of CreateNetworkInterface: prefixes exclude addresses and counts of the family.
    refuse_several(
        {
            "PrivateIpAddresses": wanted.secondaries,
            "SecondaryPrivateIpAddressCount": wanted.count,
            "Ipv4Prefix": wanted.ipv4_prefixes,
            "Ipv4PrefixCount": wanted.ipv4_prefix_count,
        }
    )
    refuse_several(
        {
            "Ipv6Addresses": wanted.ipv6s,
            "Ipv6AddressCount": wanted.ipv6_count,
            "Ipv6Prefix": wanted.ipv6_prefixes,
            "Ipv6PrefixCount": wanted.ipv6_prefix_count,
        }
    )
    return wanted


def _prefix_texts(parameters: Parameters, name: str) -> list[str]:
    texts = []
    for part in parameters.parts(name):
        texts.append(part.require(name))
        part.finish()
    return texts


def delete_network_interface(world: World, parameters: Parameters, now: float) -> Outcome:
    """DeleteNetworkInterface."""
    interface = parameters.require("NetworkInterfaceId")
    dry_run = parameters.flag("DryRun")
    parameters.finish()
    world = network_interfaces.delete(world, interface, now)
    refuse_dry_run(dry_run)
    return world, {"return": True}
