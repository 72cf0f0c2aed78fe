"""Nodes, as far as the controller reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from common.quantity import whole_number
from ipagent.node_network_api import RESOURCE_PREFIX, STARTUP_TAINT

ZONE = "topology.kubernetes.io/zone"
INSTANCE_TYPE = "node.kubernetes.io/instance-type"

_PROVIDER_ID = re.compile(r"aws:///(?P<zone>[a-z0-9-]+)/(?P<instance>i-[0-9a-f]{8,17})")
"""The cloud provider's form (kubernetes/cloud-provider-aws, pkg/providers/v1/instances.go)."""


@dataclass(frozen=True, slots=True)
class Taint:
    """A taint, with its fields as they are, so that others' taints are written back unchanged."""

    key: str
    effect: str
    rest: tuple[tuple[str, str], ...] = ()

    def to_object(self) -> dict[str, str]:
        """Return it as it stands in the Node."""
        return {"key": self.key, "effect": self.effect, **dict(self.rest)}


@dataclass(frozen=True, slots=True)
class Node:
    """A node; `instance` is empty where its provider is not EC2. `version` is for conditional writes."""

    name: str
    uid: str
    instance: str
    zone: str
    type: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    advertised: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Our resources in its capacity and allocatable, as they stand there; empty where one lacks it."""
    version: str = field(default="", compare=False)
    """resourceVersion; two states that differ in it alone are the same."""

    @property
    def tainted(self) -> bool:
        """Whether it has our startup taint, whatever the effect."""
        return any(taint.key == STARTUP_TAINT for taint in self.taints)


def read_node(found: Mapping[str, Any]) -> Node:
    """Read a Node of the API server; raises KeyError."""
    metadata, spec = found["metadata"], found.get("spec") or {}
    labels = metadata.get("labels") or {}
    provider = _PROVIDER_ID.fullmatch(str(spec.get("providerID", "")))
    return Node(
        name=str(metadata["name"]),
        uid=str(metadata["uid"]),
        instance=provider["instance"] if provider else "",
        zone=str(labels.get(ZONE) or (provider["zone"] if provider else "")),
        type=str(labels.get(INSTANCE_TYPE, "")),
        labels=dict(labels),
        taints=tuple(map(_taint, spec.get("taints") or ())),
        advertised=_advertised(found.get("status") or {}),
        version=str(metadata.get("resourceVersion", "")),
    )


def _advertised(status: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    capacity, allocatable = status.get("capacity") or {}, status.get("allocatable") or {}
    return {
        key: (_amount(capacity.get(key, "")), _amount(allocatable.get(key, "")))
        for key in (*capacity, *allocatable)
        if key.startswith(RESOURCE_PREFIX)
    }


def _amount(value: object) -> str:
    """Return a whole number as the controller writes it; the API server makes `1k` of 1000."""
    number = whole_number(value)
    return str(value) if number is None else str(number)


def _taint(found: Mapping[str, str]) -> Taint:
    rest = {key: value for key, value in found.items() if key not in ("key", "effect")}
    return Taint(found["key"], found["effect"], tuple(sorted(rest.items())))
