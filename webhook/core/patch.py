"""Make JSON Patch operations (RFC 6902) from a pod and the agent's container.

Each operation adds one element, so that everything else in the pod stays byte for byte. The exception is one
`move`, where another injector has put its container before ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from common import pod_keys
from common.agent_container import CONTAINER_NAME
from webhook.core.pod import LocalObjectReference, Pod, Volume

Operation = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Agent:
    """What is added to the pod: container, value of the status annotation, volumes, names of pull secrets.

    `labels` are added where the pod does not have them, whatever their value. Without a `status` none is
    added.
    """

    container: dict[str, Any]
    status: str | None
    volumes: Sequence[dict[str, Any]] = ()
    pull_secrets: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


def pointer(*parts: str | int) -> str:
    """Write a JSON Pointer (RFC 6901), escaping `~` and `/`."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


_INIT_CONTAINERS = pointer("spec", "initContainers")
_FIRST_INIT_CONTAINER = pointer("spec", "initContainers", 0)
_ANNOTATIONS = pointer("metadata", "annotations")
_STATUS = pointer("metadata", "annotations", pod_keys.STATUS)


def injection(pod: Pod, agent: Agent) -> list[Operation]:
    """Add the agent as the first init container, with its status annotation, volumes and pull secrets."""
    operations = [_first_init_container(pod, agent.container)]
    if agent.status is not None:
        operations.append(_status_annotation(pod, agent.status))
    operations += _labels(pod, agent.labels)
    operations += _append_missing("volumes", pod.spec.volumes, agent.volumes)
    secrets = [{"name": name} for name in agent.pull_secrets]
    operations += _append_missing("imagePullSecrets", pod.spec.imagePullSecrets, secrets)
    return operations


def move_to_front(index: int) -> list[Operation]:
    """Move the agent from `index` to the front of the init containers, after a test that it is there."""
    if index == 0:
        return []
    here = pointer("spec", "initContainers", index)
    return [
        {"op": "test", "path": f"{here}/name", "value": CONTAINER_NAME},
        {"op": "move", "from": here, "path": _FIRST_INIT_CONTAINER},
    ]


def _first_init_container(pod: Pod, container: dict[str, Any]) -> Operation:
    if pod.spec.initContainers is None:
        return {"op": "add", "path": _INIT_CONTAINERS, "value": [container]}
    return {"op": "add", "path": _FIRST_INIT_CONTAINER, "value": container}


def _status_annotation(pod: Pod, value: str) -> Operation:
    if pod.metadata.annotations is None:
        return {"op": "add", "path": _ANNOTATIONS, "value": {pod_keys.STATUS: value}}
    return {"op": "add", "path": _STATUS, "value": value}


def _labels(pod: Pod, labels: Mapping[str, str]) -> list[Operation]:
    missing = {key: value for key, value in labels.items() if key not in pod.labels}
    if missing and pod.metadata.labels is None:
        return [{"op": "add", "path": pointer("metadata", "labels"), "value": missing}]
    return [
        {"op": "add", "path": pointer("metadata", "labels", key), "value": value}
        for key, value in missing.items()
    ]


def _append_missing(
    field: str, existing: Sequence[Volume | LocalObjectReference] | None, wanted: Sequence[dict[str, Any]]
) -> list[Operation]:
    """Append to a list of the spec the items whose names it lacks. The list is created if it is absent."""
    names = {item.name for item in existing or ()}
    missing = [item for item in wanted if item["name"] not in names]
    if missing and existing is None:
        return [{"op": "add", "path": pointer("spec", field), "value": missing}]
    return [{"op": "add", "path": pointer("spec", field, "-"), "value": item} for item in missing]
