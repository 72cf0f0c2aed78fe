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

from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from ipaddress import ip_network

from common.frozen_dataclass import dataclass
from ipagent.assign.addresses import (
    SCOPE_GLOBAL,
    Detection,
    Holding,
    IPAddress,
    IPNetwork,
    Link,
    LinkAddress,
    Snapshot,
    is_global_unicast,
    listed,
    sort_key,
)

PRIMARY_INTERFACE = "eth0"
VPC_CNI_NEXT_HOPS = (ip_network("169.254.1.1"), ip_network("fe80::1"))


MAX_HEIGHT = 4
"""Devices above each other that are followed. The kernel puts a macvlan or ipvlan that is made above another
one onto that one's lower device (`macvlan_common_newlink`, `ipvlan_link_new`): more than one is not usual."""

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
    devices = _Devices(snapshot)
    links = _multus_links(devices, named, expected) if expected else _counting(devices, named)
    held = {link.name: devices.holdings(link) for link in links}
    every = {holding: state for holdings in held.values() for holding, state in holdings.items()}
    barred = _outside((holding.address for holding in every), allowed)
    outside = f"it lies outside the allowed CIDRs {listed(allowed)}"
    reasons = {h: _reason(outside if h.address in barred else "", state) for h, state in every.items()}
    refused = [Refusal(holding, why) for holding, why in reasons.items() if why]
    banned = {refusal.holding for refusal in refused}
    counting = tuple(holding for holding in every if holding not in banned)
    return Selection(
        holdings=counting,
        refused=tuple(refused),
        bare=tuple(name for name, holdings in held.items() if not holdings),
        missing=_missing(named, expected, held.keys()),
        tentative=frozenset(holding for holding in counting if every[holding] is Detection.TENTATIVE),
    )


def _counting(devices: _Devices, named: Sequence[str]) -> list[Link]:
    links = devices.links
    if named:
        return [link for link in links if link.name in named]
    # Nothing to tell apart; tunnels that the kernel makes in every namespace have no addresses.
    if not any(devices.holdings(link) for link in links):
        return []
    default = _default_interfaces(devices, links)
    return [link for link in links if devices.lowest(link).index not in default]


def _multus_links(devices: _Devices, named: Sequence[str], expected: Collection[str]) -> list[Link]:
    """Return what was moved into the pod and is not the primary CNI's; with it what the names name."""
    links = devices.links
    moved_in = [link for link in links if not link.local or link.name in named or is_multus_name(link.name)]
    try:
        default = _default_interfaces(devices, moved_in) if moved_in else frozenset()
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


def _default_interfaces(devices: _Devices, links: Sequence[Link]) -> frozenset[int]:
    by_name = {link.index for link in links if link.name == PRIMARY_INTERFACE}
    extra = {link.index for link in links if is_vpc_cni_name(link.name)}
    by_hop = {route.index for route in devices.routes if route.destination in VPC_CNI_NEXT_HOPS}
    if by_name or by_hop:
        return frozenset(by_name | by_hop | extra)
    by_route = {route.index for route in devices.routes if route.destination.prefixlen == 0}
    oldest = min((link.index for link in links if devices.holdings(link)), default=0)
    if by_route != {oldest}:
        raise UndecidedDefaultError
    return frozenset(by_route | extra)


class _Devices:
    """A network namespace by index: a claim may state hundreds of interfaces, each above any other."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.links = [link for link in snapshot.links if not link.loopback]
        self.routes = snapshot.routes
        self._by_index = {link.index: link for link in snapshot.links}
        self._upper: dict[int, list[Link]] = {}
        self._addresses: dict[int, list[LinkAddress]] = {}
        for link in snapshot.links:
            self._upper.setdefault(link.lower, []).append(link)
        for entry in snapshot.addresses:
            if entry.scope == SCOPE_GLOBAL and is_global_unicast(entry.address):
                self._addresses.setdefault(entry.index, []).append(entry)

    def holdings(self, link: Link) -> dict[Holding, Detection]:
        """Return the addresses on the interface, and on interfaces of the pod's own above it."""
        found: dict[Holding, Detection] = {}
        mac = self.lowest(link).mac
        for each in self._with_upper(link):
            held = {entry.address: entry.detection for entry in self._addresses.get(each.index, ())}
            in_order = sorted(held, key=sort_key)
            found |= {Holding(each.name, mac, address): held[address] for address in in_order}
        return found

    def lowest(self, link: Link) -> Link:
        """Return the interface at the bottom of those that share one below them."""
        for _ in range(MAX_HEIGHT):
            link = self._by_index.get(link.lower, link) if link.lower else link
        return link

    def _with_upper(self, link: Link) -> list[Link]:
        """Return the interface and those above it."""
        found, level = {link.index: link}, [link]
        for _ in range(MAX_HEIGHT):
            above = (each for below in level if below.index for each in self._upper.get(below.index, ()))
            level = [each for each in above if each.index not in found]
            found |= {each.index: each for each in level}
        return list(found.values())


def _outside(addresses: Iterable[IPAddress], allowed: Sequence[IPNetwork]) -> frozenset[IPAddress]:
    """Return those of the addresses that lie in none of the networks; none if there are no networks."""
    if not allowed:
        return frozenset()
    spans: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
    for network in sorted(allowed, key=lambda each: (int(each.network_address), each.prefixlen)):
        first, last = int(network.network_address), int(network.broadcast_address)
        of_family = spans[network.version]
        # Networks contain each other, or have nothing in common.
        if not of_family or first > of_family[-1][1]:
            of_family.append((first, last))
    return frozenset(each for each in addresses if not _in_spans(int(each), spans[each.version]))


def _in_spans(number: int, spans: Sequence[tuple[int, int]]) -> bool:
    at = bisect_right(spans, number, key=lambda span: span[0])
    return at > 0 and number <= spans[at - 1][1]


def _reason(outside: str, detection: Detection) -> str:
    if outside:
        return outside
    if detection is Detection.FAILED:
        return (
            "duplicate address detection has failed (dadfailed): another host on the interface's network has "
            "it, and the pod can't use it"
        )
    return ""
