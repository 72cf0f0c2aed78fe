"""The ENI of a NodeAttachment: found, created, or chosen from those to adopt."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import replace

from ipagent.assign.holders import NO_MANAGE
from ipagent.controller.model.actions import Create
from ipagent.controller.model.condition import Condition, no, unknown, yes
from ipagent.controller.model.ec2_snapshot import (
    CLUSTER_TAG,
    DETACHING,
    NETWORK_TAG,
    NODE_TAG,
    NODE_UID_TAG,
    Eni,
)
from ipagent.controller.model.node_attachment import SUBNET_CHANGED, Attachment
from ipagent.controller.model.node_network import Source
from ipagent.controller.reconcile.ec2_answers import SETTLE
from ipagent.controller.reconcile.ec2_error_conditions import Kind
from ipagent.controller.reconcile.eni_choice import adopted, candidates, created
from ipagent.controller.reconcile.plan_draft import Draft, Pair
from ipagent.controller.reconcile.selector_terms import place, subnet_in
from ipagent.node_network_api import STANDING_BY

POLL = 2.0
"""Seconds between two looks at an ENI that is just being attached or detached."""
LOST_POLL = 10.0
ELSEWHERE_POLL = 60.0
"""Seconds between two looks at an ENI to adopt that an instance outside of the cluster has."""
MAX_DESCRIPTION = 255
"""Characters of an ENI's description that EC2 takes in any case; a node's name may have 189."""
MISMATCHES = 3
"""Refusals of a ClientToken with other parameters before the next token is taken: the ENI of that token has
not been shown meanwhile."""


def acquire(draft: Draft, pair: Pair) -> tuple[Eni | None, Condition]:
    """Return the ENI and the condition Created; where there is none, ask for it."""
    adopt = pair.network.source is Source.ADOPT
    if draft.state.ec2.read_at is None:
        return None, draft.lookup_condition("all", "Reading", "EC2 has not been described yet")
    eni = _adopted(draft, pair) if adopt else created(draft, pair.attachment)
    if eni is not None:
        return eni, _is_adopted(draft, eni) if adopt else _is_created(draft, pair, eni)
    if adopt:
        return None, _none_to_adopt(draft, pair)
    if pair.attachment.status.eni:
        return None, _lost(draft, pair.attachment)
    return None, _create(draft, pair)


def _is_adopted(draft: Draft, eni: Eni) -> Condition:
    if eni.no_manage:
        return yes("Adopted", eni.id)
    # Somebody is about to tag it again.
    draft.unsettled = True
    return _no_manage_missing(eni.id)


def _no_manage_missing(eni: str) -> Condition:
    return no(
        "NoManageMissing", f"{eni} lacks the tag {NO_MANAGE}=true, and the VPC CNI would take it: tag it"
    )


def _is_created(draft: Draft, pair: Pair, eni: Eni) -> Condition:
    """Say that it was created, and where the terms find another subnet by now: an ENI can't be moved."""
    found = subnet_in(draft, pair.network, pair.node.zone)
    if found in ("", eni.subnet):
        return yes("Created", eni.id)
    return yes(
        SUBNET_CHANGED,
        f"{eni.id} lies in {eni.subnet}, and subnetSelectorTerms find {found} now: once no pod uses the ENI, "
        "delete this NodeAttachment, which creates another ENI, or replace the node",
    )


def _adopted(draft: Draft, pair: Pair) -> Eni | None:
    """Return the ENI that is adopted; another one only when the recorded one has been away for a minute.

    A former leader may just have attached it, and descriptions may be late.
    """
    eni, name, recorded = adopted(draft, pair), pair.attachment.name, pair.attachment.status.eni
    if not recorded or (eni is not None and eni.id == recorded) or recorded not in draft.state.ec2.enis:
        return eni
    draft.idle.add(name)
    draft.describe_eni(recorded, LOST_POLL)
    return eni if draft.now - draft.state.ec2.idle.get(name, draft.now) >= SETTLE else None


def _none_to_adopt(draft: Draft, pair: Pair) -> Condition:
    fitting = candidates(draft, pair.network, pair.node)
    wanted = ", ".join(
        f"{key}={value}" for key, value in pair.network.tags_of_interface(pair.node.zone).items()
    )
    # Somebody is about to create or to tag one.
    draft.unsettled |= not any(eni.no_manage for eni in fitting)
    if not fitting:
        return no("NoneAvailable", f"no ENI in {pair.node.zone} has the tags {wanted}: create and tag one")
    others = _of_other_nodes(draft, pair, fitting)
    # One that another node keeps would not be free with the tag, either.
    unmanaged = [eni.id for eni in fitting if not eni.no_manage and (eni.id, eni.instance) not in others]
    if unmanaged:
        return _no_manage_missing(unmanaged[0])
    leaving = {each.status.eni for each in draft.state.attachments.values() if _given_back(draft, each)}
    for eni in fitting:
        # Those that are about to be free are looked at often, those of others' instances now and then.
        if eni.state == DETACHING or eni.id in leaving:
            draft.describe_eni(eni.id, POLL)
        elif not _holder(draft, eni):
            draft.describe_eni(eni.id, ELSEWHERE_POLL)
    held = ", ".join(f"{eni.id} ({_holder(draft, eni) or eni.instance or eni.state})" for eni in fitting)
    taken = f"every ENI in {pair.node.zone} with the tags {wanted} is taken: {held}"
    if {(eni.id, eni.instance) for eni in fitting} <= others:
        return no(STANDING_BY, taken)
    return no("NoneAvailable", f"{taken}; create and tag another one, or detach one of them")


def _of_other_nodes(draft: Draft, pair: Pair, fitting: Iterable[Eni]) -> set[tuple[str, str]]:
    """Return which ENIs the network's other NodeAttachments have or have chosen, and where these may be.

    One that is attached nowhere yet is theirs, too; one that somebody has attached elsewhere is not any more.
    """
    enis = {eni.id for eni in fitting}
    return {
        (status.eni, instance)
        for name, each in draft.state.attachments.items()
        if (status := draft.statuses.get(name) or each.status).eni in enis
        and each.network == pair.network.name
        and each.name != pair.attachment.name
        for instance in ("", each.instance)
    }


def _holder(draft: Draft, eni: Eni) -> str:
    return next((node.name for node in draft.state.nodes.values() if node.instance == eni.instance), "")


def _given_back(draft: Draft, attachment: Attachment) -> bool:
    """Whether a NodeAttachment gives its ENI back: it is deleted, or its node is gone."""
    node = draft.state.nodes.get(attachment.node)
    return attachment.deleting or node is None or node.uid != attachment.node_uid


def _lost(draft: Draft, attachment: Attachment) -> Condition:
    draft.describe_eni(attachment.status.eni, LOST_POLL)
    draft.decide_by(draft.state.ec2.missed.get(attachment.status.eni, draft.now) + SETTLE)
    return unknown("NotShown", f"EC2 does not show {attachment.status.eni}: it is replaced after a minute")


def count_lost(draft: Draft, attachment: Attachment, eni: Eni | None) -> None:
    """Take the next ClientToken once the ENI is gone for sure; it is used when the status has it."""
    recorded = attachment.status.eni
    missed = draft.state.ec2.missed.get(recorded) if recorded and eni is None else None
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
        draft.decide_by(draft.now + 1)


def token(cluster: str, attachment: Attachment) -> str:
    """Return the ClientToken of its creation: the same ENI, whoever asks and however often.

    A NodeAttachment that is made anew asks for another ENI: its own UID is in it.
    """
    text = f"multus-eni/{cluster}/{attachment.node_uid}/{attachment.uid}/{attachment.status.attempt}"
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
            description=f"multus-eni: network {network.name} of node {attachment.node}"[:MAX_DESCRIPTION],
            ipv6_addresses=network.ipv6_addresses,
        )
    )
    refusal = draft.refusal_condition(attachment.name, "CreateNetworkInterface")
    return refusal or unknown("Creating", f"an ENI is being created in {found.subnet}")
