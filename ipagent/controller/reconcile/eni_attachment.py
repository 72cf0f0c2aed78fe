"""Attachment of a desired NodeAttachment: from no ENI to a ready node."""

from __future__ import annotations

from collections.abc import Sequence

from ipagent.controller.model.actions import Attach, Detach, Modify
from ipagent.controller.model.call_rank import Rank
from ipagent.controller.model.condition import TRUE, Condition, no, unknown, yes
from ipagent.controller.model.ec2_snapshot import (
    ATTACHING,
    AVAILABLE,
    DETACHING,
    Eni,
)
from ipagent.controller.model.node_attachment import (
    ATTACHED,
    CREATED,
    LINK_READY,
    PREFIXES_READY,
    READY,
    Attachment,
)
from ipagent.controller.model.node_network import Source
from ipagent.controller.model.state import Releases
from ipagent.controller.reconcile import prefixes
from ipagent.controller.reconcile.ec2_error_conditions import Kind
from ipagent.controller.reconcile.eni_acquisition import LOST_POLL, POLL, acquire, count_lost
from ipagent.controller.reconcile.eni_choice import free_slot
from ipagent.controller.reconcile.link_condition import link_condition, on_node
from ipagent.controller.reconcile.plan_draft import Draft, Pair
from ipagent.controller.reconcile.selector_terms import groups_in

FRESH = 10.0
"""Seconds for which a description of an instance's ENIs tells which device indexes are free."""
NO_SLOT_POLL = 60.0
ATTACH = "AttachNetworkInterface"
_CHANGED = (Kind.IN_USE, Kind.ENI_GONE)
"""Refusals that show that somebody else has changed the ENI."""
Conditions = dict[str, Condition]


def advance(draft: Draft, pair: Pair) -> None:
    """Decide the next step for a pair, and its status."""
    if draft.leave_as_written(pair.attachment):
        return
    conditions: Conditions = {}
    eni, conditions[CREATED] = acquire(draft, pair)
    if eni is not None:
        draft.needed.add(eni.id)
        _attach(draft, pair, eni, conditions)
        _drop_others(draft, pair.attachment, eni)
    _conclude(conditions, _steps(pair))
    draft.set_status(pair.attachment, eni, conditions)
    if pair.network.source is Source.CREATE:
        count_lost(draft, pair.attachment, eni)


def _drop_others(draft: Draft, attachment: Attachment, eni: Eni) -> None:
    """Detach what was created twice; once it is available it counts as leaked."""
    for other in draft.ours.get((attachment.node_uid, attachment.network), ()):
        here = other.instance == attachment.instance and other.state not in (AVAILABLE, DETACHING)
        if other.id != eni.id and here and draft.state.releases is Releases.ON:
            draft.call(Detach(other.id, other.id, other.attachment))


def _attach(draft: Draft, pair: Pair, eni: Eni, conditions: Conditions) -> None:
    attachment = pair.attachment
    if eni.state == AVAILABLE:
        conditions[ATTACHED] = _ask_to_attach(draft, pair, eni)
    elif eni.state == DETACHING:
        conditions[ATTACHED] = unknown("Detaching", f"{eni.id} is being detached, and attached again then")
        draft.describe_eni(eni.id, POLL)
    elif eni.instance != attachment.instance:
        conditions[ATTACHED] = no(
            "AttachedElsewhere",
            f"{eni.id} is attached to {eni.instance or 'a service of AWS'}: detach it there",
        )
        draft.describe_eni(eni.id, NO_SLOT_POLL)
    elif eni.state == ATTACHING and not on_node(attachment, eni):
        conditions[ATTACHED] = unknown("Attaching", f"{eni.id} is being attached")
        draft.describe_eni(eni.id, POLL)
    else:
        conditions[ATTACHED] = yes("Attached", f"network card {eni.card}, device index {eni.device}")
        conditions[LINK_READY] = link_condition(draft, attachment, eni)
        pool = prefixes.advance(draft, pair, eni)
        if pool is not None:
            conditions[PREFIXES_READY] = pool
        _modify(draft, pair, eni, conditions)


def _ask_to_attach(draft: Draft, pair: Pair, eni: Eni) -> Condition:
    attachment = pair.attachment
    refused = draft.refusal_condition(attachment.name, ATTACH)
    if refused is not None and refused.reason in _CHANGED:
        # Whether it is there, and attached nowhere, is seen before it is tried again.
        draft.describe_eni(eni.id, LOST_POLL)
    if pair.network.source is Source.ADOPT and attachment.status.eni != eni.id:
        # No tag says whose it is: the object has to, before it is attached.
        draft.decide_by(draft.now + 1)
        return unknown("Attaching", f"{eni.id} is chosen")
    if not draft.may_call(attachment.name, (ATTACH,)):
        return refused or unknown("Attaching", f"{eni.id} is being attached")
    known = attachment.instance in draft.state.ec2.instances
    slot = free_slot(draft, pair)
    if known and isinstance(slot, str):
        if draft.describe_instance(attachment.instance, NO_SLOT_POLL):
            draft.decide_by(draft.state.ec2.instances[attachment.instance] + NO_SLOT_POLL)
        return no("NoSlot", slot)
    if not draft.describe_instance(attachment.instance, FRESH) or isinstance(slot, str):
        what = f"the interfaces of {attachment.instance} are being described"
        return refused or draft.lookup_condition("instances", "Attaching", what)
    card, device = slot
    draft.slots.add((attachment.instance, card, device))
    draft.call(Attach(attachment.name, eni.id, attachment.instance, card, device))
    return refused or unknown("Attaching", f"{eni.id} is being attached")


def _modify(draft: Draft, pair: Pair, eni: Eni, conditions: Conditions) -> None:
    """Correct an attribute at a time; what pods need first, DeleteOnTermination last."""
    attachment, network = pair.attachment, pair.network
    check = network.source_dest_check
    groups = groups_in(draft, network, eni.vpc)
    change = None
    if check is not None and eni.source_dest_check != check:
        change = Modify(attachment.name, eni.id, source_dest_check=check)
        conditions[ATTACHED] = _changing(draft, attachment, f"sourceDestCheck becomes {check}".lower())
    elif groups and eni.groups != frozenset(groups) and network.source is Source.CREATE:
        change = Modify(attachment.name, eni.id, groups=groups)
        conditions[ATTACHED] = _changing(draft, attachment, "the security groups are being changed", met=True)
    elif network.source is Source.CREATE and eni.delete_on_termination != network.delete_on_termination:
        change = Modify(
            attachment.name,
            eni.id,
            delete_on_termination=network.delete_on_termination,
            attachment=eni.attachment,
            rank=Rank.LATER,
        )
    if change is not None:
        draft.call(change)


def _changing(draft: Draft, attachment: Attachment, what: str, *, met: bool = False) -> Condition:
    refused = draft.refusal_condition(attachment.name, "ModifyNetworkInterfaceAttribute")
    if met:
        return yes("Attached", refused.message if refused else what)
    return refused or unknown("Changing", what)


def _steps(pair: Pair) -> tuple[str, ...]:
    steps = (CREATED, ATTACHED, LINK_READY)
    return steps if pair.network.prefixes is None else (*steps, PREFIXES_READY)


def _conclude(conditions: Conditions, steps: Sequence[str]) -> None:
    """Add what follows from the first step that is not done."""
    for kind in steps:
        found = conditions.get(kind)
        if found is None or found.status != TRUE:
            first = found or unknown("Pending", "")
            conditions[READY] = no(first.reason, first.message)
            break
    else:
        conditions[READY] = yes("Ready")
    for kind in steps:
        conditions.setdefault(kind, unknown("Pending", "an earlier step is not done"))
