"""The state of the double: frozen values.

An operation on it gives a new `World` or raises `Ec2Error`, so every call is all-or-nothing. Times are
seconds of a monotonic clock that the caller passes in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

from tests.doubles.ec2.iam import AccessKey
from tests.doubles.ec2.throttling import Throttling
from tests.doubles.state.identifiers import (
    ALLOCATION,
    ENDPOINT,
    GROUP,
    INSTANCE,
    INTERFACE,
    ROUTE_TABLE,
    SUBNET,
)
from tests.doubles.state.resources import (
    Address,
    ElasticIp,
    Instance,
    InstanceState,
    NetworkInterface,
    RouteTable,
    SecurityGroup,
    Subnet,
    SubnetCidrReservation,
    VpcEndpoint,
)

PAST_CHANGES = 256
"""How many changes are remembered beyond `imds_delay`, for an IMDS that is made older still."""


@dataclass(frozen=True)
class Past:
    """The interfaces as they were before a change at a time."""

    until: float
    interfaces: Mapping[str, NetworkInterface]


@dataclass(frozen=True)
class Idempotent:
    """A call of CreateNetworkInterface with a ClientToken: all other parameters, and the interface made."""

    parameters: Mapping[str, str]
    interface: NetworkInterface


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
    describe_delay: float = 0.0
    """Seconds for which other calls do not know an interface that was created."""
    groups: Mapping[str, SecurityGroup] = field(default_factory=dict)
    """Security groups, the default one of each VPC among them."""
    endpoints: Mapping[str, VpcEndpoint] = field(default_factory=dict)
    """VPC endpoints. Those of the type Interface have no network interfaces here."""
    route_tables: Mapping[str, RouteTable] = field(default_factory=dict)
    """Route tables, the main one of each VPC among them."""
    creations: Mapping[str, Idempotent] = field(default_factory=dict)
    """ClientToken -> what CreateNetworkInterface made for it."""
    throttling: Throttling = field(default_factory=Throttling)
    """Which request limits are in force."""
    reservations: Mapping[str, SubnetCidrReservation] = field(default_factory=dict)
    elastic_ips: Mapping[str, ElasticIp] = field(default_factory=dict)
    """Elastic IPs; where they are associated, the interfaces say."""
    elastic_ip_quota: int = 5
    """How many the account may have ("Elastic IP address quota", EC2 user guide)."""
    internet_gateways: frozenset[str] | None = None
    """The VPCs with an internet gateway; None for all of them."""
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

    def group(self, identifier: str) -> SecurityGroup:
        """Find a security group; raises `Ec2Error` for a malformed or unknown identifier."""
        return GROUP.find(self.groups, identifier)

    def endpoint(self, identifier: str) -> VpcEndpoint:
        """Find a VPC endpoint; raises `Ec2Error` for a malformed or unknown identifier."""
        return ENDPOINT.find(self.endpoints, identifier)

    def route_table(self, identifier: str) -> RouteTable:
        """Find a route table; raises `Ec2Error` for a malformed or unknown identifier."""
        return ROUTE_TABLE.find(self.route_tables, identifier)

    def elastic_ip(self, identifier: str) -> ElasticIp:
        """Find an Elastic IP; raises `Ec2Error` for a malformed or unknown allocation."""
        return ALLOCATION.find(self.elastic_ips, identifier)

    def has_internet_gateway(self, vpc: str) -> bool:
        """Whether an internet gateway is attached to a VPC."""
        return self.internet_gateways is None or vpc in self.internet_gateways

    def resource(
        self, identifier: str
    ) -> Subnet | Instance | NetworkInterface | SecurityGroup | ElasticIp | None:
        """Find what has tags, by an identifier of any kind."""
        return (
            self.interfaces.get(identifier)
            or self.instances.get(identifier)
            or self.subnets.get(identifier)
            or self.groups.get(identifier)
            or self.elastic_ips.get(identifier)
        )

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
        return next(
            (
                found
                for found in self.instances.values()
                if found.reached_from(source) and found.state is not InstanceState.TERMINATED
            ),
            None,
        )

    def key(self, identifier: str) -> AccessKey | None:
        """Find credentials by access key id."""
        if found := self.access_keys.get(identifier):
            return found
        return next((key for key in self.role_keys.values() if key.id == identifier), None)

    def free_addresses(self, subnet: Subnet) -> Iterator[IPv4Address]:
        """Return the IPv4 addresses of the subnet that EC2 may choose, lowest first.

        Those of subnet CIDR reservations are not among them.
        """
        used = self._used(subnet)
        reserved = [each.cidr for each in self.reservations.values() if each.subnet == subnet.id]
        return (
            address
            for address in subnet.assignable()
            if address not in used and not any(address in cidr for cidr in reserved)
        )

    def free_address_count(self, subnet: Subnet) -> int:
        """Count the IPv4 addresses of the subnet that nobody holds."""
        return subnet.cidr.num_addresses - 5 - len(self._used(subnet))

    def changed(self, interfaces: Mapping[str, NetworkInterface | None], now: float) -> World:
        """Return the world with these interfaces replaced, None for those that are gone."""
        after = {**self.interfaces, **interfaces}
        kept = {identifier: interface for identifier, interface in after.items() if interface is not None}
        self._move_associations(interfaces, kept)
        if kept == self.interfaces:
            return self
        longest = max([self.imds_delay, *(view.delay or 0.0 for view in self.imds.values())])
        recent = [past for past in self.past if now < past.until + longest]
        past = recent if len(recent) >= PAST_CHANGES else self.past[-PAST_CHANGES:]
        return replace(self, interfaces=kept, past=(*past, Past(now, self.interfaces)))

    def _move_associations(self, changed: Iterable[str], after: dict[str, NetworkInterface]) -> None:
        """Move Elastic IPs with their private addresses; they end with an address that nobody has any more.

        "When you move a secondary private IP address to another network interface, any Elastic IP address
        that is associated with the IP address is also moved" (AssignPrivateIpAddresses, EC2 API reference).
        """
        for identifier in changed:
            before, now = self.interfaces.get(identifier), after.get(identifier)
            held = now.associations if now else before.associations if before else ()
            lost = [each for each in held if now is None or each.private not in now.addresses]
            if now and lost:
                kept = tuple(each for each in held if each not in lost)
                after[identifier] = replace(now, associations=kept)
            for association in lost:
                for other in after.values():
                    if association.private in other.addresses:
                        moved = (*other.associations, association)
                        after[other.id] = replace(other, associations=moved)
                        break

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
