"""Garbage collection rules: records, pods, ENIs, now -> a verdict on each secondary address. Pure.

An address is reclaimed only if all of this holds: it lies in a managed range and is a secondary address of an
ENI of ours; it is recorded as the own address of a pod that is gone; a complete list of pods lacks it; no pod
claims it; the node does not hand it out for a network of prefixes; no living pod on that ENI may hold
addresses that it has not claimed; and all of that was so in two sweeps, a cooldown apart. Less information
never reclaims more addresses.

"Gone from the API" is not "gone": the containers of a static pod outlive its mirror, and a pod made anew
under the same name may be the one before under a new uid. So what a mirror owned is never reclaimed, and what
a pod owned is not while a pod of its name waits for its network-status.

Thread: the main loop's, through Collector.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from ipagent.assign.addresses import Holding, IPAddress
from ipagent.assign.placement import Placed, place
from ipagent.assign.release import Pair
from ipagent.assign.topology import Eni, Observed, Topology
from ipagent.node.gc.records import Origin, OwnershipRecord, OwnershipRecords
from ipagent.node.gc.verdict import Candidate, Decision, GcInput, GcResult, Verdict, VerdictReason
from ipagent.node.model.gc_policy import GcPolicy, within
from ipagent.node.model.ownership import Ownership
from ipagent.node.model.pod import InjectedAgent, Pod, PodKey


def evaluate(gc_input: GcInput, policy: GcPolicy) -> GcResult:
    """Decide on each secondary address of the ENIs that are ours."""
    facts = _Facts(gc_input, policy)
    verdicts = tuple(
        facts.verdict(each.eni, address)
        for each in gc_input.enis
        if each.eni.usable
        for address in each.held.secondaries
        if not each.held.holds_as_primary(address)
    )
    candidates = {
        each.pair: facts.candidate(each.pair, each.pod)
        for each in verdicts
        if each.why is VerdictReason.LEAKED and each.pod is not None
    }
    return GcResult(verdicts, candidates, facts.obsolete())


def suspected_leaks(records: OwnershipRecords, ownership: Ownership, policy: GcPolicy) -> frozenset[Pair]:
    """Return what may be leaked, as far as the watch tells: where there is nothing, no sweep is needed."""
    return frozenset(
        pair
        for pair, record in records.entries.items()
        if record.origin is Origin.NETWORK_STATUS
        and pair not in ownership.owners
        and pair[1] not in ownership.named
        and not policy.protects(pair[1])
        and (not policy.managed or within(pair[1], policy.managed))
    )


class _Facts:
    """The input of a sweep, indexed for the rules."""

    def __init__(self, gc_input: GcInput, policy: GcPolicy) -> None:
        self._input = gc_input
        self._policy = policy
        living = [pod for pod in gc_input.pods if pod.alive]
        listed = (each.address for pod in living for each in pod.holdings)
        stated = (address for _, address in gc_input.ownership.owners)
        self._held = frozenset((*listed, *stated, *gc_input.ownership.named))
        owners = (*(pod.key for pod in living), *gc_input.ownership.owners.values())
        self._alive = frozenset(key.uid for key in owners)
        self._successors = {(pod.key.namespace, pod.key.name): pod.key for pod in living if pod.waiting}
        self._blocks = _blocks(gc_input, living, policy)

    def candidate(self, pair: Pair, pod: PodKey) -> Candidate:
        """Return since when that pod has leaked the address."""
        earlier = self._input.earlier.get(pair)
        return earlier if earlier and earlier.pod == pod else Candidate(pod, self._input.now)

    def obsolete(self) -> frozenset[Pair]:
        """Return the records of what is on no ENI of the node and belongs to no living pod."""
        unread = {each.eni.id for each in self._input.unread}
        shown = {
            (each.eni.id, address)
            for each in self._input.enis
            for address in (*each.held.secondaries, *each.held.arriving)
        }
        return frozenset(
            pair
            for pair, record in self._input.records.entries.items()
            if pair not in shown
            and pair[0] not in unread
            and record.pod.uid not in self._alive
            and self._input.ownership.complete
        )

    def verdict(self, eni: Eni, address: IPAddress) -> Verdict:
        """Decide on one address."""
        pair = eni.id, address
        record = self._input.records.entries.get(pair)
        kept = self._kept(eni, address) or self._unproven(record)
        pod = record.pod if record else None
        if kept or record is None:
            why, text = kept or _UNRECORDED
            return Verdict(eni.id, address, Decision.KEEP, why, text, pod)
        if block := self._successor(record.pod) or self._blocks.get(eni.id):
            return Verdict(eni.id, address, Decision.KEEP, block.why, block.text, pod, blocker=block.pod)
        candidate = self.candidate(pair, record.pod)
        until = candidate.since + self._policy.cooldown
        decision = Decision.RECLAIM if self._input.now >= until else Decision.WAIT
        text = f"it was the own address of {record.pod}, which is gone"
        return Verdict(eni.id, address, decision, VerdictReason.LEAKED, text, pod, until)

    def _kept(self, eni: Eni, address: IPAddress) -> tuple[VerdictReason, str] | None:
        """Return why the address stays whatever is recorded of it; None if nothing speaks against it."""
        if not self._policy.manages(eni, address):
            return VerdictReason.NOT_MANAGED, "it is in no managed range"
        if self._policy.protects(address):
            return VerdictReason.PROTECTED, "it lies in a protected range"
        if address in self._held:
            return VerdictReason.HELD, "a living pod has it"
        if (eni.id, address) in self._input.pool:
            return VerdictReason.POOL, "the node hands it out to pods of a network of prefixes"
        if (eni.id, address) in self._input.ownership.busy:
            return VerdictReason.BUSY, "it is just being assigned or released"
        return None

    def _unproven(self, record: OwnershipRecord | None) -> tuple[VerdictReason, str] | None:
        """Return why the record does not prove a leak; None if it does."""
        if record is None:
            return _UNRECORDED
        if record.origin is Origin.CLAIM:
            return VerdictReason.FLOATING, f"it is a floating address, which {record.pod} stated last"
        if record.origin is Origin.STATIC_POD:
            return VerdictReason.STATIC_POD, f"it was the own address of {record.pod}, a static pod"
        if record.pod.uid in self._alive:
            return VerdictReason.OWNER_LIVES, f"it was the own address of {record.pod}, which still exists"
        if not self._input.ownership.complete:
            return VerdictReason.INCOMPLETE, "the list of the node's pods is not complete"
        return None

    def _successor(self, owner: PodKey) -> _Block | None:
        """Return the pod of the owner's name that has no network-status yet, as a reason to keep."""
        key = self._successors.get((owner.namespace, owner.name))
        if key is None:
            return None
        text = f"{key} is there again, and has no network-status yet: it may be the pod that had it"
        return _Block(VerdictReason.SUCCESSOR, text, key)


_UNRECORDED = (VerdictReason.UNRECORDED, "it is not recorded as a pod's own address")


@dataclass(frozen=True)
class _Block:
    """A living pod for whose sake addresses are kept."""

    why: VerdictReason
    text: str
    pod: PodKey


def _blocks(gc_input: GcInput, living: Collection[Pod], policy: GcPolicy) -> dict[str, _Block]:
    """Return the ENIs on which a living pod may hold unknown addresses, and why."""
    every = frozenset(each.eni.id for each in gc_input.enis)
    topology = Observed(gc_input.enis, gc_input.unread).topology
    found: dict[str, _Block] = {}
    for pod in living:
        if pod.problem:
            text = f"the addresses of {pod.key} can't be read: {pod.problem}"
            found |= dict.fromkeys(every, _Block(VerdictReason.UNREADABLE, text, pod.key))
    if policy.no_floating:
        return found
    for pod in living:
        if reason := _unstated(pod, gc_input.ownership, policy):
            block = _Block(VerdictReason.UNSTATED, reason, pod.key)
            found |= dict.fromkeys(_enis_of(pod, topology), block)
    # Pods that the list lacks and the watch has, or the other way round, count as well.
    listed = {pod.key for pod in living}
    for key, where in gc_input.ownership.unstated.items():
        if key not in listed:
            text = f"{key} may hold addresses that it has not stated"
            found |= dict.fromkeys(where or every, _Block(VerdictReason.UNSTATED, text, key))
    return found


def _unstated(pod: Pod, ownership: Ownership, policy: GcPolicy) -> str:
    """Return why a living pod may hold addresses that it has not claimed; empty if it can't.

    Multus writes network-status before any of a pod's containers starts: a pod to which it has given no
    interface holds nothing, whatever containers its author has named after ours.
    """
    if pod.waiting or not pod.attached:
        return ""
    if pod.agent is InjectedAgent.DIRECT_SIDECAR:
        return f"{pod.key} has a sidecar that calls EC2 itself, so its floating addresses are not known"
    if pod.agent is InjectedAgent.NODE_SIDECAR and pod.key not in ownership.stated:
        return f"{pod.key} has not stated its addresses yet"
    if pod.agent is InjectedAgent.NONE and pod.holdings and not policy.protected:
        return (
            f"{pod.key} has no agent that could state floating addresses: set gc.protectedCIDRs, or "
            "gc.noFloatingAddresses if there are none"
        )
    return ""


def _enis_of(pod: Pod, topology: Topology) -> frozenset[str]:
    """Return the ENIs on which the pod's interfaces may be: all of them where that can't be told."""
    placed = _placed(pod.holdings, topology)
    found = {placement.eni.id for placement in placed.placements}
    if pod.agent is InjectedAgent.NONE:
        # An address that fits no ENI is on a network of another kind, unless the ENI's ranges are not known.
        families = {each.holding.address.version for each in placed.unplaced}
        vague = (eni for eni in topology.enis if families - {cidr.version for cidr in eni.subnet_cidrs})
        return frozenset(found | {eni.id for eni in vague})
    if placed.unplaced or not found:
        return frozenset(eni.id for eni in topology.enis)
    return frozenset(found)


def _placed(holdings: Collection[Holding], topology: Topology) -> Placed:
    """Find the ENI of each holding: a MAC names it, whether or not the ENI could be read."""
    placed = place(holdings, topology)
    unread = {eni.mac for eni in topology.enis if eni.id in topology.unread}
    if not placed.unplaced or any(each.holding.mac not in unread for each in placed.unplaced):
        return placed
    by_mac = place(holdings, replace(topology, unread={}))
    return replace(by_mac, placements=(*placed.placements, *by_mac.placements))
