"""The state of the double: frozen values.

An operation on it gives a new `World` or raises `Ec2Error`, so every call is all-or-nothing. Times are
seconds of a monotonic clock that the caller passes in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeAlias

from tests.doubles.ec2 import errors
from tests.doubles.ec2.throttling import Throttling
from tests.doubles.state.identifiers import INSTANCE, INTERFACE, SUBNET
from tests.doubles.state.instance_types import NetworkInfo

Address: TypeAlias = IPv4Address | IPv6Address

PAST_CHANGES = 256
"""How many changes are remembered beyond `imds_delay`, for an IMDS that is made older still."""


class HttpTokens(StrEnum):
    """Whether IMDS wants a session token (`HttpTokens` of the instance metadata options)."""

    OPTIONAL = "optional"
    REQUIRED = "required"


@dataclass(frozen=True)
class Subnet:
    """A subnet of a VPC; `cidr` and `ipv6_cidr` are its address ranges, `az` its availability zone."""

    id: str
    vpc: str
    cidr: IPv4Network
    az: str
    ipv6_cidr: IPv6Network | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

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
    attaching or detaching is done.
    """

    id: str
    instance: str
    device: int
    network_card: int | None = None
    status: AttachmentStatus = AttachmentStatus.ATTACHED
    due: float = 0.0

    @property
    def slot(self) -> tuple[int, int]:
        """Network card and device number: no two interfaces of an instance share them."""
        return self.network_card or 0, self.device


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

    @property
    def addresses(self) -> tuple[IPv4Address, ...]:
        """All its IPv4 addresses, the primary first."""
        return (self.primary, *self.secondaries)

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


@dataclass(frozen=True)
class AccessKey:
    """Credentials and the identity behind them; `actions` are IAM patterns such as `Describe*`."""

    id: str
    secret: str
    arn: str
    token: str | None = None
    actions: tuple[str, ...] = ("*",)

    def allows(self, action: str) -> bool:
        """Whether the identity has the right to the EC2 action."""
        return any(fnmatchcase(action, pattern) for pattern in self.actions)


@dataclass(frozen=True)
class Past:
    """The interfaces as they were before a change at a time."""

    until: float
    interfaces: Mapping[str, NetworkInterface]


@dataclass(frozen=True)
class MetadataView:
    """How IMDS shows one interface: its own `delay` in seconds, and names of its entry that are not there.

    The name `*` hides the entry as a whole, also from the list of MACs.
    """

    delay: float | None = None
    hidden: frozenset[str] = frozenset()


WHOLE_ENTRY = "*"


@dataclass(frozen=True)
class World:
    """One account in one region; mappings go by identifier.

    No two subnets overlap, so that an address is unique.
    """

    region: str
    account: str
    subnets: Mapping[str, Subnet]
    instances: Mapping[str, Instance]
    interfaces: Mapping[str, NetworkInterface]
    access_keys: Mapping[str, AccessKey]
    role_keys: Mapping[str, AccessKey] = field(default_factory=dict)
    """Instance -> the credentials that its IMDS gives out."""
    imds_delay: float = 0.0
    """Seconds for which IMDS shows the interfaces before a change."""
    imds: Mapping[str, MetadataView] = field(default_factory=dict)
    """Interfaces that IMDS shows otherwise, by id."""
    attach_delay: float = 0.0
    """Seconds for which an interface is attaching or detaching."""
    throttling: Throttling = field(default_factory=Throttling)
    """Which request limits are in force."""
    past: tuple[Past, ...] = ()
    """What was before the latest changes, oldest first."""
    serial: int = 0
    """How many identifiers have been given out."""

    def interface(self, identifier: str) -> NetworkInterface:
        """Find an interface; raises `Ec2Error` for a malformed or unknown identifier."""
        return INTERFACE.find(self.interfaces, identifier)

    def instance(self, identifier: str) -> Instance:
        """Find an instance; raises `Ec2Error` for a malformed or unknown identifier."""
        return INSTANCE.find(self.instances, identifier)

    def subnet(self, identifier: str) -> Subnet:
        """Find a subnet; raises `Ec2Error` for a malformed or unknown identifier."""
        return SUBNET.find(self.subnets, identifier)

    def interfaces_of(self, instance: str) -> tuple[NetworkInterface, ...]:
        """Return an instance's interfaces, by network card and device number."""
        mine = [
            (interface.attachment.slot, interface)
            for interface in self.interfaces.values()
            if interface.attachment and interface.attachment.instance == instance
        ]
        return tuple(interface for _, interface in sorted(mine, key=lambda pair: pair[0]))

    def holder_of(self, address: Address) -> NetworkInterface | None:
        """Find the interface that has the address, as primary, secondary, IPv6 address or in a prefix."""
        return next((held for held in self.interfaces.values() if held.holds(address)), None)

    def instance_at(self, source: Address) -> Instance | None:
        """Find the instance from which a request with this source address comes."""
        return next((found for found in self.instances.values() if found.reached_from(source)), None)

    def key(self, identifier: str) -> AccessKey | None:
        """Find credentials by access key id."""
        if found := self.access_keys.get(identifier):
            return found
        return next((key for key in self.role_keys.values() if key.id == identifier), None)

    def free_addresses(self, subnet: Subnet) -> Iterator[IPv4Address]:
        """Return the IPv4 addresses of the subnet that nobody holds, lowest first."""
        used = self._used(subnet)
        return (address for address in subnet.assignable() if address not in used)

    def free_address_count(self, subnet: Subnet) -> int:
        """Count the IPv4 addresses of the subnet that nobody holds."""
        return subnet.cidr.num_addresses - 5 - len(self._used(subnet))

    def changed(self, interfaces: Mapping[str, NetworkInterface | None], now: float) -> World:
        """Return the world with these interfaces replaced, None for those that are gone."""
        after = {**self.interfaces, **interfaces}
        kept = {identifier: interface for identifier, interface in after.items() if interface is not None}
        if kept == self.interfaces:
            return self
        longest = max([self.imds_delay, *(view.delay or 0.0 for view in self.imds.values())])
        recent = [past for past in self.past if now < past.until + longest]
        past = recent if len(recent) >= PAST_CHANGES else self.past[-PAST_CHANGES:]
        return replace(self, interfaces=kept, past=(*past, Past(now, self.interfaces)))

    def in_imds(self, now: float, older: float = 0.0) -> World:
        """Return the world as IMDS shows it at this time: that of its delay and `older` seconds ago."""
        shown = dict(self._as_of(now, self.imds_delay + older))
        for identifier, view in self.imds.items():
            if view.delay is not None:
                then = self._as_of(now, view.delay + older).get(identifier)
                shown.pop(identifier, None)
                if then:
                    shown[identifier] = then
            if WHOLE_ENTRY in view.hidden:
                shown.pop(identifier, None)
        return replace(self, interfaces=shown)

    def _as_of(self, now: float, delay: float) -> Mapping[str, NetworkInterface]:
        return next((past.interfaces for past in self.past if now < past.until + delay), self.interfaces)

    def _used(self, subnet: Subnet) -> set[IPv4Address]:
        inside = [held for held in self.interfaces.values() if held.subnet == subnet.id]
        single = {address for held in inside for address in held.addresses}
        return single.union(*(prefix for held in inside for prefix in held.ipv4_prefixes))
