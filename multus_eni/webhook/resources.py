"""The agent container's requests and limits: the pod keeps its QoS class, and whoever admitted it admits it.

The class is computed as the kubelet does (pkg/apis/core/v1/helper/qos, ComputePodQOS): of CPU and memory
only, over containers and init containers alike, or from `spec.resources` alone where that is set.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from multus_eni.contract import Mode
from multus_eni.webhook.pod import Pod, Quantities, ResourceRequirements
from multus_eni.webhook.policy import AgentPlan
from multus_eni.webhook.quantity import MEBIBYTE, cpu_text, memory_text, parse_quantity
from multus_eni.webhook.settings import Size

Resources = dict[str, dict[str, str]]
Written: TypeAlias = str | int | float | None

_ZERO = Decimal(0)


class _Resource(NamedTuple):
    """CPU (cores) or memory (bytes). `largest` is what the agent is given at most in init mode."""

    name: str
    largest: Decimal
    text: Callable[[Decimal], str]


# Below one core and fractional: the static CPU manager pins whole cores, also for init containers.
_CPU = _Resource("cpu", Decimal("0.9"), cpu_text)
_MEMORY = _Resource("memory", Decimal(128 * MEBIBYTE), memory_text)


class _Amount(NamedTuple):
    """One container's request and limit for one resource; 0 where there is none."""

    request: Decimal
    limit: Decimal


class QosClass(StrEnum):
    """The pod's quality of service class, `status.qosClass`."""

    GUARANTEED = "Guaranteed"
    BURSTABLE = "Burstable"
    BEST_EFFORT = "BestEffort"


class _Asked(NamedTuple):
    """A container's requests and limits for CPU and memory, as written; None where there is none."""

    cpu_request: Written = None
    cpu_limit: Written = None
    memory_request: Written = None
    memory_limit: Written = None


def qos_class(pod: Pod) -> QosClass:
    """Compute the pod's class. Raises ValueError where a quantity can't be read."""
    parts = (_asked(pod.spec.resources),) if _pod_level(pod) else _everyone(pod)
    return _class_of(_cpu(parts), _memory(parts))


def agent_resources(pod: Pod, plan: AgentPlan, needed: Size) -> Resources | None:
    """Size the agent's container, or None where it must have no requests and limits.

    Raises ValueError where a quantity of the pod can't be read.
    """
    if _pod_level(pod):
        return None
    return _sized(_everyone(pod), len(pod.containers), plan.mode, plan.cpu, plan.memory, needed)


# The pods of one template ask for the same, and they come in bursts.
@functools.lru_cache(maxsize=1024)
def _sized(  # noqa: PLR0913, PLR0917 - all that the size depends on
    everyone: tuple[_Asked, ...],
    apps: int,
    mode: Mode,
    cpu_wish: Decimal | None,
    memory_wish: Decimal | None,
    needed: Size,
) -> Resources | None:
    cpu, memory = _cpu(everyone), _memory(everyone)
    qos = _class_of(cpu, memory)
    if qos is QosClass.BEST_EFFORT:
        return None
    sized: Resources = {}
    for resource, amounts, wish, need in (
        (_CPU, cpu, cpu_wish, needed.cpu),
        (_MEMORY, memory, memory_wish, needed.memory),
    ):
        agent = _Amount(wish, wish) if wish is not None else _size(mode, resource, amounts[:apps], need)
        # A Guaranteed pod's requests are its limits, and so must ours be.
        request = agent.limit if qos is QosClass.GUARANTEED else agent.request
        if all(amount.request for amount in amounts):
            sized.setdefault("requests", {})[resource.name] = resource.text(request)
        if all(amount.limit for amount in amounts):
            sized.setdefault("limits", {})[resource.name] = resource.text(agent.limit)
    return sized or None


def _size(mode: Mode, resource: _Resource, apps: Sequence[_Amount], need: Decimal) -> _Amount:
    if mode is Mode.SIDECAR:
        return _Amount(need, need)
    # An init container costs nothing below the app's own sum, and one that is no larger than the
    # largest app container breaks no LimitRange that the app meets.
    request = max((amount.request for amount in apps), default=_ZERO)
    limit = max((amount.limit for amount in apps), default=_ZERO)
    return _Amount(max(need, min(resource.largest, request)), max(need, min(resource.largest, limit)))


def _pod_level(pod: Pod) -> bool:
    resources = pod.spec.resources
    return resources is not None and bool(resources.requests or resources.limits)


def _everyone(pod: Pod) -> tuple[_Asked, ...]:
    return tuple(_asked(container.resources) for container in (*pod.containers, *pod.init_containers))


def _asked(resources: ResourceRequirements | None) -> _Asked:
    if resources is None:
        return _NOTHING
    requests, limits = resources.requests or _NONE, resources.limits or _NONE
    return _Asked(requests.get("cpu"), limits.get("cpu"), requests.get("memory"), limits.get("memory"))


def _cpu(parts: Iterable[_Asked]) -> list[_Amount]:
    return [_amount(part.cpu_request, part.cpu_limit) for part in parts]


def _memory(parts: Iterable[_Asked]) -> list[_Amount]:
    return [_amount(part.memory_request, part.memory_limit) for part in parts]


def _amount(request: Written, limit: Written) -> _Amount:
    read_limit = _ZERO if limit is None else parse_quantity(limit)
    # The API server's default: a request that is missing is the limit.
    return _Amount(read_limit if request is None else parse_quantity(request), read_limit)


def _class_of(*resources: Sequence[_Amount]) -> QosClass:
    if not any(amount.request or amount.limit for amounts in resources for amount in amounts):
        return QosClass.BEST_EFFORT
    for amounts in resources:
        if not all(amount.limit for amount in amounts):
            return QosClass.BURSTABLE
        if sum(amount.request for amount in amounts) != sum(amount.limit for amount in amounts):
            return QosClass.BURSTABLE
    return QosClass.GUARANTEED


_NOTHING = _Asked()
_NONE: Quantities = {}
