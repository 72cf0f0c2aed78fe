"""What the kubelet does with the injected container: resolves its command and environment, and runs it.

The pod's network namespace is made before, as CNI makes it at the creation of the sandbox.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import pod_keys
from common.agent_container import CONTAINER_NAME
from demo.failure import DemoError
from tests.netns import Completed, Pod

IMAGE_PATH = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
"""PATH of the image: our own .venv stands for it."""

_REFERENCE = re.compile(r"\$(\$|\(([-._a-zA-Z0-9]+)\))")


@dataclass(frozen=True)
class Placement:
    """What the kubelet knows of the pod beside its manifest."""

    node_name: str
    host_ip: str
    pod_ip: str


@dataclass(frozen=True)
class Command:
    """A container's process: its arguments and its whole environment."""

    argv: tuple[str, ...]
    env: dict[str, str]


def agent_container(pod: Mapping[str, Any]) -> dict[str, Any]:
    """The injected container of an admitted pod; DemoError if it has none, or has it elsewhere than first."""
    containers = pod["spec"].get("initContainers") or []
    names = [container["name"] for container in containers]
    if names[:1] != [CONTAINER_NAME]:
        raise DemoError(
            f"the pod was admitted without {CONTAINER_NAME} as its first init container; "
            f"it has {names or 'none'}",
            remedy=f"the webhook's log says why; the namespace needs the label {pod_keys.INJECTION}=enabled",
        )
    found: dict[str, Any] = containers[0]
    return found


def command(container: Mapping[str, Any], pod: Mapping[str, Any], placement: Placement) -> Command:
    """Resolve command, args and env as the kubelet does (downward API, `$(NAME)` references)."""
    env: dict[str, str] = {"PATH": IMAGE_PATH}
    for entry in container.get("env", ()):
        env[entry["name"]] = _value(entry, env, pod, placement)
    argv = (*container.get("command", ()), *container.get("args", ()))
    if not argv:
        raise DemoError(
            "the injected container has no command: the demo has no image whose entry point to run"
        )
    return Command(tuple(_expanded(part, env) for part in argv), env)


def run(container: Mapping[str, Any], command: Command, pod: Pod, timeout: float) -> Completed:
    """Run the container to its end in the pod's namespace, with the rights that its securityContext leaves.

    The seccomp profile is left out: it forbids nothing that this container needs.

    Raises DemoError where it asks for more than `restricted` has, or needs more than `timeout` seconds.
    """
    context = container.get("securityContext", {})
    restricted = (
        context.get("runAsUser") == 65534
        and context.get("runAsGroup") == 65534
        and context.get("allowPrivilegeEscalation") is False
        and context.get("capabilities", {}).get("drop") == ["ALL"]
        and not context.get("capabilities", {}).get("add")
        and not context.get("privileged")
    )
    if not restricted:
        raise DemoError(
            f"the demo runs containers as uid 65534 without rights only, and this one wants {context}"
        )
    try:
        return pod.run(
            command.argv,
            env=command.env,
            cwd=Path("/"),
            read_only=bool(context.get("readOnlyRootFilesystem")),
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as expired:
        log = (expired.stderr or b"").decode(errors="replace")
        raise DemoError(f"{' '.join(command.argv)} had not ended after {timeout:.0f} s", log=log) from None


def _value(
    entry: Mapping[str, Any], env: Mapping[str, str], pod: Mapping[str, Any], placement: Placement
) -> str:
    if "valueFrom" not in entry:
        return _expanded(entry.get("value", ""), env)
    source = entry["valueFrom"]
    if set(source) != {"fieldRef"}:
        raise DemoError(f"the demo resolves fieldRef only; {entry['name']} comes from {', '.join(source)}")
    path = source["fieldRef"]["fieldPath"]
    fields = {
        "metadata.name": pod["metadata"].get("name"),
        "metadata.namespace": pod["metadata"].get("namespace"),
        "metadata.uid": pod["metadata"].get("uid"),
        "spec.nodeName": placement.node_name,
        "spec.serviceAccountName": pod["spec"].get("serviceAccountName"),
        "status.hostIP": placement.host_ip,
        "status.podIP": placement.pod_ip,
    }
    if not fields.get(path):
        raise DemoError(f"the demo can't resolve the field {path} that {entry['name']} comes from")
    return str(fields[path])


def _expanded(text: str, env: Mapping[str, str]) -> str:
    """Replace `$(NAME)` by the variables that were defined before; `$$` is a dollar, unknown names stay."""

    def replacement(found: re.Match[str]) -> str:
        return "$" if found[1] == "$" else env.get(found[2], found[0])

    return _REFERENCE.sub(replacement, text)
