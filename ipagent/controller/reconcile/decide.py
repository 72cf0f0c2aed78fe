"""Decides about node networks: (state, now) -> calls, writes, statuses. Pure.

Every step is idempotent or read again first, so that the process may end after any call, and a deposed
leader's last call does no harm: ENIs are found by their tags, created by a ClientToken that depends on the
NodeAttachment and the number of ENIs lost before, detached by the attachment's id, and deleted only while
they are attached nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping

from ipagent.controller.model.actions import DescribeAll, Plan, ReadLimits
from ipagent.controller.model.condition import TRUE
from ipagent.controller.model.node import Node
from ipagent.controller.model.node_attachment import Attachment
from ipagent.controller.model.node_network import NodeNetwork
from ipagent.controller.model.state import State
from ipagent.controller.model.writes import AddFinalizer, ApplyAttachment, RemoveFinalizer
from ipagent.controller.reconcile.capacity import advertise, record_capacity
from ipagent.controller.reconcile.eni_attachment import advance
from ipagent.controller.reconcile.eni_release import release
from ipagent.controller.reconcile.leaked_enis import TWO_LOOKS, delete_leaked, find_orphans
from ipagent.controller.reconcile.node_labels_and_taints import correct
from ipagent.controller.reconcile.node_network_status import accepted, network_status, stands_by
from ipagent.controller.reconcile.plan_draft import Draft, Pair, is_of
from ipagent.controller.reconcile.selector_terms import resolve
from ipagent.node_network_api import attachment_name

DESCRIBE_EVERY = 300.0
"""Seconds between two descriptions of all ENIs: what others have changed is noticed so late at most."""
FOREVER = float("inf")


def decide(state: State, now: float) -> Plan:
    """Return what is to be done at `now` (monotonic seconds)."""
    draft = Draft(state, now)
    selected = _selected(draft)
    _read(draft, selected)
    left = _leave(draft)
    pairs = _pairs(draft, selected)
    # Those that have an ENI come first: what one of them has is not free for another one.
    for pair in sorted(pairs, key=lambda each: (not each.attachment.status.eni, each.attachment.name)):
        advance(draft, pair)
        record_capacity(draft, pair)
    live = left | {pair.attachment.name for pair in pairs}
    for name, attachment in sorted(state.attachments.items()):
        if name not in live:
            release(draft, attachment)
    _correct_nodes(draft, selected)
    networks = {
        name: network_status(draft, network, selected.get(name, ()))
        for name, network in sorted(state.networks.items())
    }
    _let_networks_go(draft)
    found = find_orphans(draft) if state.ec2.read_at is not None else frozenset()
    leaked = delete_leaked(draft, found)
    # What is leaked has been shown twice: it is reported, or is on its way.
    draft.unsettled |= not found.issubset(leaked)
    _describe(draft, selected)
    draft.finish()
    return Plan(
        calls=tuple(sorted(draft.calls, key=lambda call: call.rank)),
        writes=tuple(draft.writes),
        attachments=draft.statuses,
        networks=networks,
        orphans=found,
        idle=frozenset(draft.idle),
        prefix_marks=draft.prefix_marks,
        unheld=frozenset(draft.unheld),
        leaked=leaked,
        due=draft.due,
    )


Selected = Mapping[str, tuple[Node, ...]]
"""The nodes that each network selects."""


def _selected(draft: Draft) -> Selected:
    nodes = [node for _, node in sorted(draft.state.nodes.items()) if node.instance]
    return {
        name: tuple(node for node in nodes if _selects(draft, network, node))
        for name, network in draft.state.networks.items()
        if not network.deleting
    }


def _selects(draft: Draft, network: NodeNetwork, node: Node) -> bool:
    """Whether a network selects a node; one that this release can't read has the nodes that it had."""
    if network.unknown:
        return draft.attachment_of(node, network.name) is not None
    return network.selector.matches(node.labels)


def _leave(draft: Draft) -> set[str]:
    """Leave what nodes have of networks that this release can't read; returns these NodeAttachments."""
    left = set()
    for name, attachment in draft.state.attachments.items():
        network, node = draft.state.networks.get(attachment.network), draft.state.nodes.get(attachment.node)
        if network is None or not network.unknown or network.deleting:
            continue
        if node is None or not is_of(attachment, node) or attachment.deleting:
            continue
        left.add(name)
        draft.statuses[name] = attachment.status
        made = draft.ours.get((attachment.node_uid, attachment.network), ())
        draft.needed |= {attachment.status.eni, *(eni.id for eni in made)}
    return left


def _read(draft: Draft, selected: Selected) -> None:
    """Look up what the networks need: subnets and groups once for each spec, limits once for each type."""
    for name, nodes in selected.items():
        network = draft.state.networks[name]
        if network.creates and nodes:
            resolve(draft, network, FOREVER)
    types = {node.type for nodes in selected.values() for node in nodes if node.type}
    if unknown := sorted(types - draft.state.ec2.limits.keys()):
        draft.call(ReadLimits(tuple(unknown)))


def _pairs(draft: Draft, selected: Selected) -> list[Pair]:
    found = []
    others = tuple(draft.state.networks.values())
    for name, nodes in selected.items():
        network = draft.state.networks[name]
        if not network.held and nodes:
            draft.writes.append(AddFinalizer(name))
            continue
        if network.unknown:
            continue
        may = accepted(network, others).status == TRUE
        found += [pair for node in nodes if (pair := _pair(draft, node, network, new=may)) is not None]
    return found


def _pair(draft: Draft, node: Node, network: NodeNetwork, *, new: bool) -> Pair | None:
    """Return the pair if its NodeAttachment is there and for this node; correct it, or make a `new` one."""
    name = attachment_name(node.name, network.name)
    attachment = draft.state.attachments.get(name)
    if attachment is None and not new:
        return None
    if attachment is not None and (attachment.deleting or not is_of(attachment, node)):
        # Another node of that name had it: it goes first, and a new one comes.
        return None
    if attachment is None or not _current(attachment, network):
        draft.writes.append(
            ApplyAttachment(
                name,
                node.name,
                node.uid,
                network.name,
                node.instance,
                network.link,
                network.cni,
                network.counts_pods,
            )
        )
    return None if attachment is None or not attachment.held else Pair(node, network, attachment)


def _current(attachment: Attachment, network: NodeNetwork) -> bool:
    found = attachment.link, attachment.cni, attachment.report_pods
    return attachment.held and found == (network.link, network.cni, network.counts_pods)


def _correct_nodes(draft: Draft, selected: Selected) -> None:
    networks: dict[str, list[NodeNetwork]] = {}
    others = tuple(draft.state.networks.values())
    for name, nodes in selected.items():
        network = draft.state.networks[name]
        may = accepted(network, others).status == TRUE
        for node in nodes:
            status = draft.status_of(node, name)
            if status is not None and stands_by(status):
                # It may have had an ENI, which another node has now: what came with it goes, too.
                continue
            # What a network has given a node stays, also when another one takes its link's name.
            if may or status is not None:
                networks.setdefault(node.name, []).append(network)
    leaving: dict[str, list[str]] = {}
    for attachment in draft.state.attachments.values():
        owner = draft.state.nodes.get(attachment.node)
        if owner is not None and is_of(attachment, owner):
            leaving.setdefault(attachment.node, []).append(attachment.network)
    for name, node in draft.state.nodes.items():
        correct(draft, node, networks.get(name, ()), leaving.get(name, ()))
        advertise(draft, node, networks.get(name, ()))


def _let_networks_go(draft: Draft) -> None:
    used = {attachment.network for attachment in draft.state.attachments.values()}
    draft.writes += [
        RemoveFinalizer("NodeNetwork", name)
        for name, network in draft.state.networks.items()
        if network.deleting and network.held and name not in used
    ]


def _describe(draft: Draft, selected: Selected) -> None:
    """Describe all ENIs every five minutes, and again after a minute as long as something is unsettled."""
    state = draft.state
    if not state.networks and not state.attachments:
        return
    vpcs = _vpcs(draft, selected)
    if vpcs is None:
        return
    read = state.ec2.read_at
    due = (
        draft.now
        if read is None or state.ec2.stale
        else read + (TWO_LOOKS if draft.unsettled else DESCRIBE_EVERY)
    )
    if due <= draft.now:
        draft.call(DescribeAll(vpcs))
    else:
        draft.decide_by(due)


def _vpcs(draft: Draft, selected: Selected) -> tuple[str, ...] | None:
    """Return the VPCs to describe, none for the whole region; None while subnets are being looked up.

    Of a network that adopts ENIs, or whose subnets are not known, the VPC is not known either.
    """
    vpcs: set[str] = set()
    for name, network in draft.state.networks.items():
        found = draft.state.ec2.resolved.get(name)
        asked = network.creates and selected.get(name)
        if found is None and asked and draft.refusal(f"resolve {name}") is None:
            return None
        if found is None or not found.subnets:
            return ()
        vpcs |= {each.vpc for each in found.subnets}
    return tuple(sorted(vpcs))
