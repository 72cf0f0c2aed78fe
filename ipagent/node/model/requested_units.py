"""How much of node networks' resources a pod requests, as the scheduler counts it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from common.object_fields import Object, as_list, as_map
from common.quantity import whole_number
from ipagent.node_network_api import RESOURCE_PREFIX

MAX_CONTAINERS = 1024
MAX_UNITS = 1 << 20


def requested_units(spec: Object) -> tuple[tuple[str, int], ...]:
    """Return the networks and units that a pod's spec requests; what is of a wrong type is nothing.

    All containers and native sidecars together, or the largest init container with the sidecars before it:
    so an init container's request counts for the pod's life (k8s.io/component-helpers, resource/helpers.go,
    AggregateContainerRequests).
    """
    total: Counter[str] = Counter()
    for container in _containers(spec.get("containers")):
        total.update(_units(container))
    sidecars: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for container in _containers(spec.get("initContainers")):
        own = _units(container)
        if container.get("restartPolicy") == "Always":
            total.update(own)
            sidecars.update(own)
            most |= sidecars
        else:
            most |= sidecars + own
    found = total | most
    return tuple(sorted((name, min(units, MAX_UNITS)) for name, units in found.items()))


def _containers(value: object) -> Iterable[Object]:
    return map(as_map, as_list(value)[:MAX_CONTAINERS])


def _units(container: Object) -> Counter[str]:
    requests = as_map(as_map(container.get("resources")).get("requests"))
    return Counter(
        {
            key.removeprefix(RESOURCE_PREFIX): min(number, MAX_UNITS)
            for key, value in requests.items()
            if key.startswith(RESOURCE_PREFIX) and (number := whole_number(value))
        }
    )
