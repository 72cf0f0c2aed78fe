"""The rtnetlink wire format: requests out; links, addresses and routes in, as plain tuples.

Native byte order, everything aligned to 4 bytes. Sources: linux/netlink.h (headers, flags), linux/rtnetlink.h
(message types, attributes, groups), linux/if_link.h, linux/if_addr.h; `man 7 rtnetlink`.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

NLMSG_ERROR, NLMSG_DONE = 2, 3
RTM_NEWLINK, RTM_GETLINK = 16, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_GETROUTE = 24, 26

RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR = 0x1, 0x10, 0x100

NLM_F_REQUEST, NLM_F_DUMP, NLM_F_DUMP_INTR = 0x1, 0x300, 0x10

AF_INET, AF_INET6 = 2, 10
"""linux/socket.h; spelled out, since this module is pure and imports no socket."""

RT_SCOPE_UNIVERSE = 0
"""The scope of what is valid everywhere (linux/rtnetlink.h)."""

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEXT_HOP = struct.Struct("=HBBi")
_ERRNO = struct.Struct("=i")
_NUMBER = struct.Struct("=I")

_NLA_TYPE_MASK = 0x3FFF
_IFF_LOOPBACK = 0x8
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_LINK, _IFLA_LINKINFO, _IFLA_LINK_NETNSID = 1, 3, 5, 18, 37
_IFLA_INFO_KIND = 1
_SHARING_KINDS = (b"macvlan", b"ipvlan")
"""Kinds of devices that send and receive by the device below them."""
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_RTA_DST, _RTA_OIF, _RTA_MULTIPATH, _RTA_TABLE = 1, 4, 9, 15
_RT_TABLE_MAIN, _RTN_UNICAST = 254, 1

_BODIES = {RTM_GETLINK: _LINK, RTM_GETADDR: _ADDRESS, RTM_GETROUTE: _ROUTE}


class MalformedError(ValueError):
    """Bytes that are not a netlink message."""


def dump_request(kind: int, sequence: int) -> bytes:
    """Return a request for all links, addresses or routes, of all families."""
    body = bytes(_BODIES[kind].size)
    return _HEADER.pack(_HEADER.size + len(body), kind, NLM_F_REQUEST | NLM_F_DUMP, sequence, 0) + body


def messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Split a datagram into messages: kind, flags, sequence number and body. Raises MalformedError."""
    offset = 0
    while offset < len(data):
        if len(data) - offset < _HEADER.size:
            raise MalformedError("a netlink header is cut off")
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        if not _HEADER.size <= length <= len(data) - offset:
            raise MalformedError(f"a netlink message claims {length} bytes")
        yield kind, flags, sequence, data[offset + _HEADER.size : offset + length]
        offset += _aligned(length)


def error_number(body: bytes) -> int:
    """Return the errno of an NLMSG_ERROR or NLMSG_DONE, 0 for none."""
    if len(body) < _ERRNO.size:
        return 0
    (code,) = _ERRNO.unpack_from(body)
    return abs(int(code))


def link(body: bytes) -> tuple[int, str, str, bool, bool, int]:
    """Read an RTM_NEWLINK: index, name, MAC, whether it is the loopback, whether it is local, lower index.

    A local device, such as a tunnel, was created in this namespace and not moved into it: a hardware device
    has no kind, and one whose other end or lower device is in another namespace has IFLA_LINK_NETNSID. The
    lower index is that of the device in this namespace below a macvlan or ipvlan device, else 0. Raises
    MalformedError.
    """
    _, _, index, flags, _ = unpack(_LINK, body)
    found = attributes(body, _LINK.size)
    name = found.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode("utf-8", "replace")
    kind = attributes(found.get(_IFLA_LINKINFO, b""), 0).get(_IFLA_INFO_KIND, b"").rstrip(b"\0")
    local = bool(kind) and _IFLA_LINK_NETNSID not in found
    lower = 0
    if local and kind in _SHARING_KINDS and _IFLA_LINK in found:
        (lower,) = unpack(_NUMBER, found[_IFLA_LINK])
    mac = found.get(_IFLA_ADDRESS, b"").hex(":")
    return index, name, mac, bool(flags & _IFF_LOOPBACK), local, lower


def address(body: bytes) -> tuple[int, bytes, int, int] | None:
    """Read an RTM_NEWADDR or RTM_DELADDR: interface's index, packed address, scope, flags.

    None for a family other than IP. Raises MalformedError.
    """
    family, _, flags, scope, index = unpack(_ADDRESS, body)
    found = attributes(body, _ADDRESS.size)
    # IFA_LOCAL is the own address where IFA_ADDRESS is that of the peer (linux/if_addr.h).
    packed = found.get(_IFA_LOCAL, found.get(_IFA_ADDRESS))
    if family not in (AF_INET, AF_INET6) or packed is None:
        return None
    if _IFA_FLAGS in found:
        # The header has room for the first eight flags alone.
        (flags,) = unpack(_NUMBER, found[_IFA_FLAGS])
    return index, _ip(family, packed), scope, flags


def routes(body: bytes) -> tuple[tuple[int, bytes, int], ...]:
    """Read an RTM_NEWROUTE: (interface index, packed destination, prefix length) per next hop.

    Empty unless it is a unicast route of the main table. Raises MalformedError.
    """
    family, bits, _, _, table, _, _, kind, _ = unpack(_ROUTE, body)
    found = attributes(body, _ROUTE.size)
    if _RTA_TABLE in found:
        (table,) = unpack(_NUMBER, found[_RTA_TABLE])
    if family not in (AF_INET, AF_INET6) or table != _RT_TABLE_MAIN or kind != _RTN_UNICAST:
        return ()
    base = _ip(family, found.get(_RTA_DST, bytes(4 if family == AF_INET else 16)))
    if bits > 8 * len(base):
        raise MalformedError(f"a route's destination claims {bits} bits")
    indices = [unpack(_NUMBER, found[_RTA_OIF])[0]] if _RTA_OIF in found else []
    indices += _next_hops(found.get(_RTA_MULTIPATH, b""))
    return tuple((index, base, bits) for index in indices)


def _next_hops(data: bytes) -> list[int]:
    indices = []
    while len(data) >= _NEXT_HOP.size:
        length, _, _, index = _NEXT_HOP.unpack_from(data)
        if length < _NEXT_HOP.size:
            raise MalformedError(f"a next hop claims {length} bytes")
        indices.append(index)
        data = data[_aligned(length) :]
    return indices


def _ip(family: int, packed: bytes) -> bytes:
    if len(packed) != (4 if family == AF_INET else 16):
        raise MalformedError(f"an address has {len(packed)} bytes")
    return packed


def attributes(body: bytes, offset: int) -> dict[int, bytes]:
    """Return the attributes of a message or of an attribute by their types, the last of each type.

    Raises MalformedError.
    """
    return dict(each_attribute(body, offset))


def each_attribute(body: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    """Return the attributes in order, of which there may be several of a type. Raises MalformedError."""
    while len(body) - offset >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(body, offset)
        if not _ATTRIBUTE.size <= length <= len(body) - offset:
            raise MalformedError(f"a netlink attribute claims {length} bytes")
        yield kind & _NLA_TYPE_MASK, body[offset + _ATTRIBUTE.size : offset + length]
        offset += _aligned(length)


def unpack(form: struct.Struct, data: bytes) -> tuple[int, ...]:
    """Read a structure from the start of the data; raises MalformedError."""
    if len(data) < form.size:
        raise MalformedError(f"{len(data)} bytes are too few for a structure of {form.size}")
    return form.unpack_from(data)


def _aligned(length: int) -> int:
    return (length + 3) & ~3
