"""Build the agent's container and volumes, as they are written into the pod."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from common.agent_container import (
    COMMAND,
    CONTAINER_NAME,
    RUN_DIRECTORY,
    RUN_VOLUME,
    TERMINATION_LOG,
    TOKEN_AUDIENCE,
    TOKEN_DIRECTORY,
    TOKEN_NAME,
    TOKEN_VOLUME,
)
from common.agent_settings import DOWNWARD_API, AgentSettings, Backend, Mode
from webhook.core.agent_plan import AgentPlan
from webhook.core.pod import Pod
from webhook.core.settings import EnvVar, Settings

NOBODY = 65534
TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - no password
API_TOKEN_VOLUME = "kube-api-access-"  # noqa: S105 - a name
"""How the name of the volume begins that the API server adds for that token."""
VOLUME_PREFIX = "multus-eni-volume-"
"""How the names begin of those volumes of the settings whose own names a pod has, too."""
PROBE_GRACE = 30
"""Seconds beyond the agent's own deadline: the agent reports what failed before the kubelet kills it."""
PROBE_WAIT = 20
"""Seconds that one startup probe waits: each starts an interpreter on the CPU that the agent itself needs."""
PROBE_START = 10
"""Seconds that this interpreter may need to start where the CPU limit is small."""

_RUN_VOLUME: dict[str, Any] = {
    "name": RUN_VOLUME,
    "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"},
}
"""Holds the file by which a sidecar reports that it has started."""

_TOKEN_VOLUME: dict[str, Any] = {
    "name": TOKEN_VOLUME,
    "projected": {
        # The file gets this mode, or 0600 for the one user of all containers, or 0640 for the pod's fsGroup,
        # which ours is in, too (pkg/volume/projected, collectData): our user can read each of them.
        "defaultMode": 0o644,
        "sources": [
            {
                "serviceAccountToken": {
                    "audience": TOKEN_AUDIENCE,
                    "expirationSeconds": 3600,
                    "path": TOKEN_NAME,
                }
            }
        ],
    },
}
"""Authenticates the pod to the node agent. The token that the API server adds is not needed for that."""


def with_free_volume_names(settings: Settings, pod: Pod) -> Settings:
    """Rename the settings' volumes whose names the pod's own volumes have: `ca` may be the app's, too."""
    taken = {volume.name for volume in pod.spec.volumes or ()}
    used = {*taken, *(volume["name"] for volume in settings.volumes)}
    free = (name for name in (f"{VOLUME_PREFIX}{number}" for number in itertools.count()) if name not in used)
    names = {volume["name"]: next(free) for volume in settings.volumes if volume["name"] in taken}
    if not names:
        return settings

    def renamed(items: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
        return tuple({**item, "name": names.get(item["name"], item["name"])} for item in items)

    return replace(settings, volumes=renamed(settings.volumes), volume_mounts=renamed(settings.volume_mounts))


def agent_volumes(plan: AgentPlan, settings: Settings) -> list[dict[str, Any]]:
    """Return the volumes that the agent needs in the pod."""
    return [
        *(dict(volume) for volume in settings.volumes),
        *([_TOKEN_VOLUME] if plan.settings.backend is Backend.NODE else []),
        *([_RUN_VOLUME] if plan.mode is Mode.SIDECAR else []),
    ]


def agent_container(
    plan: AgentPlan,
    settings: Settings,
    resources: dict[str, dict[str, str]] | None,
    token_volume: str | None,
) -> dict[str, Any]:
    """Build the container: an init container, or a native sidecar with its startup probe.

    `token_volume` names the pod's volume with its ServiceAccount token, None if the pod has none.
    """
    container: dict[str, Any] = {
        "name": CONTAINER_NAME,
        "image": plan.image,
        "command": [COMMAND, plan.mode.value],
        "env": _env(plan.settings, settings.env),
        "securityContext": {**restricted(), **settings.security_context},
        "terminationMessagePath": TERMINATION_LOG,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if settings.image_pull_policy is not None:
        container["imagePullPolicy"] = settings.image_pull_policy
    if resources is not None:
        container["resources"] = resources
    mounts = [dict(mount) for mount in settings.volume_mounts]
    if plan.settings.backend is Backend.NODE:
        mounts.append({"name": TOKEN_VOLUME, "readOnly": True, "mountPath": TOKEN_DIRECTORY})
    if plan.mode is Mode.SIDECAR:
        container |= _sidecar(plan)
        mounts.append({"name": RUN_VOLUME, "mountPath": RUN_DIRECTORY})
    if token_volume is not None and all(mount["mountPath"] != TOKEN_PATH for mount in mounts):
        mounts.append({"name": token_volume, "readOnly": True, "mountPath": TOKEN_PATH})
    if mounts:
        container["volumeMounts"] = mounts
    return container


@functools.lru_cache(maxsize=256)
def _env(agent: AgentSettings, extra: tuple[EnvVar, ...]) -> tuple[dict[str, Any], ...]:
    own = [{"name": name, "value": value} for name, value in agent.to_env().items()]
    return (*own, *_DOWNWARD_API, *({"name": variable.name, "value": variable.value} for variable in extra))


_DOWNWARD_API = tuple(
    {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
    for name, path in DOWNWARD_API.items()
)


def restricted() -> dict[str, Any]:
    """Return a security context that passes Pod Security `restricted`, whatever the pod's own one says."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsGroup": NOBODY,
        "runAsNonRoot": True,
        "runAsUser": NOBODY,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _sidecar(plan: AgentPlan) -> dict[str, Any]:
    return {
        "restartPolicy": "Always",
        "startupProbe": {
            "exec": {"command": [COMMAND, "started", f"--wait={PROBE_WAIT}"]},
            "periodSeconds": 1,
            "timeoutSeconds": PROBE_WAIT + PROBE_START,
            "failureThreshold": math.ceil((plan.settings.timeout + PROBE_GRACE) / PROBE_WAIT),
        },
    }
