"""Which ENI carries an address.

ipvlan shares the MAC of its parent and host-device moves the ENI itself, so the MAC of the pod's interface
names the ENI, also where two ENIs share a subnet. Where the MAC is foreign (macvlan, bridge), the ENI is the
one whose subnet contains the address. Device number 0 of network card 0 belongs to the VPC CNI, which would
adopt an address of ours into its own pool (amazon-vpc-cni-k8s, `docs/`): it is always refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ipagent.assign.addresses import Holding, IPAddress, IPNetwork
from ipagent.assign.errors import AgentError

_DEVICE_0 = (
    "is device number 0 and belongs to the VPC CNI: attach an ENI of that subnet for the network, or choose "
    "another range"
)


@dataclass(frozen=True)
class Eni:
    """A network interface of the node. `subnet_cidrs` lacks a family whose ranges are not known.

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


@dataclass(frozen=True)
class Topology:
    """The node's ENIs, or as many of them as were asked for.

    `held` is what EC2 said in the same answer that they hold; empty where the answer is an earlier one.
    `partial`: MAC -> why IMDS can't be used for its ENI. `absent`: MAC -> the ENI that has it and is not
    attached here. `doubt` is why it is not known whether an ENI of this node has a MAC that is not listed.
    `unranged` are ENIs of subnets whose ranges are not known yet. `delegated`: MAC -> an ENI as IMDS shows
    it, of which only the prefixes count.
    """

    enis: tuple[Eni, ...]
    held: tuple[EniDetails, ...] = field(default=(), compare=False)
    partial: Mapping[str, str] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    doubt: AgentError | None = None
    unranged: tuple[str, ...] = ()
    delegated: Mapping[str, Eni] = field(default_factory=dict)

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
            return f"attached to another instance, {self.instance_id}"
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
        if self.holds_as_primary(address) or address in self.secondaries:
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
class Placement:
    """The ENI for a holding; `warning` is a sentence for the user, or empty.

    `takeover`: it may be taken from another ENI that has the address.
    """

    holding: Holding
    eni: Eni
    warning: str = ""
    takeover: bool = True


@dataclass(frozen=True)
class Unplaced:
    """A holding without ENI, and why; `pending`: it may get one as soon as IMDS and EC2 show more.

    `error` is what stands in the way of knowing, if that is an error of its own.
    """

    holding: Holding
    reason: str
    pending: bool = False
    error: AgentError | None = None


@dataclass(frozen=True)
class Placed:
    """Holdings with their ENIs, and those without."""

    placements: tuple[Placement, ...] = ()
    unplaced: tuple[Unplaced, ...] = ()


def place(holdings: Iterable[Holding], topology: Topology, *, takeover: bool = True) -> Placed:
    """Find the ENI of each holding; an address that would have to be on two ENIs is on none."""
    # In whatever order they were read: the same choice, and the same sentences.
    enis_in_order = sorted(topology.enis, key=lambda eni: (eni.network_card, eni.device_number, eni.id))
    found = [_place(holding, enis_in_order, topology, takeover=takeover) for holding in holdings]
    enis: dict[IPAddress, set[str]] = {}
    for one in found:
        if isinstance(one, Placement):
            enis.setdefault(one.holding.address, set()).add(one.eni.id)
    placements: dict[IPAddress, Placement] = {}
    unplaced = []
    for one in found:
        if isinstance(one, Unplaced):
            unplaced.append(one)
        elif len(rivals := enis[one.holding.address]) > 1:
            both = " and ".join(sorted(rivals))
            unplaced.append(
                Unplaced(one.holding, f"the pod holds it on interfaces of {both}, one can have it")
            )
        else:
            placements.setdefault(one.holding.address, one)
    return Placed(tuple(placements.values()), tuple(unplaced))


def _place(
    holding: Holding, node: Sequence[Eni], topology: Topology, *, takeover: bool
) -> Placement | Unplaced:
    for eni in node:
        if holding.mac and eni.mac == holding.mac:
            return _by_mac(holding, eni, takeover=takeover)
    if reason := topology.absent.get(holding.mac):
        return Unplaced(holding, f"its interface has the MAC of {reason}", pending=True)
    # The subnet must not decide while an ENI may have the MAC: the address would land on another one.
    placed = _by_subnet(holding, node, takeover=takeover)
    if topology.doubt is not None:
        if isinstance(placed, Unplaced):
            return replace(placed, reason=f"{placed.reason}; {topology.doubt}", pending=True)
        reason = topology.partial.get(holding.mac) or f"IMDS shows no ENI with the MAC {holding.mac}"
        return Unplaced(holding, reason, pending=True, error=topology.doubt)
    if isinstance(placed, Unplaced) and topology.unranged:
        listed = ", ".join(topology.unranged)
        return replace(
            placed, reason=f"{placed.reason}; IMDS does not show {listed} yet, which EC2 has", pending=True
        )
    return placed


def _by_mac(holding: Holding, eni: Eni, *, takeover: bool) -> Placement | Unplaced:
    if eni.is_primary:
        return Unplaced(
            holding,
            f"its interface has the MAC of {eni.id}, which is device number 0 and belongs to the VPC CNI: "
            "let the network's master be another ENI",
        )
    if eni.barred:
        return Unplaced(holding, f"its interface has the MAC of {eni.id}, which {eni.barred}")
    if eni.excludes(holding.address):
        return Unplaced(
            holding,
            f"its interface has the MAC of {eni.id}, but it lies outside that ENI's subnet {_cidrs(eni)}",
        )
    return Placement(holding, eni, takeover=takeover)


def _by_subnet(holding: Holding, node: Sequence[Eni], *, takeover: bool) -> Placement | Unplaced:
    containing = [eni for eni in node if eni.contains(holding.address)]
    # An ENI whose prefix contains the address gets its packets already.
    candidates = sorted(
        (eni for eni in containing if eni.usable), key=lambda eni: eni.prefix_of(holding.address) is None
    )
    if not candidates:
        return Unplaced(holding, _why_none(containing, node))
    warning = (
        f"{holding.interface} has the MAC {holding.mac or 'of no Ethernet device'}, which no ENI of this "
        "node has: the VPC delivers to an ENI's own MAC only, so macvlan is not reachable beyond the node"
    )
    if len(candidates) > 1:
        names = ", ".join(f"{eni.id} (device {eni.device_number})" for eni in candidates)
        warning += f"; {names} are all in the subnet of {holding.address}: {candidates[0].id} is taken"
    return Placement(holding, candidates[0], warning, takeover)


def _why_none(containing: Sequence[Eni], node: Sequence[Eni]) -> str:
    if containing:
        eni = min(containing, key=lambda eni: not eni.barred)
        return f"it lies in the subnet {_cidrs(eni)} of {eni.id}, which {eni.barred or _DEVICE_0}"
    usable = [f"{eni.id} {_cidrs(eni)}" for eni in node if eni.usable]
    barred = [f"{eni.id} {eni.barred}" for eni in node if eni.barred]
    if usable or barred:
        seen = f"beside device number 0 there are {', '.join((*usable, *barred))}"
    else:
        seen = "it has device number 0 alone"
    return f"no ENI of this node is in a subnet that contains it: {seen}"


def _cidrs(eni: Eni) -> str:
    return ", ".join(map(str, eni.subnet_cidrs)) or "of unknown range"
