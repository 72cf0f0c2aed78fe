"""Decides about Elastic IPs: claims of pods and the state of EC2 -> calls, and each pod's condition. Pure.

An EIP is tagged with its owner before it is associated, so that a process may end after any call: the next
one finds it by its tags. It follows its private address to another ENI by itself; nothing is called then. It
is disassociated once its owner, or the owner's address, has been gone in two looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from common.shorten import shortened
from ipagent.controller.eip.claims import PodClaim, Who, read_claims
from ipagent.controller.eip.match import Matches, is_free, match
from ipagent.controller.model.condition import FALSE, MAX_MESSAGE, TRUE, Condition, no, unknown, yes
from ipagent.controller.model.ec2_snapshot import CLUSTER_TAG
from ipagent.controller.model.eip_calls import (
    Associate,
    DescribeAddresses,
    DescribeHolders,
    Disassociate,
    EipCall,
    EipPlan,
    TagEip,
    UntagEip,
)
from ipagent.controller.model.eips import (
    KEPT_TAG,
    POD_TAG,
    PRIVATE_TAG,
    TARGET_TAG,
    EipPod,
    EipState,
    ElasticIp,
    Holder,
)
from ipagent.controller.model.state import Releases, State
from ipagent.controller.reconcile.ec2_error_conditions import Kind, remedy
from ipagent.controller.reconcile.plan_draft import MAX_IDS

TWO_LOOKS = 10.0
"""Seconds between the two looks that must both show that an association belongs to nobody."""
DESCRIBE_EVERY = 60.0
"""Seconds between two descriptions of all EIPs while pods claim some: what others change is seen so late."""
DESCRIBE_AT_REST = 300.0
FRESH = 10.0
"""Seconds for which a description tells which ENI has an address."""
POLL = (1.0, 30.0)
"""Seconds between two looks for an address that no ENI has yet: more and more, within these."""
LONG = 60.0
"""Seconds after which that is no matter of waiting."""


@dataclass(slots=True)
class _Draft:
    """What has been decided so far; `cluster` has the nodes, the refusals and the calls without answer."""

    state: EipState
    cluster: State
    now: float
    calls: list[EipCall] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    due: float = float("inf")
    addresses: set[str] = field(default_factory=set)
    instances: set[str] = field(default_factory=set)
    describe: bool = False

    def call(self, call: EipCall) -> None:
        """Make a call, unless one with its key is on its way or was just refused."""
        if self.may(call.key) and call.key not in self.cluster.busy:
            self.calls.append(call)

    def may(self, key: str) -> bool:
        """Whether a call with this key was not just refused."""
        refusal = self.cluster.ec2.refusals.get(key)
        if refusal is None or self.now >= refusal.due:
            return True
        self.due = min(self.due, refusal.due)
        return False

    def refusal_condition(self, eip: str) -> Condition | None:
        """Return the condition that says why the last call about an EIP has failed."""
        refusal = self.cluster.ec2.refusals.get(eip)
        if refusal is None:
            return None
        what = ". ".join(filter(None, (refusal.text, remedy_of(refusal.kind))))
        return no(refusal.kind, what)

    def finish(self) -> None:
        """Make the calls that were gathered."""
        if self.describe:
            self.call(DescribeAddresses())
        if self.addresses:
            addresses, instances = sorted(self.addresses)[: MAX_IDS // 2], sorted(self.instances)
            self.call(DescribeHolders(tuple(addresses), tuple(instances[: MAX_IDS // 2])))


def remedy_of(kind: str) -> str:
    """Return what the user does after such a refusal of EC2; rights are those of the EIPs' policy."""
    return remedy(Kind(kind)).replace("controller.json", "controller-eips.json")


def decide(state: EipState, cluster: State, now: float) -> EipPlan:
    """Return what is to be done at `now` (monotonic seconds)."""
    if not state.grants:
        return EipPlan()
    draft = _Draft(state, cluster, now)
    if state.read_at is None:
        draft.describe = True
        draft.finish()
        # No condition: what a former leader has written stays until more is known.
        return EipPlan(tuple(draft.calls), due=draft.due)
    own = [eip for eip in state.eips.values() if eip.tags.get(CLUSTER_TAG) == cluster.cluster]
    found = read_claims(state.pods, state.grants, {eip.owner: eip.privates for eip in own})
    matches = match(found.claims, state.eips, state.grants, cluster.cluster)
    results: dict[Who, Condition] = dict(found.refused)
    for claim in found.claims:
        condition = _advance(draft, claim, matches)
        results |= {(pod, claim.entry.target): condition for pod in claim.pods}
    _release(draft, found.claims, matches)
    _describe(draft)
    draft.finish()
    return EipPlan(
        calls=tuple(draft.calls),
        conditions={key: each for key, pod in state.pods.items() if (each := _of_pod(pod, results))},
        gone=frozenset(draft.gone),
        free=_free(state, matches),
        due=draft.due,
    )


def _advance(draft: _Draft, claim: PodClaim, matches: Matches) -> Condition:
    """Decide the next step for a claim; returns how far it is."""
    eip = matches.eips.get(claim.identity)
    if eip is None:
        return matches.problems[claim.identity]
    if not claim.private:
        return unknown(
            "WaitingForAddress", f"Multus has not reported an IPv4 address of {claim.entry.target}"
        )
    tags = wanted_tags(draft.cluster.cluster, claim)
    if not eip.matches(tags) or claim.private not in eip.privates:
        # With both addresses while it moves: whichever it has then is known to be ours.
        here = [eip.private] if eip.association and eip.private != claim.private else []
        draft.call(TagEip(eip.id, (*tags, (PRIVATE_TAG, " ".join([*here, claim.private])))))
        return draft.refusal_condition(eip.id) or unknown(
            "Tagging", f"{eip.id} ({eip.public}) is being tagged"
        )
    if eip.association and eip.private == claim.private:
        return _associated(draft, claim, eip)
    return _associate(draft, claim, eip)


def _associated(draft: _Draft, claim: PodClaim, eip: ElasticIp) -> Condition:
    """Return that it is associated, once EC2 has shown so after the pod got its address.

    A former pod may have had the address, and its agent may have released it, which ends the association.
    """
    uids = [draft.state.pods[key].uid for key in claim.pods]
    since = max(draft.state.held.get((uid, claim.private), float("-inf")) for uid in uids)
    if eip.seen >= since:
        return yes("Associated", f"{eip.public} ({eip.id}) is associated with {claim.private}")
    draft.describe = True
    return draft.refusal_condition(DescribeAddresses.key) or unknown(
        "Associating",
        f"{eip.public} ({eip.id}) was associated with {claim.private} before: EC2 is being asked",
    )


def _associate(draft: _Draft, claim: PodClaim, eip: ElasticIp) -> Condition:
    refused = draft.refusal_condition(eip.id)
    if refused is not None and not draft.may(eip.id):
        return refused
    holder = _holder(draft, claim)
    if isinstance(holder, Condition):
        return refused if refused is not None and holder.status != FALSE else holder
    draft.call(Associate(eip.id, holder.eni, claim.private, move=bool(eip.association)))
    return refused or unknown(
        "Associating", f"{eip.public} ({eip.id}) is being associated with {claim.private}"
    )


def wanted_tags(cluster: str, claim: PodClaim) -> tuple[tuple[str, str], ...]:
    """Return the tags of a claim's EIP."""
    owner, target = claim.identity
    kept = "true" if claim.kept else "false"
    return ((CLUSTER_TAG, cluster), (POD_TAG, owner), (TARGET_TAG, target), (KEPT_TAG, kept))


def _holder(draft: _Draft, claim: PodClaim) -> Holder | Condition:
    """Return which ENI of the pods' nodes has the private address; look where that is not known."""
    nodes = [node for name in claim.nodes if (node := draft.cluster.nodes.get(name)) and node.instance]
    instances = {node.instance for node in nodes}
    if not instances:
        return unknown("WaitingForNode", "the pod has no node in EC2 yet")
    known = draft.state.holders.get(claim.private)
    here = known is not None and known.instance in instances
    if known is not None and here and draft.now - known.at < FRESH:
        return known
    pause = 0.0 if known is None or here else min(max((draft.now - known.since) / 4, POLL[0]), POLL[1])
    if known is None or known.at + pause <= draft.now:
        draft.addresses.add(claim.private)
        draft.instances |= instances
    else:
        draft.due = min(draft.due, known.at + pause)
    if known is not None and not here and draft.now - known.since >= LONG:
        where = ", ".join(sorted(claim.nodes))
        return no(
            "AddressNotOnInterface",
            f"{claim.private} is not a secondary address of an ENI of {where} with the tag "
            "node.k8s.amazonaws.com/no_manage=true: see why the agent has not assigned it; an address out of "
            "a prefix, or a primary one, gets no Elastic IP",
        )
    return unknown("WaitingForAddress", f"{claim.private} is not assigned to an ENI yet")


def _release(draft: _Draft, claims: tuple[PodClaim, ...], matches: Matches) -> None:
    """Disassociate what belongs to nobody any more, and take the tags of what is kept for nobody."""
    rightful = {matches.eips[claim.identity].id: claim for claim in claims if claim.identity in matches.eips}
    for identifier, eip in sorted(draft.state.eips.items()):
        if not _ours(draft, eip):
            continue
        claim = rightful.get(identifier)
        if eip.association and not eip.foreign and (claim is None or eip.private != claim.private):
            draft.gone.add(identifier)
            _end(draft, eip)
        elif claim is None and (eip.foreign or not eip.association) and eip.tags.get(KEPT_TAG) != "true":
            _untag(draft, eip)


def _untag(draft: _Draft, eip: ElasticIp) -> None:
    if draft.cluster.releases is Releases.ON:
        keys = (CLUSTER_TAG, POD_TAG, TARGET_TAG, KEPT_TAG, PRIVATE_TAG)
        draft.call(UntagEip(eip.id, tuple((key, eip.tags.get(key, "")) for key in keys)))


def _ours(draft: _Draft, eip: ElasticIp) -> bool:
    """Whether this controller has associated the EIP, and it is of a pool or allocation that is granted."""
    tagged = eip.tags.get(CLUSTER_TAG) == draft.cluster.cluster and bool(eip.tags.get(POD_TAG))
    return tagged and any(grant.covers(eip) for grant in draft.state.grants.values())


def _end(draft: _Draft, eip: ElasticIp) -> None:
    since = draft.state.gone.get(eip.id)
    if since is None:
        draft.due = min(draft.due, draft.now + TWO_LOOKS)
        return
    due = since + TWO_LOOKS
    read = draft.state.read_at or 0.0
    if draft.now < due:
        draft.due = min(draft.due, due)
    elif read < due:
        draft.describe = True
    elif draft.cluster.releases is Releases.ON and not any(
        isinstance(call, Associate) and call.eip == eip.id for call in draft.calls
    ):
        draft.call(Disassociate(eip.id, eip.association))


def _describe(draft: _Draft) -> None:
    wanted = any(pod.claims and not pod.ended for pod in draft.state.pods.values())
    due = (draft.state.read_at or 0.0) + (DESCRIBE_EVERY if wanted else DESCRIBE_AT_REST)
    if due <= draft.now:
        draft.describe = True
    else:
        draft.due = min(draft.due, due)


def _of_pod(pod: EipPod, results: Mapping[Who, Condition]) -> Condition | None:
    """Return the condition of a pod: that of its first claim which is not met, and a sentence for each."""
    targets = ["", *(claim.target for claim in pod.claims)]
    each = [(target, found) for target in targets if (found := results.get((pod.key, target)))]
    if not each:
        gone = pod.condition is not None and not pod.ended
        return unknown("NotClaimed", "the pod claims no Elastic IP any more") if gone else None
    order = (FALSE, "Unknown", TRUE)
    worst = min((condition for _, condition in each), key=lambda condition: order.index(condition.status))
    message = "; ".join(f"{target}: {found.message}" if target else found.message for target, found in each)
    return Condition(worst.status, worst.reason, shortened(message, MAX_MESSAGE))


def _free(state: EipState, matches: Matches) -> dict[tuple[str, str], int]:
    taken = {eip.id for eip in matches.eips.values()}
    return {
        (namespace, pool): sum(
            is_free(eip) and eip.id not in taken and eip.matches(tags) for eip in state.eips.values()
        )
        for namespace, grant in state.grants.items()
        for pool, tags in grant.pools.items()
    }
