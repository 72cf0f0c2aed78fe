"""What a pod says of itself: whether Multus attaches it, whether it has the agent, and its networks."""

from __future__ import annotations

from collections.abc import Iterable

from check.model import DONE, Object, Resource, as_objects, conditions_of, text_of
from check.net_attach_defs import attached_addresses, attached_interfaces
from common.agent_container import CONTAINER_NAME
from common.agent_settings import parse_list
from common.object_fields import as_map
from common.pod_keys import INTERFACES
from ipagent.assign.addresses import IPAddress

SANDBOX_CONDITION = "PodReadyToStartContainers"
"""The pod's condition, since Kubernetes 1.29, that it has a sandbox with its networks (Pod Lifecycle)."""


def is_attached(pod: Resource) -> bool:
    """Return whether Multus attaches networks to a pod that runs, or may still run."""
    deleted = pod.metadata.get("deletionTimestamp")
    return not deleted and pod.status.get("phase") not in DONE and not pod.spec.get("hostNetwork")


def has_agent(pod: Resource) -> bool:
    """Return whether the agent was injected into a pod."""
    containers = as_objects(pod.spec.get("initContainers"))
    return any(each.get("name") == CONTAINER_NAME for each in containers)


def failed_agent(pod: Resource) -> Object:
    """Return the end of an agent that has failed its pod for good (`restartPolicy: Never`), else nothing.

    Of a pod that the kubelet has ended, such as an evicted one, the status has a `reason`. An agent that ends
    after the app has started has not failed its pod.
    """
    status = pod.status
    initialized = conditions_of(pod).get("Initialized", {}).get("status") == "True"
    if status.get("phase") != "Failed" or status.get("reason") or initialized:
        return {}
    agents = (
        as_map(as_map(each.get("state")).get("terminated"))
        for each in as_objects(status.get("initContainerStatuses"))
        if each.get("name") == CONTAINER_NAME
    )
    return next((ended for ended in agents if ended.get("exitCode")), {})


def without_retried(failed: Iterable[Resource], pods: Iterable[Resource]) -> tuple[Resource, ...]:
    """Return the failed pods after whose end their controller has made none that has begun well.

    One that it made before is no next try, but one beside it.
    """
    failed = tuple(failed)
    latest = {place: "" for pod in failed if (place := _place(pod))[0]}
    for pod in pods:
        place, conditions = _place(pod), conditions_of(pod)
        if place in latest and conditions.get("Initialized", {}).get("status") == "True":
            latest[place] = max(latest[place], _created(pod))
    return tuple(pod for pod in failed if not (made := latest.get(_place(pod))) or _ended(pod) > made)


def _place(pod: Resource) -> tuple[str, str]:
    owners = as_objects(pod.metadata.get("ownerReferences"))
    uid = next((text_of(each.get("uid")) for each in owners if each.get("controller")), "")
    return uid, pod.annotations.get("batch.kubernetes.io/job-completion-index", "")


def _ended(pod: Resource) -> str:
    return text_of(failed_agent(pod).get("finishedAt")) or _created(pod)


def _created(pod: Resource) -> str:
    return text_of(pod.metadata.get("creationTimestamp"))


def addresses_of(pod: Resource) -> tuple[tuple[str, IPAddress], ...]:
    """Return a pod's Multus addresses, each with its network (`namespace/name`).

    The network-status of a pod without a sandbox was copied into its template, or is that of a former
    sandbox: Multus leaves it where the node's reboot has taken the network namespace.
    """
    there = _has_sandbox(pod)
    if there is None:
        there = pod.status.get("phase") != "Pending" or bool(pod.status.get("podIP"))
    return attached_addresses(pod.annotations) if there else ()


def has_networks(pod: Resource) -> bool:
    """Return whether a pod has its networks: not every one gives it an address."""
    return _has_sandbox(pod) or bool(addresses_of(pod))


def networks_left_out(pods: Iterable[Resource], *, by_nodes: bool) -> frozenset[str]:
    """Return networks that every agent in their pods leaves out (`multus-eni.io/interfaces`).

    `by_nodes`: node agents serve pods without one, too, and leave out the same.
    """
    served: set[str] = set()
    left_out: set[str] = set()
    for pod in pods:
        if is_attached(pod) and (by_nodes or has_agent(pod)):
            named = parse_list(pod.annotations.get(INTERFACES, ""))
            for network, interface in attached_interfaces(pod.annotations):
                (served if not named or interface in named else left_out).add(network)
    return frozenset(left_out - served)


def _has_sandbox(pod: Resource) -> bool | None:
    """Return whether the kubelet says that a pod has a sandbox with its networks, None if it does not say.

    Of a pod that has ended it says no; what that one had still shows that Multus works.
    """
    if pod.status.get("phase") in DONE:
        return None
    said = conditions_of(pod).get(SANDBOX_CONDITION, {}).get("status")
    return {"True": True, "False": False}.get(text_of(said))
