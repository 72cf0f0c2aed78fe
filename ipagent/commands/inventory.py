"""The pod's addresses: whether each counts, which ENI is to carry it, and which ENI has it now.

`selection.select` decides what counts, and `placement.place` on which ENI; this explains their decisions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from common.pod_keys import INTERFACES
from ipagent.assign.addresses import (
    SCOPE_GLOBAL,
    Holding,
    IPAddress,
    IPNetwork,
    Link,
    LinkAddress,
    Snapshot,
    sort_key,
)
from ipagent.assign.holders import holder_of
from ipagent.assign.placement import Placed, Placement, place
from ipagent.assign.selection import (
    PRIMARY_INTERFACE,
    VPC_CNI_NEXT_HOPS,
    Selection,
    UndecidedDefaultError,
    is_vpc_cni_name,
    select,
)
from ipagent.assign.topology import Eni, EniDetails, Topology

_SCOPES = {200: "site", 253: "link", 254: "host", 255: "nowhere"}
"""rt_scope_t of linux/rtnetlink.h, beside the universe."""


@dataclass(frozen=True)
class Held:
    """An address on an interface; `why` it does not count, empty if it does.

    `tentative`: duplicate address detection goes on, and the agent waits for it.
    """

    holding: Holding
    why: str = ""
    tentative: bool = False

    @property
    def counts(self) -> bool:
        """Whether the agent assigns it."""
        return not self.why


@dataclass(frozen=True)
class Inventory:
    """What the pod holds. `undecided`: it is not known which interface is the default one, so none counts."""

    held: tuple[Held, ...]
    selection: Selection
    undecided: bool = False


def inventory(
    snapshot: Snapshot,
    named: Sequence[str],
    allowed: Sequence[IPNetwork],
    expected: Collection[str] = (),
) -> Inventory:
    """List the pod's addresses, those of the loopback network apart; arguments as in `selection.select`."""
    # Names that are only expected leave no interface out.
    only = () if expected else tuple(named)
    try:
        pod = _Pod(snapshot, only, select(snapshot, named, allowed, expected))
    except UndecidedDefaultError:
        pod = _Pod(snapshot, only, Selection(), undecided=True)
    links = {link.index: link for link in snapshot.links}
    entries = [
        entry for entry in snapshot.addresses if entry.index in links and not entry.address.is_loopback
    ]
    entries.sort(key=lambda entry: (entry.index, sort_key(entry.address)))
    held = [_held(entry, links[entry.index], pod) for entry in entries]
    return Inventory(tuple(dict.fromkeys(held)), pod.selection, pod.undecided)


@dataclass(frozen=True)
class _Pod:
    snapshot: Snapshot
    named: tuple[str, ...]
    selection: Selection
    undecided: bool = False


def _held(entry: LinkAddress, link: Link, pod: _Pod) -> Held:
    for holding in pod.selection.holdings:
        if (holding.interface, holding.address) == (link.name, entry.address):
            return Held(holding, tentative=holding in pod.selection.tentative)
    for refusal in pod.selection.refused:
        if (refusal.holding.interface, refusal.holding.address) == (link.name, entry.address):
            return Held(refusal.holding, refusal.reason)
    holding = Holding(link.name, link.mac, entry.address)
    return Held(holding, _why_not_the_address(entry, link) or _why_not_the_interface(link, pod))


def _why_not_the_address(entry: LinkAddress, link: Link) -> str:
    address: IPAddress = entry.address
    if link.loopback:
        return f"{link.name} is the loopback interface"
    if address.is_link_local:
        return "link-local: it ends at the interface"
    if address.is_multicast or address.is_unspecified:
        return "multicast" if address.is_multicast else "unspecified"
    if entry.scope != SCOPE_GLOBAL:
        return f"its scope is {_SCOPES.get(entry.scope, str(entry.scope))}, not global"
    return ""


def _why_not_the_interface(link: Link, pod: _Pod) -> str:
    if pod.undecided:
        return (
            "it is not known which interface is the default one: name the Multus interfaces in the "
            f"annotation {INTERFACES}"
        )
    if pod.named:
        return f"{link.name} is not among the interfaces that count ({', '.join(pod.named)})"
    if is_vpc_cni_name(link.name):
        return f"{link.name} belongs to the VPC CNI"
    if link.local:
        return f"{link.name} was created in the pod, and not by Multus"
    return f"{link.name} is the pod's default interface: {_why_default(link, pod.snapshot)}"


def _why_default(link: Link, snapshot: Snapshot) -> str:
    if link.name == PRIMARY_INTERFACE:
        return f"it is named {PRIMARY_INTERFACE}"
    hops = [route.destination.network_address for route in snapshot.routes if route.index == link.index]
    for network in VPC_CNI_NEXT_HOPS:
        if network.network_address in hops:
            return f"it has the VPC CNI's next hop {network.network_address}"
    return "it is the oldest, and has the only default route"


BY_MAC, BY_SUBNET = "mac", "subnet"
"""How an ENI was found."""


@dataclass(frozen=True)
class Target:
    """The ENI that is to carry an address, None with the reason `why` there is none.

    `found_by` is `BY_MAC` or `BY_SUBNET`; `candidates` are the ENIs whose subnet has the address.
    """

    eni: Eni | None
    why: str
    found_by: str = ""
    candidates: tuple[Eni, ...] = ()


@dataclass(frozen=True)
class AddressLocation:
    """An address of the pod. `in_imds` is None where that is not known.

    `holder` is the ENI on which EC2 has it; `asked` tells whether EC2 was asked at all.
    """

    held: Held
    target: Target | None = None
    in_imds: bool | None = None
    asked: bool = False
    holder: EniDetails | None = None

    @property
    def in_ec2(self) -> bool | None:
        """Whether EC2 has it on its ENI; None where that is not known."""
        if not self.asked or self.target is None or self.target.eni is None:
            return None
        return self.holder is not None and self.holder.eni_id == self.target.eni.id

    @property
    def elsewhere(self) -> EniDetails | None:
        """The other ENI that holds it."""
        return self.holder if self.in_ec2 is False else None


def targets(held: Iterable[Held], topology: Topology) -> dict[Held, Target]:
    """Find the ENI for each address that counts, as the agent finds it."""
    counting = [one for one in held if one.counts]
    placed: Placed = place([one.holding for one in counting], topology)
    found = {one.holding: _target(one, topology) for one in placed.placements}
    missing = {one.holding: Target(None, one.reason) for one in placed.unplaced}
    # An address on two interfaces of one ENI is placed once.
    by_address = {holding.address: target for holding, target in found.items()}
    return {
        one: found.get(one.holding) or missing.get(one.holding) or by_address[one.holding.address]
        for one in counting
    }


def _target(placement: Placement, topology: Topology) -> Target:
    eni, holding = placement.eni, placement.holding
    if eni.mac == holding.mac:
        return Target(eni, f"{holding.interface} has its MAC", BY_MAC)
    candidates = tuple(other for other in topology.enis if other.usable and other.contains(holding.address))
    return Target(eni, placement.warning, BY_SUBNET, candidates)


def locate(
    held: Iterable[Held],
    found: Mapping[Held, Target],
    imds: Mapping[str, frozenset[IPAddress] | None],
    enis: Mapping[str, EniDetails] | None,
    others: Iterable[EniDetails],
) -> tuple[AddressLocation, ...]:
    """Put together where each address is. `imds` and `enis` are by ENI id; `enis` is None if EC2 was silent.

    `others` are ENIs that hold addresses that are not where they belong.
    """
    every = [*(enis or {}).values(), *others]

    def one(entry: Held) -> AddressLocation:
        target = found.get(entry)
        if target is None or target.eni is None:
            return AddressLocation(entry, target)
        shown = imds.get(target.eni.id)
        own = (enis or {}).get(target.eni.id)
        return AddressLocation(
            entry,
            target,
            in_imds=None if shown is None else entry.holding.address in shown,
            asked=own is not None,
            holder=holder_of(entry.holding.address, own.eni_id, _near(own, every)) if own else None,
        )

    return tuple(map(one, held))


def _near(own: EniDetails, enis: Iterable[EniDetails]) -> list[EniDetails]:
    """Leave out the ENIs of other VPCs, which may use the same ranges."""
    return [eni for eni in enis if eni.vpc_id == own.vpc_id]
