"""Tags of resources: what CreateTags and DeleteTags do to the world, and what DescribeTags shows.

Restrictions: "Tag your Amazon EC2 resources" in the EC2 user guide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tests.doubles.ec2 import errors
from tests.doubles.state.identifiers import ALLOCATION, GROUP, INSTANCE, INTERFACE, SUBNET
from tests.doubles.state.model import World
from tests.doubles.state.resources import ElasticIp, Instance, NetworkInterface, SecurityGroup, Subnet

MAX_TAGS = 50
MAX_KEY, MAX_VALUE = 128, 256
RESERVED = "aws:"

Tagged = Subnet | Instance | NetworkInterface | SecurityGroup | ElasticIp


@dataclass(frozen=True)
class Tag:
    """One tag of one resource; `type` is the resource's (`ResourceType` of the service model)."""

    resource: str
    type: str
    key: str
    value: str

    @property
    def id(self) -> str:
        """What tells it from all others."""
        return f"{self.resource} {self.key}"

    @property
    def tags(self) -> Mapping[str, str]:
        """The tag itself."""
        return {self.key: self.value}


def every_tag(world: World) -> Mapping[str, Tag]:
    """Return all tags of the world, by their `id`."""
    kinds: list[tuple[str, Mapping[str, Tagged]]] = [
        ("elastic-ip", world.elastic_ips),
        ("instance", world.instances),
        ("network-interface", world.interfaces),
        ("security-group", world.groups),
        ("subnet", world.subnets),
    ]
    found = [
        Tag(resource.id, kind, key, value)
        for kind, resources in kinds
        for resource in resources.values()
        for key, value in resource.tags.items()
    ]
    return {tag.id: tag for tag in found}


def create_tags(world: World, identifiers: tuple[str, ...], tags: Mapping[str, str], now: float) -> World:
    """Set tags of all these resources; raises `Ec2Error` as CreateTags does."""
    check_tags(tags)
    for identifier in identifiers:
        after = {**resource_of(world, identifier).tags, **tags}
        if len(after) > MAX_TAGS:
            raise errors.too_many_tags(identifier, MAX_TAGS)
        world = _with_tags(world, identifier, after, now)
    return world


def delete_tags(
    world: World, identifiers: tuple[str, ...], tags: Mapping[str, str | None] | None, now: float
) -> World:
    """Delete tags of all these resources: all without `tags`, and those of any value where that is None."""
    for identifier in identifiers:
        before = resource_of(world, identifier).tags
        after = {key: value for key, value in before.items() if not _is_meant(key, value, tags)}
        world = _with_tags(world, identifier, after, now)
    return world


def _is_meant(key: str, value: str, tags: Mapping[str, str | None] | None) -> bool:
    return tags is None or (key in tags and tags[key] in (None, value))


def check_tags(tags: Mapping[str, str]) -> None:
    """Raise `Ec2Error` for tags that no resource may have."""
    for key, value in tags.items():
        if not key or len(key) > MAX_KEY:
            raise errors.wrong_tag(f"Tag key must be between 1 and {MAX_KEY} characters long.")
        if len(value) > MAX_VALUE:
            raise errors.wrong_tag(f"Tag value exceeds the maximum length of {MAX_VALUE} characters")
        if key.lower().startswith(RESERVED):
            raise errors.wrong_tag("Tag keys starting with 'aws:' are reserved for internal use")


_KINDS = {
    "elastic-ip": ALLOCATION,
    "network-interface": INTERFACE,
    "instance": INSTANCE,
    "subnet": SUBNET,
    "security-group": GROUP,
}


def kind_of(identifier: str) -> str:
    """Return the resource type of an identifier, as ARNs and tags name it; raises `Ec2Error` for none."""
    for kind, form in _KINDS.items():
        if re.fullmatch(form.pattern, identifier):
            return kind
    raise errors.invalid_id(identifier)


def resource_of(world: World, identifier: str) -> Tagged:
    """Find a resource by an identifier of any kind; raises `Ec2Error` if there is none."""
    match kind_of(identifier):
        case "network-interface":
            return world.interface(identifier)
        case "instance":
            return world.instance(identifier)
        case "subnet":
            return world.subnet(identifier)
        case "elastic-ip":
            return world.elastic_ip(identifier)
        case _:
            return world.group(identifier)


def _with_tags(world: World, identifier: str, tags: Mapping[str, str], now: float) -> World:
    resource = replace(resource_of(world, identifier), tags=tags)
    match resource:
        case NetworkInterface():
            return world.changed({identifier: resource}, now)
        case Instance():
            return replace(world, instances={**world.instances, identifier: resource})
        case Subnet():
            return replace(world, subnets={**world.subnets, identifier: resource})
        case ElasticIp():
            return replace(world, elastic_ips={**world.elastic_ips, identifier: resource})
        case SecurityGroup():
            return replace(world, groups={**world.groups, identifier: resource})
