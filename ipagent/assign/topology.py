"""The node's ENIs and what they hold, as IMDS and EC2 show them. Data only."""

from __future__ import annotations

from collections.abc import Mapping

from common.frozen_dataclass import dataclass, field
from ipagent.assign.addresses import IPAddress, IPNetwork
from ipagent.assign.errors import AgentError


@dataclass(frozen=True)
class Eni:
    """A network interface of the node. `subnet_cidrs` lacks a family whose ranges are not known.

    `ranges_by_ec2`: EC2 has told them, and not IMDS, which shows those of IPv6 late.
    `barred` says, after "which", why it must not be given addresses though it is not the instance's primary.
    `prefixes` are delegated to it: all of their addresses are routed to it as they are.
    """

    id: str
    mac: str
    device_number: int
    subnet_id: str
    subnet_cidrs: tuple[IPNetwork, ...] = ()
    barred: str = ""
    network_card: int = 0
    prefixes: tuple[IPNetwork, ...] = ()
    ranges_by_ec2: bool = False

    @property
    def is_primary(self) -> bool:
        """Whether it is the interface that the instance was launched with."""
        return is_primary(self.network_card, self.device_number)

    @property
    def usable(self) -> bool:
        """Whether it may be given addresses."""
        return not self.is_primary and not self.barred

    @property
    def slot(self) -> str:
        """Where it is attached, in words."""
        return slot(self.network_card, self.device_number)

    def prefix_of(self, address: IPAddress) -> IPNetwork | None:
        """Return the prefix delegated to it that contains the address."""
        return next((prefix for prefix in self.prefixes if address in prefix), None)

    def contains(self, address: IPAddress) -> bool:
        """Whether its subnet contains the address."""
        return any(address in cidr for cidr in self.subnet_cidrs)

    def excludes(self, address: IPAddress) -> bool:
        """Whether its subnet is known not to contain the address."""
        known = any(cidr.version == address.version for cidr in self.subnet_cidrs)
        return known and not self.contains(address)

    def may_hold(self, address: IPAddress) -> bool:
        """Whether its subnet may contain the address, as far as it is known."""
        return not self.excludes(address) or self.may_contain(address)

    def may_contain(self, address: IPAddress) -> bool:
        """Whether EC2 may say that its subnet contains an address of which what is known does not say so.

        A subnet keeps its IPv4 range for life; one of IPv6 may be associated with it at any time.
        """
        known = any(cidr.version == address.version for cidr in self.subnet_cidrs)
        return not self.ranges_by_ec2 and (address.version == 6 or not known)


@dataclass(frozen=True)
class Topology:
    """The node's ENIs, or as many of them as were asked for.

    `held` is what EC2 said in the same answer that they hold; empty where the answer is an earlier one.
    `partial`: MAC -> why IMDS can't be used for its ENI. `absent`: MAC -> the ENI that has it and is not
    attached here. `doubt` is why it is not known whether an ENI of this node has a MAC that is not listed.
    `unranged` are ENIs of subnets whose ranges are not known yet. `delegated`: MAC -> an ENI as IMDS shows
    it, of which only the prefixes count. `unread`: those of the ENIs, by id, of which EC2 could not be asked,
    and why: MACs and subnets are known, and not what they hold or whether they may be given addresses. With
    `seen_all` no running pod can have on one of them an address that another ENI's subnet contains. Without
    `verified` IMDS alone has shown the ENIs: not their types and owners, and perhaps some that are detached.
    """

    enis: tuple[Eni, ...]
    held: tuple[EniDetails, ...] = field(default=(), compare=False)
    partial: Mapping[str, str] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    doubt: AgentError | None = None
    unranged: tuple[str, ...] = ()
    delegated: Mapping[str, Eni] = field(default_factory=dict)
    unread: Mapping[str, AgentError] = field(default_factory=dict)
    seen_all: bool = True
    verified: bool = True

    @property
    def complete(self) -> bool:
        """Whether it can't become clearer by itself soon."""
        return not (self.partial or self.absent or self.doubt or self.unranged)


@dataclass(frozen=True)
class EniDetails:
    """An ENI as EC2 describes it: what it holds, what it is attached to, and whose it is.

    An ENI that is attached to nothing has neither `instance_id` nor `device_number`. `managed`: it belongs to
    an AWS service. `no_manage`: its tag keeps the VPC CNI off it. `owner_tag`: a tag by which the VPC CNI or
    the VPC resource controller marks what is its own, as `key=value`. `elsewhere`: it is attached to another
    instance than the agent's.
    """

    eni_id: str
    primary: IPAddress | None
    secondaries: tuple[IPAddress, ...]
    primary_ipv6: IPAddress | None = None
    """It can't be taken off either (`IsPrimaryIpv6` in the EC2 API)."""
    instance_id: str = ""
    device_number: int | None = None
    description: str = ""
    managed: bool = False
    mac: str = ""
    subnet_id: str = ""
    vpc_id: str = ""
    no_manage: bool = False
    prefixes: tuple[IPNetwork, ...] = ()
    network_card: int = 0
    interface_type: str = "interface"
    """`InterfaceType` in the EC2 API: `interface`, `trunk`, `branch`, `efa`, `natGateway`, ..."""
    owner_tag: str = ""
    detaching: bool = False
    elsewhere: bool = False
    arriving: tuple[IPAddress, ...] = ()
    """Their assignment was sent, and is not answered yet: it may have them soon."""

    @property
    def is_primary(self) -> bool:
        """Whether it is the interface that its instance was launched with."""
        return is_primary(self.network_card, self.device_number)

    @property
    def why_not_here(self) -> str:
        """Say, after its id, why it carries nothing on the agent's instance; empty if it may."""
        if self.device_number is None:
            return "attached to no instance"
        if self.elsewhere:
            return f"attached to another instance, {self.instance_id or 'whose id EC2 does not show'}"
        return "being detached" if self.detaching else ""

    @property
    def primaries(self) -> tuple[IPAddress, ...]:
        """The addresses that can't be taken off."""
        return tuple(address for address in (self.primary, self.primary_ipv6) if address is not None)

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """Every address on the ENI, primaries first."""
        return (*self.primaries, *self.secondaries)

    def holds(self, address: IPAddress) -> bool:
        """Whether the address is routed to the ENI, in whatever role: its own, or one of a prefix."""
        own = self.holds_as_primary(address) or address in self.secondaries
        return own or self.prefix_of(address) is not None

    def holds_as_primary(self, address: IPAddress) -> bool:
        """Whether the address is a primary one of the ENI."""
        return address in (self.primary, self.primary_ipv6)

    def prefix_of(self, address: IPAddress) -> IPNetwork | None:
        """Return the prefix delegated to the ENI that contains the address, if it is not the ENI's own."""
        # Most ENIs have none, and fifty addresses to look through.
        if not self.prefixes or self.holds_as_primary(address) or address in self.secondaries:
            return None
        return next((prefix for prefix in self.prefixes if address in prefix), None)


def is_primary(network_card: int, device_number: int | None) -> bool:
    """Return the instance's primary interface: other network cards have a device number 0, too.

    "Elastic network interfaces, network cards" in the EC2 user guide.
    """
    return (network_card, device_number) == (0, 0)


def slot(network_card: int, device_number: int | None) -> str:
    """Say where on an instance an ENI is attached."""
    return f"device number {device_number}" + (f" on network card {network_card}" if network_card else "")


@dataclass(frozen=True)
class Attached:
    """An ENI of the node, with what EC2 said last that it holds."""

    eni: Eni
    held: EniDetails


@dataclass(frozen=True)
class Unread:
    """What is known of an ENI of the node that EC2 could not be asked about, and why."""

    eni: Eni
    error: AgentError


@dataclass(frozen=True)
class Observed:
    """What EC2 shows of the node's ENIs, and of which ENIs it could not be asked."""

    attached: tuple[Attached, ...]
    unread: tuple[Unread, ...] = ()

    @property
    def topology(self) -> Topology:
        """The ENIs, without what they hold."""
        enis = (*(each.eni for each in self.attached), *(each.eni for each in self.unread))
        return Topology(enis, unread={each.eni.id: each.error for each in self.unread})
