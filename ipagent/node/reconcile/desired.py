"""Which addresses the pods of a node are to have, and on which ENI: pods, claims, grants, ENIs -> placements.

A pod has a right to the addresses of its own network-status, which Multus wrote; whatever else it states
needs its namespace's grant, and so does taking an address from another ENI. What a pod states can only narrow
its rights. Of several pods with one address one has it: whoever had it before, else the one whose
network-status names it, else the older one; network-status is never overruled by what another pod states.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from common.contract import Takeover
from ipagent.assign.errors import (
    AddressRefused,
    AgentError,
    HeldElsewhere,
    NoEni,
    NoInterface,
    NotGranted,
    Usage,
)
from ipagent.assign.report import Problem
from ipagent.assign.selection import (
    Holding,
    IPAddress,
    Selection,
    UndecidedDefaultError,
    select,
    sort_key,
)
from ipagent.assign.topology import Placement, Topology, place
from ipagent.node.model.claim import Claim
from ipagent.node.model.grants import Grant
from ipagent.node.model.pod import Pod, PodKey

UNREADABLE = "See what writes the pod's annotation k8s.v1.cni.cncf.io/network-status: only Multus should."


@dataclass(frozen=True)
class PodDesired:
    """What one pod is to have, were it alone.

    `placements` are what it may have, `unplaced` the problems of what no ENI of the node can carry, and
    `problems` all others. `held_back` are addresses that don't count yet, with the reason. `named` is every
    address that the pod names at all, `own` those of its network-status. `error` is why its addresses can't
    be told; `bare` are interfaces without addresses. `silent`: its session ended long ago, and others may
    have what it stated.
    """

    pod: Pod
    placements: tuple[Placement, ...] = ()
    unplaced: tuple[Problem, ...] = ()
    problems: tuple[Problem, ...] = ()
    held_back: Mapping[Holding, str] = field(default_factory=dict)
    named: frozenset[IPAddress] = frozenset()
    own: frozenset[IPAddress] = frozenset()
    error: AgentError | None = None
    bare: tuple[str, ...] = ()
    silent: bool = False


@dataclass(frozen=True)
class ClaimView:
    """A pod's claim, and how it stands: `tentative` addresses are to wait for their duplicate detection.

    `settled`: network-status has had its time to name what the pod states; what it lacks is not the pod's.
    `silent`: the session ended long ago, and nothing has been heard since.
    """

    claim: Claim
    tentative: frozenset[IPAddress] = frozenset()
    settled: bool = True
    silent: bool = False

    @property
    def given_back(self) -> bool:
        """Whether the container ends and the pod's addresses go with it."""
        return self.claim.leaving and self.claim.release_on_exit


def desired_for(
    pod: Pod,
    stated: ClaimView | None,
    grant: Grant,
    topology: Topology,
    unknown: Collection[str] = frozenset(),
) -> PodDesired:
    """Decide what a living pod may have; `unknown` are MACs that an ENI may have which the topology lacks."""
    own = frozenset(holding.address for holding in pod.holdings)
    unread = AddressRefused(pod.problem, UNREADABLE) if pod.problem else None
    if stated is None:
        base, holdings = PodDesired(pod, named=own, own=own, error=unread), pod.counting
    elif stated.given_back:
        return PodDesired(pod)
    else:
        selection, error = _selection(pod, stated.claim)
        found = _sorted_out(pod, stated, grant, selection)
        seen = [*selection.holdings, *(refusal.holding for refusal in selection.refused)]
        holdings = found.holdings
        base = PodDesired(
            pod,
            problems=found.problems,
            held_back=found.held_back,
            named=own | {holding.address for holding in seen},
            own=own,
            error=error or unread,
            bare=selection.bare,
            silent=stated.silent,
        )
    asked = [pod.takeover, *([stated.claim.takeover] if stated else [])]
    takeover = grant.takeover and all(each is Takeover.ALWAYS for each in asked)
    return _placed(base, holdings, topology, unknown, takeover=takeover)


@dataclass(frozen=True)
class _Sorted:
    holdings: tuple[Holding, ...]
    problems: tuple[Problem, ...]
    held_back: Mapping[Holding, str]


def _sorted_out(pod: Pod, stated: ClaimView, grant: Grant, selection: Selection) -> _Sorted:
    """Part what the pod may have from what it may not, and from what is to wait."""
    refused = {refusal.holding.address: refusal for refusal in selection.refused}
    kernel = {holding.address: holding for holding in selection.holdings}
    holdings = {
        # network-status may lack the MAC; the kernel has it.
        each.address: each if each.mac else kernel.get(each.address, each)
        for each in pod.counting
        if each.address not in refused
    }
    problems = [
        Problem(each.holding, "", each.reason, AddressRefused(each.reason)) for each in refused.values()
    ]
    held_back: dict[Holding, str] = {}
    own = {holding.address for holding in pod.holdings}
    for holding in selection.holdings:
        if holding.address in own:
            continue
        granted = grant.covers(holding.address)
        # Also what is granted: it may be the pod's own, and is then not to be taken for a floating address.
        if pod.waiting or not (granted or stated.settled):
            held_back[holding] = "the pod's network-status, which should name it, is yet to come"
        elif not granted:
            problems.append(_not_granted(holding, pod.key, grant))
        elif holding.address in stated.tentative:
            held_back[holding] = "duplicate address detection has not ended"
        else:
            holdings[holding.address] = holding
    return _Sorted(tuple(holdings.values()), tuple(problems), held_back)


def _selection(pod: Pod, claim: Claim) -> tuple[Selection, AgentError | None]:
    """Select what of the pod's network namespace counts."""
    named = _named(pod.interfaces, claim.interfaces)
    if named is None:
        text = f"of the interfaces {', '.join(claim.interfaces)} the annotation names none"
        return Selection(), Usage(text, "Make the pod anew: its annotation has changed since it was made.")
    try:
        selection = select(claim.snapshot, named, claim.allowed)
    except UndecidedDefaultError:
        made_by_multus = tuple(dict.fromkeys(each.interface for each in pod.holdings if each.interface))
        if not made_by_multus:
            text = "Nothing tells which of the pod's interfaces is the cluster's own and not of Multus"
            return Selection(), Usage(
                text, "Name those of Multus in the annotation multus-eni.io/interfaces."
            )
        selection = select(claim.snapshot, made_by_multus, claim.allowed)
    # A device that a DPDK driver has is none of the kernel's.
    known = {holding.interface for holding in pod.holdings}
    missing = [name for name in selection.missing if name not in known]
    if missing:
        return selection, NoInterface(f"The pod has no interface {', '.join(missing)}")
    return selection, None


def _named(annotated: tuple[str, ...], claimed: tuple[str, ...]) -> tuple[str, ...] | None:
    """Give the interfaces that both name; empty for all, None if there are no such."""
    if annotated and claimed:
        return tuple(name for name in claimed if name in annotated) or None
    return annotated or claimed


def _placed(
    base: PodDesired,
    holdings: Sequence[Holding],
    topology: Topology,
    unknown: Collection[str],
    *,
    takeover: bool,
) -> PodDesired:
    early = {each: "its ENI is being looked for" for each in holdings if each.mac in unknown}
    placed = place((each for each in holdings if each not in early), topology, takeover=takeover)
    unplaced = tuple(Problem(each.holding, "", each.reason, NoEni(each.reason)) for each in placed.unplaced)
    held_back = {**base.held_back, **early}
    return replace(base, placements=placed.placements, unplaced=unplaced, held_back=held_back)


def _not_granted(holding: Holding, key: PodKey, grant: Grant) -> Problem:
    cidrs = ", ".join(map(str, grant.cidrs))
    allowed = f"allows {cidrs}" if cidrs else "allows none"
    text = (
        f"Multus has not given it to the pod, and of other addresses the grant for the namespace "
        f"{key.namespace} {allowed}"
    )
    return Problem(holding, "", text, NotGranted(text))


@dataclass(frozen=True)
class Conflict:
    """A pod's address that another pod of this node has."""

    holding: Holding
    owner: PodKey
    by_status: bool

    @property
    def problem(self) -> Problem:
        """What to tell the pod that does not get it."""
        how = "which has it by its network-status" if self.by_status else "which has stated it"
        text = f"it belongs to the pod {self.owner} on this node, {how}"
        remedy = (
            "Give the pods different addresses, or delete the one that is not to have it. If both got theirs "
            "from IPAM, two networks hand out the same range."
        )
        return Problem(self.holding, "", text, HeldElsewhere(text, remedy))


@dataclass(frozen=True)
class Desired:
    """What the node is to have: `owners` say which pod each address belongs to.

    `by_status` are the addresses that their owner has by its network-status.
    """

    placements: tuple[Placement, ...] = ()
    owners: Mapping[IPAddress, PodKey] = field(default_factory=lambda: MappingProxyType({}))
    conflicts: Mapping[PodKey, tuple[Conflict, ...]] = field(default_factory=lambda: MappingProxyType({}))
    by_status: frozenset[IPAddress] = frozenset()


_Contender = tuple[PodDesired, Placement | None]
"""A pod that names the address, and where it may have it: network-status alone gives no place."""


NOBODY = Desired()


def resolve_conflicts(wishes: Iterable[PodDesired], before: Desired = NOBODY) -> Desired:
    """Give each address to one pod; `before` is how it was until now."""
    contenders: dict[IPAddress, list[_Contender]] = {}
    for each in wishes:
        placed = {placement.holding.address: placement for placement in each.placements}
        for address in (*placed, *(each.own - placed.keys())):
            contenders.setdefault(address, []).append((each, placed.get(address)))
    placements: list[Placement] = []
    owners: dict[IPAddress, PodKey] = {}
    by_status: set[IPAddress] = set()
    conflicts: dict[PodKey, list[Conflict]] = {}
    for address, rivals in contenders.items():
        if len(rivals) > 1:
            _in_order(rivals, address, before)
        (owner, placement), *losers = rivals
        owners[address] = owner.pod.key
        if address in owner.own:
            by_status.add(address)
        if placement:
            placements.append(placement)
        for loser, lost in losers:
            if lost:
                conflict = Conflict(lost.holding, owner.pod.key, address in owner.own)
                conflicts.setdefault(loser.pod.key, []).append(conflict)
    told = {key: tuple(sorted(each, key=_by_address)) for key, each in conflicts.items()}
    return Desired(tuple(placements), owners, told, frozenset(by_status))


def _in_order(rivals: list[_Contender], address: IPAddress, before: Desired) -> None:
    """Put the one that gets the address first.

    IPAM gives an address to a new pod while the old one is only being deleted: that one then lacks it. What a
    pod had by its network-status, and only states any longer, it does not keep from others.
    """
    owner, was_by_status = before.owners.get(address), address in before.by_status

    def rank(rival: _Contender) -> tuple[int, bool, str, PodKey]:
        pod = rival[0].pod
        by_status = address in rival[0].own
        incumbent = pod.key == owner and (by_status or not was_by_status)
        passing = pod.leaving if by_status else rival[0].silent
        place_in_line = (1 if by_status else 3) + passing
        return (0 if incumbent and not passing else place_in_line, not incumbent, pod.created, pod.key)

    rivals.sort(key=rank)


def _by_address(conflict: Conflict) -> tuple[int, int]:
    return sort_key(conflict.holding.address)
