"""The agent container's requests and limits: the pod keeps its QoS class, and whoever admitted it admits it.

The class is computed as the kubelet does (pkg/apis/core/v1/helper/qos, ComputePodQOS): of CPU and memory
only, over containers and init containers alike, or from `spec.resources` alone where that is set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from enum import StrEnum

from multus_eni.contract import Mode
from multus_eni.webhook.pod import Container, Pod, ResourceRequirements
from multus_eni.webhook.policy import AgentPlan
from multus_eni.webhook.quantity import MEBIBYTE, cpu_text, memory_text, parse_quantity
from multus_eni.webhook.settings import Size

LARGEST = {"cpu": Decimal("0.9"), "memory": Decimal(128 * MEBIBYTE)}
"""What it is given at most. Below one core and fractional: the static CPU manager pins whole cores."""

_WRITE: dict[str, Callable[[Decimal], str]] = {"cpu": cpu_text, "memory": memory_text}


class QosClass(StrEnum):
    """The pod's quality of service class, `status.qosClass`."""

    GUARANTEED = "Guaranteed"
    BURSTABLE = "Burstable"
    BEST_EFFORT = "BestEffort"


def qos_class(pod: Pod) -> QosClass:
    """Compute the pod's class. Raises ValueError where a quantity can't be read."""
    if _pod_level(pod):
        return _class_of([pod.spec.resources])
    return _class_of(container.resources for container in (*pod.containers, *pod.init_containers))


def agent_resources(pod: Pod, plan: AgentPlan, needed: Size) -> dict[str, dict[str, str]] | None:
    """Size the agent's container, or None where it must have no requests and limits.

    Raises ValueError where a quantity of the pod can't be read.
    """
    qos = qos_class(pod)
    if _pod_level(pod) or qos is QosClass.BEST_EFFORT:
        return None
    sized: dict[str, dict[str, str]] = {}
    for resource in LARGEST:
        size = _size(pod, plan, resource, needed)
        for kind in ("requests", "limits"):
            if qos is QosClass.GUARANTEED or _all_set(pod, kind, resource):
                amount = size("limits" if qos is QosClass.GUARANTEED else kind)
                sized.setdefault(kind, {})[resource] = _WRITE[resource](amount)
    return sized or None


def _size(pod: Pod, plan: AgentPlan, resource: str, needed: Size) -> Callable[[str], Decimal]:
    wish = plan.cpu if resource == "cpu" else plan.memory
    need = needed.cpu if resource == "cpu" else needed.memory

    def size(kind: str) -> Decimal:
        if wish is not None:
            return wish
        if plan.mode is Mode.SIDECAR:
            return need
        # An init container costs nothing below the app's own sum, and one that is no larger than the
        # largest app container breaks no LimitRange that the app meets.
        largest = max((_amount(c.resources, kind, resource) for c in pod.containers), default=Decimal(0))
        return max(need, min(largest, LARGEST[resource]))

    return size


def _pod_level(pod: Pod) -> bool:
    resources = pod.spec.resources
    return resources is not None and bool(resources.requests or resources.limits)


def _all_set(pod: Pod, kind: str, resource: str) -> bool:
    others: list[Container] = [*pod.containers, *pod.init_containers]
    return bool(others) and all(_amount(c.resources, kind, resource) > 0 for c in others)


def _amount(resources: ResourceRequirements | None, kind: str, resource: str) -> Decimal:
    if resources is None:
        return Decimal(0)
    limits = resources.limits or {}
    # The API server's default: a request that is missing is the limit.
    amounts = limits if kind == "limits" else {**limits, **(resources.requests or {})}
    return parse_quantity(amounts.get(resource, 0))


def _class_of(parts: Iterable[ResourceRequirements | None]) -> QosClass:
    requests = {"cpu": Decimal(0), "memory": Decimal(0)}
    limits = {"cpu": Decimal(0), "memory": Decimal(0)}
    all_limited = True
    for part in parts:
        for resource in requests:
            limit = _amount(part, "limits", resource)
            requests[resource] += _amount(part, "requests", resource)
            limits[resource] += limit
            all_limited = all_limited and limit > 0
    if not any(requests.values()) and not any(limits.values()):
        return QosClass.BEST_EFFORT
    return QosClass.GUARANTEED if all_limited and requests == limits else QosClass.BURSTABLE
