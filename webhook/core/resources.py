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

from common.contract import AGENT_CPU, AGENT_MEMORY, MODE, Mode
from webhook.core.annotations import MIN_AGENT_CPU, MIN_AGENT_MEMORY
from webhook.core.pod import Pod, Quantities, ResourceRequirements
from webhook.core.policy import AgentPlan
from webhook.core.quantity import MEBIBYTE, cpu_text, memory_text, parse_quantity
from webhook.core.settings import Size

Resources = dict[str, dict[str, str]]
Written: TypeAlias = str | int | float | None

_ZERO = Decimal(0)

MAX_CACHED = 64
"""Containers."""


class QosClass(StrEnum):
    """The pod's quality of service class, `status.qosClass`."""

    GUARANTEED = "Guaranteed"
    BURSTABLE = "Burstable"
    BEST_EFFORT = "BestEffort"


class _Resource(NamedTuple):
    """CPU (cores) or memory (bytes): how it is written, and the least that a pod may ask for."""

    name: str
    annotation: str
    text: Callable[[Decimal], str]
    least: Decimal


_CPU = _Resource("cpu", AGENT_CPU, cpu_text, MIN_AGENT_CPU)
_MEMORY = _Resource("memory", AGENT_MEMORY, memory_text, MIN_AGENT_MEMORY)

# Below one core and fractional: the static CPU manager pins whole cores, also for init containers.
_MOST_CPU = Decimal("0.9")
_ENOUGH_MEMORY = Decimal(128 * MEBIBYTE)


class _Amount(NamedTuple):
    """One container's request and limit for one resource, None where it has none."""

    request: Decimal | None
    limit: Decimal | None


class _Asked(NamedTuple):
    """A container's requests and limits for CPU and memory, as written; None where there is none."""

    cpu_request: Written = None
    cpu_limit: Written = None
    memory_request: Written = None
    memory_limit: Written = None


class Sizing(NamedTuple):
    """The agent's requests and limits (None: it must have none), and what to set should they be refused."""

    resources: Resources | None
    advice: tuple[str, ...] = ()


def qos_class(pod: Pod) -> QosClass:
    """Compute the pod's class. Raises ValueError where a quantity can't be read."""
    parts = (_asked(pod.spec.resources),) if _pod_level(pod) else _everyone(pod)
    return _class_of(_cpu(parts), _memory(parts))


def agent_resources(pod: Pod, plan: AgentPlan, needed: Size) -> Sizing:
    """Size the agent's container. Raises ValueError where a quantity of the pod can't be read."""
    level = _asked(pod.spec.resources) if _pod_level(pod) else None
    everyone = _everyone(pod)
    # Huge pods are not worth the memory of keeping them.
    sized = _sized if len(everyone) <= MAX_CACHED else _sized.__wrapped__
    return sized(everyone, len(pod.containers), level, plan.mode, plan.cpu, plan.memory, needed)


# The pods of one template ask for the same, and they come in bursts.
@functools.lru_cache(maxsize=1024)
def _sized(  # noqa: PLR0913, PLR0917 - all that the size depends on
    everyone: tuple[_Asked, ...],
    apps: int,
    level: _Asked | None,
    mode: Mode,
    cpu_wish: Decimal | None,
    memory_wish: Decimal | None,
    needed: Size,
) -> Sizing:
    cpu, memory = _cpu(everyone), _memory(everyone)
    guaranteed = level is None and _class_of(cpu, memory) is QosClass.GUARANTEED
    sized: Resources = {}
    advice: list[str] = []
    whole = (level or _NOTHING,)
    for resource, amounts, wish, need, bound in (
        (_CPU, cpu, cpu_wish, needed.cpu, _cpu(whole)[0]),
        (_MEMORY, memory, memory_wish, needed.memory, _memory(whole)[0]),
    ):
        # Where every other container sets one, a ResourceQuota may want it of ours; where one does not,
        # ours could change the pod's class, and none can want it.
        requests, limits = _all_set([a.request for a in amounts]), _all_set([a.limit for a in amounts])
        limit = _size(resource, mode, limits, apps, wish, need)
        request = limit if guaranteed else _size(resource, mode, requests, apps, wish, need)
        if level is not None:
            request, limit = _within(bound, mode, request, limit if limits else None)
        if requests:
            sized.setdefault("requests", {})[resource.name] = resource.text(request)
        if limits:
            sized.setdefault("limits", {})[resource.name] = resource.text(limit)
        if wish is None:
            advice += _too_much(resource, (request, requests), (limit, limits))
    if sized and mode is Mode.SIDECAR and (cpu_wish is None or memory_wish is None):
        advice.append(_ADDS)
    return Sizing(sized or None, tuple(advice))


def _within(bound: _Amount, mode: Mode, request: Decimal, limit: Decimal | None) -> tuple[Decimal, Decimal]:
    """Fit into pod-level resources: each limit must, and all requests together."""
    if limit is not None and bound.limit is not None:
        limit = min(limit, bound.limit)
    # A sidecar's request comes on top of the others', which may be all of the pod's.
    room = _ZERO if mode is Mode.SIDECAR else request if bound.request is None else bound.request
    return min(request, room, request if limit is None else limit), limit or _ZERO


_ADDS = (
    "multus-eni: the sidecar's resources add to the pod's; should a LimitRange or ResourceQuota refuse them, "
    f"size it by {AGENT_CPU} and {AGENT_MEMORY}, or set {MODE}: {Mode.INIT}"
)


def _all_set(amounts: Sequence[Decimal | None]) -> list[Decimal]:
    found = [amount for amount in amounts if amount is not None]
    return found if len(found) == len(amounts) else []


def _size(  # noqa: PLR0913, PLR0917 - all that the size depends on
    resource: _Resource,
    mode: Mode,
    amounts: Sequence[Decimal],
    apps: int,
    wish: Decimal | None,
    need: Decimal,
) -> Decimal:
    if not any(amounts):
        return _ZERO
    if wish is not None:
        return wish
    if mode is Mode.SIDECAR:
        return need
    # An init container costs nothing below the app's own sum, and one between the smallest and the largest
    # container breaks no LimitRange that they meet: hence memory beyond its needs where all have more.
    most = _MOST_CPU if resource is _CPU else max(_ENOUGH_MEMORY, min(amounts))
    return max(need, min(most, max(amounts[:apps], default=_ZERO)))


def _too_much(resource: _Resource, *given: tuple[Decimal, Sequence[Decimal]]) -> list[str]:
    """Say what to set where the agent needs more than others have, which a LimitRange may forbid."""
    for amount, others in given:
        if others and amount > max(others) >= resource.least:
            return [
                (
                    f"multus-eni: the agent gets more {resource.name} ({resource.text(amount)}) than any "
                    f"other container; should a LimitRange refuse that, set {resource.annotation}: "
                    f"{resource.text(max(others))}"
                )
            ]
    return []


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
    read_limit = None if limit is None else parse_quantity(limit)
    # The API server's default: a request that is missing is the limit.
    return _Amount(read_limit if request is None else parse_quantity(request), read_limit)


def _class_of(*resources: Sequence[_Amount]) -> QosClass:
    if not any(amount.request or amount.limit for amounts in resources for amount in amounts):
        return QosClass.BEST_EFFORT
    for amounts in resources:
        if not all(amount.limit for amount in amounts):
            return QosClass.BURSTABLE
        if sum(amount.request or 0 for amount in amounts) != sum(amount.limit or 0 for amount in amounts):
            return QosClass.BURSTABLE
    return QosClass.GUARANTEED


_NOTHING = _Asked()
_NONE: Quantities = {}
