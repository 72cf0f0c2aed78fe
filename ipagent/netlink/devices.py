"""Network devices and changes of them in rtnetlink's wire format.

Sources: linux/if_link.h (attributes), linux/rtnetlink.h (message types), net/core/rtnetlink.c
(`rtnl_newlinkprop`); `man 8 ip-link`, "ip link property".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ipagent.netlink import rtnetlink

RTM_NEWLINKPROP, RTM_DELLINKPROP = 108, 109
MAX_NAME = 15
"""Bytes of a device's name (IFNAMSIZ - 1)."""

_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_EXCL, _NLM_F_CREATE, _NLM_F_APPEND = 0x1, 0x4, 0x200, 0x400, 0x800
_IFF_UP = 0x1
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_LINKINFO = 1, 3, 4, 5, 18
_IFLA_PROP_LIST, _IFLA_ALT_IFNAME, _IFLA_PERM_ADDRESS = 52, 53, 54
_IFLA_INFO_KIND = 1
_NESTED = 0x8000
_LINK = struct.Struct("=BxHiII")
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_NUMBER = struct.Struct("=I")


@dataclass(frozen=True, slots=True)
class Device:
    """A device of this network namespace.

    `hardware_address` is the MAC that the device was made with, in hexadecimal with colons: the one that
    EC2 knows, whatever MAC was set since. `kind` is the kernel's name of a virtual device's type, empty for
    hardware. `lower` is the index of the device below it, or of a veth's other end; 0 for none.
    """

    index: int
    name: str
    altnames: tuple[str, ...]
    hardware_address: str
    up: bool
    mtu: int
    kind: str = ""
    lower: int = 0
    addresses: tuple[str, ...] = ()
    """Those of both families that have global scope."""

    @property
    def names(self) -> tuple[str, ...]:
        """All names that it can be addressed by."""
        return (self.name, *self.altnames)


def device(body: bytes) -> Device:
    """Read an RTM_NEWLINK; raises MalformedError."""
    _, _, index, flags, _ = rtnetlink.unpack(_LINK, body)
    found = rtnetlink.attributes(body, _LINK.size)
    (mtu,) = rtnetlink.unpack(_NUMBER, found.get(_IFLA_MTU, bytes(4)))
    (lower,) = rtnetlink.unpack(_NUMBER, found.get(_IFLA_LINK, bytes(4)))
    kind = rtnetlink.attributes(found.get(_IFLA_LINKINFO, b""), 0).get(_IFLA_INFO_KIND, b"")
    address = found.get(_IFLA_PERM_ADDRESS) or found.get(_IFLA_ADDRESS, b"")
    return Device(
        index=index,
        name=_text(found.get(_IFLA_IFNAME, b"")),
        altnames=tuple(
            _text(value)
            for kind_, value in rtnetlink.each_attribute(found.get(_IFLA_PROP_LIST, b""), 0)
            if kind_ == _IFLA_ALT_IFNAME
        ),
        hardware_address=address.hex(":"),
        up=bool(flags & _IFF_UP),
        mtu=mtu,
        kind=_text(kind),
        lower=lower,
    )


def set_up(index: int, sequence: int) -> bytes:
    """Return the request that sets a device up."""
    return _request(rtnetlink.RTM_NEWLINK, sequence, _LINK.pack(0, 0, index, _IFF_UP, _IFF_UP))


def set_mtu(index: int, sequence: int, mtu: int) -> bytes:
    """Return the request that sets a device's MTU, in bytes."""
    body = _LINK.pack(0, 0, index, 0, 0) + _attribute(_IFLA_MTU, _NUMBER.pack(mtu))
    return _request(rtnetlink.RTM_NEWLINK, sequence, body)


def rename(index: int, sequence: int, name: str) -> bytes:
    """Return the request that gives a device another name."""
    body = _LINK.pack(0, 0, index, 0, 0) + _attribute(_IFLA_IFNAME, name.encode() + b"\0")
    return _request(rtnetlink.RTM_NEWLINK, sequence, body)


def add_altname(index: int, sequence: int, name: str) -> bytes:
    """Return the request that gives a device one more name."""
    flags = _NLM_F_EXCL | _NLM_F_CREATE | _NLM_F_APPEND
    return _request(RTM_NEWLINKPROP, sequence, _altname(index, name), flags)


def delete_altname(index: int, sequence: int, name: str) -> bytes:
    """Return the request that takes an alternative name from a device."""
    return _request(RTM_DELLINKPROP, sequence, _altname(index, name))


def _altname(index: int, name: str) -> bytes:
    inner = _attribute(_IFLA_ALT_IFNAME, name.encode() + b"\0")
    return _LINK.pack(0, 0, index, 0, 0) + _attribute(_IFLA_PROP_LIST | _NESTED, inner)


def _request(kind: int, sequence: int, body: bytes, flags: int = 0) -> bytes:
    head = _HEADER.pack(_HEADER.size + len(body), kind, _NLM_F_REQUEST | _NLM_F_ACK | flags, sequence, 0)
    return head + body


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "replace")
