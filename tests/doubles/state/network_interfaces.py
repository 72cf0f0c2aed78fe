"""Interfaces that come and go: what AttachNetworkInterface, DetachNetworkInterface and their like do.

Source: the actions' pages in the EC2 API reference. Attaching and detaching take the world's `attach_delay`;
`settle` lets happen what is due.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from tests.doubles.ec2 import errors
from tests.doubles.state import addresses, prefixes
from tests.doubles.state.identifiers import ATTACHMENT
from tests.doubles.state.model import World
from tests.doubles.state.resources import (
    Attachment,
    AttachmentStatus,
    Instance,
    InstanceState,
    NetworkInterface,
)


def settle(world: World, now: float) -> World:
    """Return the world in which what was attaching or detaching until this time is done."""
    pending = [
        (interface.attachment.due, interface)
        for interface in world.interfaces.values()
        if interface.attachment
        and interface.attachment.status is not AttachmentStatus.ATTACHED
        and interface.attachment.due <= now
    ]
    for due, interface in sorted(pending, key=lambda pair: pair[0]):
        world = world.changed({interface.id: _done(interface)}, due)
    return world


def _done(interface: NetworkInterface) -> NetworkInterface:
    attachment = interface.attachment
    if attachment is None or attachment.status is AttachmentStatus.DETACHING:
        return replace(interface, attachment=None)
    return replace(interface, attachment=replace(attachment, status=AttachmentStatus.ATTACHED))


@dataclass(frozen=True)
class Slot:
    """Where on an instance an interface is to be attached."""

    instance: str
    device: int
    network_card: int = 0


def attach(world: World, identifier: str, slot: Slot, now: float) -> tuple[World, Attachment]:
    """Attach an interface; raises `Ec2Error` as AttachNetworkInterface does."""
    interface = world.interface(identifier)
    instance = world.instance(slot.instance)
    if interface.attachment:
        raise errors.interface_in_use(identifier)
    _check_slot(world, interface, instance, slot)
    # EC2 refuses what the instance's type does not allow; which code it uses here is unconfirmed.
    if len(interface.addresses) + len(interface.ipv4_prefixes) > instance.limits.ipv4_per_interface:
        raise errors.interface_full(identifier)
    if len(interface.ipv6s) + len(interface.ipv6_prefixes) > instance.limits.ipv6_per_interface:
        raise errors.ipv6_interface_full(identifier)
    serial = world.serial + 1
    attachment = Attachment(
        id=f"eni-attach-{_digits(world, 'attachment', serial)}",
        instance=instance.id,
        device=slot.device,
        network_card=slot.network_card if instance.limits.network_cards > 1 else None,
        status=AttachmentStatus.ATTACHING if world.attach_delay else AttachmentStatus.ATTACHED,
        due=now + world.attach_delay,
    )
    after = world.changed({identifier: replace(interface, attachment=attachment)}, now)
    return replace(after, serial=serial), attachment


def _check_slot(world: World, interface: NetworkInterface, instance: Instance, slot: Slot) -> None:
    if instance.state not in (InstanceState.RUNNING, InstanceState.STOPPED):
        raise errors.incorrect_state(instance.id, instance.state)
    others = world.interfaces_of(instance.id)
    if world.subnets[interface.subnet].az != world.subnets[others[0].subnet].az:
        raise errors.other_zone()
    if not 0 <= slot.network_card < instance.limits.network_cards:
        raise errors.no_network_card(slot.network_card, instance.type)
    if (slot.network_card, slot.device) in [other.attachment.slot for other in others if other.attachment]:
        raise errors.device_in_use(instance.id, slot.device)
    on_card = [
        other for other in others if other.attachment and other.attachment.slot[0] == slot.network_card
    ]
    if len(on_card) >= instance.limits.per_card:
        raise errors.too_many_interfaces(len(on_card) + 1, instance.type)
    if len(others) >= instance.limits.max_interfaces:
        raise errors.too_many_interfaces(len(others) + 1, instance.type)


def detach(world: World, identifier: str, now: float) -> World:
    """Detach an interface by its attachment; raises `Ec2Error` as DetachNetworkInterface does."""
    attached = {held.attachment.id: held for held in world.interfaces.values() if held.attachment}
    interface = ATTACHMENT.find(attached, identifier)
    attachment = interface.attachment
    if attachment is None or attachment.slot == (0, 0):
        raise errors.primary_interface()
    if attachment.status is AttachmentStatus.DETACHING:
        return world
    leaving = replace(attachment, status=AttachmentStatus.DETACHING, due=now + world.attach_delay)
    return settle(world.changed({interface.id: replace(interface, attachment=leaving)}, now), now)


@dataclass(frozen=True)
class Creation:
    """What CreateNetworkInterface asks for; EC2 chooses a missing primary, and so many more addresses."""

    subnet: str
    primary: IPv4Address | None = None
    secondaries: tuple[IPv4Address, ...] = ()
    count: int = 0
    ipv6s: tuple[IPv6Address, ...] = ()
    ipv6_count: int = 0
    ipv4_prefixes: tuple[IPv4Network, ...] = ()
    ipv4_prefix_count: int = 0
    ipv6_prefixes: tuple[IPv6Network, ...] = ()
    ipv6_prefix_count: int = 0
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    groups: tuple[str, ...] = ()


def create(world: World, wanted: Creation, now: float) -> tuple[World, NetworkInterface]:
    """Create an interface that is attached nowhere; raises `Ec2Error` as CreateNetworkInterface does."""
    subnet = world.subnet(wanted.subnet)
    primary = wanted.primary or next(world.free_addresses(subnet), None)
    if primary is None:
        raise errors.subnet_full()
    subnet.admit(primary)
    for address in (primary, *wanted.secondaries):
        if world.holder_of(address):
            raise errors.address_in_use()
    serial = world.serial + 1
    digits = _digits(world, "interface", serial)
    made = NetworkInterface(
        id=f"eni-{digits}",
        mac="06:" + ":".join(digits[index : index + 2] for index in range(0, 10, 2)),
        subnet=subnet.id,
        primary=primary,
        description=wanted.description,
        tags=dict(wanted.tags),
        groups=wanted.groups,
        visible_at=now + world.describe_delay,
    )
    after = replace(world.changed({made.id: made}, now), serial=serial)
    after = addresses.assign(after, made.id, wanted.secondaries, allow_reassignment=False, now=now)
    after, _ = addresses.assign_ipv6(after, made.id, wanted.ipv6s, now)
    if wanted.count:
        after, _ = addresses.assign_free(after, made.id, wanted.count, now)
    if wanted.ipv6_count:
        after, _ = addresses.assign_free_ipv6(after, made.id, wanted.ipv6_count, now)
    after, _ = prefixes.assign_prefixes(after, made.id, wanted.ipv4_prefixes, now)
    after, _ = prefixes.assign_prefixes(after, made.id, wanted.ipv6_prefixes, now)
    for count, version in ((wanted.ipv4_prefix_count, 4), (wanted.ipv6_prefix_count, 6)):
        if count:
            after, _ = prefixes.assign_free_prefixes(after, made.id, count, version, now)
    return after, after.interfaces[made.id]


@dataclass(frozen=True)
class Modification:
    """The one attribute that ModifyNetworkInterfaceAttribute changes; None leaves one as it is."""

    description: str | None = None
    groups: tuple[str, ...] | None = None
    source_dest_check: bool | None = None
    attachment: str | None = None
    delete_on_termination: bool | None = None


def modify(world: World, identifier: str, wanted: Modification, now: float) -> World:
    """Change an attribute; raises `Ec2Error` as ModifyNetworkInterfaceAttribute does."""
    interface = world.interface(identifier)
    if wanted.groups is not None:
        check_groups(world, wanted.groups, interface.subnet)
    if wanted.delete_on_termination is not None:
        attachment = interface.attachment
        if attachment is None or attachment.id != wanted.attachment:
            raise errors.no_attachment(wanted.attachment or "")
        attachment = replace(attachment, delete_on_termination=wanted.delete_on_termination)
        interface = replace(interface, attachment=attachment)
    changes = {
        "description": wanted.description,
        "groups": wanted.groups,
        "source_dest_check": wanted.source_dest_check,
    }
    given: Any = {name: value for name, value in changes.items() if value is not None}
    return world.changed({identifier: replace(interface, **given)}, now)


def check_groups(world: World, groups: Iterable[str], subnet: str) -> None:
    """Raise `Ec2Error` for a security group that is not of the subnet's VPC."""
    vpc = world.subnets[subnet].vpc
    for group in groups:
        if world.group(group).vpc != vpc:
            raise errors.other_network(group, vpc)


def set_instance_state(world: World, identifier: str, state: InstanceState, now: float) -> World:
    """Move an instance to a state; one that is terminated leaves only interfaces that do not end with it."""
    instance = world.instance(identifier)
    after = replace(world, instances={**world.instances, identifier: replace(instance, state=state)})
    if state is not InstanceState.TERMINATED:
        return after
    changes: dict[str, NetworkInterface | None] = {
        interface.id: None
        if interface.attachment and interface.attachment.ends_with_instance
        else replace(interface, attachment=None)
        for interface in world.interfaces_of(identifier)
    }
    return after.changed(changes, now)


def delete(world: World, identifier: str, now: float) -> World:
    """Delete an interface; raises `Ec2Error` as DeleteNetworkInterface does."""
    if world.interface(identifier).attachment:
        raise errors.interface_attached(identifier)
    return world.changed({identifier: None}, now)


def _digits(world: World, what: str, serial: int) -> str:
    return hashlib.sha256(f"{what} {world.account} {serial}".encode()).hexdigest()[:17]
