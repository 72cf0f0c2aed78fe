"""From pod and container to JSON Patch operations (RFC 6902).

Only additions, one element each, so that everything that others wrote stays byte for byte; and one
`move`, where another injector has put its container before ours.
"""

from __future__ import annotations

from typing import Any

from multus_eni import contract
from multus_eni.contract import Mode
from multus_eni.webhook.container import RUN_VOLUME
from multus_eni.webhook.pod import Pod

Operation = dict[str, Any]


def pointer(*parts: str | int) -> str:
    """Write a JSON Pointer (RFC 6901), escaping `~` and `/`."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def injection(pod: Pod, container: dict[str, Any], mode: Mode, status: str) -> list[Operation]:
    """Put the agent first among the init containers, with its status and, for a sidecar, its volume."""
    operations = [_first_init_container(pod, container), _annotation(pod, contract.STATUS, status)]
    if mode is Mode.SIDECAR:
        operations += _run_volume(pod)
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


def _run_volume(pod: Pod) -> list[Operation]:
    if pod.spec.volumes is None:
        return [{"op": "add", "path": pointer("spec", "volumes"), "value": [RUN_VOLUME]}]
    if any(volume.name == contract.RUN_VOLUME for volume in pod.spec.volumes):
        return []
    return [{"op": "add", "path": pointer("spec", "volumes", "-"), "value": RUN_VOLUME}]
