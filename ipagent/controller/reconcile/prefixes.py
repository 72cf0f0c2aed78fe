"""The prefixes of a NodeAttachment's ENI: as many as its pods need, and none is taken away that a pod uses.

Where the subnet has no whole prefix left, single addresses that EC2 chooses take their place, until it has
one again.
"""

from __future__ import annotations

from ipagent.controller.model.condition import Condition, no, unknown, yes
from ipagent.controller.model.ec2_snapshot import Eni
from ipagent.controller.model.prefixes import (
    IPV4_SIZE,
    Family,
    Ipam,
    PrefixSpec,
    PrefixState,
    PrefixStatus,
    family,
    in_order,
    size,
)
from ipagent.controller.reconcile.ec2_error_conditions import Kind, condition_of, remedy
from ipagent.controller.reconcile.node_slice_pools import (
    free_in_slice,
    lend_active,
    slice_condition,
    treat_lent_as_active,
)
from ipagent.controller.reconcile.plan_draft import Draft, Pair, PrefixDecision
from ipagent.controller.reconcile.prefix_growth import grow
from ipagent.controller.reconcile.prefix_pool import PrefixPool, present
from ipagent.controller.reconcile.prefix_release import mark_leaving, shrink, unassign

_NONE = PrefixSpec(0, 0, 0)


def capacity(spec: PrefixSpec, limit: int, others: int) -> int:
    """Return how many IPv4 addresses an ENI's prefixes can have.

    `limit` is what the instance type allows on an ENI; `others` are the addresses that are not prefixes, the
    primary among them.
    """
    return IPV4_SIZE * max(0, min(spec.max_ipv4, limit - others))


def advance(draft: Draft, pair: Pair, eni: Eni) -> Condition | None:
    """Decide about an ENI's prefixes; returns None where the network has none, and never had."""
    attachment, spec = pair.attachment, pair.network.prefixes
    recorded = attachment.status.prefixes if attachment.status.eni in ("", eni.id) else ()
    if spec is None and not recorded:
        return None
    found = PrefixPool(draft, attachment, pair.network, eni, spec or _NONE)
    found.states = dict(present(found, recorded))
    treat_lent_as_active(found, recorded)
    if found.key in draft.state.busy:
        asking = attachment.status.assigning
        draft.prefix_marks.asked |= {each for each in draft.state.ec2.prefixes.asked if each[0] == found.name}
    else:
        asking = grow(found)
        if found.spec.ipam is Ipam.WHEREABOUTS:
            mark_leaving(found)
        elif not asking:
            shrink(found)
        unassign(found)
    condition = _condition(found, asking)
    free = _room(found)
    part = lend_active(found, asking)
    if found.spec.ipam is Ipam.WHEREABOUTS:
        free = free_in_slice(found, part)
        condition = slice_condition(found, part) if part else condition
    statuses = tuple(PrefixStatus(p, state) for p, state in found.states.items())
    draft.pools[attachment.name] = PrefixDecision(statuses, asking, free, part)
    return condition


def _room(found: PrefixPool) -> int | None:
    """Return how many more IPv4 addresses the pods can have, with those that may still come."""
    limit, eni = found.limits.ipv4, found.eni
    if not limit or not found.spec.ipv4:
        return None
    here = found.of(Family.IPV4, *set(PrefixState) - {PrefixState.LENT})
    singles = len(found.singles(Family.IPV4, *PrefixState))
    if found.single_only(Family.IPV4):
        there = sum(map(size, here)) + max(0, limit - eni.ipv4)
    else:
        lent = found.blocks(Family.IPV4, PrefixState.LENT)
        others = eni.ipv4 - sum(family(p) is Family.IPV4 for p in eni.prefixes if p not in lent)
        there = capacity(found.spec, limit, others) + singles
    return max(0, min(there, found.most(Family.IPV4)) - sum(map(found.used, here)))


def _condition(found: PrefixPool, asking: str) -> Condition:
    """Return whether pods get addresses on the node."""
    if not found.spec.ipv4 and not found.spec.ipv6:
        return _unwanted(found)
    refusal = found.refusal()
    refused = condition_of(refusal) if refusal is not None else None
    pool = found.attachment.pool
    active = {wanted: found.of(wanted, PrefixState.ACTIVE) for wanted in found.spec.cni.families}
    missing = next((wanted for wanted, prefixes in active.items() if not prefixes), None)
    if missing is not None:
        return _missing_condition(found, missing, asking, refused)
    if pool is not None and pool.message:
        return no("NodeRefused", pool.message)
    for prefixes in active.values():
        if not any(use.offered for p in prefixes if (use := found.use(p)) is not None):
            text = f"the node has not written its CNI configuration for {', '.join(prefixes)}"
            return unknown("WaitingForNode", text)
    if refused is not None and asking and refused.reason != Kind.NO_BLOCKS:
        return yes(refused.reason, f"pods get the addresses that are left; {refused.message}")
    return _fragmented(found) or yes("Offered")


def _unwanted(found: PrefixPool) -> Condition:
    if all(state is PrefixState.LENT for state in found.states.values()):
        return unknown("Lent", "whereabouts has the prefixes as long as the ENI is there")
    return unknown("Draining", "prefixes are released once no pod has an address of them")


def _fragmented(found: PrefixPool) -> Condition | None:
    """Return that prefixes are missing, or that single addresses are in their place."""
    for wanted in found.spec.cni.families:
        known = found.fragmentation(wanted)
        singles = len(found.singles(wanted, PrefixState.ACTIVE))
        if known is None and not singles:
            continue
        instead = f"pods get single addresses instead, of which {found.eni.id} has {singles}"
        have = instead if singles else "pods get the addresses that are left"
        text = f" ({known.text})" if known is not None else ""
        why = f"the subnet {found.eni.subnet} had no whole {wanted} prefix left{text}"
        return yes(Kind.NO_BLOCKS, f"{why}: {have}; {remedy(Kind.NO_BLOCKS)}")
    return None


def _missing_condition(
    found: PrefixPool, wanted: Family, asking: str, refused: Condition | None
) -> Condition:
    if refused is not None and (refused.reason != Kind.NO_BLOCKS or found.spec.ipam is Ipam.WHEREABOUTS):
        return refused
    if asking:
        what = "single addresses are" if found.single_only(wanted) else f"an {wanted} prefix is"
        return unknown("Assigning", f"{what} being assigned to {found.eni.id}")
    strange = [p for p in in_order(found.eni.prefixes) if family(p) is wanted]
    if strange:
        return unknown("Reading", f"EC2 shows {', '.join(strange)}: it is looked at again within a minute")
    return no("NoPlace", _no_place(found))


def _no_place(found: PrefixPool) -> str:
    return (
        f"{found.eni.id} has {found.eni.ipv4} addresses and prefixes, and {found.limits.ipv4} are allowed: "
        "free some, or use a larger instance type"
    )
