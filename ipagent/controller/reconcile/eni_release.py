"""Release of a NodeAttachment: its ENI is detached, and deleted if the controller created it."""

from __future__ import annotations

from ipagent.controller.model.actions import Delete, Detach
from ipagent.controller.model.condition import Condition, no, unknown, yes
from ipagent.controller.model.ec2_snapshot import AVAILABLE, CLUSTER_TAG, DETACHING, Eni
from ipagent.controller.model.node_attachment import ATTACHED, CREATED, READY, Attachment
from ipagent.controller.model.node_network import DeletionPolicy
from ipagent.controller.model.state import Releases
from ipagent.controller.model.writes import DeleteAttachment, RemoveFinalizer
from ipagent.controller.reconcile.ec2_answers import SETTLE
from ipagent.controller.reconcile.eni_acquisition import POLL
from ipagent.controller.reconcile.eni_choice import created
from ipagent.controller.reconcile.plan_draft import Draft

PODS_AGAIN = 10.0
"""Seconds between two lists of the pods that an ENI has to wait for."""
LATE_POLL = 10.0
PODS_FRESH = 5.0
"""Seconds for which such a list shows that no pod uses an ENI."""


def release(draft: Draft, attachment: Attachment) -> None:
    """Decide the next step; the object goes when nothing is left to do."""
    if draft.leave_as_written(attachment):
        return
    eni = created(draft, attachment)
    if eni is not None and (eni.state != AVAILABLE or _created_by_us(draft, attachment, eni)):
        draft.needed.add(eni.id)
    conditions: dict[str, Condition] = {}
    conditions[READY] = _step(draft, attachment, eni)
    conditions[CREATED] = yes("Created", eni.id) if eni else no("Gone", "there is no ENI")
    attached = eni is not None and eni.instance == attachment.instance
    conditions[ATTACHED] = (
        yes("Attached") if attached else no("Detached", "the ENI is not attached to the node")
    )
    draft.set_status(attachment, eni, conditions)


def _step(draft: Draft, attachment: Attachment, eni: Eni | None) -> Condition:
    attached = eni is not None and eni.instance == attachment.instance
    if draft.state.ec2.read_at is None:
        return draft.lookup_condition("all", "Reading", "EC2 has not been described yet")
    if eni is not None and attached and (users := _users(draft, attachment, eni)):
        return users
    if not attachment.deleting:
        draft.writes.append(DeleteAttachment(attachment.name, attachment.uid))
        return no("Releasing", _why(draft, attachment))
    if attachment.name in draft.state.busy:
        return no("Releasing", "a call to EC2 has no answer yet")
    return _detach(draft, attachment, eni) if eni is not None and attached else _end(draft, attachment, eni)


def _why(draft: Draft, attachment: Attachment) -> str:
    """Return why it is released, as long as nobody has deleted it."""
    node, network = draft.state.nodes.get(attachment.node), draft.state.networks.get(attachment.network)
    if node is None:
        return f"there is no node {attachment.node} any more"
    if node.uid != attachment.node_uid or node.instance != attachment.instance:
        return f"node {node.name} is another one by now"
    if network is None or network.deleting:
        return f"NodeNetwork {attachment.network} is deleted"
    return "the node is not selected any more"


def _end(draft: Draft, attachment: Attachment, eni: Eni | None) -> Condition:
    if eni is None:
        return _without_eni(draft, attachment)
    if eni.state == DETACHING and not eni.instance:
        draft.describe_eni(eni.id, POLL)
        return no("Detaching", f"{eni.id} is being detached")
    if eni.state == AVAILABLE and _created_by_us(draft, attachment, eni):
        return _delete(draft, attachment, eni)
    return _give_back(draft, attachment, eni)


def _give_back(draft: Draft, attachment: Attachment, eni: Eni) -> Condition:
    """Let an adopted ENI go once it has been away from the node for a minute: descriptions may be late."""
    draft.idle.add(attachment.name)
    draft.describe_eni(eni.id, LATE_POLL)
    if draft.now - draft.state.ec2.idle.get(attachment.name, draft.now) >= SETTLE:
        return _gone(draft, attachment)
    return no("Releasing", f"{eni.id} is detached; the object is deleted within a minute")


def _users(draft: Draft, attachment: Attachment, eni: Eni) -> Condition | None:
    """Return the condition that names the pods which have to end first; None if there are none."""
    node = draft.state.nodes.get(attachment.node)
    network = draft.state.networks.get(attachment.network)
    forced = network is not None and network.deletion_policy is DeletionPolicy.FORCE
    if node is None or node.uid != attachment.node_uid or forced or eni.state == DETACHING:
        return None
    listed, pods = draft.state.ec2.users.get(attachment.name, (float("-inf"), ()))
    age = draft.now - listed
    if not pods and age < PODS_FRESH:
        return None
    if age >= (PODS_AGAIN if pods else PODS_FRESH):
        draft.list_pods(attachment, eni.mac)
    else:
        draft.decide_by(listed + PODS_AGAIN)
    if pods:
        some = ", ".join(pods[:5]) + (f" and {len(pods) - 5} more" if len(pods) > 5 else "")
        return no(
            "InUse",
            f"pods on {attachment.node} use {eni.id}: {some}; delete them, or set deletionPolicy to Force",
        )
    return draft.lookup_condition("pods", "ListingPods", f"the pods that use {eni.id} are being listed")


def _without_eni(draft: Draft, attachment: Attachment) -> Condition:
    recorded = attachment.status.eni
    if recorded and recorded not in draft.state.ec2.missed:
        draft.describe_eni(recorded, POLL)
        return unknown("Releasing", f"{recorded} is being described")
    return _gone(draft, attachment)


def _detach(draft: Draft, attachment: Attachment, eni: Eni) -> Condition:
    if draft.state.releases is Releases.OFF:
        return _off()
    draft.describe_eni(eni.id, POLL)
    if eni.state == DETACHING:
        return no("Detaching", f"{eni.id} is being detached")
    draft.call(Detach(attachment.name, eni.id, eni.attachment))
    return draft.refusal_condition(attachment.name, "DetachNetworkInterface") or no(
        "Detaching", f"{eni.id} is being detached"
    )


def _delete(draft: Draft, attachment: Attachment, eni: Eni) -> Condition:
    if draft.state.releases is Releases.OFF:
        return _off()
    draft.call(Delete(attachment.name, eni.id))
    refused = draft.refusal_condition(attachment.name, "DeleteNetworkInterface")
    if refused is not None:
        # Somebody may have attached it meanwhile.
        draft.describe_eni(eni.id, LATE_POLL)
    return refused or no("Deleting", f"{eni.id} is being deleted")


def _created_by_us(draft: Draft, attachment: Attachment, eni: Eni) -> bool:
    """Whether the ENI was created for this NodeAttachment: its tags say so, and no other's is touched."""
    key = (attachment.node_uid, attachment.network)
    return eni.tags.get(CLUSTER_TAG) == draft.state.cluster and eni.key == key


def _gone(draft: Draft, attachment: Attachment) -> Condition:
    if attachment.held:
        draft.writes.append(RemoveFinalizer("NodeAttachment", attachment.name))
    return no("Released", "nothing is left to do")


def _off() -> Condition:
    return no(
        "ReleasesOff", "controller.releases is off, and so nothing is detached or deleted: set it to on"
    )
