"""The injector's settings, as the pure modules see them."""

from __future__ import annotations

from dataclasses import dataclass

from multus_eni.contract import AgentSettings, Mode


@dataclass(frozen=True, slots=True)
class EnvVar:
    """An environment variable for the injected container."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Settings:
    """What the webhook injects, and where it never does. `agent` holds defaults that pods may override."""

    image: str
    image_pull_policy: str | None = None
    env: tuple[EnvVar, ...] = ()
    agent: AgentSettings = AgentSettings()  # noqa: RUF009 - immutable
    default_mode: Mode = Mode.INIT
    excluded_namespaces: frozenset[str] = frozenset({"kube-system"})
