"""Labels and taints of nodes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ipagent.controller.model.condition import TRUE
from ipagent.controller.model.node import Node, Taint
from ipagent.controller.model.node_attachment import CREATED, READY
from ipagent.controller.model.node_network import NodeNetwork, Source
from ipagent.controller.model.writes import PatchNode
from ipagent.controller.reconcile.capacity import left_capacity
from ipagent.controller.reconcile.plan_draft import Draft
from ipagent.node_network_api import (
    FULL_TAINT,
    READY_PREFIX,
    STANDING_BY,
    STARTUP_TAINT,
)

TAINT = Taint(STARTUP_TAINT, "NoSchedule")
FULL = Taint(FULL_TAINT, "NoSchedule")


def correct(draft: Draft, node: Node, networks: Sequence[NodeNetwork], leaving: Collection[str]) -> None:
    """Give a node the labels of what is ready; take its startup taint when all is, and mark it while full.

    `networks` select the node, `leaving` are the names of those of which it still has a NodeAttachment.
    A label stays while the network does: a link that is down for a while moves no pods.
    """
    ready = [network for network in networks if _ready(draft, node, network)]
    wanted: dict[str, str] = {}
    for network in ready:
        wanted |= {READY_PREFIX + network.name: "true", **dict(network.labels)}
    labels: dict[str, str | None] = {
        key: value for key, value in wanted.items() if node.labels.get(key) != value
    }
    labels |= dict.fromkeys(_obsolete(draft, node, networks, wanted))
    taints = _taints(draft, node, networks, had=bool(networks or leaving))
    if labels or taints is not None:
        draft.writes.append(PatchNode(node.name, node.version, labels, taints))


def _ready(draft: Draft, node: Node, network: NodeNetwork) -> bool:
    status = draft.status_of(node, network.name)
    now = status is not None and READY in status.conditions and status.conditions[READY].status == TRUE
    return now or _was_ready(node, network)


def _was_ready(node: Node, network: NodeNetwork) -> bool:
    return node.labels.get(READY_PREFIX + network.name) == "true"


def _obsolete(
    draft: Draft, node: Node, networks: Sequence[NodeNetwork], wanted: Collection[str]
) -> list[str]:
    """Return labels of networks that do not select the node any more."""
    selecting = {network.name for network in networks}
    found = []
    for key in node.labels:
        name = key.removeprefix(READY_PREFIX)
        if name == key or name in selecting:
            continue
        network = draft.state.networks.get(name)
        theirs = (
            [each for each, value in network.node_labels if node.labels.get(each) == value] if network else []
        )
        found += [each for each in (key, *theirs) if each not in wanted]
    return found


def _taints(
    draft: Draft, node: Node, networks: Sequence[NodeNetwork], *, had: bool
) -> tuple[Taint, ...] | None:
    """Return the node's taints if they are to change. A startup taint of a node without networks stays."""
    waiting = any(not _settled(draft, node, network) for network in networks if network.startup_taint)
    taints = node.taints
    if waiting and not node.tainted:
        taints = (*taints, TAINT)
    if not waiting and node.tainted and had:
        taints = tuple(taint for taint in taints if taint.key != STARTUP_TAINT)
    full = _full(draft, node, networks)
    if full and FULL not in taints:
        taints = (*taints, FULL)
    if full is False:
        taints = tuple(taint for taint in taints if taint.key != FULL_TAINT)
    return taints if taints != node.taints else None


def _full(draft: Draft, node: Node, networks: Sequence[NodeNetwork]) -> bool | None:
    """Whether a network that marks full nodes has no free address there; None where that is not known."""
    marking = [network for network in networks if network.full_taint]
    counted = [_unrequested(draft, node, network) for network in marking]
    return True if 0 in counted else None if None in counted else False


def _unrequested(draft: Draft, node: Node, network: NodeNetwork) -> int | None:
    attachment = draft.attachment_of(node, network.name)
    if attachment is None:
        return None
    status = left_capacity(attachment) if network.unknown else draft.statuses.get(attachment.name)
    return None if status is None else status.unrequested


def _settled(draft: Draft, node: Node, network: NodeNetwork) -> bool:
    """Whether pods may come: also where every ENI to adopt is taken, since the node only stands by then."""
    if _ready(draft, node, network):
        return True
    status = draft.status_of(node, network.name)
    if network.source is not Source.ADOPT or status is None or CREATED not in status.conditions:
        return False
    return status.conditions[CREATED].reason in (STANDING_BY, "NoneAvailable")
