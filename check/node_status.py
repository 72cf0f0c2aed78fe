"""Which nodes have Multus by their labels, and whether it has had the time to start there."""

from __future__ import annotations

from check.model import Resource, conditions_of, seconds_since_epoch

SETTLING = 120
"""Seconds in which the DaemonSets' pods start on a node that has become ready."""
COMPUTE_TYPE = "eks.amazonaws.com/compute-type"
WITHOUT_MULTUS = ("auto", "fargate", "hybrid")
"""Nodes of EKS without ENIs for pods, or without DaemonSets; the chart's node agents avoid them."""
OS = "kubernetes.io/os"


def is_exempt(node: Resource, now: float) -> bool:
    """Return whether neither Multus nor a node agent has to be ready on a node.

    Its kubelet does not answer, or has not for two minutes yet; it is being deleted; or nothing of Multus
    runs on nodes of its kind.
    """
    ready = conditions_of(node).get("Ready", {})
    since = seconds_since_epoch(ready.get("lastTransitionTime"))
    settled = since is None or now - since > SETTLING
    deleted = node.metadata.get("deletionTimestamp")
    is_up = not deleted and ready.get("status", "True") == "True" and settled
    return not is_up or _is_without_multus(node)


def _is_without_multus(node: Resource) -> bool:
    return node.labels.get(COMPUTE_TYPE) in WITHOUT_MULTUS or node.labels.get(OS) == "windows"
