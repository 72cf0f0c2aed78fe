"""What an account has: subnets, security groups, instances and network interfaces, as frozen values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeAlias

from tests.doubles.ec2 import errors
from tests.doubles.state.instance_types import NetworkInfo

Address: TypeAlias = IPv4Address | IPv6Address


class HttpTokens(StrEnum):
    """Whether IMDS wants a session token (`HttpTokens` of the instance metadata options)."""

    OPTIONAL = "optional"
    REQUIRED = "required"


@dataclass(frozen=True)
class Subnet:
    """A subnet of a VPC; `cidr` and `ipv6_cidr` are its address ranges, `az` its availability zone.

    `owner` is the account that shares its VPC with the world's; empty where the VPC is the world's own.
    """

    id: str
    vpc: str
    cidr: IPv4Network
    az: str
    ipv6_cidr: IPv6Network | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    owner: str = ""

    def admit(self, address: Address) -> None:
        """Raise `Ec2Error` for an address that no interface of this subnet may hold."""
        cidr = self.cidr if address.version == 4 else self.ipv6_cidr
        if cidr is None:
            raise errors.no_ipv6_range(self.id)
        if address not in cidr:
            raise errors.outside_subnet(address)
        offset = int(address) - int(cidr.network_address)
        # "Subnet sizing" for IPv4 and IPv6 in the VPC user guide: the first four addresses and the last one.
        if offset < 4 or offset == cidr.num_addresses - 1:
            raise errors.reserved(address)

    def assignable(self) -> Iterator[IPv4Address]:
        """Return all IPv4 addresses that interfaces may hold, lowest first."""
        first = int(self.cidr.network_address)
        return (IPv4Address(first + offset) for offset in range(4, self.cidr.num_addresses - 1))

    def assignable_ipv6(self) -> Iterator[IPv6Address]:
        """Return all IPv6 addresses that interfaces may hold, lowest first; nothing without a range."""
        if self.ipv6_cidr is None:
            return iter(())
        first = int(self.ipv6_cidr.network_address)
        return (IPv6Address(first + offset) for offset in range(4, self.ipv6_cidr.num_addresses - 1))


@dataclass(frozen=True)
class IngressRule:
    """What a security group lets in: from these ranges and groups. `protocol` -1 is all."""

    protocol: str
    ports: tuple[int, int] | None = None
    cidrs: tuple[IPv4Network, ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class SecurityGroup:
    """A security group of a VPC."""

    id: str
    vpc: str
    name: str
    tags: Mapping[str, str] = field(default_factory=dict)
    ingress: tuple[IngressRule, ...] = ()


@dataclass(frozen=True)
class VpcEndpoint:
    """An endpoint of a service in a VPC; `state` is as EC2 answers it, in lower case."""

    id: str
    vpc: str
    service: str
    type: str = "Interface"
    state: str = "available"
    private_dns: bool = True
    subnets: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Route:
    """A route of a route table: to a range, or to a prefix list, by a target such as `nat-…` or `local`."""

    destination: str
    target: str
    active: bool = True


@dataclass(frozen=True)
class RouteTable:
    """A route table of a VPC. The `main` one is that of subnets that no other one names."""

    id: str
    vpc: str
    main: bool = False
    subnets: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


class InstanceState(StrEnum):
    """How far an instance is (`InstanceStateName` of the service model); the double knows these."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPED = "stopped"
    TERMINATED = "terminated"

    @property
    def code(self) -> int:
        """The number beside the name, `InstanceState.Code`."""
        return {"pending": 0, "running": 16, "stopped": 80, "terminated": 48}[self.value]


@dataclass(frozen=True)
class Instance:
    """An instance: what its type allows, and how its IMDS is set and reached.

    `sources` are the addresses from which programs on it come; those in `host_addresses` come without a
    network hop, the others over one.
    """

    id: str
    type: str
    limits: NetworkInfo
    sources: tuple[IPv4Network | IPv6Network, ...]
    host_addresses: frozenset[Address] = frozenset()
    hop_limit: int = 1
    http_tokens: HttpTokens = HttpTokens.REQUIRED
    http_endpoint: bool = True
    role: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    state: InstanceState = InstanceState.RUNNING

    def reached_from(self, source: Address) -> bool:
        """Whether a program with this source address runs on the instance."""
        return source in self.host_addresses or any(source in network for network in self.sources)


class AttachmentStatus(StrEnum):
    """How far an attachment is (`AttachmentStatus` of the service model)."""

    ATTACHING = "attaching"
    ATTACHED = "attached"
    DETACHING = "detaching"


@dataclass(frozen=True)
class Attachment:
    """Where an interface is attached.

    `network_card` is None on types with one card: EC2 then says card 0 and IMDS nothing. `due` is when
    attaching or detaching is done. `delete_on_termination` is whether the interface ends with its instance.
    """

    id: str
    instance: str
    device: int
    network_card: int | None = None
    status: AttachmentStatus = AttachmentStatus.ATTACHED
    due: float = 0.0
    delete_on_termination: bool | None = None

    @property
    def ends_with_instance(self) -> bool:
        """Whether the interface is deleted when its instance is terminated."""
        return self.slot == (0, 0) if self.delete_on_termination is None else self.delete_on_termination

    @property
    def slot(self) -> tuple[int, int]:
        """Network card and device number: no two interfaces of an instance share them."""
        return self.network_card or 0, self.device


@dataclass(frozen=True)
class Association:
    """That an Elastic IP stands for a private IPv4 address of an interface."""

    id: str
    allocation: str
    public: IPv4Address
    private: IPv4Address


@dataclass(frozen=True)
class ElasticIp:
    """An Elastic IP of the account. `remaps` counts the calls that have associated it: EC2 charges them."""

    id: str
    public_ip: IPv4Address
    border_group: str
    tags: Mapping[str, str] = field(default_factory=dict)
    remaps: int = 0


@dataclass(frozen=True)
class NetworkInterface:
    """An elastic network interface (ENI)."""

    id: str
    mac: str
    subnet: str
    primary: IPv4Address
    attachment: Attachment | None = None
    secondaries: tuple[IPv4Address, ...] = ()
    ipv6s: tuple[IPv6Address, ...] = ()
    ipv4_prefixes: tuple[IPv4Network, ...] = ()
    ipv6_prefixes: tuple[IPv6Network, ...] = ()
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    type: str = "interface"
    managed: bool = False
    """Whether an AWS service has made it (`RequesterManaged`)."""
    groups: tuple[str, ...] = ()
    """Its security groups; none stands for the default one of its VPC."""
    source_dest_check: bool = True
    associations: tuple[Association, ...] = ()
    """The Elastic IPs of its IPv4 addresses."""
    visible_at: float = 0.0
    """From when on calls other than CreateNetworkInterface know it."""

    @property
    def addresses(self) -> tuple[IPv4Address, ...]:
        """All its IPv4 addresses, the primary first."""
        return (self.primary, *self.secondaries)

    @property
    def prefixes(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """Its prefixes of both families."""
        return (*self.ipv4_prefixes, *self.ipv6_prefixes)

    @property
    def instance(self) -> str | None:
        """The instance that it is attached to."""
        return self.attachment.instance if self.attachment else None

    @property
    def in_guest(self) -> bool:
        """Whether the instance sees it."""
        return self.attachment is not None and self.attachment.status is not AttachmentStatus.ATTACHING

    def holds(self, address: Address) -> bool:
        """Whether the address is on it, as an address of its own or in a prefix."""
        if isinstance(address, IPv4Address):
            return address in self.addresses or any(address in prefix for prefix in self.ipv4_prefixes)
        return address in self.ipv6s or any(address in prefix for prefix in self.ipv6_prefixes)


class ReservationType(StrEnum):
    """What a reserved range is for (`SubnetCidrReservationType` of the service model)."""

    PREFIX = "prefix"
    EXPLICIT = "explicit"


@dataclass(frozen=True)
class SubnetCidrReservation:
    """A range of a subnet from which EC2 chooses prefixes alone (`prefix`), or nothing (`explicit`)."""

    id: str
    subnet: str
    cidr: IPv4Network | IPv6Network
    type: ReservationType
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
