"""A pod that went through admission, whichever way."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from common.agent_container import CONTAINER_NAME
from demo.manifests import Manifest


class Via(StrEnum):
    """How a pod gets created."""

    API_SERVER = "api-server"
    REVIEW = "review"


@dataclass(frozen=True)
class Admitted:
    """A pod as the API server has stored it (or would), and as it would be without the webhook."""

    via: Via
    how: str
    before: Manifest
    pod: Manifest
    warnings: tuple[str, ...] = ()


def has_agent(pod: Manifest) -> bool:
    """Whether the agent was injected into a pod."""
    names = [container["name"] for container in pod["spec"].get("initContainers", ())]
    return CONTAINER_NAME in names
