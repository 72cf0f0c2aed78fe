"""Plans the changes that make each NodeAttachment's interface as its NodeNetwork says. Pure.

An interface is found by the MAC of its ENI alone: the kernel's names differ from node to node, and by
instance type and boot. An interface that is not there may be in a pod's network namespace (the CNI plugin
host-device moves it there and brings it back down), so its absence is reported and nothing is concluded
from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ipagent.links.pool import PoolReport
from ipagent.netlink.devices import Device

STACKED = frozenset({"vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "bond", "team", "bridge", "macsec"})
"""Kinds of devices that may have the MAC of the one below them."""
MAX_ADDRESSES = 50
"""Addresses that a status names; no interface of EC2 has more."""


@dataclass(frozen=True, slots=True)
class WantedLink:
    """One NodeAttachment: the interface with the ENI's MAC gets a name, as an alternative or the only one.

    `mtu` 0 leaves the MTU as it is. `former` is the name that was given before, empty for none. `address` is
    the ENI's primary address, empty if it is not known, and `ipv6_addresses` are those that it had at first:
    all others are for pods.
    """

    attachment: str
    mac: str
    name: str
    rename: bool = False
    mtu: int = 0
    former: str = ""
    address: str = ""
    ipv6_addresses: tuple[str, ...] = ()

    def for_pods(self, address: str) -> bool:
        """Whether EC2 has the address on the ENI for pods, if it has it at all."""
        return bool(self.address) and address not in (self.address, *self.ipv6_addresses)


@dataclass(frozen=True, slots=True)
class SetUp:
    """Set an interface up."""


@dataclass(frozen=True, slots=True)
class SetMtu:
    """Set an interface's MTU, in bytes."""

    mtu: int


@dataclass(frozen=True, slots=True)
class Rename:
    """Give an interface another name."""

    name: str


@dataclass(frozen=True, slots=True)
class AddAltname:
    """Give an interface one more name."""

    name: str


@dataclass(frozen=True, slots=True)
class DeleteAltname:
    """Take an alternative name from an interface."""

    name: str


Change: TypeAlias = SetUp | SetMtu | Rename | AddAltname | DeleteAltname


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """What is reported of an interface (`status.link`); `name` is the kernel's, empty if it is not there.

    `host_addresses` are addresses of pods that the node itself has, `name_owner` is the kernel's name of
    another interface that has the wanted name. `message` says what is wrong and what to do, empty if nothing
    is.
    """

    mac: str
    name: str = ""
    up: bool = False
    mtu: int = 0
    message: str = ""
    pool: PoolReport | None = None
    """Of a network of prefixes (`status.pool`)."""
    host_addresses: tuple[str, ...] = ()
    name_owner: str = ""


@dataclass(frozen=True, slots=True)
class LinkPlan:
    """The changes of one interface, in order, and its status as it is before them."""

    wanted: WantedLink
    status: LinkStatus
    changes: tuple[tuple[Device, Change], ...] = ()


def plan(
    wanted: Sequence[WantedLink], devices: Sequence[Device], failures: Mapping[tuple[str, Change], str]
) -> list[LinkPlan]:
    """Plan all interfaces of the node.

    `failures` are changes that are not to be made now, by MAC, and why: the kernel refuses them, or something
    undoes them again and again. They are reported.
    """
    owners = {name: device for device in devices for name in device.names}
    return [_plan(each, devices, owners, failures) for each in wanted]


def _plan(
    wanted: WantedLink,
    devices: Sequence[Device],
    owners: dict[str, Device],
    failures: Mapping[tuple[str, Change], str],
) -> LinkPlan:
    found = [each for each in devices if each.hardware_address == wanted.mac and each.kind not in STACKED]
    if len(found) != 1:
        return LinkPlan(wanted, LinkStatus(wanted.mac, message=_not_one(wanted, found)))
    (device,) = found
    refused = {change: text for (mac, change), text in failures.items() if mac == wanted.mac}
    changes = tuple(_changes(wanted, device, owners, refused))
    problems = [*_name_problems(wanted, device, owners)]
    problems += [refused[each] for each in changes if each in refused]
    aliases = tuple(filter(wanted.for_pods, device.addresses))[:MAX_ADDRESSES]
    if aliases:
        problems.append(_aliased(device, aliases))
    owner = owners.setdefault(wanted.name, device)
    return LinkPlan(
        wanted,
        LinkStatus(
            wanted.mac,
            device.name,
            device.up,
            device.mtu,
            "; ".join(problems),
            host_addresses=aliases,
            name_owner=owner.name if owner.index != device.index else "",
        ),
        tuple((device, each) for each in changes if each not in refused),
    )


def _not_one(wanted: WantedLink, found: Sequence[Device]) -> str:
    if found:
        names = ", ".join(device.name for device in found)
        return f"several interfaces have the MAC {wanted.mac}: {names}; remove those that are not the ENI's"
    return (
        f"no interface of the node has the MAC {wanted.mac}: a pod has it in its network namespace "
        "(host-device), or the kernel has not shown the ENI yet; if it stays away, replace the node"
    )


def _aliased(device: Device, aliases: Sequence[str]) -> str:
    return (
        f"the node itself has {', '.join(aliases[:3])} on {device.name}, which EC2 assigns to pods: "
        "amazon-ec2-net-utils, nm-cloud-setup, cloud-init or DHCPv6 has put it there, and node and pod do "
        "not reach each other; set nodeAgent.unmanageLinks, or exclude the interface as docs/networks.md says"
    )


def _name_problems(wanted: WantedLink, device: Device, owners: Mapping[str, Device]) -> Iterator[str]:
    owner = owners.get(wanted.name, device)
    if owner.index != device.index:
        yield (
            f"the name {wanted.name} belongs to the interface {owner.name} ({owner.hardware_address}): "
            "choose another spec.link.name"
        )
    elif _renamed_later(wanted, device):
        yield (
            f"{wanted.name} is an alternative name of {device.name}, which is renamed when it is down the "
            "next time: to rename it now would cut off its pods"
        )


def _renamed_later(wanted: WantedLink, device: Device) -> bool:
    return wanted.rename and device.up and wanted.name in device.altnames


def _changes(
    wanted: WantedLink, device: Device, owners: Mapping[str, Device], refused: Mapping[Change, str]
) -> Iterator[Change]:
    if wanted.former in device.altnames and wanted.former != wanted.name:
        yield DeleteAltname(wanted.former)
    yield from _naming(wanted, device, owners, refused)
    if wanted.mtu and device.mtu != wanted.mtu:
        yield SetMtu(wanted.mtu)
    if not device.up:
        yield SetUp()


def _naming(
    wanted: WantedLink, device: Device, owners: Mapping[str, Device], refused: Mapping[Change, str]
) -> Iterator[Change]:
    """Name it; where the kernel refuses to rename it, the name becomes an alternative one.

    Before Linux 6.2 an interface can be renamed only while it is down.
    """
    rename, free = Rename(wanted.name), wanted.name not in owners
    alternative = wanted.name in device.altnames
    if wanted.rename and rename not in refused:
        if alternative and not device.up:
            # A name is free only once it is not an alternative name.
            yield DeleteAltname(wanted.name)
            yield rename
        elif free:
            yield rename
    elif free:
        if wanted.rename:
            yield rename
        yield AddAltname(wanted.name)
