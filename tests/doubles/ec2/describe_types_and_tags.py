"""How instance types, security groups and tags look in EC2's answers, and by which filters they are found.

Element names and filters are those of DescribeInstanceTypes, DescribeSecurityGroups and DescribeTags in the
EC2 API reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.doubles.ec2 import errors
from tests.doubles.ec2.describe import Kind
from tests.doubles.ec2.query_protocol import Structure
from tests.doubles.state.instance_types import TYPES, NetworkInfo
from tests.doubles.state.model import World
from tests.doubles.state.resource_tags import Tag, every_tag
from tests.doubles.state.resources import IngressRule, SecurityGroup


@dataclass(frozen=True)
class InstanceType:
    """An instance type; `id` is its name."""

    id: str
    limits: NetworkInfo
    tags: Mapping[str, str] = field(default_factory=dict)


def _types(world: World) -> Mapping[str, InstanceType]:
    """All known types, and those of the world's instances with the limits that it states."""
    stated = {instance.type: instance.limits for instance in world.instances.values()}
    return {name: InstanceType(name, limits) for name, limits in {**TYPES, **stated}.items()}


def _type(world: World, name: str) -> InstanceType:
    types = _types(world)
    if name not in types:
        raise errors.no_such_type(name)
    return types[name]


def _type_structure(_: World, found: InstanceType) -> Structure:
    limits = found.limits
    return {
        "instanceType": found.id,
        "bareMetal": not limits.hypervisor,
        "hypervisor": limits.hypervisor or None,
        "networkInfo": {
            "maximumNetworkInterfaces": limits.max_interfaces,
            "maximumNetworkCards": limits.network_cards,
            "defaultNetworkCardIndex": 0,
            "networkCards": [
                {
                    "networkCardIndex": card,
                    "maximumNetworkInterfaces": limits.per_card,
                }
                for card in range(limits.network_cards)
            ],
            "ipv4AddressesPerInterface": limits.ipv4_per_interface,
            "ipv6AddressesPerInterface": limits.ipv6_per_interface,
            "ipv6Supported": limits.ipv6_per_interface > 0,
        },
    }


INSTANCE_TYPES = Kind[InstanceType](
    ids_parameter="InstanceType",
    everything=_types,
    require=_type,
    filters={
        "instance-type": lambda _, found: [found.id],
        "bare-metal": lambda _, found: [not found.limits.hypervisor],
        "hypervisor": lambda _, found: filter(None, [found.limits.hypervisor]),
        "network-info.maximum-network-interfaces": lambda _, found: [found.limits.max_interfaces],
        "network-info.maximum-network-cards": lambda _, found: [found.limits.network_cards],
        "network-info.ipv4-addresses-per-interface": lambda _, found: [found.limits.ipv4_per_interface],
        "network-info.ipv6-addresses-per-interface": lambda _, found: [found.limits.ipv6_per_interface],
        "network-info.ipv6-supported": lambda _, found: [found.limits.ipv6_per_interface > 0],
    },
    show=_type_structure,
    largest_page=100,
    tagged=False,
)


def _tag_structure(_: World, tag: Tag) -> Structure:
    return {"resourceId": tag.resource, "resourceType": tag.type, "key": tag.key, "value": tag.value}


TAGS = Kind[Tag](
    ids_parameter=None,
    everything=every_tag,
    require=lambda world, identifier: every_tag(world)[identifier],
    filters={
        "key": lambda _, tag: [tag.key],
        "resource-id": lambda _, tag: [tag.resource],
        "resource-type": lambda _, tag: [tag.type],
        "value": lambda _, tag: [tag.value],
    },
    show=_tag_structure,
)


def _group_structure(world: World, group: SecurityGroup) -> Structure:
    return {
        "ownerId": world.account,
        "groupId": group.id,
        "groupName": group.name,
        "groupDescription": group.name,
        "vpcId": group.vpc,
        "ipPermissions": [_permission(world, rule) for rule in group.ingress],
        "ipPermissionsEgress": [],
        "tagSet": [{"key": key, "value": value} for key, value in group.tags.items()],
    }


def _permission(world: World, rule: IngressRule) -> Structure:
    first, last = rule.ports or (None, None)
    return {
        "ipProtocol": rule.protocol,
        "fromPort": first,
        "toPort": last,
        "groups": [{"groupId": group, "userId": world.account} for group in rule.groups],
        "ipRanges": [{"cidrIp": str(cidr)} for cidr in rule.cidrs],
        "ipv6Ranges": [],
        "prefixListIds": [],
    }


SECURITY_GROUPS = Kind[SecurityGroup](
    ids_parameter="GroupId",
    everything=lambda world: world.groups,
    require=World.group,
    filters={
        "group-id": lambda _, group: [group.id],
        "group-name": lambda _, group: [group.name],
        "owner-id": lambda world, _: [world.account],
        "vpc-id": lambda _, group: [group.vpc],
    },
    show=_group_structure,
)
