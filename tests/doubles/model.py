"""The state of the double and the operations on it: frozen values in, frozen values or a refusal out.

An operation returns a new `World` or raises `Ec2Error`, so every call is all-or-nothing. Times are seconds of
a monotonic clock that the caller passes in.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import islice

from tests.doubles import refusals
from tests.doubles.identifiers import INSTANCE, INTERFACE, SUBNET


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

    def admit(self, address: IPv4Address) -> None:
        """Raise `Ec2Error` for an address that no interface of this subnet may hold."""
        if address not in self.cidr:
            raise refusals.outside_subnet(address)
        offset = int(address) - int(self.cidr.network_address)
        # "Subnet CIDR blocks" in the VPC user guide: the first four addresses and the last one.
        if offset < 4 or offset == self.cidr.num_addresses - 1:
            raise refusals.reserved(address)

    def assignable(self) -> Iterator[IPv4Address]:
        """Give all addresses that interfaces may hold, lowest first."""
        first = int(self.cidr.network_address)
        return (IPv4Address(first + offset) for offset in range(4, self.cidr.num_addresses - 1))


@dataclass(frozen=True)
class Instance:
    """An instance: what its type allows, and how its IMDS is set and reached.

    `sources` are the addresses from which programs on it come; those in `host_addresses` come without a
    network hop, the others over one.
    """

    id: str
    type: str
    ipv4_per_interface: int
    sources: tuple[IPv4Network | IPv6Network, ...]
    host_addresses: frozenset[IPv4Address | IPv6Address] = frozenset()
    hop_limit: int = 1
    http_tokens: HttpTokens = HttpTokens.REQUIRED
    http_endpoint: bool = True
    role: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def reached_from(self, source: IPv4Address | IPv6Address) -> bool:
        """Whether a program with this source address runs on the instance."""
        return source in self.host_addresses or any(source in network for network in self.sources)


@dataclass(frozen=True)
class Former:
    """Secondary addresses that IMDS still shows, until this time."""

    until: float
    secondaries: tuple[IPv4Address, ...]


@dataclass(frozen=True)
class NetworkInterface:
    """An elastic network interface (ENI), attached to an instance.

    `network_card` is None on types with one card: EC2 then says card 0 and IMDS nothing. `formers` are
    what IMDS shows in place of `secondaries`, oldest first.
    """

    id: str
    mac: str
    instance: str
    device: int
    subnet: str
    primary: IPv4Address
    network_card: int | None = None
    secondaries: tuple[IPv4Address, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    formers: tuple[Former, ...] = ()

    @property
    def addresses(self) -> tuple[IPv4Address, ...]:
        """All its addresses, the primary first."""
        return (self.primary, *self.secondaries)

    def holding(
        self, secondaries: tuple[IPv4Address, ...], now: float, imds_delay: float
    ) -> NetworkInterface:
        """Give the interface with other secondary addresses, which IMDS will show after the delay."""
        formers = tuple(former for former in self.formers if now < former.until)
        if imds_delay > 0:
            formers = (*formers, Former(now + imds_delay, self.secondaries))
        return replace(self, secondaries=secondaries, formers=formers)

    def addresses_in_imds(self, now: float) -> tuple[IPv4Address, ...]:
        """Give what IMDS shows at this time, the primary first."""
        for former in self.formers:
            if now < former.until:
                return (self.primary, *former.secondaries)
        return self.addresses


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
    """Seconds for which IMDS shows the addresses before a change."""

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
        """Give an instance's interfaces, by network card and device number."""
        mine = (interface for interface in self.interfaces.values() if interface.instance == instance)
        return tuple(sorted(mine, key=lambda interface: (interface.network_card or 0, interface.device)))

    def holder_of(self, address: IPv4Address) -> NetworkInterface | None:
        """Find the interface that has the address, as primary or secondary."""
        return next((held for held in self.interfaces.values() if address in held.addresses), None)

    def instance_at(self, source: IPv4Address | IPv6Address) -> Instance | None:
        """Find the instance from which a request with this source address comes."""
        return next((found for found in self.instances.values() if found.reached_from(source)), None)

    def key(self, identifier: str) -> AccessKey | None:
        """Find credentials by access key id."""
        if found := self.access_keys.get(identifier):
            return found
        return next((key for key in self.role_keys.values() if key.id == identifier), None)

    def free_addresses(self, subnet: Subnet) -> Iterator[IPv4Address]:
        """Give the addresses of the subnet that nobody holds, lowest first."""
        used = self._used(subnet)
        return (address for address in subnet.assignable() if address not in used)

    def free_address_count(self, subnet: Subnet) -> int:
        """Count the addresses of the subnet that nobody holds."""
        return subnet.cidr.num_addresses - 5 - len(self._used(subnet))

    def assign(
        self, identifier: str, addresses: Collection[IPv4Address], *, allow_reassignment: bool, now: float
    ) -> World:
        """Give the interface these secondary addresses, taking them from others if that is allowed.

        Addresses that it has already change nothing. Raises `Ec2Error` as AssignPrivateIpAddresses does.
        """
        interface = self.interface(identifier)
        for address in addresses:
            self.subnets[interface.subnet].admit(address)
        holders = {address: holder for address in addresses if (holder := self.holder_of(address))}
        if primaries := [address for address, holder in holders.items() if address == holder.primary]:
            raise refusals.primary_not_movable(primaries)
        losers = {address: holder.id for address, holder in holders.items() if holder.id != identifier}
        if losers and not allow_reassignment:
            raise refusals.move_not_allowed(losers)
        gained = tuple(
            dict.fromkeys(address for address in addresses if address not in interface.secondaries)
        )
        self._check_room(interface, len(gained))
        changed = {identifier: interface.secondaries + gained}
        for loser in set(losers.values()):
            kept = self.interfaces[loser].secondaries
            changed[loser] = tuple(address for address in kept if address not in losers)
        return self._with_secondaries(changed, now)

    def assign_free(self, identifier: str, count: int, now: float) -> tuple[World, tuple[IPv4Address, ...]]:
        """Give the interface so many free addresses of its subnet; also returns which."""
        interface = self.interface(identifier)
        self._check_room(interface, count)
        chosen = tuple(islice(self.free_addresses(self.subnets[interface.subnet]), count))
        if len(chosen) < count:
            raise refusals.subnet_full()
        return self._with_secondaries({identifier: interface.secondaries + chosen}, now), chosen

    def unassign(self, identifier: str, addresses: Collection[IPv4Address], now: float) -> World:
        """Take secondary addresses away; raises `Ec2Error` as UnassignPrivateIpAddresses does."""
        interface = self.interface(identifier)
        if interface.primary in addresses:
            raise refusals.primary_not_unassignable(interface.primary)
        if not set(addresses) <= set(interface.secondaries):
            raise refusals.not_assigned(identifier)
        kept = tuple(address for address in interface.secondaries if address not in addresses)
        return self._with_secondaries({identifier: kept}, now)

    def _used(self, subnet: Subnet) -> set[IPv4Address]:
        inside = (held for held in self.interfaces.values() if held.subnet == subnet.id)
        return {address for held in inside for address in held.addresses}

    def _check_room(self, interface: NetworkInterface, more: int) -> None:
        limit = self.instances[interface.instance].ipv4_per_interface
        if more and len(interface.addresses) + more > limit:
            raise refusals.interface_full(interface.id)

    def _with_secondaries(self, changed: Mapping[str, tuple[IPv4Address, ...]], now: float) -> World:
        interfaces = dict(self.interfaces)
        for identifier, secondaries in changed.items():
            before = interfaces[identifier]
            if secondaries != before.secondaries:
                interfaces[identifier] = before.holding(secondaries, now, self.imds_delay)
        return replace(self, interfaces=interfaces)
