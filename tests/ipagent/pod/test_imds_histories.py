"""Whatever IMDS shows and when: exit code 0 only if EC2 has every address on the ENI whose MAC carries it.

Nothing lands on an ENI that is not attached here, or not ours; what a sidecar learns later it puts right.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection
from dataclasses import dataclass, field
from ipaddress import IPv4Network, ip_network
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from common.agent_settings import Credentials, Takeover
from common.exit_codes import ExitCode
from ipagent.assign.address_calls import Assign, Unassign
from ipagent.assign.addresses import IPAddress, IPNetwork, Link
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.errors import Ec2Error, NoImds
from ipagent.assign.topology import Eni, EniDetails, Topology
from ipagent.aws.pod_cloud import PodCloud
from ipagent.pod import init
from ipagent.pod.agent import Agent
from ipagent.pod.sidecar import Follower
from tests.ipagent.fakes import ETH0, FakeSource, Lines, Time, agent, ip

pytestmark = pytest.mark.pure

NODE = "i-1"
FOREIGN = "5e:00:00:00:00:01"
TIMEOUT = 60
CIDRS = {"subnet-1": ip_network("10.10.1.0/24"), "subnet-2": ip_network("10.10.2.0/24")}
ALWAYS = 10_000.0
FOLLOWED = 300.0


@dataclass(frozen=True)
class History:
    """An ENI over time, in seconds after the pod's start: created and attached in EC2, shown by IMDS in part,
    then whole, at last with the range of its subnet.

    `silent` are seconds after the attachment in which EC2 itself does not show it. `kind` is its type in EC2.
    """

    number: int
    subnet: str
    created: float
    attached: float
    detached: float
    partly: float
    whole: float
    ranged: float
    hidden: float
    silent: float
    kind: str

    @property
    def id(self) -> str:
        return f"eni-{self.number}"

    @property
    def mac(self) -> str:
        return f"02:aa:00:00:00:{self.number:02x}"

    @property
    def ours(self) -> bool:
        return self.kind == "interface"

    @property
    def stays(self) -> bool:
        """Whether EC2 shows it all the time."""
        return self.attached + self.silent <= 0 and self.detached == ALWAYS

    @property
    def settled(self) -> bool:
        """Whether IMDS, too, shows it as a whole well before the timeout, and for good."""
        return self.stays and self.ranged < TIMEOUT / 2 and self.hidden >= ALWAYS

    def attached_at(self, now: float) -> bool:
        return self.attached + self.silent <= now < self.detached

    def described(self, now: float, held: Collection[IPAddress]) -> EniDetails:
        there = self.attached_at(now)
        return EniDetails(
            self.id,
            ip(f"10.10.{self.subnet[-1]}.{self.number}"),
            tuple(held),
            instance_id=NODE if there else "",
            device_number=self.number if there else None,
            mac=self.mac,
            subnet_id=self.subnet,
            interface_type=self.kind,
        )


@dataclass
class Account:
    """EC2 and IMDS of one node.

    `refused` makes EC2 refuse to describe ENIs, without `subnets` it refuses to describe these; `failing` of
    its first calls fail. `wrong` are the ENIs that were given addresses though they were not attached, or not
    ours.
    """

    time: Time
    enis: tuple[History, ...]
    refused: bool
    subnets: bool
    failing: int
    held: dict[str, set[IPAddress]] = field(default_factory=dict)
    begun: float = 0.0
    identity: str = "env"
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.begun = self.time.now
        self.held = {eni.id: set() for eni in self.enis}

    @property
    def now(self) -> float:
        return self.time.now - self.begun

    def _answer(self, *, allowed: bool) -> None:
        if self.failing:
            self.failing -= 1
            raise Ec2Error(Failure(Fault.THROTTLED, "RequestLimitExceeded"))
        if not allowed:
            raise Ec2Error(Failure(Fault.NO_PERMISSION, "UnauthorizedOperation"))

    def _describe(self) -> tuple[EniDetails, ...]:
        self._answer(allowed=not self.refused)
        now = self.now
        return tuple(eni.described(now, self.held[eni.id]) for eni in self.enis if eni.created <= now)

    def attached(self, instance_id: str) -> tuple[EniDetails, ...]:
        primary = EniDetails("eni-0", ip("10.10.0.1"), (), instance_id=NODE, device_number=0, subnet_id="s")
        return (primary, *(eni for eni in self._describe() if eni.instance_id == instance_id))

    def by_mac(self, macs: Collection[str]) -> tuple[EniDetails, ...]:
        return tuple(eni for eni in self._describe() if eni.mac in macs)

    def describe(self, eni_id: str) -> EniDetails:
        return next(eni for eni in self._describe() if eni.eni_id == eni_id)

    def holders(self, addresses: Collection[IPAddress], _: str) -> tuple[EniDetails, ...]:
        return tuple(eni for eni in self._describe() if any(map(eni.holds, addresses)))

    prefix_holders = holders

    def subnet_cidrs(self, subnet_ids: Collection[str]) -> dict[str, tuple[IPNetwork, ...]]:
        self._answer(allowed=self.subnets)
        return {each: (CIDRS[each],) for each in subnet_ids}

    def assign(self, call: Assign) -> frozenset[IPAddress]:
        eni = next(each for each in self.enis if each.id == call.eni_id)
        if not eni.ours or not eni.attached_at(self.now):
            self.wrong.append(eni.id)
        others = [held for eni_id, held in self.held.items() if eni_id != call.eni_id]
        if not call.allow_reassignment and any(held.intersection(call.addresses) for held in others):
            raise Ec2Error(Failure(Fault.HELD_ELSEWHERE, "assigned, but move is not allowed"))
        for held in others:
            held.difference_update(call.addresses)
        self.held[call.eni_id].update(call.addresses)
        return frozenset(call.addresses)

    def unassign(self, call: Unassign) -> None:
        self.held[call.eni_id].difference_update(call.addresses)

    # What IMDS shows.

    def region(self) -> str:
        return "eu-central-1"

    def instance_id(self) -> str:
        return NODE

    def shown(self, _: Collection[str] | None = None) -> Topology:
        enis, partial, now = [], {}, self.now
        for eni in self.enis:
            if eni.whole <= now < eni.hidden:
                cidrs = (CIDRS[eni.subnet],) if eni.ranged <= now else ()
                enis.append(Eni(eni.id, eni.mac, eni.number, eni.subnet, cidrs))
            elif eni.partly <= now < eni.hidden:
                partial[eni.mac] = "half there"
        return Topology(tuple(enis), partial=partial)

    def addresses(self, mac: str, _: Collection[int]) -> frozenset[IPAddress]:
        eni = next((each for each in self.enis if each.mac == mac and self.now >= each.whole), None)
        if eni is None:
            raise NoImds("gone")
        return frozenset(self.held[eni.id])

    def close(self) -> None:
        pass


class Unchanged:
    """A kernel in which nothing happens."""

    def wait(self, seconds: float | None, wakeup: int) -> bool:
        raise AssertionError((seconds, wakeup))

    def removed(self) -> frozenset[IPAddress]:
        return frozenset()


seconds = st.sampled_from([0.0, 0.3, 2.0, 4.0, 15.0, 40.0, ALWAYS])


@st.composite
def histories(draw: st.DrawFn) -> tuple[History, ...]:
    made = []
    # Often nothing changes in EC2, and IMDS alone is late.
    steady = draw(st.booleans())
    for number in range(1, draw(st.integers(1, 4)) + 1):
        attached = -100.0 if steady else draw(st.sampled_from([-100.0, -100.0, -1.0, 0.0, 5.0, 5.0]))
        created = attached - 200.0
        detached = ALWAYS if steady else draw(st.sampled_from([ALWAYS, ALWAYS, -0.5, 1.0, 30.0]))
        partly = attached + draw(seconds)
        whole = partly + draw(seconds)
        ranged = whole + draw(st.sampled_from([0.0, 0.0, 2.0, ALWAYS]))
        hidden = max(whole, detached) + draw(seconds)
        silent = 0.0 if steady else draw(st.sampled_from([0.0, 0.0, 3.0]))
        subnet = draw(st.sampled_from(sorted(CIDRS)))
        kind = draw(st.sampled_from(["interface", "interface", "interface", "trunk"]))
        made.append(
            History(number, subnet, created, attached, detached, partly, whole, ranged, hidden, silent, kind)
        )
    return tuple(made)


@dataclass
class Run:
    """A pod whose net1 has a MAC and one address of a subnet; `on` are the ENIs that have the address."""

    account: Account
    mac: str
    subnet: str
    takeover: Takeover
    agent: Agent = field(init=False)
    address: IPAddress = field(init=False)

    def __post_init__(self) -> None:
        network, time, lines = CIDRS[self.subnet], self.account.time, Lines()
        assert isinstance(network, IPv4Network)
        self.address = network[80]
        cloud = PodCloud({"AWS_REGION": "eu-central-1"}, Credentials.CHAIN, lines.log, time.timing)
        put_in: Any = self.account
        cloud._imds = cloud._ec2 = put_in  # noqa: SLF001 - the two wires
        link = Link(3, "net1", self.mac)
        source = FakeSource((ETH0, "10.10.0.21"), (link, str(self.address)), links=(ETH0, link))
        given: dict[str, Any] = {"timeout": TIMEOUT, "interfaces": ("net1",), "takeover": self.takeover}
        self.agent = agent(source, cloud, lines, time.timing, **given)

    def init(self) -> int:
        """Return the exit code."""
        time = self.account.time
        return init.run(self.agent, time.now + TIMEOUT, time.timing).exit_code

    def follow(self, seconds: float) -> None:
        """Let a sidecar follow for so long."""
        time = self.account.time
        follower, until = Follower(self.agent, Unchanged()), time.now + seconds
        while time.now < until:
            pause = follower.step()
            time.sleep(until - time.now if pause is None else min(pause, until - time.now))

    @property
    def on(self) -> set[str]:
        return {eni_id for eni_id, held in self.account.held.items() if self.address in held}


@settings(max_examples=15 * settings().max_examples, deadline=None)
@given(
    enis=histories(),
    whose=st.integers(0, 4),
    subnet=st.sampled_from(sorted(CIDRS)),
    foreign=st.sampled_from([FOREIGN, ""]),
    refused=st.booleans(),
    subnets=st.booleans(),
    failing=st.integers(0, 3),
    takeover=st.sampled_from(Takeover),
)
def test_no_history_lets_an_address_land_on_another_eni(
    enis: tuple[History, ...],
    whose: int,
    subnet: str,
    foreign: str,
    refused: bool,
    subnets: bool,
    failing: int,
    takeover: Takeover,
) -> None:
    account = Account(Time(), enis, refused, subnets, failing)
    mine = next((eni for eni in enis if eni.number == whose), None)
    run = Run(account, mine.mac if mine else foreign, mine.subnet if mine else subnet, takeover)
    exit_code = run.init()
    event(f"exit {int(exit_code)}, {'its own MAC' if mine else 'a foreign MAC'}")
    if exit_code == ExitCode.OK:
        assert run.on
    if mine:
        assert run.on <= {mine.id}
    elif refused:
        assert not run.on
    if not refused:
        assert account.wrong == []
    if mine and not refused and mine.stays:
        assert exit_code == (ExitCode.OK if mine.ours else ExitCode.NO_ENI)
    if (
        not mine
        and not refused
        and all(eni.stays if subnets else eni.settled for eni in enis)
        and any(e.subnet == subnet and e.ours for e in enis)
    ):
        assert exit_code == ExitCode.OK


@given(
    created=st.sampled_from([0.5, 3.0, 40.0]),
    lags=st.tuples(seconds, seconds, seconds),
    silent=st.sampled_from([0.0, 3.0]),
    subnets=st.booleans(),
    failing=st.integers(0, 3),
    takeover=st.sampled_from(Takeover),
)
def test_a_sidecar_puts_right_what_nobody_could_know_at_the_start(
    created: float,
    lags: tuple[float, float, float],
    silent: float,
    subnets: bool,
    failing: int,
    takeover: Takeover,
) -> None:
    other = History(1, "subnet-1", -9.0, -9.0, ALWAYS, -9.0, -9.0, -9.0, 2 * ALWAYS, 0.0, "interface")
    _, partly, whole, ranged = itertools.accumulate(lags, initial=created)
    mine = History(
        2, "subnet-1", created, created, ALWAYS, partly, whole, ranged, 2 * ALWAYS, silent, "interface"
    )
    account = Account(Time(), (other, mine), False, subnets, failing)
    run = Run(account, mine.mac, "subnet-1", takeover)
    assert run.init() == ExitCode.OK
    event(f"first on {sorted(run.on)}")
    run.follow(FOLLOWED)
    assert run.on == {mine.id}
    assert account.wrong == []
