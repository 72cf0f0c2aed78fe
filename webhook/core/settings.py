"""The injector's settings, as the pure modules see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from common.contract import AgentSettings, Backend, Mode
from webhook.core.quantity import MEBIBYTE


@dataclass(frozen=True, slots=True)
class EnvVar:
    """An environment variable for the injected container."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Size:
    """What the agent needs: CPU in cores, memory in bytes."""

    cpu: Decimal = Decimal("0.05")
    memory: Decimal = Decimal(64 * MEBIBYTE)


SIZES = {
    Backend.DIRECT: Size(),
    Backend.NODE: Size(memory=Decimal(32 * MEBIBYTE)),
}
"""What the agent needs where the settings don't say: with the backend `node` it has no AWS SDK in it.

The CPU may become a limit, and the startup probe takes 18 ms of it a second: hence as much as for `direct`.
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the webhook injects, and where it never does. `agent` holds defaults that pods may override.

    `volumes` and `volume_mounts` are written as given (core/v1 Volume, VolumeMount), `security_context` is
    laid over our own.
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
