"""Reads and changes the devices of this network namespace; changes need CAP_NET_ADMIN."""

from __future__ import annotations

import errno
import os
from collections import defaultdict
from dataclasses import replace
from ipaddress import ip_address
from typing import assert_never

from ipagent.links.plan import AddAltname, Change, DeleteAltname, Rename, SetMtu, SetUp
from ipagent.netlink import devices, rtnetlink
from ipagent.netlink.devices import Device
from ipagent.netlink.sockets import NetlinkSocket


class DeviceSocket(NetlinkSocket):
    """Reads devices with their addresses, changes them, and hears of changes from its construction on."""

    def devices(self) -> list[Device]:
        """Return all devices; raises KernelError."""
        try:
            found = [devices.device(body) for body in self.links()]
            addresses = self._global_addresses()
        except rtnetlink.MalformedError as error:
            raise self.error(f"the kernel's answer can't be read: {error}") from None
        return [replace(each, addresses=tuple(addresses.get(each.index, ()))) for each in found]

    def _global_addresses(self) -> dict[int, list[str]]:
        """Return the addresses of global scope by the device's index."""
        found = defaultdict(list)
        for index, packed, scope, _ in filter(None, map(rtnetlink.address, self.addresses())):
            if scope == rtnetlink.RT_SCOPE_UNIVERSE:
                found[index].append(str(ip_address(packed)))
        return found

    def change(self, device: Device, change: Change) -> None:
        """Change a device; raises OSError as the kernel refuses, KernelError where it does not answer."""
        sequence = self.next_sequence()
        match change:
            case SetUp():
                message = devices.set_up(device.index, sequence)
            case SetMtu(mtu):
                message = devices.set_mtu(device.index, sequence, mtu)
            case Rename(name):
                message = devices.rename(device.index, sequence, name)
            case AddAltname(name):
                message = devices.add_altname(device.index, sequence, name)
            case DeleteAltname(name):
                message = devices.delete_altname(device.index, sequence, name)
            case _:
                assert_never(change)
        self.request(message, sequence)


def refusal(device: Device, change: Change, error: OSError) -> str:
    """Say in a sentence that the kernel refuses a change."""
    what = describe(change)
    if error.errno == errno.EPERM:
        return f"{what} of {device.name} is not permitted: the container needs the capability NET_ADMIN"
    if isinstance(change, Rename) and error.errno == errno.EBUSY:
        return (
            f"this kernel renames an interface only while it is down, and {device.name} is up: "
            f"{change.name} is an alternative name instead"
        )
    if isinstance(change, SetMtu) and error.errno == errno.EINVAL:
        return f"{device.name} does not take the MTU {change.mtu}: correct spec.link.mtu"
    return f"{what} of {device.name} failed: {os.strerror(error.errno or 0)}"


def describe(change: Change) -> str:
    """Name a change in a few words."""
    match change:
        case SetUp():
            return "setting up"
        case SetMtu(mtu):
            return f"setting the MTU {mtu}"
        case Rename(name):
            return f"renaming to {name}"
        case AddAltname(name):
            return f"adding the name {name}"
        case DeleteAltname(name):
            return f"removing the name {name}"
        case _:
            assert_never(change)
