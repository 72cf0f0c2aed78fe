"""An AWS account in memory for several nodes: ENIs with addresses, request limits, failures to come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network

from ipagent.assign.address_calls import Assign, Unassign
from ipagent.assign.addresses import IPAddress, parse_address, sort_key
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.errors import AgentError, Ec2Error, error_of
from ipagent.assign.topology import Attached, Eni, EniDetails, Observed, Topology, Unread
from tests.ipagent.fakes import Strike, Time, check_assign, check_unassign, striking

SUBNETS = {
    "subnet-0": (IPv4Network("10.0.0.0/16"),),
    "subnet-1": (IPv4Network("10.1.0.0/16"), IPv6Network("2001:db8:1::/64")),
    "subnet-2": (IPv4Network("10.2.0.0/16"),),
}


@dataclass
class Bucket:
    """A request limit: so many at once, then so many a second."""

    time: Time
    size: float = 100.0
    refill: float = 5.0
    level: float = 100.0
    at: float = 0.0

    def take(self) -> bool:
        self.level = min(self.size, self.level + (self.time.now - self.at) * self.refill)
        self.at = self.time.now
        if self.level < 1:
            return False
        self.level -= 1
        return True


@dataclass
class Holding:
    """An ENI as EC2 has it."""

    eni: Eni
    instance: str
    primary: IPAddress
    secondaries: set[IPAddress] = field(default_factory=set)

    def shown(self) -> EniDetails:
        listed = tuple(sorted(self.secondaries, key=sort_key))
        return EniDetails(
            self.eni.id,
            self.primary,
            listed,
            instance_id=self.instance,
            device_number=self.eni.device_number,
            prefixes=self.eni.prefixes,
        )


@dataclass
class Account:
    """The ENIs of all nodes. `took` is called with every change: (instance, ENI's id, addresses, added)."""

    time: Time
    room: int = 49
    latency: float = 0.0
    limited: bool = False
    struck: list[Strike] = field(default_factory=list)
    enis: dict[str, Holding] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    before_call: Callable[[str], None] = lambda _: None

    def __post_init__(self) -> None:
        self.buckets = {
            action: Bucket(self.time, at=self.time.now)
            for action in ("assign4", "assign6", "unassign4", "unassign6")
        }

    def node(self, instance: str, number: int) -> NodeCloud:
        """Make a node with three ENIs; the first belongs to the VPC CNI."""
        for device in range(3):
            primary = parse_address(f"10.{device}.{number}.254")
            eni = Eni(
                f"eni-{instance}-{device}",
                f"02:00:00:00:{number:02x}:{device:02x}",
                device,
                f"subnet-{device}",
                SUBNETS[f"subnet-{device}"],
            )
            self.enis[eni.id] = Holding(eni, instance, primary)
        return NodeCloud(self, instance)

    def holders(self, address: IPAddress) -> set[str]:
        return {eni_id for eni_id, each in self.enis.items() if address in each.secondaries}

    @contextmanager
    def call(self, kind: str, action: str = "") -> Iterator[None]:
        """Make a call: it may fail before its effect or after it."""
        self.calls[kind] += 1
        self.before_call(kind)
        self.time.now += self.latency
        if self.limited and action and not self.buckets[action].take():
            self.refused[kind] += 1
            raise Ec2Error(Failure(Fault.THROTTLED, "Request limit exceeded"))
        with striking(self.struck, kind):
            yield


@dataclass
class NodeCloud:
    """The account as the agent of one node uses it. IMDS shows old news for `imds_delay` seconds."""

    account: Account
    instance: str
    imds: bool = True
    imds_delay: float = 0.0
    barred: set[str] = field(default_factory=set)
    hidden: set[str] = field(default_factory=set)
    """ENIs that were attached a moment ago, and are not shown yet."""
    unread: set[str] = field(default_factory=set)
    """ENIs that can't be asked for."""
    lookups: int = 0
    away: bool = False
    before: dict[str, tuple[float, frozenset[IPAddress]]] = field(default_factory=dict)

    def mine(self) -> list[Holding]:
        return [each for each in self.account.enis.values() if each.instance == self.instance]

    def topology(self, macs: Collection[str], *, fresh: bool = False) -> Topology:
        assert fresh or macs is not None
        found = self.observed()
        return replace(found.topology, held=tuple(each.held for each in found.attached))

    def observed(self) -> Observed:
        self.lookups += 1
        try:
            with self.account.call("lookup"):
                if self.away:
                    raise error_of(Failure(Fault.UNREACHABLE, "nobody answers"))
                failure = Failure(Fault.UNREACHABLE, "a webhook refuses that")
                seen = [each for each in self.mine() if each.eni.id not in self.hidden]
                read = [each for each in seen if each.eni.id not in self.unread]
                return Observed(
                    tuple(Attached(each.eni, each.shown()) for each in read),
                    tuple(Unread(each.eni, error_of(failure)) for each in seen if each not in read),
                )
        except Ec2Error as error:
            raise error_of(error.failure) from None

    def metadata(self, eni: Eni, versions: Collection[int]) -> frozenset[IPAddress] | None:
        if not self.imds:
            return None
        here = self.account.enis[eni.id]
        until, before = self.before.get(eni.id, (0.0, frozenset()))
        shown = before if self.account.time.now < until else here.secondaries
        return frozenset(a for a in (*shown, here.primary) if a.version in versions)

    def describe(self, eni_id: str) -> EniDetails:
        with self.account.call("describe"):
            return self.account.enis[eni_id].shown()

    def holders(self, addresses: Collection[IPAddress], subnet_id: str) -> tuple[EniDetails, ...]:
        assert subnet_id
        assert len({address.version for address in addresses}) == 1
        with self.account.call("holders"):
            every = [each.shown() for each in self.account.enis.values()]
            return tuple(eni for eni in every if any(eni.holds(address) for address in addresses))

    prefix_holders = holders

    def assign(self, call: Assign) -> frozenset[IPAddress]:
        (version,) = {address.version for address in call.addresses}
        with self.account.call("assign", f"assign{version}"):
            here, wanted = self.account.enis[call.eni_id], set(call.addresses)
            assert here.instance == self.instance, "not an ENI of this node"
            assert here.eni.usable
            self._check(call, here)
            listed = wanted if version == 4 else wanted - here.secondaries
            for each in self.account.enis.values():
                self._remember(each)
                each.secondaries -= wanted
            here.secondaries |= wanted
            return frozenset(listed)

    def _check(self, call: Assign, here: Holding) -> None:
        if outside := [str(address) for address in call.addresses if not here.eni.contains(address)]:
            raise Ec2Error(Failure(Fault.REFUSED, f"{outside} is outside of the subnet"))
        every = self.account.enis
        blocks = [prefix for each in every.values() for prefix in each.eni.prefixes]
        held = {eni_id: each.secondaries for eni_id, each in every.items()}
        check_assign(call, held, {each.primary for each in every.values()}, blocks, self.account.room)

    def unassign(self, call: Unassign) -> None:
        (version,) = {address.version for address in call.addresses}
        with self.account.call("unassign", f"unassign{version}"):
            here = self.account.enis[call.eni_id]
            check_unassign(call, here.secondaries)
            self._remember(here)
            here.secondaries.difference_update(call.addresses)

    def _remember(self, each: Holding) -> None:
        until = self.account.time.now + self.imds_delay
        self.before[each.eni.id] = (until, frozenset(each.secondaries))


__all__ = ["Account", "AgentError", "Bucket", "Holding", "NodeCloud"]
