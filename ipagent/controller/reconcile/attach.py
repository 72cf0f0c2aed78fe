"""A NodeAttachment that is wanted: from no ENI to a node that is ready."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace

from ipagent.assign.holders import NO_MANAGE
from ipagent.controller.model.actions import Attach, Create, Detach, Modify
from ipagent.controller.model.attachment import (
    ATTACHED,
    CREATED,
    LINK_READY,
    PREFIXES_READY,
    READY,
    Attachment,
)
from ipagent.controller.model.cloud import (
    ATTACHING,
    AVAILABLE,
    CLUSTER_TAG,
    DETACHING,
    NETWORK_TAG,
    NODE_TAG,
    NODE_UID_TAG,
    Eni,
)
from ipagent.controller.model.condition import TRUE, Condition, no, unknown, yes
from ipagent.controller.model.network import Source
from ipagent.controller.model.rank import Rank
from ipagent.controller.model.state import Releases
from ipagent.controller.reconcile import prefixes
from ipagent.controller.reconcile.answers import SETTLE
from ipagent.controller.reconcile.choice import adopted, candidates, created, free_slot
from ipagent.controller.reconcile.draft import Draft, Pair
from ipagent.controller.reconcile.link_state import link_condition, on_node
from ipagent.controller.reconcile.refusals import Kind, condition_of, remedy
from ipagent.controller.reconcile.resolve import groups_in, place

POLL = 2.0
"""Seconds between two looks at an ENI that is just being attached or detached."""
FRESH = 10.0
"""Seconds for which a description of an instance's ENIs tells which device indexes are free."""
NO_SLOT_POLL = 60.0
LOST_POLL = 10.0
MISMATCHES = 3
"""Refusals of a ClientToken with other parameters before the next token is taken: the ENI of that token has
not been shown meanwhile."""

Conditions = dict[str, Condition]


def advance(draft: Draft, pair: Pair) -> None:
    """Decide the next step for a pair, and its status."""
    if draft.unchanged(pair.attachment):
        return
    conditions: Conditions = {}
    eni = _eni(draft, pair, conditions)
    if eni is not None:
        draft.needed.add(eni.id)
        _attach(draft, pair, eni, conditions)
        _drop_others(draft, pair.attachment, eni)
    _conclude(conditions, _steps(pair))
    draft.status(pair.attachment, eni, conditions)
    if pair.network.source is Source.CREATE:
        _count_lost(draft, pair.attachment, eni)


def _eni(draft: Draft, pair: Pair, conditions: Conditions) -> Eni | None:
    """Return the ENI; where there is none, ask for it."""
    adopt = pair.network.source is Source.ADOPT
    if draft.state.cloud.read_at is None:
        conditions[CREATED] = unknown("Reading", "EC2 has not been described yet")
        return None
    eni = _adopted(draft, pair) if adopt else created(draft, pair.attachment)
    if eni is not None:
        conditions[CREATED] = yes("Adopted" if adopt else "Created", eni.id)
    elif adopt:
        conditions[CREATED] = _none_to_adopt(draft, pair)
    elif pair.attachment.status.eni:
        conditions[CREATED] = _lost(draft, pair.attachment)
    else:
        conditions[CREATED] = _create(draft, pair)
    return eni


def _adopted(draft: Draft, pair: Pair) -> Eni | None:
    """Return the ENI that is adopted; another one only when the recorded one has been away for a minute.

    A former leader may just have attached it, and descriptions may be late.
    """
    eni, name, recorded = adopted(draft, pair), pair.attachment.name, pair.attachment.status.eni
    if not recorded or (eni is not None and eni.id == recorded) or recorded not in draft.state.cloud.enis:
        return eni
    draft.idle.add(name)
    draft.look_at(recorded, LOST_POLL)
    return eni if draft.now - draft.state.cloud.idle.get(name, draft.now) >= SETTLE else None


def _drop_others(draft: Draft, attachment: Attachment, eni: Eni) -> None:
    """Detach what was created twice; once it is available it counts as leaked."""
    for other in draft.ours.get((attachment.node_uid, attachment.network), ()):
        here = other.instance == attachment.instance and other.state not in (AVAILABLE, DETACHING)
        if other.id != eni.id and here and draft.state.releases is Releases.ON:
            draft.call(Detach(other.id, other.id, other.attachment))


def _none_to_adopt(draft: Draft, pair: Pair) -> Condition:
    fitting = candidates(draft, pair.network, pair.node)
    wanted = ", ".join(
        f"{key}={value}" for key, value in pair.network.tags_of_interface(pair.node.zone).items()
    )
    # Somebody is about to create or to tag one.
    draft.unsettled |= not any(eni.no_manage for eni in fitting)
    if not fitting:
        return no("NoneAvailable", f"no ENI in {pair.node.zone} has the tags {wanted}: create and tag one")
    unmanaged = [eni.id for eni in fitting if not eni.no_manage]
    if unmanaged:
        return no(
            "NoManageMissing",
            f"{unmanaged[0]} lacks the tag {NO_MANAGE}=true, and the VPC CNI would take it: tag it",
        )
    for eni in fitting:
        # Those that are about to be free: a node that is gone, or one that gives its ENI back.
        if eni.state == DETACHING or not _holder(draft, eni):
            draft.look_at(eni.id, POLL)
    held = ", ".join(f"{eni.id} ({_holder(draft, eni) or eni.instance})" for eni in fitting)
    return no("NoneAvailable", f"every ENI in {pair.node.zone} with the tags {wanted} is taken: {held}")


def _holder(draft: Draft, eni: Eni) -> str:
    return next((node.name for node in draft.state.nodes.values() if node.instance == eni.instance), "")


def _lost(draft: Draft, attachment: Attachment) -> Condition:
    draft.look_at(attachment.status.eni, LOST_POLL)
    draft.wait(draft.state.cloud.missed.get(attachment.status.eni, draft.now) + SETTLE)
    return unknown("NotShown", f"EC2 does not show {attachment.status.eni}: it is replaced after a minute")


def _count_lost(draft: Draft, attachment: Attachment, eni: Eni | None) -> None:
    """Take the next ClientToken once the ENI is gone for sure; it is used when the status has it."""
    recorded = attachment.status.eni
    missed = draft.state.cloud.missed.get(recorded) if recorded and eni is None else None
    lost = missed is not None and draft.now - missed >= SETTLE
    refusal = draft.refusal(attachment.name)
    taken = (
        refusal is not None
        and refusal.kind == Kind.MISMATCH
        and refusal.count >= MISMATCHES
        and refusal.about == token(draft.state.cluster, attachment)
    )
    if lost or (taken and eni is None):
        status = draft.statuses[attachment.name]
        draft.statuses[attachment.name] = replace(
            status,
            attempt=attachment.status.attempt + 1,
            eni="",
            mac="",
            address="",
            subnet="",
            prefixes=(),
            assigning="",
        )
        draft.wait(draft.now + 1)


def token(cluster: str, attachment: Attachment) -> str:
    """Return the ClientToken of its creation: the same ENI, whoever asks and however often."""
    attempt = attachment.status.attempt
    text = f"multus-eni/{cluster}/{attachment.node_uid}/{attachment.network}/{attempt}"
    return str(uuid.uuid5(uuid.NAMESPACE_URL, text))


def _create(draft: Draft, pair: Pair) -> Condition:
    attachment, network = pair.attachment, pair.network
    found = place(draft, network, pair.node.zone)
    if isinstance(found, Condition):
        return found
    ours = {
        NO_MANAGE: "true",
        CLUSTER_TAG: draft.state.cluster,
        NETWORK_TAG: network.name,
        NODE_UID_TAG: attachment.node_uid,
        NODE_TAG: attachment.node,
    }
    named = {"Name": f"{draft.state.cluster}/{attachment.node}/{network.name}"}
    draft.call(
        Create(
            owner=attachment.name,
            token=token(draft.state.cluster, attachment),
            subnet=found.subnet,
            groups=found.groups,
            tags=tuple({**named, **dict(network.tags), **ours}.items()),
            description=f"multus-eni: network {network.name} of node {attachment.node}",
            ipv6_addresses=network.ipv6_addresses,
        )
    )
    refused = _refused(draft, attachment, "CreateNetworkInterface")
    return refused or unknown("Creating", f"an ENI is being created in {found.subnet}")


def _attach(draft: Draft, pair: Pair, eni: Eni, conditions: Conditions) -> None:
    attachment = pair.attachment
    if eni.state == AVAILABLE:
        conditions[ATTACHED] = _ask_to_attach(draft, pair, eni)
    elif eni.instance != attachment.instance:
        conditions[ATTACHED] = no(
            "AttachedElsewhere",
            f"{eni.id} is attached to {eni.instance}: detach it there, or delete this NodeAttachment",
        )
        draft.look_at(eni.id, NO_SLOT_POLL)
    elif eni.state == DETACHING:
        conditions[ATTACHED] = unknown("Detaching", f"{eni.id} is being detached, and attached again then")
        draft.look_at(eni.id, POLL)
    elif eni.state == ATTACHING and not on_node(attachment, eni):
        conditions[ATTACHED] = unknown("Attaching", f"{eni.id} is being attached")
        draft.look_at(eni.id, POLL)
    else:
        conditions[ATTACHED] = yes("Attached", f"network card {eni.card}, device index {eni.device}")
        conditions[LINK_READY] = link_condition(draft, attachment, eni)
        pool = prefixes.advance(draft, pair, eni)
        if pool is not None:
            conditions[PREFIXES_READY] = pool
        _modify(draft, pair, eni, conditions)


def _ask_to_attach(draft: Draft, pair: Pair, eni: Eni) -> Condition:
    attachment = pair.attachment
    refused = _refused(draft, attachment, "AttachNetworkInterface")
    if pair.network.source is Source.ADOPT and attachment.status.eni != eni.id:
        # No tag says whose it is: the object has to, before it is attached.
        draft.wait(draft.now + 1)
        return unknown("Attaching", f"{eni.id} is chosen")
    if not draft.free(attachment.name):
        return refused or unknown("Attaching", f"{eni.id} is being attached")
    known = attachment.instance in draft.state.cloud.instances
    slot = free_slot(draft, pair)
    if known and isinstance(slot, str):
        if draft.look_at_instance(attachment.instance, NO_SLOT_POLL):
            draft.wait(draft.state.cloud.instances[attachment.instance] + NO_SLOT_POLL)
        return no("NoSlot", f"{slot}: {remedy(Kind.NO_SLOT)}")
    if not draft.look_at_instance(attachment.instance, FRESH) or isinstance(slot, str):
        return refused or unknown("Attaching", f"the interfaces of {attachment.instance} are being described")
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
    refused = _refused(draft, attachment, "ModifyNetworkInterfaceAttribute")
    if met:
        return yes("Attached", refused.message if refused else what)
    return refused or unknown("Changing", what)


def _refused(draft: Draft, attachment: Attachment, action: str) -> Condition | None:
    refusal = draft.refusal(attachment.name)
    return condition_of(refusal) if refusal is not None and refusal.action == action else None


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
