"""Desired state: which addresses the pods of a node are to have, and on which ENI. Pure.

Pods, claims, grants and ENIs in, placements out.

A pod has a right to the addresses of its own network-status, which Multus wrote; whatever else it states
needs its namespace's grant, and so does taking an address from another ENI. What a pod states can only narrow
its rights. Of several pods with one address one has it: whoever had it before, else the one whose
network-status names it, else the older one; network-status is never overruled by what another pod states.
A pod that is being deleted, or whose sandbox is being made anew, yields to a pod that has the address from
Multus, on this node or another one: IPAM has given it away.

Thread: the main loop's, through NodeState.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from common.agent_settings import Takeover
from ipagent.assign.addresses import Holding, IPAddress, listed
from ipagent.assign.errors import (
    AddressRefused,
    AgentError,
    BadUsage,
    NoEni,
    NoInterface,
    NotGranted,
)
from ipagent.assign.placement import Placement, place
from ipagent.assign.report import Problem
from ipagent.assign.selection import Selection, UndecidedDefaultError, select
from ipagent.assign.topology import Eni, Topology
from ipagent.node.model.claim import Claim
from ipagent.node.model.grants import Grant
from ipagent.node.model.pod import Pod, PodKey

LOOKED_FOR = "its ENI is being looked for"
UNREADABLE = "Check what writes the pod's annotation k8s.v1.cni.cncf.io/network-status: only Multus should."


@dataclass(frozen=True)
class PodDesired:
    """What one pod is to have, were it alone.

    `placements` are what it may have, `unplaced` the problems of what no ENI of the node can carry, and
    `problems` all others. `held_back` are addresses that don't count yet, with the reason. `named` is every
    address that the pod names at all, `own` those of its network-status. `error` is why its addresses can't
    be told; `bare` are interfaces without addresses. `silent`: its session ended long ago, and others may
    have what it stated. `withheld`: it has the right to takeovers, save of what IPAM may have given away.
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
    withheld: bool = False


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
    base = replace(base, problems=(*base.problems, *_not_allowed(holdings, grant)))
    holdings = tuple(each for each in holdings if grant.allows(each.address))
    asked = [pod.takeover, *([stated.claim.takeover] if stated else [])]
    takeover = grant.takeover and all(each is Takeover.ALWAYS for each in asked)
    wanted = _placed(base, holdings, topology, unknown, takeover=takeover)
    lost = _given_away(pod, stated) if takeover else frozenset()
    return replace(_without_takeover(wanted, lost), withheld=bool(lost))


def _given_away(pod: Pod, stated: ClaimView | None) -> frozenset[IPAddress]:
    """Return what IPAM may have given to a pod of another node since.

    What comes to network-status while the sandbox counts as missing, or a container states then, the pod has
    from the new one: the condition lags behind.
    """
    own = frozenset(holding.address for holding in pod.holdings)
    if pod.leaving:
        return own
    if not pod.remade:
        return frozenset()
    lost = own if pod.former is None else own & pod.former
    return lost.difference(each.address for each in stated.claim.snapshot.addresses) if stated else lost


def _without_takeover(found: PodDesired, addresses: Collection[IPAddress]) -> PodDesired:
    """Return it without the right to take these from another ENI."""
    placements = tuple(
        replace(each, takeover=False) if each.holding.address in addresses else each
        for each in found.placements
    )
    return replace(found, placements=placements)


def _not_allowed(holdings: Iterable[Holding], grant: Grant) -> Iterator[Problem]:
    """Yield a problem for each holding outside of the CIDRs that the operator allows."""
    text = f"it lies outside the allowed CIDRs {listed(grant.allowed)}"
    for each in holdings:
        if not grant.allows(each.address):
            yield Problem(each, "", text, AddressRefused(text))


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
            held_back[holding] = "Multus has not written the pod's network-status yet, which should name it"
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
        text = f"multus-eni.io/interfaces names none of the interfaces {', '.join(claim.interfaces)}"
        return Selection(), BadUsage(
            text, "Create the pod again: its annotation has changed since it was created."
        )
    try:
        selection = select(claim.snapshot, named, claim.allowed)
    except UndecidedDefaultError:
        made_by_multus = tuple(dict.fromkeys(each.interface for each in pod.holdings if each.interface))
        if not made_by_multus:
            text = "It is not known which of the pod's interfaces is the cluster's default one"
            return Selection(), BadUsage(
                text, "Name the Multus interfaces in the annotation multus-eni.io/interfaces."
            )
        selection = select(claim.snapshot, made_by_multus, claim.allowed)
    selection = _without(selection, pod.default_interfaces)
    # A device that a DPDK driver has is none of the kernel's.
    known = {holding.interface for holding in pod.holdings}
    missing = [name for name in selection.missing if name not in known]
    if missing and not claim.restarted:
        return selection, NoInterface(f"The pod has no interface {', '.join(missing)}")
    return selection, None


def _without(selection: Selection, interfaces: Collection[str]) -> Selection:
    """Return the selection without the interfaces that the cluster's own CNI manages."""
    return replace(
        selection,
        holdings=tuple(each for each in selection.holdings if each.interface not in interfaces),
        refused=tuple(each for each in selection.refused if each.holding.interface not in interfaces),
        bare=tuple(name for name in selection.bare if name not in interfaces),
    )


def _named(annotated: tuple[str, ...], claimed: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the interfaces that both name; empty for all, None if there are no such."""
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
    routed = {each: eni for each in holdings if (eni := _routed(each, topology)) is not None}
    left = [each for each in holdings if each not in routed]
    # The subnet must not decide while an ENI that is not known yet may have the MAC.
    early = {each: LOOKED_FOR for each in left if each.mac in unknown}
    rest = (each for each in left if each not in early)
    placed = place(rest, topology, takeover=takeover)
    unplaced = tuple(
        Problem(each.holding, "", each.reason, each.error or NoEni(each.reason)) for each in placed.unplaced
    )
    held_back = {**base.held_back, **early}
    placements = (*placed.placements, *(Placement(each, eni, "", takeover) for each, eni in routed.items()))
    return replace(base, placements=placements, unplaced=unplaced, held_back=held_back)


def _routed(holding: Holding, topology: Topology) -> Eni | None:
    """Return the ENI of whose prefixes one has the address, by IMDS, unless EC2 says that it is not ours."""
    eni = topology.delegated.get(holding.mac)
    if eni is None or eni.prefix_of(holding.address) is None:
        return None
    described = next((each for each in topology.enis if each.mac == holding.mac), eni)
    return eni if described.usable else None


def _not_granted(holding: Holding, key: PodKey, grant: Grant) -> Problem:
    cidrs = listed(grant.cidrs)
    allowed = f"allows {cidrs}" if cidrs else "allows none"
    text = (
        f"Multus has not given it to the pod, and of other addresses the grant for the namespace "
        f"{key.namespace} {allowed}"
    )
    return Problem(holding, "", text, NotGranted(text))
