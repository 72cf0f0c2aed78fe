"""Which of a pod's addresses count, given what the kernel says.

Which interfaces: those that the user names in `multus-eni.io/interfaces`, and no others. The names that the
webhook reads from the networks annotation (net1, or those asked for there) are a minimum instead: Multus
counts its `defaultNetworks` first, `cni-args` may name an interface, and interfaces come and go in a living
pod. Then every interface counts that was moved into the pod from outside, save those of the cluster's primary
CNI. What the pod has made itself does not count, such as a tunnel.

The primary CNI's interface is recognised by what no Multus network can have, never by the default route
alone, since a network with `default-route` moves it:

1. `eth0`: the name that container runtimes give it (containerd: `internal/cri/server`, "eth0"; CRI-O: the
   same), and that Multus keeps for it.
2. A route to 169.254.1.1 or fe80::1 alone: the next hop that the Amazon VPC CNI gives each pod
   (amazon-vpc-cni-k8s, `cmd/routed-eni-cni-plugin/driver`).
3. Without either, the one interface with a default route, if it is also the oldest (the primary CNI runs
   before Multus adds networks).

Where none of them tells, the expected names decide; without those, the agent asks for the names.

An address on a macvlan or ipvlan device above one of these interfaces, such as keepalived's vrrp.51 above
net1 (its `use_vmac`), counts as that interface's: the VPC delivers it to the MAC of the interface below.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import ip_network

from ipagent.assign.addresses import (
    SCOPE_GLOBAL,
    Detection,
    Holding,
    IPAddress,
    IPNetwork,
    Link,
    Snapshot,
    is_global_unicast,
    sort_key,
)

PRIMARY_INTERFACE = "eth0"
VPC_CNI_NEXT_HOPS = (ip_network("169.254.1.1"), ip_network("fe80::1"))


DETECTION_SECONDS = 5.0
"""How long a new IPv6 address may be tentative before it counts anyway.

Duplicate address detection takes a second, and up to another one before it begins (RFC 4862, section 5.4.2;
net.ipv6.conf.*.dad_transmits 1). On an interface without carrier it never ends.
"""


def is_multus_name(interface: str) -> bool:
    """Whether Multus gives this name to a network that names no interface: `net<N>`.

    multus-cni, `pkg/multus`, getIfname. The plugins `tap` and `dummy` create such a device in the pod.
    """
    return _stem(interface) == "net"


def is_vpc_cni_name(interface: str) -> bool:
    """Whether the VPC CNI adds an interface of this name to a pod beside eth0.

    One for each further network card, and one for the egress of the other address family (amazon-vpc-cni-k8s,
    `cmd/routed-eni-cni-plugin`, `cmd/egress-cni-plugin`).
    """
    return _stem(interface) in ("mNicIf", "v4if", "v6if")


def _stem(interface: str) -> str:
    """Return the name without the number that it ends with; empty if it ends with none."""
    stem = interface.rstrip("0123456789")
    return "" if stem == interface else stem


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


def select(
    snapshot: Snapshot,
    named: Sequence[str],
    allowed: Sequence[IPNetwork],
    expected: Collection[str] = (),
) -> Selection:
    """Select the global unicast addresses on the pod's Multus interfaces.

    `named` are the interfaces that count; empty for all but the default one. Those of them that are
    `expected` leave no other out: they say how many there are at least. `allowed` are the CIDRs outside of
    which an address is refused; empty allows all. Raises UndecidedDefaultError.
    """
    links = _multus_links(snapshot, named, expected) if expected else _counting(snapshot, named)
    held = {link.name: _holdings(snapshot, link) for link in links}
    every = {holding: state for holdings in held.values() for holding, state in holdings.items()}
    refused = [Refusal(h, why) for h, state in every.items() if (why := _reason(h.address, state, allowed))]
    banned = {refusal.holding for refusal in refused}
    counting = tuple(holding for holding in every if holding not in banned)
    return Selection(
        holdings=counting,
        refused=tuple(refused),
        bare=tuple(name for name, holdings in held.items() if not holdings),
        missing=_missing(named, expected, held.keys()),
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
    return [link for link in links if _lowest(snapshot, link).index not in default]


def _multus_links(snapshot: Snapshot, named: Sequence[str], expected: Collection[str]) -> list[Link]:
    """Return what was moved into the pod and is not the primary CNI's; with it what the names name."""
    links = [link for link in snapshot.links if not link.loopback]
    moved_in = [link for link in links if not link.local or link.name in named or is_multus_name(link.name)]
    try:
        default = _default_interfaces(snapshot, moved_in) if moved_in else frozenset()
    except UndecidedDefaultError:
        if not {link.name for link in links}.issuperset(expected):
            raise
        return [link for link in links if link.name in named]
    return [link for link in moved_in if link.index not in default or link.name in set(named) - set(expected)]


def _missing(named: Sequence[str], expected: Collection[str], found: Collection[str]) -> tuple[str, ...]:
    """List the names that are not there; of those that are only expected as many as there are too few."""
    absent = [name for name in dict.fromkeys(named) if name not in found]
    explicit = [name for name in absent if name not in expected]
    # Multus may have given an expected interface any other name.
    others = len(found) - len(set(named) & set(found))
    return (*explicit, *[name for name in absent if name in expected][others:])


def _default_interfaces(snapshot: Snapshot, links: Sequence[Link]) -> frozenset[int]:
    by_name = {link.index for link in links if link.name == PRIMARY_INTERFACE}
    extra = {link.index for link in links if is_vpc_cni_name(link.name)}
    by_hop = {route.index for route in snapshot.routes if route.destination in VPC_CNI_NEXT_HOPS}
    if by_name or by_hop:
        return frozenset(by_name | by_hop | extra)
    by_route = {route.index for route in snapshot.routes if route.destination.prefixlen == 0}
    oldest = min((link.index for link in links if _holdings(snapshot, link)), default=0)
    if by_route != {oldest}:
        raise UndecidedDefaultError
    return frozenset(by_route | extra)


def _holdings(snapshot: Snapshot, link: Link) -> dict[Holding, Detection]:
    """Return the addresses on the interface, and on interfaces of the pod's own above it."""
    found: dict[Holding, Detection] = {}
    mac = _lowest(snapshot, link).mac
    for each in _with_upper(snapshot, link):
        held = {
            entry.address: entry.detection
            for entry in snapshot.addresses
            if entry.index == each.index and entry.scope == SCOPE_GLOBAL and is_global_unicast(entry.address)
        }
        in_order = sorted(held, key=sort_key)
        found |= {Holding(each.name, mac, address): held[address] for address in in_order}
    return found


def _lowest(snapshot: Snapshot, link: Link) -> Link:
    """Return the interface at the bottom of those that share one below them."""
    by_index = {each.index: each for each in snapshot.links}
    for _ in by_index:
        link = by_index.get(link.lower, link)
    return link


def _with_upper(snapshot: Snapshot, link: Link) -> list[Link]:
    """Return the interface and those above it, at any height."""
    found = [link]
    for below in found:
        found += [each for each in snapshot.links if each.lower == below.index and each not in found]
    return found


def _reason(address: IPAddress, detection: Detection, allowed: Sequence[IPNetwork]) -> str | None:
    if allowed and not any(address in network for network in allowed):
        return f"it lies outside the allowed CIDRs {', '.join(map(str, allowed))}"
    if detection is Detection.FAILED:
        return (
            "duplicate address detection has failed (dadfailed): another host on the interface's network has "
            "it, and the pod can't use it"
        )
    return None
