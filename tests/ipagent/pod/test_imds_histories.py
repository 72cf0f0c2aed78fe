"""Whatever IMDS shows and when: exit code 0 only if EC2 has every address on the ENI whose MAC carries it.

Nothing lands on an ENI that is not attached here, or not ours; what a sidecar learns later it puts right.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from ipaddress import IPv4Network, ip_network
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from common.contract import Credentials, ExitCode, Takeover
from ipagent.assign.addresses import IPAddress, IPNetwork, Link
from ipagent.assign.calls import Assign, Unassign
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


def follow(made: Agent, time: Time, seconds: float) -> None:
    """Let the sidecar follow for so long."""
    follower, until = Follower(made, Unchanged()), time.now + seconds
    while time.now < until:
        pause = follower.step()
        time.sleep(until - time.now if pause is None else min(pause, until - time.now))


seconds = st.sampled_from([0.0, 0.3, 2.0, 4.0, 15.0, 40.0, ALWAYS])


@st.composite
def histories(draw: st.DrawFn) -> tuple[History, ...]:
    made = []
    for number in range(1, draw(st.integers(1, 4)) + 1):
        attached = draw(st.sampled_from([-100.0, -1.0, 0.0, 5.0]))
        created = attached - draw(st.sampled_from([200.0, 200.0, 0.0]))
        detached = draw(st.sampled_from([ALWAYS, ALWAYS, -0.5, 1.0, 30.0]))
        partly = attached + draw(seconds)
        whole = partly + draw(seconds)
        ranged = whole + draw(st.sampled_from([0.0, 0.0, 2.0, ALWAYS]))
        hidden = max(whole, detached) + draw(seconds)
        silent = draw(st.sampled_from([0.0, 0.0, 3.0]))
        subnet = draw(st.sampled_from(sorted(CIDRS)))
        kind = draw(st.sampled_from(["interface", "interface", "interface", "trunk"]))
        made.append(
            History(number, subnet, created, attached, detached, partly, whole, ranged, hidden, silent, kind)
        )
    return tuple(made)


@settings(max_examples=10 * settings().max_examples, deadline=None)
@given(
    enis=histories(),
    whose=st.integers(0, 4),
    subnet=st.sampled_from(sorted(CIDRS)),
    refused=st.booleans(),
    subnets=st.booleans(),
    failing=st.integers(0, 3),
    takeover=st.sampled_from(Takeover),
)
def test_no_history_lets_an_address_land_on_another_eni(
    enis: tuple[History, ...],
    whose: int,
    subnet: str,
    refused: bool,
    subnets: bool,
    failing: int,
    takeover: Takeover,
) -> None:
    time = Time()
    account = Account(time, enis, refused, subnets, failing)
    mine = next((eni for eni in enis if eni.number == whose), None)
    network = CIDRS[mine.subnet if mine else subnet]
    assert isinstance(network, IPv4Network)
    address = network[80]
    link = Link(3, "net1", mine.mac if mine else FOREIGN)
    lines = Lines()
    cloud = PodCloud({"AWS_REGION": "eu-central-1"}, Credentials.CHAIN, lines.log, time.timing)
    put_in: Any = account
    cloud._imds = cloud._ec2 = put_in  # noqa: SLF001 - the two wires
    source = FakeSource((ETH0, "10.10.0.21"), (link, str(address)), links=(ETH0, link))
    made = agent(source, cloud, lines, time.timing, timeout=TIMEOUT, interfaces=("net1",), takeover=takeover)
    ended = init.run(made, time.now + TIMEOUT, time.timing)

    def on() -> set[str]:
        return {eni_id for eni_id, held in account.held.items() if address in held}

    event(f"exit {int(ended.exit_code)}, {'its own MAC' if mine else 'a foreign MAC'}")
    if ended.exit_code == ExitCode.OK:
        assert on()
    if mine and mine.created <= 0:
        assert on() <= {mine.id}
    elif refused:
        assert on() <= ({mine.id} if mine else set())
    if not refused:
        assert account.wrong == []
    if mine and not refused and mine.stays:
        assert ended.exit_code == (ExitCode.OK if mine.ours else ExitCode.NO_ENI)
    if (
        not mine
        and not refused
        and all(eni.stays if subnets else eni.settled for eni in enis)
        and any(e.subnet == subnet and e.ours for e in enis)
    ):
        assert ended.exit_code == ExitCode.OK
    if mine and mine.created > 0 and not refused and ended.exit_code == ExitCode.OK:
        # Nobody could know that the MAC is that of an ENI; a sidecar learns it.
        follow(made, time, FOLLOWED)
        event("followed")
        assert account.wrong == []
        if mine.ours and mine.detached == ALWAYS:
            assert on() == {mine.id}
