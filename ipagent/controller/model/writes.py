"""What the controller writes to the API server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from ipagent.controller.model.condition import Condition
from ipagent.controller.model.node import Taint
from ipagent.controller.model.node_network import LinkSpec
from ipagent.controller.model.prefixes import CniSpec


@dataclass(frozen=True, slots=True)
class ApplyAttachment:
    """Create a NodeAttachment, or correct its spec."""

    name: str
    node: str
    node_uid: str
    network: str
    instance: str
    link: LinkSpec
    cni: CniSpec | None = None
    report_pods: bool = False


@dataclass(frozen=True, slots=True)
class DeleteAttachment:
    """Delete a NodeAttachment; it stays until its finalizer is removed."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class RemoveFinalizer:
    """Let a NodeAttachment or a NodeNetwork go."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class AddFinalizer:
    """Hold a NodeNetwork until its ENIs are gone."""

    name: str


@dataclass(frozen=True, slots=True)
class PatchNode:
    """Change a node's labels (None removes one), and its taints if they are not None."""

    name: str
    version: str
    labels: Mapping[str, str | None] = field(default_factory=dict)
    taints: tuple[Taint, ...] | None = None


@dataclass(frozen=True, slots=True)
class PatchResources:
    """Set resources of a node's capacity and allocatable (None removes one)."""

    name: str
    version: str
    """The node's, so that the same is written again when somebody has changed the node meanwhile."""
    resources: Mapping[str, str | None]


Write: TypeAlias = (
    ApplyAttachment | DeleteAttachment | RemoveFinalizer | AddFinalizer | PatchNode | PatchResources
)


@dataclass(frozen=True, slots=True)
class NetworkStatus:
    """The status of a NodeNetwork."""

    conditions: Mapping[str, Condition]
    generation: int
    nodes: int = 0
    ready: int = 0
    failed: int = 0
    free: int | None = 0
    """None where it is not known of any node."""
    subnets: tuple[str, ...] = ()
