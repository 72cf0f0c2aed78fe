"""Draft of a plan: what has been decided so far, and when to decide again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field

from ipagent.controller.model.actions import (
    Attach,
    Call,
    DescribeEnis,
    DescribeInstances,
    ListPods,
    asked,
)
from ipagent.controller.model.condition import Condition, unknown
from ipagent.controller.model.ec2_snapshot import CLUSTER_TAG, Eni, Refusal
from ipagent.controller.model.node import Node
from ipagent.controller.model.node_attachment import Attachment, AttachmentStatus
from ipagent.controller.model.node_network import NodeNetwork
from ipagent.controller.model.prefixes import PrefixMarks, PrefixStatus
from ipagent.controller.model.state import State
from ipagent.controller.model.writes import Write
from ipagent.controller.reconcile.ec2_error_conditions import condition_of
from ipagent.node_network_api import attachment_name

MAX_IDS = 200
"""Values of a filter in one request ("List and filter using the CLI and API", EC2 user guide)."""
OUTDATED = 60.0
"""Seconds after a refused call was due again in which it was not made: nobody wants it any more."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A node, a network that selects it, and their NodeAttachment."""

    node: Node
    network: NodeNetwork
    attachment: Attachment


def is_of(attachment: Attachment, node: Node) -> bool:
    """Whether a NodeAttachment is this node's, and not that of a former node of its name."""
    return (attachment.node_uid, attachment.instance) == (node.uid, node.instance)


@dataclass(frozen=True, slots=True)
class PrefixDecision:
    """What has been decided about an ENI's prefixes; `free` are the addresses that pods can still have."""

    prefixes: tuple[PrefixStatus, ...]
    assigning: str = ""
    free: int | None = None
    slice: str = ""


@dataclass(slots=True)
class Draft:
    """What has been decided so far; `state` and `now` are what it rests on."""

    state: State
    now: float
    calls: list[Call] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    statuses: dict[str, AttachmentStatus] = field(default_factory=dict)
    needed: set[str] = field(default_factory=set)
    """ENIs that a NodeAttachment has."""
    idle: set[str] = field(default_factory=set)
    pools: dict[str, PrefixDecision] = field(default_factory=dict)
    prefix_marks: PrefixMarks = field(default_factory=PrefixMarks)
    unsettled: bool = False
    """Whether ENIs are to be described again soon: something seems leaked, or is not there that should be."""
    unheld: set[tuple[str, str]] = field(default_factory=set)
    due: float = float("inf")
    _enis: set[str] = field(default_factory=set)
    _instances: set[str] = field(default_factory=set)
    _pods: list[tuple[str, str, str]] = field(default_factory=list)
    ours: dict[tuple[str, str], list[Eni]] = field(init=False)
    """ENIs with this cluster's tags, by the node's UID and the network."""
    on: dict[str, list[Eni]] = field(init=False)
    """ENIs by instance."""
    slots: set[tuple[str, int, int]] = field(init=False)
    """Instance, card and device index of calls that are on their way."""
    promised: dict[str, str] = field(init=False)
    """ENIs that are being attached, and for which NodeAttachment."""

    def __post_init__(self) -> None:
        self.ours, self.on = defaultdict(list), defaultdict(list)
        for eni in self.state.ec2.enis.values():
            if eni.tags.get(CLUSTER_TAG) == self.state.cluster:
                self.ours[eni.key].append(eni)
            if eni.instance:
                self.on[eni.instance].append(eni)
        flying = [call for call in self.state.busy.values() if isinstance(call, Attach)]
        self.slots = {(call.instance, call.card, call.device) for call in flying}
        self.promised = {call.eni: call.owner for call in flying}

    def decide_by(self, until: float) -> None:
        """Decide again at this time at the latest."""
        self.due = min(self.due, until)

    def refusal(self, key: str) -> Refusal | None:
        """Return the last refusal of a call that is still wanted: others are not made when they are due."""
        refusal = self.state.ec2.refusals.get(key)
        if refusal is None or key in self.state.busy:
            return refusal
        outdated = refusal.due + OUTDATED
        if outdated <= self.now:
            return None
        self.decide_by(outdated)
        return refusal

    def refusal_condition(self, key: str, action: str) -> Condition | None:
        """Return EC2's refusal of an action of this key as a condition; None if it has not refused it."""
        refusal = self.refusal(key)
        return condition_of(refusal) if refusal is not None and refusal.action == action else None

    def lookup_condition(self, key: str, reason: str, message: str) -> Condition:
        """Return the condition of what a lookup with this key has to show: why it was refused, if it was."""
        refusal = self.refusal(key)
        return unknown(reason, message) if refusal is None else condition_of(refusal)

    def may_call(self, key: str, actions: Collection[str], asking: object = None) -> bool:
        """Whether a call of these actions may be made now: none is on its way, and it was not just refused.

        What was asked for otherwise may be asked for anew.
        """
        refusal = self.refusal(key)
        if refusal is None or self.now >= refusal.due or refusal.asked != asking:
            return key not in self.state.busy
        # A call that was not made has no action.
        if refusal.action and actions and refusal.action not in actions:
            return key not in self.state.busy
        self.decide_by(refusal.due)
        return False

    def call(self, call: Call) -> None:
        """Add a call if it may be made now."""
        if self.may_call(call.key, call.actions, asked(call)):
            self.calls.append(call)

    def describe_eni(self, eni: str, every: float) -> None:
        """Describe an ENI that was not described for so many seconds."""
        due = self.state.ec2.seen.get(eni, float("-inf")) + every
        if due <= self.now:
            self._enis.add(eni)
        else:
            self.decide_by(due)

    def describe_instance(self, instance: str, every: float) -> bool:
        """Describe an instance's ENIs unless they were within so many seconds, which is returned."""
        due = self.state.ec2.instances.get(instance, float("-inf")) + every
        if due <= self.now:
            self._instances.add(instance)
            return False
        return True

    def list_pods(self, attachment: Attachment, mac: str) -> None:
        """Find out which pods use an ENI."""
        self._pods.append((attachment.name, attachment.node, mac))

    def finish(self) -> None:
        """Make the calls that were gathered."""
        if self._enis:
            self.call(DescribeEnis(tuple(sorted(self._enis)[:MAX_IDS])))
        if self._instances:
            self.call(DescribeInstances(tuple(sorted(self._instances)[:MAX_IDS])))
        if self._pods:
            self.call(ListPods(tuple(self._pods)))

    def leave_as_written(self, attachment: Attachment) -> bool:
        """Leave a NodeAttachment's status as the former leader wrote it until EC2 has been described."""
        if self.state.ec2.read_at is not None or not attachment.status.conditions:
            return False
        self.statuses[attachment.name] = attachment.status
        return True

    def attachment_of(self, node: Node, network: str) -> Attachment | None:
        """Return a node's NodeAttachment; None if it has none, or a former node's is there."""
        attachment = self.state.attachments.get(attachment_name(node.name, network))
        return attachment if attachment is not None and is_of(attachment, node) else None

    def status_of(self, node: Node, network: str) -> AttachmentStatus | None:
        """Return the status of a node's NodeAttachment; None if it has none, or none was decided on."""
        attachment = self.attachment_of(node, network)
        return None if attachment is None else self.statuses.get(attachment.name)

    def set_status(self, attachment: Attachment, eni: Eni | None, conditions: dict[str, Condition]) -> None:
        """Record a NodeAttachment's status."""
        node = self.state.nodes.get(attachment.node)
        limits = self.state.ec2.limits.get(node.type) if node else None
        shown = eni if eni is not None and eni.instance == attachment.instance else None
        before = attachment.status
        pool = self.pools.get(attachment.name) or PrefixDecision(
            before.prefixes, before.assigning, before.pool_free, before.slice
        )
        self.statuses[attachment.name] = AttachmentStatus(
            conditions=conditions,
            attempt=attachment.status.attempt,
            eni=eni.id if eni else attachment.status.eni,
            attachment=shown.attachment if shown else "",
            mac=eni.mac if eni else attachment.status.mac,
            address=eni.address if eni else attachment.status.address,
            # Later ones are those of pods.
            ipv6_addresses=eni.ipv6 if eni and eni.id != before.eni else before.ipv6_addresses,
            subnet=eni.subnet if eni else attachment.status.subnet,
            card=shown.card if shown else None,
            device=shown.device if shown else None,
            # A new leader does not know it yet.
            limit=before.limit if limits is None else limits.ipv4 or None,
            assigned=eni.ipv4 if eni else None,
            cidrs=self._cidrs(attachment, eni),
            prefixes=pool.prefixes,
            assigning=pool.assigning,
            slice=pool.slice,
            pool_free=pool.free,
        )

    def _cidrs(self, attachment: Attachment, eni: Eni | None) -> tuple[str, ...]:
        """Return the ranges of the ENI's subnet; of one that is adopted they are not known."""
        # The terms may not find it any more.
        found = self.state.ec2.resolved.get(attachment.network)
        subnets = found.subnets if found is not None else ()
        known = (each.cidrs for each in subnets if eni is not None and each.id == eni.subnet)
        return next(known, attachment.status.cidrs)
