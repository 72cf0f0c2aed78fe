"""What a pod says of itself: whether Multus attaches it, whether it has the agent, and its addresses."""

from __future__ import annotations

from check.model import DONE, Resource, as_objects
from check.net_attach_defs import attached_addresses
from common.agent_container import CONTAINER_NAME
from common.object_fields import as_map
from ipagent.assign.addresses import IPAddress


def is_attached(pod: Resource) -> bool:
    """Return whether Multus attaches networks to a pod that runs, or may still run."""
    deleted = as_map(pod.body.get("metadata")).get("deletionTimestamp")
    return not deleted and pod.status.get("phase") not in DONE and not pod.spec.get("hostNetwork")


def has_agent(pod: Resource) -> bool:
    """Return whether the agent was injected into a pod."""
    containers = as_objects(pod.spec.get("initContainers"))
    return any(each.get("name") == CONTAINER_NAME for each in containers)


def addresses_of(pod: Resource) -> tuple[tuple[str, IPAddress], ...]:
    """Return a pod's Multus addresses, each with its network (`namespace/name`).

    A pod without an address of its own has no sandbox yet: its network-status was copied into its template.
    """
    if pod.status.get("phase") == "Pending" and not pod.status.get("podIP"):
        return ()
    return attached_addresses(pod.annotations)
