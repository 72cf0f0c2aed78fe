"""Condition LinkReady of a NodeAttachment, from the node's report of its interface."""

from __future__ import annotations

from ipagent.controller.model.condition import TRUE, Condition, no, unknown, yes
from ipagent.controller.model.ec2_snapshot import Eni
from ipagent.controller.model.node_attachment import LINK_READY, Attachment, LinkStatus
from ipagent.controller.reconcile.plan_draft import Draft
from ipagent.node_network_api import HOST_ADDRESS

LINK_SECONDS = 180.0
"""After so long an interface that the node does not have counts as missing: ecs-agent #1520 saw 3 minutes."""


def on_node(attachment: Attachment, eni: Eni) -> bool:
    """Whether the node has, or had, the interface."""
    link = attachment.reported
    reported = link is not None and link.mac == eni.mac and bool(link.name)
    return reported or _was_up(attachment, eni)


def link_condition(draft: Draft, attachment: Attachment, eni: Eni) -> Condition:
    """Return the condition LinkReady of an attached ENI."""
    link = attachment.reported
    if link is None or link.mac != eni.mac:
        return _not_there(
            draft,
            eni,
            f"the node has not reported an interface with the MAC {eni.mac}",
            "check that the DaemonSet runs there with its container links; if it does, replace the node",
        )
    if not link.name:
        if _was_up(attachment, eni):
            return yes("InPod", f"a pod has the interface with the MAC {eni.mac} (host-device)")
        return _not_there(draft, eni, f"the node has no interface with the MAC {eni.mac}", "replace the node")
    return _of_interface(attachment, link)


def _of_interface(attachment: Attachment, link: LinkStatus) -> Condition:
    """Return the condition LinkReady of an interface that the node has."""
    wanted = attachment.link
    if not link.up:
        return no("LinkDown", link.message or f"{link.name} is down")
    if wanted.mtu and link.mtu != wanted.mtu:
        return no("WrongMtu", link.message or f"{link.name} has MTU {link.mtu}, not {wanted.mtu}")
    if link.name_owner and attachment.cni is None:
        # Pods whose definition has the name would be on that one; our own configuration has the kernel's.
        return no("NameTaken", link.message or f"{link.name_owner} has the name {wanted.name}")
    return yes(HOST_ADDRESS if link.host_addresses else "LinkUp", link.message)


def _not_there(draft: Draft, eni: Eni, what: str, todo: str) -> Condition:
    missing = draft.state.ec2.since.get(eni.id, draft.now) + LINK_SECONDS
    if draft.now < missing:
        draft.decide_by(missing)
        return unknown("WaitingForLink", what)
    return no("LinkMissing", f"{what}: {todo}")


def _was_up(attachment: Attachment, eni: Eni) -> bool:
    """Whether the node had the interface: while EC2 has the ENI attached, only a pod takes it away."""
    before = attachment.status.conditions.get(LINK_READY)
    return before is not None and before.status == TRUE and attachment.status.mac == eni.mac
