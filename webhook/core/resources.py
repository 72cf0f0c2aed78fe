"""Size the agent container: the pod keeps its QoS class, and quotas and LimitRanges still admit it.

The class is computed as the kubelet does (pkg/apis/core/v1/helper/qos, ComputePodQOS): from CPU and memory
only, over containers and init containers alike, or from `spec.resources` alone if that is set.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import NamedTuple, TypeAlias

from common.agent_settings import Mode, RestartPolicy
from common.pod_keys import AGENT_CPU, AGENT_MEMORY, MODE
from common.quantity import MEBIBYTE, cpu_text, memory_text, parse_quantity
from webhook.core.agent_plan import AgentPlan
from webhook.core.annotations import MIN_AGENT_CPU, MIN_AGENT_MEMORY
from webhook.core.pod import Pod, Quantities, ResourceRequirements
from webhook.core.settings import Size

Resources = dict[str, dict[str, str]]
Written: TypeAlias = str | int | float | None

_ZERO = Decimal(0)
_STORAGE = "ephemeral-storage"

MAX_CACHED = 64
"""Containers."""


class _Resource(NamedTuple):
    """CPU (cores) or memory (bytes): its format, and the least that the annotation allows."""

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
    """One container's request and limit for one resource, None if absent."""

    request: Decimal | None
    limit: Decimal | None


class _Requirements(NamedTuple):
    """A container's requests and limits as written, None if absent."""

    cpu_request: Written = None
    cpu_limit: Written = None
    memory_request: Written = None
    memory_limit: Written = None
    storage_request: Written = None
    storage_limit: Written = None


class Sizing(NamedTuple):
    """The agent's requests and limits (None: it must have none), and advice for the user."""

    resources: Resources | None
    advice: tuple[str, ...] = ()


def agent_resources(pod: Pod, plan: AgentPlan, needed: Size) -> Sizing:
    """Size the agent's container. Raises ValueError if a quantity of the pod is not one."""
    level = _requirements(pod.spec.resources) if _pod_level(pod) else None
    containers, lasting_count = _all_containers(pod)
    # A huge pod is not worth the memory of a cache entry.
    sized = _sized if len(containers) <= MAX_CACHED else _sized.__wrapped__
    counts = len(pod.containers), lasting_count
    return sized(containers, *counts, level, plan.mode, plan.cpu, plan.memory, needed)


# Pods of one template have the same requirements, and they come in bursts.
@functools.lru_cache(maxsize=1024)
def _sized(  # noqa: PLR0913, PLR0917 - all that the size depends on
    containers: tuple[_Requirements, ...],
    app_count: int,
    lasting_count: int,
    level: _Requirements | None,
    mode: Mode,
    cpu_override: Decimal | None,
    memory_override: Decimal | None,
    needed: Size,
) -> Sizing:
    cpu, memory = _cpu(containers), _memory(containers)
    guaranteed = level is None and _is_guaranteed(cpu, memory)
    sized: Resources = {}
    advice: list[str] = []
    whole = (level or _NO_REQUIREMENTS,)
    compared = lasting_count if mode is Mode.SIDECAR else len(containers)
    for resource, amounts, override, need, bound in (
        (_CPU, cpu, cpu_override, needed.cpu, _cpu(whole)[0]),
        (_MEMORY, memory, memory_override, needed.memory, _memory(whole)[0]),
    ):
        # If every other container sets one, a ResourceQuota may require it of ours. If one does not, no quota
        # can require it, and ours could change the pod's QoS class. A sidecar's request can't if only init
        # containers set none, and a HorizontalPodAutoscaler by utilization requires one of each app container
        # and sidecar (pkg/controller/podautoscaler, calculatePodRequests).
        requests = _all_set([a.request for a in amounts], compared)
        limits = _all_set([a.limit for a in amounts], len(amounts))
        limit = _size(resource, mode, limits, app_count, override, need)
        request = limit if guaranteed else _size(resource, mode, requests, app_count, override, need)
        if level is not None:
            request, limit = _within(bound, mode, request, limit if limits else None)
        if requests:
            sized.setdefault("requests", {})[resource.name] = resource.text(request)
        if limits:
            sized.setdefault("limits", {})[resource.name] = resource.text(limit)
        if override is None:
            advice += _advice(resource, (request, requests), (limit, limits))
        elif not request and not limit:
            advice.append(_without_effect(resource, others_set_some=any((*requests, *limits))))
    if sized and mode is Mode.SIDECAR and (cpu_override is None or memory_override is None):
        advice.append(_ADDS)
    if mode is Mode.INIT:
        for kind, least in _least_storage(containers):
            sized.setdefault(kind, {})[_STORAGE] = memory_text(least)
    return Sizing(sized or None, tuple(advice))


def _least_storage(containers: Iterable[_Requirements]) -> Iterator[tuple[str, Decimal]]:
    """Yield what an init container requests of ephemeral storage, and its limit: it costs nothing.

    Without it the default of a LimitRange would count, which is its max if it names no other
    (pkg/apis/core/v1, SetDefaults_LimitRangeItem). A sidecar's would add to the pod's where there is none.
    The QoS class does not depend on it.
    """
    amounts = [_amount(each.storage_request, each.storage_limit) for each in containers]
    if requests := _all_set([each.request for each in amounts], len(amounts)):
        yield "requests", min(requests)
    if limits := _all_set([each.limit for each in amounts], len(amounts)):
        yield "limits", min(limits)


def _within(bound: _Amount, mode: Mode, request: Decimal, limit: Decimal | None) -> tuple[Decimal, Decimal]:
    """Fit into pod-level resources: each limit on its own, the requests of all containers together."""
    if limit is not None and bound.limit is not None:
        limit = min(limit, bound.limit)
    # A sidecar's request adds to the others', which may already use all of the pod's.
    room = _ZERO if mode is Mode.SIDECAR else request if bound.request is None else bound.request
    return min(request, room, request if limit is None else limit), limit or _ZERO


_ADDS = (
    "multus-eni: the sidecar's resources add to the pod's; if a LimitRange or ResourceQuota refuses them, "
    f"set {AGENT_CPU} and {AGENT_MEMORY}, or set {MODE}: {Mode.INIT}"
)


def _all_set(amounts: Sequence[Decimal | None], count: int) -> list[Decimal]:
    """Return the amounts that are set, none of them if one of the first `count` is not."""
    return [] if None in amounts[:count] else [amount for amount in amounts if amount is not None]


def _size(  # noqa: PLR0913, PLR0917 - all that the size depends on
    resource: _Resource,
    mode: Mode,
    amounts: Sequence[Decimal],
    app_count: int,
    override: Decimal | None,
    need: Decimal,
) -> Decimal:
    if not any(amounts):
        return _ZERO
    if override is not None:
        return override
    if mode is Mode.SIDECAR:
        return need
    # An init container costs nothing up to the sum of the app containers, and a size between the smallest and
    # the largest container meets every LimitRange that those meet: hence more memory than needed if all have
    # more.
    most = _MOST_CPU if resource is _CPU else max(_ENOUGH_MEMORY, min(amounts))
    return max(need, min(most, max(amounts[:app_count], default=_ZERO)))


def _advice(resource: _Resource, *given: tuple[Decimal, Sequence[Decimal]]) -> list[str]:
    """Return advice if the agent needs more than every other container, which a LimitRange may refuse."""
    for amount, others in given:
        if others and amount > max(others) >= resource.least:
            return [
                (
                    f"multus-eni: the agent gets more {resource.name} ({resource.text(amount)}) than any "
                    f"other container; if a LimitRange refuses that, set {resource.annotation}: "
                    f"{resource.text(max(others))}"
                )
            ]
    return []


def _without_effect(resource: _Resource, *, others_set_some: bool) -> str:
    reason = (
        f"a sidecar requests no {resource.name} inside pod-level resources"
        if others_set_some
        else f"the agent gets no {resource.name}, since not every other container sets some"
    )
    return f"multus-eni: {resource.annotation} has no effect: {reason}"


def _pod_level(pod: Pod) -> bool:
    resources = pod.spec.resources
    return resources is not None and bool(resources.requests or resources.limits)


def _all_containers(pod: Pod) -> tuple[tuple[_Requirements, ...], int]:
    """Return what app containers, sidecars and init containers set, in this order, and how many last."""
    lasting = [_requirements(each.resources) for each in pod.containers]
    ending: list[_Requirements] = []
    for each in pod.init_containers:
        found = lasting if each.restartPolicy == RestartPolicy.ALWAYS else ending
        found.append(_requirements(each.resources))
    return (*lasting, *ending), len(lasting)


def _requirements(resources: ResourceRequirements | None) -> _Requirements:
    if resources is None:
        return _NO_REQUIREMENTS
    requests, limits = resources.requests or _NO_QUANTITIES, resources.limits or _NO_QUANTITIES
    return _Requirements(
        requests.get("cpu"),
        limits.get("cpu"),
        requests.get("memory"),
        limits.get("memory"),
        requests.get(_STORAGE),
        limits.get(_STORAGE),
    )


def _cpu(parts: Iterable[_Requirements]) -> list[_Amount]:
    return [_amount(part.cpu_request, part.cpu_limit) for part in parts]


def _memory(parts: Iterable[_Requirements]) -> list[_Amount]:
    return [_amount(part.memory_request, part.memory_limit) for part in parts]


def _amount(request: Written, limit: Written) -> _Amount:
    read_limit = None if limit is None else parse_quantity(limit)
    # The API server sets a missing request to the limit.
    return _Amount(read_limit if request is None else parse_quantity(request), read_limit)


def _is_guaranteed(*resources: Sequence[_Amount]) -> bool:
    """Return whether the pod's QoS class is Guaranteed."""
    return all(
        all(amount.limit for amount in amounts)
        and sum(amount.request or 0 for amount in amounts) == sum(amount.limit or 0 for amount in amounts)
        for amounts in resources
    )


_NO_REQUIREMENTS = _Requirements()
_NO_QUANTITIES: Quantities = {}
