"""The status of NodeNetworks, from that of their NodeAttachments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from common.shorten import shortened
from ipagent.controller.model.actions import prefix_key
from ipagent.controller.model.condition import FALSE, TRUE, Condition, no, yes
from ipagent.controller.model.node import Node
from ipagent.controller.model.node_attachment import (
    CREATED,
    PREFIXES_READY,
    READY,
    SUBNET_CHANGED,
    AttachmentStatus,
)
from ipagent.controller.model.node_network import NodeNetwork, is_label_key
from ipagent.controller.model.writes import NetworkStatus
from ipagent.controller.reconcile.ec2_error_conditions import Kind, condition_of, remedy
from ipagent.controller.reconcile.plan_draft import Draft
from ipagent.controller.reconcile.selector_terms import resolved_condition
from ipagent.node_network_api import STANDING_BY

ACCEPTED, RESOLVED, PERMITTED = "Accepted", "Resolved", "Permitted"
NAMED = 3
"""NodeAttachments that a message names."""
MAX_PART = 320
"""Characters of what is said of one of them."""


def owner_of_link_name(network: NodeNetwork, others: Iterable[NodeNetwork]) -> NodeNetwork | None:
    """Return the older network that has the same link.name, which is that one's; None if there is none."""
    for other in others:
        older = (other.created, other.name) < (network.created, network.name)
        if older and other.link.name == network.link.name:
            return other
    return None


def accepted(network: NodeNetwork, others: Sequence[NodeNetwork]) -> Condition:
    """Return whether nodes may get the network: this release can read it, and its link.name is not taken."""
    if network.unknown:
        return no(
            "UnknownValue",
            f"this release does not know {', '.join(network.unknown)}: what nodes have of the network "
            "stays as it is; install the release that knows it, or correct the field",
        )
    other = owner_of_link_name(network, others)
    if other is not None:
        return no(
            "LinkNameTaken",
            f"NodeNetwork {other.name} also has the link.name {network.link.name}: choose another one",
        )
    return yes("Accepted")


def network_status(draft: Draft, network: NodeNetwork, nodes: Sequence[Node]) -> NetworkStatus:
    """Return the status of a network that selects these nodes."""
    names = [name for name, each in draft.state.attachments.items() if each.network == network.name]
    statuses = {name: draft.statuses[name] for name in names if name in draft.statuses}
    ready = sum(_is(status, TRUE) for status in statuses.values())
    found = draft.state.ec2.resolved.get(network.name)
    zones = {node.zone for node in nodes}
    conditions = {
        ACCEPTED: _accepted(draft, network),
        RESOLVED: resolved_condition(draft, network, zones),
        PERMITTED: _permitted(draft, network, names),
    }
    conditions[READY] = _ready(network, len(nodes), statuses, conditions)
    return NetworkStatus(
        conditions=conditions,
        generation=network.generation,
        nodes=len(nodes),
        ready=ready,
        failed=sum(_is(status, FALSE) and _stuck(status) for status in statuses.values()),
        free=_free(statuses.values()),
        subnets=tuple(sorted(each.id for each in found.subnets)) if found else (),
    )


def _accepted(draft: Draft, network: NodeNetwork) -> Condition:
    """Return whether it is served, and whether all that it says can be done."""
    found = accepted(network, tuple(draft.state.networks.values()))
    wrong = [key for key, _ in network.node_labels if not is_label_key(key)]
    if found.status != TRUE or not wrong:
        return found
    return no(
        "InvalidLabel", f"nodes.labels has {', '.join(wrong)}, which is no valid key of a label: correct it"
    )


def _free(statuses: Iterable[AttachmentStatus]) -> int | None:
    """Return the free addresses of those that are ready; None where it is known of none of them."""
    found = [status.free for status in statuses if _is(status, TRUE)]
    known = [free for free in found if free is not None]
    return sum(known) if known or not found else None


def _is(status: AttachmentStatus, value: str) -> bool:
    return READY in status.conditions and status.conditions[READY].status == value


def _stuck(status: AttachmentStatus) -> bool:
    """Whether somebody has to act: a step is refused, not only under way."""
    steps = (each for name, each in status.conditions.items() if name != READY)
    in_order = ("Gone", "Detached", STANDING_BY)
    return any(each.status == FALSE and each.reason not in in_order for each in steps)


def stands_by(status: AttachmentStatus) -> bool:
    """Whether the node has to have no ENI: others have all that it could adopt."""
    return READY in status.conditions and status.conditions[READY].reason == STANDING_BY


def _permitted(draft: Draft, network: NodeNetwork, names: Sequence[str]) -> Condition:
    keys = (f"resolve {network.name}", *names, *map(prefix_key, names), "all", "enis", "instances", "types")
    for key in keys:
        refusal = draft.refusal(key)
        if refusal is not None and refusal.kind in (Kind.NOT_PERMITTED, Kind.NO_CREDENTIALS):
            found = condition_of(refusal)
            return no(found.reason, found.message)
    return yes("NothingRefused")


def _ready(
    network: NodeNetwork,
    nodes: int,
    statuses: dict[str, AttachmentStatus],
    conditions: dict[str, Condition],
) -> Condition:
    if network.deleting:
        return no("Deleting", _some(statuses) or "its ENIs are gone")
    for kind in (ACCEPTED, RESOLVED, PERMITTED):
        if conditions[kind].status == FALSE:
            return no(conditions[kind].reason, conditions[kind].message)
    if not nodes:
        return no("NoNodes", "nodeSelector matches no node of EC2: see `kubectl get nodes --show-labels`")
    settled = {name for name, each in statuses.items() if _is(each, TRUE) or stands_by(each)}
    waiting = {name: each for name, each in statuses.items() if name not in settled}
    missing = nodes - len(settled)
    if missing > 0 or waiting:
        # Nodes that are not selected any more are none of these.
        text = f"{missing} of {nodes} nodes are not ready. " if missing > 0 else ""
        return no("NodesNotReady", text + _some(waiting))
    return _ready_with(statuses)


def _ready_with(statuses: dict[str, AttachmentStatus]) -> Condition:
    """Return that all nodes are ready or stand by, and what is not as it should be anyway."""
    former = [name for name, each in statuses.items() if each.conditions[CREATED].reason == SUBNET_CHANGED]
    if former:
        text = (
            f"the ENIs of {_listed(former)} lie in another subnet than subnetSelectorTerms find: once no pod "
            "uses them, delete these NodeAttachments, or replace the nodes"
        )
        return yes(SUBNET_CHANGED, text)
    fragmented = [name for name, each in statuses.items() if _fragmented(each)]
    if fragmented:
        text = f"{len(fragmented)} ENIs lack prefixes, since their subnet has no whole one left"
        return yes(Kind.NO_BLOCKS, f"{text}: {_listed(fragmented)}; {remedy(Kind.NO_BLOCKS)}")
    if spare := sum(map(stands_by, statuses.values())):
        return yes(STANDING_BY, f"{spare} of {len(statuses)} nodes stand by: others have all ENIs to adopt")
    return yes("AllReady", "every selected node has its ENI")


def _fragmented(status: AttachmentStatus) -> bool:
    found = status.conditions.get(PREFIXES_READY)
    return found is not None and found.reason == Kind.NO_BLOCKS


def _listed(names: Sequence[str]) -> str:
    return ", ".join(sorted(names)[:NAMED]) + (" and more" if len(names) > NAMED else "")


def _some(statuses: dict[str, AttachmentStatus]) -> str:
    parts = []
    for name in sorted(statuses)[:NAMED]:
        ready = statuses[name].conditions.get(READY)
        if ready is not None:
            parts.append(shortened(f"{name}: {ready.reason}: {ready.message}", MAX_PART))
    more = [f"and {len(statuses) - NAMED} more"] if len(statuses) > NAMED else []
    return "; ".join((*parts, *more))
