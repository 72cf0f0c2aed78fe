"""Reads EC2's answers into the controller's model. Fields are those of the EC2 API reference."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

from ipagent.assign.holders import NO_MANAGE
from ipagent.controller.model.ec2_snapshot import AVAILABLE, DETACHING, Eni, Group, Limits, Subnet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mypy_boto3_ec2.type_defs import (
        InstanceTypeInfoTypeDef,
        Ipv4PrefixSpecificationTypeDef,
        Ipv6PrefixSpecificationTypeDef,
        NetworkInterfaceTypeDef,
        SecurityGroupTypeDef,
        SubnetTypeDef,
        TagTypeDef,
    )


def read_eni(shown: NetworkInterfaceTypeDef) -> Eni:
    """Read a `NetworkInterface`, also the one that CreateNetworkInterface answers with."""
    attachment = shown.get("Attachment") or {}
    tags = read_tags(shown.get("TagSet", []))
    # For a moment an interface in use may have no attachment: it is not free yet.
    state = attachment.get("Status") or (DETACHING if shown.get("Status") == "in-use" else AVAILABLE)
    return Eni(
        id=shown["NetworkInterfaceId"],
        mac=shown.get("MacAddress", "").lower(),
        subnet=shown.get("SubnetId", ""),
        zone=shown.get("AvailabilityZone", ""),
        vpc=shown.get("VpcId", ""),
        tags=tags,
        groups=frozenset(group.get("GroupId", "") for group in shown.get("Groups", [])),
        source_dest_check=shown.get("SourceDestCheck", True),
        instance=attachment.get("InstanceId", ""),
        attachment=attachment.get("AttachmentId", ""),
        state=AVAILABLE if state == "detached" else state,
        card=attachment.get("NetworkCardIndex", 0),
        device=attachment.get("DeviceIndex"),
        delete_on_termination=attachment.get("DeleteOnTermination", False),
        prefixes=frozenset(read_prefixes(shown.get("Ipv4Prefixes", []), shown.get("Ipv6Prefixes", []))),
        address=shown.get("PrivateIpAddress", ""),
        ipv4=len(shown.get("PrivateIpAddresses", [])) + len(shown.get("Ipv4Prefixes", [])),
        # Of the VPC CNI's interfaces nobody asks; there are more of them than of all others.
        addresses=read_secondaries(shown) if tags.get(NO_MANAGE) == "true" else frozenset(),
        managed=shown.get("RequesterManaged", False),
    )


def read_tags(shown: Iterable[TagTypeDef]) -> dict[str, str]:
    """Read a `TagSet`."""
    return {tag.get("Key", ""): tag.get("Value", "") for tag in shown}


def read_prefixes(
    ipv4: Iterable[Ipv4PrefixSpecificationTypeDef], ipv6: Iterable[Ipv6PrefixSpecificationTypeDef]
) -> tuple[str, ...]:
    """Read prefixes of both families."""
    found = [entry.get("Ipv4Prefix", "") for entry in ipv4] + [entry.get("Ipv6Prefix", "") for entry in ipv6]
    return tuple(str(ip_network(each)) for each in found)


def read_secondaries(shown: NetworkInterfaceTypeDef) -> frozenset[str]:
    """Read the addresses of both families but the primary IPv4 address."""
    ipv4 = (each for each in shown.get("PrivateIpAddresses", []) if not each.get("Primary"))
    return frozenset(
        (
            *(each.get("PrivateIpAddress", "") for each in ipv4),
            *(each.get("Ipv6Address", "") for each in shown.get("Ipv6Addresses", [])),
        )
    )


def read_subnet(shown: SubnetTypeDef) -> Subnet:
    """Read a `Subnet`."""
    return Subnet(
        shown["SubnetId"],
        shown.get("AvailabilityZone", ""),
        shown.get("VpcId", ""),
        shown.get("AvailableIpAddressCount", 0),
        tuple(filter(None, (shown.get("CidrBlock"), *_ipv6_ranges(shown)))),
    )


def _ipv6_ranges(shown: SubnetTypeDef) -> list[str]:
    return [
        each.get("Ipv6CidrBlock", "")
        for each in shown.get("Ipv6CidrBlockAssociationSet", [])
        if each.get("Ipv6CidrBlockState", {}).get("State") == "associated"
    ]


def read_group(shown: SecurityGroupTypeDef) -> Group:
    """Read a `SecurityGroup`."""
    return Group(shown["GroupId"], shown.get("GroupName", ""), shown.get("VpcId", ""))


def read_limits(shown: InstanceTypeInfoTypeDef) -> Limits:
    """Read the `NetworkInfo` of an instance type."""
    info = shown.get("NetworkInfo") or {}
    cards = info.get("NetworkCards") or []
    by_card = {card.get("NetworkCardIndex", 0): card.get("MaximumNetworkInterfaces", 0) for card in cards}
    return Limits(
        info.get("MaximumNetworkInterfaces", 0),
        by_card,
        info.get("Ipv4AddressesPerInterface", 0),
        info.get("Ipv6AddressesPerInterface", 0),
    )
