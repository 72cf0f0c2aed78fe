"""Bodies of the objects that are written to the API server. Pure; the time is an argument."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common.kube.pod_conditions import with_condition
from common.pod_keys import EIP_CONDITION
from ipagent.controller.model.condition import Condition
from ipagent.controller.model.eips import EipPod
from ipagent.controller.model.node_attachment import AttachmentStatus
from ipagent.controller.model.prefixes import cni_object
from ipagent.controller.model.writes import ApplyAttachment, NetworkStatus, PatchNode, PatchResources
from ipagent.node_network_api import (
    API_VERSION,
    ATTACHMENT_FINALIZER,
    NETWORK_LABEL,
    NODE_LABEL,
    label_value,
    with_status,
)

Object = dict[str, Any]


def attachment(write: ApplyAttachment) -> Object:
    """Return a NodeAttachment for server-side apply."""
    link: Object = {"name": write.link.name, "rename": write.link.rename}
    if write.link.mtu:
        link["mtu"] = write.link.mtu
    return {
        "apiVersion": API_VERSION,
        "kind": "NodeAttachment",
        "metadata": {
            "name": write.name,
            "labels": {NODE_LABEL: label_value(write.node), NETWORK_LABEL: write.network},
            "finalizers": [ATTACHMENT_FINALIZER],
        },
        "spec": {
            "node": write.node,
            "nodeUID": write.node_uid,
            "network": write.network,
            "instanceID": write.instance,
            "link": link,
            **({"addresses": cni_object(write.cni)} if write.cni is not None else {}),
            "reportPods": write.report_pods,
        },
    }


def attachment_status(
    name: str, status: AttachmentStatus, before: Mapping[str, Condition], time: str
) -> Object:
    """Return the controller's part of the status for server-side apply; `time` is now, RFC 3339."""
    slots = {
        "limit": status.limit,
        "assigned": status.assigned,
        "capacity": status.capacity,
        "requested": status.requested,
        "pool": status.pool_free,
        "free": status.free,
    }
    fields = {
        "attempt": status.attempt,
        "eni": status.eni,
        "attachment": status.attachment,
        "mac": status.mac,
        "address": status.address,
        "ipv6Addresses": list(status.ipv6_addresses),
        "subnet": status.subnet,
        "card": status.card,
        "device": status.device,
        "cidrs": list(status.cidrs),
        "prefixes": [{"prefix": each.prefix, "state": each.state.value} for each in status.prefixes],
        "assigning": status.assigning,
        "slice": status.slice,
        "slots": {key: value for key, value in slots.items() if value is not None} or None,
    }
    return with_status(
        "NodeAttachment",
        name,
        {
            **{key: value for key, value in fields.items() if value not in (None, "", [])},
            "conditions": _conditions(status.conditions, before, time),
        },
    )


def network_status(name: str, status: NetworkStatus, before: Mapping[str, Condition], time: str) -> Object:
    """Return a NodeNetwork's status for server-side apply; `time` is now, RFC 3339."""
    fields = {
        "observedGeneration": status.generation,
        "nodes": status.nodes,
        "ready": status.ready,
        "failed": status.failed,
        **({"free": status.free} if status.free is not None else {}),
        "subnets": list(status.subnets),
        "conditions": _conditions(status.conditions, before, time),
    }
    return with_status("NodeNetwork", name, fields)


def pod_condition(pod: EipPod, condition: Condition, time: str) -> Object:
    """Return our condition of a pod for server-side apply, which refuses it for another pod of that name."""
    before = {EIP_CONDITION: pod.condition} if pod.condition is not None else {}
    (entry,) = _conditions({EIP_CONDITION: condition}, before, time)
    return with_condition(pod.namespace, pod.name, pod.uid, entry)


def node_patch(write: PatchNode) -> Object:
    """Return a merge patch that the API server refuses if the Node has changed meanwhile."""
    patch: Object = {"metadata": {"resourceVersion": write.version}}
    if write.labels:
        patch["metadata"]["labels"] = dict(write.labels)
    if write.taints is not None:
        patch["spec"] = {"taints": [taint.to_object() for taint in write.taints]}
    return patch


def resources_patch(write: PatchResources) -> Object:
    """Return a merge patch of a Node's status.

    Allocatable is set, too: the kubelet would copy it from capacity only at its next status update.
    """
    return {"status": {"capacity": dict(write.resources), "allocatable": dict(write.resources)}}


def _conditions(
    conditions: Mapping[str, Condition], before: Mapping[str, Condition], time: str
) -> list[Object]:
    found = []
    for kind, condition in conditions.items():
        old = before.get(kind)
        same = old is not None and old.status == condition.status and old.since
        found.append(
            {
                "type": kind,
                "status": condition.status,
                "reason": condition.reason,
                "message": condition.message,
                "lastTransitionTime": old.since if old is not None and same else time,
            }
        )
    return found
