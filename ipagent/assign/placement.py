"""Which ENI carries an address.

ipvlan shares the MAC of its parent and host-device moves the ENI itself, so the MAC of the pod's interface
names the ENI, also where two ENIs share a subnet. Where the MAC is foreign (macvlan, bridge), the ENI is the
one whose subnet contains the address. Device number 0 of network card 0 belongs to the VPC CNI, which would
adopt an address of ours into its own pool (amazon-vpc-cni-k8s, `docs/`): it is always refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from common.frozen_dataclass import dataclass, replace
from ipagent.assign.addresses import Holding, IPAddress
from ipagent.assign.errors import AgentError
from ipagent.assign.topology import Eni, Topology

_DEVICE_0 = (
    "is device number 0 and belongs to the VPC CNI: attach an ENI of that subnet for the network, or choose "
    "another range"
)


@dataclass(frozen=True)
class Placement:
    """The ENI for a holding; `warning` is a sentence for the user, or empty.

    `takeover`: it may be taken from another ENI that has the address.
    """

    holding: Holding
    eni: Eni
    warning: str = ""
    takeover: bool = True


@dataclass(frozen=True)
class Unplaced:
    """A holding without ENI, and why; `pending`: it may get one as soon as IMDS and EC2 show more.

    `error` is what stands in the way of knowing, if that is an error of its own. `unranged`: the ranges of
    subnets left it without one, and EC2 may know more of them. `doubted`: somebody has not answered yet.
    """

    holding: Holding
    reason: str
    pending: bool = False
    error: AgentError | None = None
    unranged: bool = False
    doubted: bool = False


@dataclass(frozen=True)
class Placed:
    """Holdings with their ENIs, and those without."""

    placements: tuple[Placement, ...] = ()
    unplaced: tuple[Unplaced, ...] = ()


def place(holdings: Iterable[Holding], topology: Topology, *, takeover: bool = True) -> Placed:
    """Find the ENI of each holding; an address that would have to be on two ENIs is on none."""
    # In whatever order they were read: the same choice, and the same sentences.
    enis_in_order = sorted(topology.enis, key=lambda eni: (eni.network_card, eni.device_number, eni.id))
    return _one_eni_each(
        [_place(holding, enis_in_order, topology, takeover=takeover) for holding in holdings]
    )


def place_known(
    holdings: Iterable[Holding], before: Placed, known: Mapping[str, Eni], *, takeover: bool = True
) -> Placed:
    """Find the ENIs that need no look: those of `before`, and those of `known`, by MAC, that are verified.

    What else there is stays pending, also where an earlier look has found no ENI: a new one may find it.
    """
    placed = {placement.holding: placement for placement in before.placements}
    left = {unplaced.holding: unplaced for unplaced in before.unplaced}
    return _one_eni_each([_known(each, placed, left, known, takeover=takeover) for each in holdings])


def keep_placed(found: Placed, before: Placed) -> Placed:
    """Leave on its ENI of `before` what has none in `found` as somebody did not answer: that is no news."""
    last = {placement.holding: placement for placement in before.placements}
    left = [
        last.get(each.holding, each) if each.error is not None or each.doubted else each
        for each in found.unplaced
    ]
    return _one_eni_each([*found.placements, *left])


def _known(
    holding: Holding,
    placed: Mapping[Holding, Placement],
    left: Mapping[Holding, Unplaced],
    known: Mapping[str, Eni],
    *,
    takeover: bool,
) -> Placement | Unplaced:
    if holding in placed:
        return placed[holding]
    found: Placement | Unplaced = Unplaced(holding, "its ENI is being looked for")
    if holding in left:
        found = left[holding]
    elif holding.mac in known:
        found = _by_mac(holding, known[holding.mac], takeover=takeover)
    return replace(found, pending=True, unranged=False) if isinstance(found, Unplaced) else found


def _one_eni_each(found: Sequence[Placement | Unplaced]) -> Placed:
    """Take from each address that would have to be on two ENIs both of them."""
    enis: dict[IPAddress, set[str]] = {}
    for one in found:
        if isinstance(one, Placement):
            enis.setdefault(one.holding.address, set()).add(one.eni.id)
    placements: dict[IPAddress, Placement] = {}
    unplaced = []
    for one in found:
        if isinstance(one, Unplaced):
            unplaced.append(one)
        elif len(rivals := enis[one.holding.address]) > 1:
            both = " and ".join(sorted(rivals))
            unplaced.append(
                Unplaced(one.holding, f"the pod holds it on interfaces of {both}; only one ENI can have it")
            )
        else:
            placements.setdefault(one.holding.address, one)
    return Placed(tuple(placements.values()), tuple(unplaced))


def _place(
    holding: Holding, node: Sequence[Eni], topology: Topology, *, takeover: bool
) -> Placement | Unplaced:
    for eni in node:
        if holding.mac and eni.mac == holding.mac:
            return _if_read(_by_mac(holding, eni, takeover=takeover), topology)
    if holding.mac and (reason := topology.absent.get(holding.mac)):
        return Unplaced(holding, f"its interface has the MAC of {reason}", pending=True)
    # The subnet must not decide while an ENI may have the MAC: the address would land on another one.
    placed = _by_subnet_of_read(holding, node, topology, takeover=takeover)
    if topology.doubt is not None:
        partial = topology.partial.get(holding.mac, "")
        if isinstance(placed, Unplaced) and not partial:
            reason = f"{placed.reason}; {topology.doubt}"
            doubted = topology.doubt.transient
            return replace(placed, reason=reason, pending=True, unranged=False, doubted=doubted)
        reason = partial or f"IMDS shows no ENI with the MAC {holding.mac}"
        return Unplaced(holding, reason, pending=True, error=topology.doubt)
    if isinstance(placed, Unplaced) and topology.unranged:
        listed = ", ".join(topology.unranged)
        reason = f"{placed.reason}; IMDS does not show {listed} yet, which EC2 has"
        return replace(placed, reason=reason, pending=True, unranged=False)
    return placed


def _by_mac(holding: Holding, eni: Eni, *, takeover: bool) -> Placement | Unplaced:
    if eni.is_primary:
        return Unplaced(
            holding,
            f"its interface has the MAC of {eni.id}, which is device number 0 and belongs to the VPC CNI: "
            "let the network's master be another ENI",
        )
    if eni.barred:
        return Unplaced(holding, f"its interface has the MAC of {eni.id}, which {eni.barred}")
    if eni.excludes(holding.address):
        return Unplaced(
            holding,
            f"its interface has the MAC of {eni.id}, but it lies outside that ENI's subnet {_cidrs(eni)}",
            unranged=eni.may_contain(holding.address),
        )
    return Placement(holding, eni, takeover=takeover)


def _if_read(found: Placement | Unplaced, topology: Topology) -> Placement | Unplaced:
    if isinstance(found, Unplaced) or found.eni.id not in topology.unread:
        return found
    return _waiting(found.holding, f"its interface has the MAC of {found.eni.id}", found.eni, topology)


def _waiting(holding: Holding, why: str, eni: Eni, topology: Topology) -> Unplaced:
    reason = f"{why}, which could not be read yet"
    return Unplaced(holding, reason, pending=True, error=topology.unread[eni.id])


def _by_subnet_of_read(
    holding: Holding, node: Sequence[Eni], topology: Topology, *, takeover: bool
) -> Placement | Unplaced:
    """Choose by subnet among the ENIs that were read, unless it may be one of the others."""
    if not topology.unread:
        return _by_subnet(holding, node, takeover=takeover)
    read = [eni for eni in node if eni.id not in topology.unread]
    placed = _by_subnet(holding, read, takeover=takeover)
    for eni in node:
        if eni.id in topology.unread and _may_be_on(eni, holding.address, placed, topology):
            return _waiting(holding, f"it may be on {eni.id}", eni, topology)
    return placed


def _may_be_on(unread: Eni, address: IPAddress, placed: Placement | Unplaced, topology: Topology) -> bool:
    """Whether an address may be on that ENI, given where the others would have it."""
    if isinstance(placed, Unplaced):
        return unread.may_hold(address)
    here = placed.eni
    if topology.seen_all or here.prefix_of(address) is not None:
        return False
    if any(held.eni_id == here.id and held.holds(address) for held in topology.held):
        return False
    # Subnets have no range in common.
    return unread.subnet_id in ("", here.subnet_id) or unread.contains(address)


def _by_subnet(holding: Holding, node: Sequence[Eni], *, takeover: bool) -> Placement | Unplaced:
    containing = [eni for eni in node if eni.contains(holding.address)]
    # An ENI whose prefix contains the address gets its packets already.
    candidates = sorted(
        (eni for eni in containing if eni.usable), key=lambda eni: eni.prefix_of(holding.address) is None
    )
    if not candidates:
        unranged = any(eni.usable and eni.may_contain(holding.address) for eni in node)
        return Unplaced(holding, _why_none(containing, node), unranged=unranged)
    warning = (
        f"{holding.interface} has the MAC {holding.mac or 'of no Ethernet device'}, which no ENI of this "
        "node has: the VPC delivers to an ENI's own MAC only, so macvlan is not reachable beyond the node"
    )
    if len(candidates) > 1:
        names = ", ".join(f"{eni.id} ({eni.slot})" for eni in candidates)
        warning += f"; {names} are all in the subnet of {holding.address}, which goes to {candidates[0].id}"
    return Placement(holding, candidates[0], warning, takeover)


def _why_none(containing: Sequence[Eni], node: Sequence[Eni]) -> str:
    if containing:
        eni = min(containing, key=lambda eni: not eni.barred)
        return f"it lies in the subnet {_cidrs(eni)} of {eni.id}, which {eni.barred or _DEVICE_0}"
    usable = [f"{eni.id} {_cidrs(eni)}" for eni in node if eni.usable]
    barred = [f"{eni.id} {eni.barred}" for eni in node if eni.barred]
    if usable or barred:
        seen = f"beside device number 0 there are {', '.join((*usable, *barred))}"
    else:
        seen = "it has device number 0 alone"
    return f"no ENI of this node is in a subnet that contains it: {seen}"


def _cidrs(eni: Eni) -> str:
    return ", ".join(map(str, eni.subnet_cidrs)) or "of unknown range"
