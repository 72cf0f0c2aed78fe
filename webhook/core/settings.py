"""The settings of the webhook, parsed and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from common.agent_settings import AgentSettings, Backend, Mode
from common.quantity import MEBIBYTE


@dataclass(frozen=True, slots=True)
class EnvVar:
    """An environment variable for the injected container."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Size:
    """The agent's CPU (cores) and memory (bytes)."""

    cpu: Decimal = Decimal("0.05")
    memory: Decimal = Decimal(64 * MEBIBYTE)


SIZES = {
    Backend.DIRECT: Size(),
    Backend.NODE: Size(memory=Decimal(32 * MEBIBYTE)),
}
"""What the agent needs by default. With the backend `node` it loads no AWS SDK and needs less memory.

Its CPU is the same: it may become a limit, and the container runtime's own part of the start counts, too.
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the webhook injects, and into which namespaces it never does. Pods may override `agent`.

    `pod_opt_in`: whether a pod's own label counts where its namespace has not opted in. The selectors of the
    MutatingWebhookConfiguration hold it; here it is for those that decide without an API server.

    `volumes` and `volume_mounts` are copied as given (core/v1 Volume, VolumeMount); the keys of
    `security_context` are added to the container's own.
    """

    image: str
    image_pull_policy: str | None = None
    image_pull_secrets: tuple[str, ...] = ()
    size: Size = Size()
    env: tuple[EnvVar, ...] = ()
    volumes: tuple[Mapping[str, Any], ...] = ()
    volume_mounts: tuple[Mapping[str, Any], ...] = ()
    security_context: Mapping[str, Any] = field(default_factory=dict)
    agent: AgentSettings = AgentSettings()  # noqa: RUF009 - immutable
    default_mode: Mode = Mode.INIT
    excluded_namespaces: frozenset[str] = frozenset({"kube-system"})
    pod_opt_in: bool = True
    networks: Mapping[str, str] | None = None
    """Which network a NetworkAttachmentDefinition belongs to; None where pods request no capacity."""
