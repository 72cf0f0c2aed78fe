"""Snapshot of EC2, corrected by the answers of calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ipagent.assign.holders import NO_MANAGE
from ipagent.controller.model.prefixes import PrefixMemory

CLUSTER_TAG = "multus-eni.io/cluster"
NETWORK_TAG = "multus-eni.io/network"
NODE_UID_TAG = "multus-eni.io/node-uid"
NODE_TAG = "multus-eni.io/node"

AVAILABLE = "available"
ATTACHING, ATTACHED, DETACHING = "attaching", "attached", "detaching"


@dataclass(frozen=True, slots=True)
class Eni:
    """A network interface as DescribeNetworkInterfaces shows it."""

    id: str
    mac: str
    subnet: str
    zone: str
    vpc: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    groups: frozenset[str] = frozenset()
    source_dest_check: bool = True
    instance: str = ""
    attachment: str = ""
    state: str = AVAILABLE
    """`available`, or the attachment's: `attaching`, `attached`, `detaching`."""
    card: int = 0
    device: int | None = None
    delete_on_termination: bool = False
    address: str = ""
    """The primary IPv4 address."""
    ipv4: int = 1
    """IPv4 addresses and prefixes, the primary included."""
    prefixes: frozenset[str] = frozenset()
    """Of both families."""
    addresses: frozenset[str] = frozenset()
    """Secondary IPv4 addresses and IPv6 addresses, of an ENI that the VPC CNI leaves alone."""
    managed: bool = False
    """Whether a service of AWS has made it."""

    @property
    def key(self) -> tuple[str, str]:
        """The node's UID and the network that its tags name."""
        return self.tags.get(NODE_UID_TAG, ""), self.tags.get(NETWORK_TAG, "")

    @property
    def ipv6(self) -> tuple[str, ...]:
        """Its IPv6 addresses, in order."""
        return tuple(sorted(each for each in self.addresses if ":" in each))

    @property
    def no_manage(self) -> bool:
        """Whether the VPC CNI leaves it alone."""
        return self.tags.get(NO_MANAGE) == "true"


@dataclass(frozen=True, slots=True)
class Subnet:
    """A subnet."""

    id: str
    zone: str
    vpc: str
    free: int = 0
    """IPv4 addresses that are free (AvailableIpAddressCount)."""
    cidrs: tuple[str, ...] = ()
    """Its ranges, IPv4 first."""


@dataclass(frozen=True, slots=True)
class Group:
    """A security group."""

    id: str
    name: str
    vpc: str


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a network's terms have found, and when (monotonic seconds)."""

    at: float
    terms: object
    """The terms that were asked for: those of a changed network are asked again."""
    subnets: tuple[Subnet, ...] = ()
    groups: tuple[Group, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """What an instance type allows (NetworkInfo of DescribeInstanceTypes)."""

    interfaces: int
    by_card: Mapping[int, int] = field(default_factory=dict)
    ipv4: int = 0
    ipv6: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call that has failed: it is repeated at `due` (monotonic seconds).

    `action` is EC2's, `kind` the sort of failure, `text` EC2's words; `count` failures followed each other.
    """

    action: str
    kind: str
    text: str
    count: int
    due: float
    about: str = ""
    """A creation's ClientToken."""
    asked: object = None
    """What users choose of what was asked for: when it has changed, the call is made at once."""


@dataclass(frozen=True, slots=True)
class Ec2Snapshot:
    """What is known of EC2. Times are monotonic seconds."""

    enis: Mapping[str, Eni] = field(default_factory=dict)
    read_at: float | None = None
    """When all ENIs were described; None before the first time."""
    stale: bool = False
    """Whether there is an ENI that was not shown: all are described again now."""
    seen: Mapping[str, float] = field(default_factory=dict)
    """By ENI: when an answer has shown it last, or a call has changed it."""
    missed: Mapping[str, float] = field(default_factory=dict)
    """By ENI that an object names and that EC2 does not show: since when."""
    made: Mapping[str, float] = field(default_factory=dict)
    """By ENI: when this process has created it. EC2 may not show it at once."""
    instances: Mapping[str, float] = field(default_factory=dict)
    """By instance: when all of its ENIs were described."""
    since: Mapping[str, float] = field(default_factory=dict)
    """By ENI: when it was attached, as far as is known."""
    orphaned: Mapping[str, float] = field(default_factory=dict)
    """By ENI of ours that nothing needs: when a description has shown that first."""
    unheld: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """By ENI and address that no pod has which requests it: since when."""
    idle: Mapping[str, float] = field(default_factory=dict)
    """By NodeAttachment that gives an adopted ENI back: since when it looks detached."""
    resolved: Mapping[str, Resolved] = field(default_factory=dict)
    """By network."""
    limits: Mapping[str, Limits] = field(default_factory=dict)
    """By instance type."""
    refusals: Mapping[str, Refusal] = field(default_factory=dict)
    """By the key of the call."""
    users: Mapping[str, tuple[float, tuple[str, ...]]] = field(default_factory=dict)
    """By NodeAttachment that is to go: when its pods were listed, and which use it."""
    prefixes: PrefixMemory = field(default_factory=PrefixMemory)
