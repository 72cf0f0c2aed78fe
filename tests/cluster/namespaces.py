"""What a test does with the control plane: namespaces that one of the webhooks looks at, and pods in them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from common.agent_container import CONTAINER_NAME
from tests.cluster.api import POD, Answer, Api, ApiError, Manifest
from tests.cluster.configuration import Requirement, any_of

SCOPE = "tests.multus-eni.io/webhook"
"""Namespace label: which of the webhooks beside each other sees the namespace."""

_numbers = itertools.count(1)


def scope(webhook: str) -> list[Requirement]:
    """Narrow a configuration to the namespaces of one webhook."""
    return [any_of(SCOPE, webhook)]


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace that is ready for pods."""

    api: Api
    name: str

    def create(self, manifest: Manifest, *, dry_run: bool = False) -> Answer:
        """Create an object in it."""
        return self.api.create(manifest, self.name, dry_run=dry_run)

    def pod(self, name: str) -> Manifest:
        """Return what the API server stored; raises ApiError where there is no such pod."""
        return self.api.get(POD, name, self.name)

    def pods(self, labels: str = "") -> list[Manifest]:
        """Return its pods with these labels (a label selector)."""
        return self.api.list(POD, self.name, labels)


@dataclass(frozen=True, slots=True)
class Namespaces:
    """Makes namespaces that one webhook sees."""

    api: Api
    webhook: str
    prefix: str = field(default="test")

    def make(self, labels: Mapping[str, str] | None = None) -> Namespace:
        """Make a namespace with a new name; it lives as long as the control plane."""
        name = f"{self.prefix}-{next(_numbers)}"
        metadata = {"name": name, "labels": {SCOPE: self.webhook, **(labels or {})}}
        self.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        return ready_namespace(self.api, name)


def ready_namespace(api: Api, name: str) -> Namespace:
    """Make the service account that pods need in a namespace, unless the controller-manager was faster."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    try:
        api.create(account, name)
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise
    return Namespace(api, name)


def names_of(containers: list[dict[str, Any]] | None) -> list[str]:
    """Return the names of containers in order."""
    return [str(each["name"]) for each in containers or []]


def agent_of(stored: Manifest) -> Manifest | None:
    """Return the injected container, which is first among the init containers."""
    first: list[Manifest] = stored["spec"].get("initContainers", [])[:1]
    return first[0] if names_of(first) == [CONTAINER_NAME] else None


def mode_of(stored: Manifest) -> str | None:
    """Return the mode of the agent in a pod, None where it has none; there must not be two."""
    agent = agent_of(stored)
    assert names_of(stored["spec"].get("initContainers")).count(CONTAINER_NAME) == (1 if agent else 0)
    return agent["command"][1] if agent else None
