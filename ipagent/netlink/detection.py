"""The rtnetlink wire format read as the agent's own types; how it is read is in `slim.rtnetlink`."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import NamedTuple

from ipagent.assign.selection import Detection, IPAddress, Link, LinkAddress, Route
from ipagent.netlink import rtnetlink as wire
from ipagent.netlink.rtnetlink import MalformedError

__all__ = ["MalformedError", "Message", "address", "detection", "link", "messages", "routes", "unpacked"]


class Message(NamedTuple):
    """One netlink message without its header's lengths."""

    kind: int
    flags: int
    sequence: int
    body: bytes


def messages(data: bytes) -> Iterator[Message]:
    """Take a datagram apart; raises MalformedError."""
    return (Message(*parts) for parts in wire.messages(data))


def link(body: bytes) -> Link:
    """Read an RTM_NEWLINK; raises MalformedError."""
    index, name, mac, loopback = wire.link(body)
    return Link(index, name, mac, loopback=loopback)


def address(body: bytes) -> LinkAddress | None:
    """Read an RTM_NEWADDR or RTM_DELADDR; None for a family other than IP. Raises MalformedError."""
    found = wire.address(body)
    if found is None:
        return None
    index, packed, scope, flags = found
    return LinkAddress(index, unpacked(packed), scope, detection(flags))


def detection(flags: int) -> Detection:
    """Read an address's flags (linux/if_addr.h)."""
    # A failed detection leaves the address tentative too (net/ipv6/addrconf.c, addrconf_dad_stop).
    if flags & wire.IFA_F_DADFAILED:
        return Detection.FAILED
    return Detection.TENTATIVE if flags & wire.IFA_F_TENTATIVE else Detection.DONE


def routes(body: bytes) -> tuple[Route, ...]:
    """Read an RTM_NEWROUTE, one route a next hop; none if it is not a unicast route of the main table."""
    return tuple(
        Route(index, ip_network((base, bits), strict=False)) for index, base, bits in wire.routes(body)
    )


def unpacked(packed: bytes) -> IPAddress:
    """Read an address of 4 or 16 bytes."""
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)
