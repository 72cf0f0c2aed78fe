"""A cloud, a clock and a source in memory, for the parts between the adapters.

`tests.doubles` is what EC2 is; this is what may befall a caller on the way: each call may be struck by a
failure before its effect, or lose its answer after it.
"""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any
from unittest.mock import patch

from common.agent_settings import AgentSettings, LogFormat, LogLevel
from ipagent.assign import release
from ipagent.assign.address_calls import Assign, Unassign
from ipagent.assign.addresses import (
    Detection,
    Holding,
    IPAddress,
    IPNetwork,
    Link,
    LinkAddress,
    Snapshot,
    sort_key,
)
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.errors import AgentError, Ec2Error
from ipagent.assign.placement import Placement
from ipagent.assign.retry import Timing
from ipagent.assign.topology import Eni, EniDetails, Topology
from ipagent.direct.agent import Agent
from ipagent.direct.eni_lookup import PodCloud
from ipagent.log import Log

ETH0 = Link(2, "eth0", "0a:00:00:00:00:02")
NET1 = Link(3, "net1", "02:aa:00:00:00:01")
NET2 = Link(4, "net2", "02:aa:00:00:00:02")

ENI_0 = Eni(
    "eni-0", "02:aa:00:00:00:00", 0, "subnet-0", (IPv4Network("10.10.0.0/24"), IPv6Network("2001:db8:0::/64"))
)
ENI_1 = Eni("eni-1", NET1.mac, 1, "subnet-1", (IPv4Network("10.10.1.0/24"), IPv6Network("2001:db8:1::/64")))
ENI_2 = Eni("eni-2", NET2.mac, 2, "subnet-2", (IPv4Network("10.10.2.0/24"), IPv6Network("2001:db8:2::/64")))


def ip(text: str) -> IPAddress:
    return ip_address(text)


def placement(address: str, eni: Eni = ENI_1, interface: str = "net1", *, takeover: bool = True) -> Placement:
    return Placement(Holding(interface, eni.mac, ip(address)), eni, takeover=takeover)


class Time:
    """A clock that only sleeping moves; chance is always the middle if nothing else is given."""

    def __init__(self, chance: Callable[[], float] = lambda: 0.5) -> None:
        self.now = 1000.0
        self.chance = chance
        self.on_sleep: Callable[[], None] = lambda: None

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds
        self.on_sleep()

    @property
    def timing(self) -> Timing:
        return Timing(self.clock, self.sleep, self.chance)


def patient_exit() -> AbstractContextManager[object]:
    """Have the last releases waited for until they are made.

    Each has a thread, which waits for a core by the machine's clock, whatever clock the agent has.
    """
    return patch.object(release, "EXIT_SECONDS", 600.0)


@dataclass
class Strike:
    """Befalls the next call of a kind: `fault` is raised, after the effect if `lost`."""

    kind: str
    fault: Fault
    lost: bool = False


_STRIKING = threading.Lock()
"""Releases at the end are made at once, and no two are befallen by one strike."""


@contextmanager
def striking(strikes: list[Strike], kind: str) -> Iterator[None]:
    """Make a call, which the first strike of its kind befalls before its effect or after it."""
    with _STRIKING:
        strike = next((strike for strike in strikes if strike.kind == kind), None)
        if strike is not None:
            strikes.remove(strike)
    if strike is None:
        yield
        return
    if strike.lost:
        yield
    raise Ec2Error(Failure(strike.fault, f"struck by {strike.fault.name}"))


def check_assign(
    call: Assign,
    held: Mapping[str, Collection[IPAddress]],
    primaries: Collection[IPAddress],
    prefixes: Collection[IPNetwork],
    room: int,
) -> None:
    """Raise Ec2Error where EC2 refuses.

    `held` are the secondary addresses by ENI, `room` is how many of them an ENI has at most.
    """
    wanted = set(call.addresses)
    if wanted.intersection(primaries):
        raise Ec2Error(Failure(Fault.REFUSED, "an address is the primary of an interface"))
    if inside := [str(a) for a in wanted if any(a in block for block in prefixes)]:
        raise Ec2Error(Failure(Fault.REFUSED, f"{inside} is part of a prefix of a network interface"))
    others = {a for eni_id, there in held.items() if eni_id != call.eni_id for a in there}
    version = call.addresses[0].version
    if wanted & others and not (call.allow_reassignment and version == 4):
        listed = " ".join(map(str, wanted & others))
        raise Ec2Error(Failure(Fault.HELD_ELSEWHERE, f"[{listed}] move is not allowed"))
    if len({a for a in wanted.union(held[call.eni_id]) if a.version == version}) > room:
        raise Ec2Error(Failure(Fault.ENI_FULL, "Number of private addresses will exceed limit"))


def check_unassign(call: Unassign, held: Collection[IPAddress]) -> None:
    """Raise Ec2Error where the ENI does not hold all of the addresses."""
    if not set(call.addresses) <= set(held):
        raise Ec2Error(Failure(Fault.NOT_HELD, "not assigned to interface"))


@dataclass
class FakeCloud:
    """ENIs with addresses. `struck` are failures to come, in order; `calls` what was asked."""

    time: Time
    primaries: dict[str, IPAddress] = field(
        default_factory=lambda: {
            "eni-1": ip("10.10.1.10"),
            "eni-2": ip("10.10.2.10"),
            "eni-9": ip("10.10.1.9"),
        }
    )
    secondaries: dict[str, set[IPAddress]] = field(
        default_factory=lambda: {"eni-1": set(), "eni-2": set(), "eni-9": set()}
    )
    prefixes: dict[str, tuple[IPNetwork, ...]] = field(default_factory=dict)
    traits: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What else EC2 shows of an ENI, as fields of EniDetails."""
    room: int = 5
    rooms: dict[str, int] = field(default_factory=dict)
    """Of ENIs that have another room."""
    imds: bool = True
    imds_delay: float = 0.0
    ec2_delay: float = 0.0
    """For how long descriptions of ENIs are those of before a change."""
    unlisted: bool = False
    struck: list[Strike] = field(default_factory=list)
    calls: list[tuple[str, str, tuple[IPAddress, ...]]] = field(default_factory=list)
    metadata_reads: int = 0
    lookups: list[bool] = field(default_factory=list)
    lookup_error: AgentError | None = None
    doubt: AgentError | None = None
    enis: tuple[Eni, ...] = (ENI_0, ENI_1, ENI_2)
    _changed: list[tuple[float, float, str, frozenset[IPAddress]]] = field(default_factory=list)

    def topology(self, macs: Collection[str], *, fresh: bool = False) -> Topology:
        assert macs
        self.lookups.append(fresh)
        if self.lookup_error is not None:
            raise self.lookup_error
        return Topology(self.enis, doubt=self.doubt)

    def cached(self, macs: Collection[str]) -> Topology | None:
        assert macs
        return None

    def known(self, mac: str) -> Eni | None:
        assert mac
        return None

    def verified(self, shown: Topology, macs: Collection[str]) -> Topology:
        raise AssertionError(f"{macs} of {shown} were verified twice")

    def ranged(self, shown: Topology, macs: Collection[str]) -> Topology:
        assert macs
        self.calls.append(("ranges", "", ()))
        return replace(shown, enis=tuple(replace(eni, ranges_by_ec2=True) for eni in shown.enis))

    def metadata(self, eni: Eni, versions: Collection[int]) -> frozenset[IPAddress] | None:
        self.metadata_reads += 1
        if not self.imds:
            return None
        shown = self.secondaries[eni.id] | {self.primaries[eni.id]}
        for until, _, changed, before in self._changed:
            if changed == eni.id and self.time.now < until:
                shown = {*before, self.primaries[eni.id]}
                break
        return frozenset(address for address in shown if address.version in versions)

    def describe(self, eni_id: str) -> EniDetails:
        self.calls.append(("describe", eni_id, ()))
        with self._struck("describe"):
            return self.shown(eni_id)

    def shown(self, eni_id: str) -> EniDetails:
        old = (each for _, until, eni, each in self._changed if eni == eni_id and self.time.now < until)
        held = tuple(sorted(next(old, self.secondaries[eni_id]), key=sort_key))
        device = int(eni_id.removeprefix("eni-"))
        shown = EniDetails(
            eni_id,
            self.primaries[eni_id],
            held,
            instance_id=f"i-{device}",
            device_number=device,
            prefixes=self.prefixes.get(eni_id, ()),
        )
        return replace(shown, **self.traits.get(eni_id, {}))

    def holders(self, addresses: Collection[IPAddress], subnet_id: str) -> tuple[EniDetails, ...]:
        assert addresses
        assert subnet_id
        assert len({address.version for address in addresses}) == 1
        self.calls.append(("holders", "", tuple(addresses)))
        with self._struck("holders"):
            every = [replace(self.shown(eni_id), prefixes=()) for eni_id in self.primaries]
            return tuple(
                self.shown(eni.eni_id) for eni in every if any(eni.holds(address) for address in addresses)
            )

    def prefix_holders(self, addresses: Collection[IPAddress], subnet_id: str) -> tuple[EniDetails, ...]:
        assert addresses
        assert subnet_id
        self.calls.append(("prefix_holders", "", tuple(addresses)))
        with self._struck("holders"):
            every = [self.shown(eni_id) for eni_id in self.primaries]
            return tuple(eni for eni in every if any(eni.holds(address) for address in addresses))

    def assign(self, call: Assign) -> frozenset[IPAddress]:
        self._record("assign", call)
        with self._struck("assign"):
            blocks = [prefix for prefixes in self.prefixes.values() for prefix in prefixes]
            room = self.rooms.get(call.eni_id, self.room)
            check_assign(call, self.secondaries, self.primaries.values(), blocks, room)
            self._remember()
            # IPv6: the answer lists what is new.
            listed = {a for a in call.addresses if a.version == 4 or a not in self.secondaries[call.eni_id]}
            for held in self.secondaries.values():
                held.difference_update(call.addresses)
            self.secondaries[call.eni_id].update(call.addresses)
            return frozenset() if self.unlisted else frozenset(listed)

    def unassign(self, call: Unassign) -> None:
        self._record("unassign", call)
        with self._struck("unassign"):
            check_unassign(call, self.secondaries[call.eni_id])
            self._remember()
            self.secondaries[call.eni_id].difference_update(call.addresses)

    def _record(self, kind: str, call: Assign | Unassign) -> None:
        assert len({address.version for address in call.addresses}) == 1
        self.calls.append((kind, call.eni_id, call.addresses))

    def _remember(self) -> None:
        imds, ec2 = self.time.now + self.imds_delay, self.time.now + self.ec2_delay
        self._changed += [(imds, ec2, eni, frozenset(held)) for eni, held in self.secondaries.items()]

    def _struck(self, kind: str) -> AbstractContextManager[None]:
        return striking(self.struck, kind)

    def asked(self, kind: str) -> list[tuple[str, list[str]]]:
        """Return the calls of a kind: the ENI, and the addresses in order."""
        return [(eni, [str(a) for a in addresses]) for what, eni, addresses in self.calls if what == kind]


class FakeSource:
    """A pod's interfaces and addresses, as (interface, address); `detections` are those not done."""

    def __init__(self, *held: tuple[Link, str], links: tuple[Link, ...] = (ETH0, NET1, NET2)) -> None:
        self.held = list(held)
        self.links = links
        self.detections: dict[str, Detection] = {}

    def snapshot(self, *, routes: bool) -> Snapshot:
        assert routes in (True, False)
        entries = [
            LinkAddress(link.index, ip(a), detection=self.detections.get(a, Detection.DONE))
            for link, a in self.held
        ]
        return Snapshot(self.links, tuple(entries))


class Lines:
    """A log whose lines can be looked at."""

    def __init__(self, level: LogLevel = LogLevel.DEBUG) -> None:
        self._stream = io.StringIO()
        self.log = Log("apps", "pod-1", level, LogFormat.JSON, stream=self._stream)

    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]

    def events(self, level: str = "") -> list[str]:
        return [line["event"] for line in self.all() if level in ("", line["level"])]

    def of(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.all() if line["event"] == event]


def agent(
    source: FakeSource,
    cloud: PodCloud,
    lines: Lines,
    timing: Timing | None = None,
    *,
    restarted: bool = False,
    **settings: Any,
) -> Agent:
    given = AgentSettings(**{"interfaces": ("net1", "net2"), **settings})
    if timing is None:
        assert isinstance(cloud, FakeCloud)
        timing = cloud.time.timing
    return Agent(given, source, cloud, lines.log, timing, restarted=restarted)
