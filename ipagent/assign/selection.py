"""Which of a pod's addresses count, given what the kernel says.

Which interfaces: those that the webhook names, and no others. Where it could not know them, all but the
default interface, the one that the cluster's primary CNI made. That one is recognised by what no Multus
network can have, never by the default route alone, since a network with `default-route` moves it:

1. `eth0`: the name that container runtimes give it (containerd: `internal/cri/server`, "eth0"; CRI-O: the
   same), and that Multus keeps for it.
2. A route to 169.254.1.1 or fe80::1 alone: the next hop that the Amazon VPC CNI gives each pod
   (amazon-vpc-cni-k8s, `cmd/routed-eni-cni-plugin/driver`).
3. Without either, the one interface with a default route, if it is also the oldest (the primary CNI runs
   before Multus adds networks).

Where none of them tells, the agent asks for the names instead of guessing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

SCOPE_GLOBAL = 0
"""RT_SCOPE_UNIVERSE of linux/rtnetlink.h: valid everywhere."""

PRIMARY_INTERFACE = "eth0"
VPC_CNI_NEXT_HOPS = (ip_network("169.254.1.1"), ip_network("fe80::1"))

_IFA_F_DADFAILED, _IFA_F_TENTATIVE = 0x8, 0x40
"""linux/if_addr.h."""

DETECTION_SECONDS = 5.0
"""How long a new IPv6 address may be tentative before it counts all the same.

Duplicate address detection takes a second, and up to another one before it begins (RFC 4862, section 5.4.2;
net.ipv6.conf.*.dad_transmits 1). On an interface without carrier it never ends.
"""


@dataclass(frozen=True)
class Link:
    """A network interface; `mac` is lower case with colons, empty if it has none."""

    index: int
    name: str
    mac: str
    loopback: bool = False


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


@dataclass(frozen=True)
class Refusal:
    """A holding that is not to be assigned, and why."""

    holding: Holding
    reason: str


@dataclass(frozen=True)
class Selection:
    """The addresses that count and those that are refused; `bare` interfaces have neither.

    `missing` are named interfaces that the pod does not have. `tentative` are those of the holdings whose
    duplicate address detection goes on.
    """

    holdings: tuple[Holding, ...] = ()
    refused: tuple[Refusal, ...] = ()
    bare: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    tentative: frozenset[Holding] = frozenset()


class UndecidedDefaultError(Exception):
    """Nothing tells which interface is the pod's default one."""


def parse_networks(texts: Iterable[str]) -> tuple[IPNetwork, ...]:
    """Read CIDRs; raises ValueError that names the first that is none."""
    return tuple(ip_network(text, strict=False) for text in texts)


def canonical_mac(text: str) -> str:
    """Write a MAC as the kernel does: lower case, with colons."""
    return text.strip().lower().replace("-", ":")


def select(snapshot: Snapshot, named: Sequence[str], allowed: Sequence[IPNetwork]) -> Selection:
    """Select the global unicast addresses on the pod's Multus interfaces.

    `named` are the interfaces that count; empty for all but the default one. `allowed` are the CIDRs outside
    of which an address is refused; empty allows all. Raises UndecidedDefaultError.
    """
    links = _counting(snapshot, named)
    held = {link.name: _holdings(snapshot, link) for link in links}
    every = {holding: state for holdings in held.values() for holding, state in holdings.items()}
    refused = [Refusal(h, why) for h, state in every.items() if (why := _reason(h.address, state, allowed))]
    banned = {refusal.holding for refusal in refused}
    counting = tuple(holding for holding in every if holding not in banned)
    return Selection(
        holdings=counting,
        refused=tuple(refused),
        bare=tuple(name for name, holdings in held.items() if not holdings),
        missing=tuple(name for name in dict.fromkeys(named) if name not in held),
        tentative=frozenset(holding for holding in counting if every[holding] is Detection.TENTATIVE),
    )


def _counting(snapshot: Snapshot, named: Sequence[str]) -> list[Link]:
    links = [link for link in snapshot.links if not link.loopback]
    if named:
        return [link for link in links if link.name in named]
    # Nothing to tell apart; tunnels that the kernel makes in every namespace have no addresses.
    if not any(_holdings(snapshot, link) for link in links):
        return []
    default = _default_interfaces(snapshot, links)
    return [link for link in links if link.index not in default]


def _default_interfaces(snapshot: Snapshot, links: Sequence[Link]) -> frozenset[int]:
    by_name = {link.index for link in links if link.name == PRIMARY_INTERFACE}
    by_hop = {route.index for route in snapshot.routes if route.destination in VPC_CNI_NEXT_HOPS}
    if by_name or by_hop:
        return frozenset(by_name | by_hop)
    by_route = {route.index for route in snapshot.routes if route.destination.prefixlen == 0}
    oldest = min(link.index for link in links if _holdings(snapshot, link))
    if by_route != {oldest}:
        raise UndecidedDefaultError
    return frozenset(by_route)


def _holdings(snapshot: Snapshot, link: Link) -> dict[Holding, Detection]:
    held = {
        entry.address: entry.detection
        for entry in snapshot.addresses
        if entry.index == link.index and entry.scope == SCOPE_GLOBAL and is_global_unicast(entry.address)
    }
    return {Holding(link.name, link.mac, address): held[address] for address in sorted(held, key=sort_key)}


def is_global_unicast(address: IPAddress) -> bool:
    """Whether the address can identify one host beyond its link."""
    return not (
        address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified
    )


def sort_key(address: IPAddress) -> tuple[int, int]:
    """Order addresses of both families."""
    return address.version, int(address)


def _reason(address: IPAddress, detection: Detection, allowed: Sequence[IPNetwork]) -> str | None:
    if allowed and not any(address in network for network in allowed):
        return f"it lies outside the allowed CIDRs {', '.join(map(str, allowed))}"
    if detection is Detection.FAILED:
        return (
            "duplicate address detection has failed (dadfailed): another host on the interface's network has "
            "it, and the pod can't use it"
        )
    return None


def parse_address(text: str) -> IPAddress:
    """Read an address; raises ValueError."""
    return ip_address(text.strip())
