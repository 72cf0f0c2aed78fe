"""What the instance metadata service shows of an instance: a tree of names, read by path.

Names and forms are those of "Instance metadata categories" and "Instance identity documents" in the EC2 user
guide. What an instance does not have is no empty value but no name: 404.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TypeAlias

from tests.doubles.ec2.describe_network import ATTACH_TIME, IMAGE, groups_of, private_dns_name
from tests.doubles.ec2.iam import AccessKey
from tests.doubles.state.model import World
from tests.doubles.state.resources import Attachment, Instance, NetworkInterface

Tree: TypeAlias = "Mapping[str, Tree | str]"

CREDENTIALS_SECONDS = 6 * 3600
"""For how long the role's credentials are said to be valid: as long as EC2's usually are."""


def read(tree: Tree, path: str) -> str | None:
    """Return the value at a path such as `/meta-data/mac`, or a directory's listing; None for nothing.

    A listing has one name a line, that of a directory with a slash at its end. Slashes at the end of a path
    make no difference.
    """
    found: Tree | str = tree
    for name in filter(None, path.split("/")):
        if isinstance(found, str) or name not in found:
            return None
        found = found[name]
    if isinstance(found, str):
        return found
    return "\n".join(name if isinstance(found[name], str) else f"{name}/" for name in sorted(found))


def metadata(world: World, instance: Instance, wall: float) -> Tree:
    """Return what is below `/latest` of a world as IMDS shows it, at a time (seconds since the epoch)."""
    interfaces = [interface for interface in world.interfaces_of(instance.id) if interface.in_guest]
    primary = interfaces[0]
    zone = world.subnets[primary.subnet].az
    meta: dict[str, Tree | str] = {
        "ami-id": IMAGE,
        "hostname": private_dns_name(world, primary.primary),
        "instance-id": instance.id,
        "instance-type": instance.type,
        "local-hostname": private_dns_name(world, primary.primary),
        "local-ipv4": str(primary.primary),
        "mac": primary.mac,
        "network": {
            "interfaces": {
                "macs": {
                    interface.mac: _interface(world, interface, interface.attachment)
                    for interface in interfaces
                    if interface.attachment
                }
            },
        },
        "placement": {"availability-zone": zone, "region": world.region},
    }
    if instance.role:
        credentials = _credentials(world.role_keys[instance.id], wall)
        meta["iam"] = {"security-credentials": {instance.role: credentials}}
    document = _identity_document(world, instance, primary, zone)
    return {"meta-data": meta, "dynamic": {"instance-identity": {"document": document}}}


def _interface(world: World, interface: NetworkInterface, attachment: Attachment) -> Tree:
    subnet, groups = world.subnets[interface.subnet], groups_of(world, interface)
    names: dict[str, Tree | str] = {
        "device-number": str(attachment.device),
        "interface-id": interface.id,
        "ipv4-associations": {str(each.public): str(each.private) for each in interface.associations},
        "ipv4-prefix": _lines(interface.ipv4_prefixes),
        "ipv6-prefix": _lines(interface.ipv6_prefixes),
        "ipv6s": _lines(interface.ipv6s),
        "local-hostname": private_dns_name(world, interface.primary),
        "local-ipv4s": _lines(interface.addresses),
        "mac": interface.mac,
        # Types with a single network card have no such name: the VPC CNI takes 404 for card 0.
        "network-card": "" if attachment.network_card is None else str(attachment.network_card),
        "owner-id": world.account,
        "public-ipv4s": _lines(each.public for each in interface.associations),
        "security-group-ids": _lines(groups),
        "security-groups": _lines(world.groups[group].name for group in groups),
        "subnet-id": subnet.id,
        "subnet-ipv4-cidr-block": str(subnet.cidr),
        "subnet-ipv6-cidr-blocks": _lines(filter(None, [subnet.ipv6_cidr])),
        "vpc-id": subnet.vpc,
    }
    view = world.imds.get(interface.id)
    return {name: value for name, value in names.items() if value and not (view and name in view.hidden)}


def _lines(values: Iterable[object]) -> str:
    return "\n".join(map(str, values))


def _credentials(key: AccessKey, wall: float) -> str:
    content = {
        "Code": "Success",
        "LastUpdated": _timestamp(wall),
        "Type": "AWS-HMAC",
        "AccessKeyId": key.id,
        "SecretAccessKey": key.secret,
        "Token": key.token,
        "Expiration": _timestamp(wall + CREDENTIALS_SECONDS),
    }
    return json.dumps(content, indent=2)


def _timestamp(wall: float) -> str:
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _identity_document(world: World, instance: Instance, primary: NetworkInterface, zone: str) -> str:
    content = {
        "accountId": world.account,
        "architecture": "x86_64",
        "availabilityZone": zone,
        "billingProducts": None,
        "devpayProductCodes": None,
        "marketplaceProductCodes": None,
        "imageId": IMAGE,
        "instanceId": instance.id,
        "instanceType": instance.type,
        "kernelId": None,
        "pendingTime": ATTACH_TIME.replace(".000Z", "Z"),
        "privateIp": str(primary.primary),
        "ramdiskId": None,
        "region": world.region,
        "version": "2017-09-30",
    }
    return json.dumps(content, indent=2)
