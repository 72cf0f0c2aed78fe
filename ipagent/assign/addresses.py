"""Addresses of both families, and the interfaces, addresses and routes that a network namespace holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum, auto
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from common.frozen_dataclass import dataclass

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

SCOPE_GLOBAL = 0
"""RT_SCOPE_UNIVERSE of linux/rtnetlink.h: valid everywhere."""

MAX_LISTED = 8
"""CIDRs that a message names."""

_IFA_F_DADFAILED, _IFA_F_TENTATIVE = 0x8, 0x40
"""linux/if_addr.h."""


@dataclass(frozen=True)
class Link:
    """A network interface; `mac` is lower case with colons, empty if it has none.

    `local`: it was created in the pod's namespace, and not moved into it. `lower` is the index of the
    interface in this namespace below a macvlan or ipvlan interface, else 0.
    """

    index: int
    name: str
    mac: str
    loopback: bool = False
    local: bool = False
    lower: int = 0


class Detection(Enum):
    """How far duplicate address detection is (RFC 4862, section 5.4); IPv4 addresses have none."""

    DONE = auto()
    TENTATIVE = auto()
    FAILED = auto()
    """Another host has the address."""

    @classmethod
    def from_flags(cls, flags: int) -> Detection:
        """Read an address's flags as in linux/if_addr.h."""
        # A failed detection leaves the address tentative too (net/ipv6/addrconf.c, addrconf_dad_stop).
        if flags & _IFA_F_DADFAILED:
            return cls.FAILED
        return cls.TENTATIVE if flags & _IFA_F_TENTATIVE else cls.DONE


@dataclass(frozen=True)
class LinkAddress:
    """An address of the interface with this index; `scope` as in linux/rtnetlink.h."""

    index: int
    address: IPAddress
    scope: int = SCOPE_GLOBAL
    detection: Detection = Detection.DONE


@dataclass(frozen=True)
class Route:
    """A unicast route of the main table out of the interface with this index."""

    index: int
    destination: IPNetwork


@dataclass(frozen=True)
class Snapshot:
    """What a network namespace holds at one time."""

    links: tuple[Link, ...]
    addresses: tuple[LinkAddress, ...]
    routes: tuple[Route, ...] = ()


@dataclass(frozen=True)
class Holding:
    """A pod holds `address` on `interface`, which has `mac`."""

    interface: str
    mac: str
    address: IPAddress


def parse_address(text: str) -> IPAddress:
    """Read an address; raises ValueError."""
    return ip_address(text.strip())


def listed(networks: Sequence[IPNetwork]) -> str:
    """Write CIDRs for a message, which may stand beside each address of a pod: MAX_LISTED at most."""
    more = len(networks) - MAX_LISTED
    shown = ", ".join(map(str, networks[:MAX_LISTED]))
    return f"{shown} and {more} more" if more > 0 else shown


def parse_networks(texts: Iterable[str]) -> tuple[IPNetwork, ...]:
    """Read CIDRs; raises ValueError that names the first that is none."""
    return tuple(ip_network(text, strict=False) for text in texts)


def canonical_mac(text: str) -> str:
    """Write a MAC as the kernel does: lower case, with colons."""
    return text.strip().lower().replace("-", ":")


def is_global_unicast(address: IPAddress) -> bool:
    """Whether the address can identify one host beyond its link."""
    return not (
        address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified
    )


def sort_key(address: IPAddress) -> tuple[int, int]:
    """Order addresses of both families."""
    return address.version, int(address)
