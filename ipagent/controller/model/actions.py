"""Actions of the controller: its calls, and the plan of calls, writes and statuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from ipagent.assign.address_calls import assign_action, unassign_action
from ipagent.controller.model.call_rank import Rank
from ipagent.controller.model.eip_calls import EipCall
from ipagent.controller.model.node_attachment import AttachmentStatus
from ipagent.controller.model.node_network import Tags, Term
from ipagent.controller.model.prefixes import Family, PrefixMarks, family
from ipagent.controller.model.relay_calls import AddressCall
from ipagent.controller.model.writes import NetworkStatus, Write


def prefix_key(owner: str) -> str:
    """Return the key of the calls for the prefixes of a NodeAttachment."""
    return f"prefixes {owner}"


class _OfAttachment:
    """A call for a NodeAttachment, whose name `owner` is: one at a time for each."""

    __slots__ = ()
    owner: str

    @property
    def key(self) -> str:
        """The NodeAttachment's name."""
        return self.owner


class _OfPrefixes:
    """A call about a NodeAttachment's prefixes: one at a time for each, beside one of another kind."""

    __slots__ = ()
    owner: str

    @property
    def key(self) -> str:
        """Other than the NodeAttachment's name."""
        return prefix_key(self.owner)


@dataclass(frozen=True, slots=True)
class DescribeAll:
    """DescribeNetworkInterfaces, all pages; of these VPCs, or of the whole region where none is known."""

    vpcs: tuple[str, ...] = ()
    rank = Rank.LOOK
    key = "all"
    actions = ("DescribeNetworkInterfaces",)


@dataclass(frozen=True, slots=True)
class DescribeEnis:
    """DescribeNetworkInterfaces by id, at most 200."""

    enis: tuple[str, ...]
    rank = Rank.LOOK
    key = "enis"
    actions = ("DescribeNetworkInterfaces",)


@dataclass(frozen=True, slots=True)
class DescribeInstances:
    """DescribeNetworkInterfaces of instances, at most 200: which device indexes are free."""

    instances: tuple[str, ...]
    rank = Rank.LOOK
    key = "instances"
    actions = ("DescribeNetworkInterfaces",)


@dataclass(frozen=True, slots=True)
class Resolve:
    """DescribeSubnets and DescribeSecurityGroups for a network's terms."""

    network: str
    subnets: tuple[Term, ...]
    groups: tuple[Term, ...]
    rank = Rank.LOOK
    actions = ("DescribeSubnets", "DescribeSecurityGroups")

    @property
    def asked(self) -> object:
        """What a NodeNetwork says of it."""
        return self.subnets, self.groups

    @property
    def key(self) -> str:
        """One at a time for each network."""
        return f"resolve {self.network}"


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """DescribeInstanceTypes."""

    types: tuple[str, ...]
    rank = Rank.LOOK
    key = "types"
    actions = ("DescribeInstanceTypes",)


@dataclass(frozen=True, slots=True)
class Create(_OfAttachment):
    """CreateNetworkInterface; the same token makes no second one."""

    owner: str
    """The NodeAttachment's name, as in the other calls."""
    token: str
    subnet: str
    groups: tuple[str, ...]
    tags: Tags
    description: str
    ipv6_addresses: int = 0
    rank = Rank.READY
    actions = ("CreateNetworkInterface",)

    @property
    def asked(self) -> object:
        """What a NodeNetwork says of it."""
        return self.subnet, self.groups


@dataclass(frozen=True, slots=True)
class Attach(_OfAttachment):
    """AttachNetworkInterface."""

    owner: str
    eni: str
    instance: str
    card: int
    device: int
    rank = Rank.READY
    actions = ("AttachNetworkInterface",)


@dataclass(frozen=True, slots=True)
class Modify(_OfAttachment):
    """ModifyNetworkInterfaceAttribute, which takes one attribute a call: that one which is not None."""

    owner: str
    eni: str
    source_dest_check: bool | None = None
    groups: tuple[str, ...] | None = None
    delete_on_termination: bool | None = None
    attachment: str = ""
    """For `delete_on_termination`, which is the attachment's."""
    rank: Rank = Rank.READY
    actions = ("ModifyNetworkInterfaceAttribute",)


@dataclass(frozen=True, slots=True)
class AssignPrefixes(_OfPrefixes):
    """AssignPrivateIpAddresses or AssignIpv6Addresses by a count of prefixes: EC2 chooses them.

    There is no ClientToken: what was asked twice is assigned twice. With `single` it is a count of addresses.
    """

    owner: str
    eni: str
    family: Family
    count: int
    single: bool = False
    rank = Rank.READY

    @property
    def actions(self) -> tuple[str, ...]:
        """EC2 has an action for each family."""
        return (assign_action(self.family.version),)


@dataclass(frozen=True, slots=True)
class UnassignPrefix(_OfPrefixes):
    """UnassignPrivateIpAddresses or UnassignIpv6Addresses of one prefix, or of one single address."""

    owner: str
    eni: str
    prefix: str
    rank = Rank.FREE

    @property
    def actions(self) -> tuple[str, ...]:
        """EC2 has an action for each family."""
        return (unassign_action(family(self.prefix).version),)


@dataclass(frozen=True, slots=True)
class Detach(_OfAttachment):
    """DetachNetworkInterface."""

    owner: str
    eni: str
    attachment: str
    rank = Rank.FREE
    actions = ("DetachNetworkInterface",)


@dataclass(frozen=True, slots=True)
class Delete(_OfAttachment):
    """DeleteNetworkInterface; a leaked ENI is its own owner."""

    owner: str
    eni: str
    rank = Rank.FREE
    actions = ("DeleteNetworkInterface",)


@dataclass(frozen=True, slots=True)
class ListPods:
    """List the pods that use ENIs which are to go, of the API server: (NodeAttachment, node, MAC)."""

    asked: tuple[tuple[str, str, str], ...]
    rank = Rank.LOOK
    key = "pods"
    actions = ()


Call: TypeAlias = (
    DescribeAll
    | DescribeEnis
    | DescribeInstances
    | Resolve
    | ReadLimits
    | Create
    | Attach
    | Modify
    | AssignPrefixes
    | UnassignPrefix
    | Detach
    | Delete
    | ListPods
    | EipCall
    | AddressCall
)


def asked(call: Call) -> object:
    """Return what users choose of what a call asks for; None where that is nothing."""
    return call.asked if isinstance(call, Create | Resolve) else None


@dataclass(frozen=True, slots=True)
class Plan:
    """What follows from a state; `due` is when to decide again at the latest (monotonic seconds)."""

    calls: tuple[Call, ...] = ()
    writes: tuple[Write, ...] = ()
    attachments: Mapping[str, AttachmentStatus] = field(default_factory=dict)
    networks: Mapping[str, NetworkStatus] = field(default_factory=dict)
    orphans: frozenset[str] = frozenset()
    """ENIs of ours that nothing needs, as EC2 was described last."""
    unheld: frozenset[tuple[str, str]] = frozenset()
    """ENI and address that no pod has which requests it."""
    idle: frozenset[str] = frozenset()
    """NodeAttachments that give an adopted ENI back which looks detached."""
    prefix_marks: PrefixMarks = field(default_factory=PrefixMarks)
    leaked: tuple[str, ...] = ()
    """Those of them that two descriptions have shown."""
    due: float = float("inf")
