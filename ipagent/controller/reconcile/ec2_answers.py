"""Answers of EC2 and of the API server to the controller's calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from ipagent.assign.ec2_error_codes import Failure
from ipagent.controller.model.ec2_snapshot import Eni, Group, Limits, Subnet
from ipagent.controller.model.eip_calls import Addresses, Associated, Holders
from ipagent.controller.model.relay_calls import Assigned, Interfaces
from ipagent.controller.reconcile.ec2_error_conditions import Kind

SETTLE = 60.0
"""Seconds for which EC2 may not show what has just been created (eventual consistency), with a reserve."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The call failed; `text` is EC2's code and message, with the identity where rights are missing."""

    kind: Kind
    action: str
    text: str
    failure: Failure | None = field(default=None, compare=False)
    """The same in the terms of node agents."""


@dataclass(frozen=True, slots=True)
class Enis:
    """ENIs that were described, or the one that was created."""

    enis: tuple[Eni, ...]


@dataclass(frozen=True, slots=True)
class Attachment:
    """The attachment's id."""

    id: str


@dataclass(frozen=True, slots=True)
class Prefixes:
    """The prefixes that EC2 has assigned."""

    prefixes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What a network's terms have found."""

    subnets: tuple[Subnet, ...]
    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class TypeLimits:
    """Limits by instance type."""

    limits: Mapping[str, Limits]


@dataclass(frozen=True, slots=True)
class Users:
    """By NodeAttachment: the pods that use it."""

    pods: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Done:
    """EC2 did it."""


Answer: TypeAlias = (
    Refused
    | Enis
    | Attachment
    | Prefixes
    | Found
    | TypeLimits
    | Users
    | Done
    | Addresses
    | Holders
    | Associated
    | Assigned
    | Interfaces
)
