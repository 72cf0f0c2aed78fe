"""From pod and container to JSON Patch operations (RFC 6902).

Only additions, one element each, so that everything that others wrote stays byte for byte; and one
`move`, where another injector has put its container before ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from common import contract
from webhook.core.pod import Pod

Operation = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Agent:
    """What is put into the pod: the container, the status annotation, volumes and names of pull secrets."""

    container: dict[str, Any]
    status: str
    volumes: Sequence[dict[str, Any]] = ()
    pull_secrets: Sequence[str] = ()


def pointer(*parts: str | int) -> str:
    """Write a JSON Pointer (RFC 6901), escaping `~` and `/`."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def injection(pod: Pod, agent: Agent) -> list[Operation]:
    """Put the agent first among the init containers, with its status and what it needs of the pod."""
    operations = [
        _first_init_container(pod, agent.container),
        _annotation(pod, contract.STATUS, agent.status),
    ]
    there = [volume.name for volume in pod.spec.volumes] if pod.spec.volumes is not None else None
    operations += _appended("volumes", there, agent.volumes)
    there = (
        [secret.name for secret in pod.spec.imagePullSecrets]
        if pod.spec.imagePullSecrets is not None
        else None
    )
    operations += _appended("imagePullSecrets", there, [{"name": name} for name in agent.pull_secrets])
    return operations


def to_first_place(index: int) -> list[Operation]:
    """Move the agent from `index` to the first place among the init containers, if it is still there."""
    if index == 0:
        return []
    here = pointer("spec", "initContainers", index)
    return [
        {"op": "test", "path": f"{here}/name", "value": contract.CONTAINER_NAME},
        {"op": "move", "from": here, "path": pointer("spec", "initContainers", 0)},
    ]


def _first_init_container(pod: Pod, container: dict[str, Any]) -> Operation:
    if pod.spec.initContainers is None:
        return {"op": "add", "path": pointer("spec", "initContainers"), "value": [container]}
    return {"op": "add", "path": pointer("spec", "initContainers", 0), "value": container}


def _annotation(pod: Pod, key: str, value: str) -> Operation:
    if pod.metadata.annotations is None:
        return {"op": "add", "path": pointer("metadata", "annotations"), "value": {key: value}}
    return {"op": "add", "path": pointer("metadata", "annotations", key), "value": value}


def _appended(field: str, there: Sequence[str] | None, wanted: Sequence[dict[str, Any]]) -> list[Operation]:
    """Append to a list in the spec what is not there by name; the list is made where there is none."""
    missing = [item for item in wanted if item["name"] not in (there or ())]
    if missing and there is None:
        return [{"op": "add", "path": pointer("spec", field), "value": missing}]
    return [{"op": "add", "path": pointer("spec", field, "-"), "value": item} for item in missing]
