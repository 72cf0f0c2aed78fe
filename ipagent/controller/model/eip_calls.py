"""The calls to EC2 about Elastic IPs, and their answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from ipagent.controller.model.call_rank import Rank
from ipagent.controller.model.condition import Condition
from ipagent.controller.model.eips import ElasticIp
from ipagent.controller.model.node_network import Tags


class _OfEip:
    """A call that changes an EIP: one at a time for each."""

    __slots__ = ()
    eip: str

    @property
    def key(self) -> str:
        """The EIP's id."""
        return self.eip


@dataclass(frozen=True, slots=True)
class DescribeAddresses:
    """DescribeAddresses of the region, all on one page."""

    rank = Rank.LOOK
    key = "eips"
    actions = ("DescribeAddresses",)


@dataclass(frozen=True, slots=True)
class DescribeHolders:
    """DescribeNetworkInterfaces of these instances that have one of these private addresses."""

    addresses: tuple[str, ...]
    instances: tuple[str, ...]
    rank = Rank.LOOK
    key = "holders"
    actions = ("DescribeNetworkInterfaces",)


@dataclass(frozen=True, slots=True)
class Associate(_OfEip):
    """AssociateAddress; without `move` EC2 refuses an EIP, or an address, that has an association."""

    eip: str
    eni: str
    private: str
    move: bool = False
    rank = Rank.READY
    actions = ("AssociateAddress",)


@dataclass(frozen=True, slots=True)
class Disassociate(_OfEip):
    """DisassociateAddress."""

    eip: str
    association: str
    rank = Rank.FREE
    actions = ("DisassociateAddress",)


@dataclass(frozen=True, slots=True)
class TagEip(_OfEip):
    """CreateTags of an EIP."""

    eip: str
    tags: Tags
    rank = Rank.READY
    actions = ("CreateTags",)


@dataclass(frozen=True, slots=True)
class UntagEip(_OfEip):
    """DeleteTags of an EIP, if they have these values."""

    eip: str
    tags: Tags
    rank = Rank.FREE
    actions = ("DeleteTags",)


EipChange: TypeAlias = Associate | Disassociate | TagEip | UntagEip
EipCall: TypeAlias = DescribeAddresses | DescribeHolders | EipChange


@dataclass(frozen=True, slots=True)
class Addresses:
    """All Elastic IPs of the region."""

    eips: tuple[ElasticIp, ...]


@dataclass(frozen=True, slots=True)
class Holders:
    """By private address: the ENI that has it, and its instance."""

    enis: Mapping[str, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Associated:
    """The association's id."""

    id: str


@dataclass(frozen=True, slots=True)
class EipPlan:
    """What follows; `due` is when to decide again at the latest (monotonic seconds)."""

    calls: tuple[EipCall, ...] = ()
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    """By pod."""
    gone: frozenset[str] = frozenset()
    """EIPs whose association belongs to nobody now."""
    free: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """By namespace and pool: EIPs that a pod could have."""
    due: float = float("inf")
