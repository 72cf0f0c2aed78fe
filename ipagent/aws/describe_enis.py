"""Reads ENIs from answers of DescribeNetworkInterfaces: the only module that knows their form.

Fields are those of `NetworkInterface` in the EC2 API reference.
"""

from __future__ import annotations

from ipaddress import ip_network

from ipagent.assign.addresses import IPNetwork, canonical_mac, parse_address, sort_key
from ipagent.assign.holders import NO_MANAGE, OWNER_TAGS
from ipagent.assign.topology import Eni, EniDetails
from ipagent.log import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import NetworkInterfaceTypeDef, SubnetTypeDef

MAX_DESCRIPTION = 80


def details(shown: NetworkInterfaceTypeDef) -> EniDetails:
    """Read one network interface of an answer."""
    primary = shown.get("PrivateIpAddress")
    ipv4 = shown.get("PrivateIpAddresses", [])
    ipv6 = shown.get("Ipv6Addresses", [])
    # Ipv6Address beside the list need not be a primary one: only the list tells.
    primary_ipv6 = next((entry["Ipv6Address"] for entry in ipv6 if entry.get("IsPrimaryIpv6")), None)
    held = (entry["PrivateIpAddress"] for entry in ipv4 if not entry.get("Primary"))
    # An emulation may mark none as the primary one, which must never be taken off.
    others = [address for address in held if address != primary]
    others += [entry["Ipv6Address"] for entry in ipv6 if not entry.get("IsPrimaryIpv6")]
    attachment = shown.get("Attachment", {})
    tags = {tag.get("Key"): tag.get("Value", "") for tag in shown.get("TagSet", [])}
    owner_tag = next((f"{key}={tags[key]}" for key in OWNER_TAGS if key in tags), "")
    blocks = [entry["Ipv4Prefix"] for entry in shown.get("Ipv4Prefixes", [])]
    blocks += [entry["Ipv6Prefix"] for entry in shown.get("Ipv6Prefixes", [])]
    return EniDetails(
        shown["NetworkInterfaceId"],
        parse_address(primary) if primary else None,
        tuple(sorted(map(parse_address, others), key=sort_key)),
        parse_address(primary_ipv6) if primary_ipv6 else None,
        instance_id=attachment.get("InstanceId", ""),
        device_number=attachment.get("DeviceIndex"),
        description=printable(shown.get("Description", ""))[:MAX_DESCRIPTION],
        managed=_managed(shown),
        mac=canonical_mac(shown.get("MacAddress", "")),
        subnet_id=shown.get("SubnetId", ""),
        vpc_id=shown.get("VpcId", ""),
        no_manage=tags.get(NO_MANAGE) == "true",
        prefixes=tuple(map(ip_network, blocks)),
        network_card=attachment.get("NetworkCardIndex", 0),
        interface_type=shown.get("InterfaceType") or "interface",
        owner_tag=printable(owner_tag)[:MAX_DESCRIPTION],
        detaching=attachment.get("Status") in ("detaching", "detached"),
    )


def as_eni(found: EniDetails, subnet_cidrs: tuple[IPNetwork, ...] = (), barred: str = "") -> Eni:
    """Return an attached ENI as the topology has it."""
    return Eni(
        found.eni_id,
        found.mac,
        found.device_number or 0,
        found.subnet_id,
        subnet_cidrs,
        barred,
        found.network_card,
        found.prefixes,
    )


def subnet_ranges(shown: SubnetTypeDef) -> tuple[IPNetwork, ...]:
    """Read the ranges of both families of one subnet of an answer of DescribeSubnets.

    A subnet for IPv6 alone (`Ipv6Native`) has no `CidrBlock`.
    """
    associations = shown.get("Ipv6CidrBlockAssociationSet", [])
    ipv6 = (
        entry["Ipv6CidrBlock"]
        for entry in associations
        if entry.get("Ipv6CidrBlockState", {}).get("State") == "associated"
    )
    ipv4 = filter(None, (shown.get("CidrBlock"),))
    return tuple(map(ip_network, (*ipv4, *ipv6)))


def _managed(shown: NetworkInterfaceTypeDef) -> bool:
    """Return whether it belongs to an AWS service: made by one, or run by one on the user's behalf."""
    return bool(shown.get("RequesterManaged") or shown.get("Operator", {}).get("Managed"))
