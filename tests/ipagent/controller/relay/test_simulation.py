"""20 nodes and 800 addresses at EC2's real request limits; and leaders that are killed after any call or
write, node agents that start anew, addresses that move. In the end each node has what its agent wants."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from random import Random

import pytest

from common.token_bucket import TokenBucket
from ipagent.assign.ec2_error_codes import Fault
from ipagent.call_relay import MAX_ADDRESSES, Action, RelayCall, RelayRequests
from ipagent.controller.model.actions import Call
from ipagent.controller.model.relay_calls import AssignAddresses, UnassignAddresses
from ipagent.controller.reconcile.call_rate_limiter import RATES
from ipagent.controller.reconcile.ec2_answers import Refused
from tests.ipagent.controller.relay.world import (
    WALL,
    RelayLeader,
    RelayWorld,
    addresses,
    attachment_of,
    eni_of,
    throttled,
)

pytestmark = [pytest.mark.pure, pytest.mark.no_cover]

SEEDS = int(os.environ.get("MULTUS_ENI_NETWORK_SCHEDULES", "10"))
WITHDRAWN = 20.0
"""Seconds after which a node agent gives a request up."""


@dataclass
class NodeAgent:
    """Has its node's wanted addresses assigned, all in one call; then it releases the others."""

    world: RelayWorld
    node: str
    session: str = "s1"
    wanted: set[str] = field(default_factory=set)
    has: set[str] = field(default_factory=set)
    asked: tuple[RelayCall, ...] = ()
    asked_at: float = 0.0
    faults: list[Fault] = field(default_factory=list)
    done_at: float = 0.0

    def step(self) -> bool:
        """Read the answers, and ask for what is missing; returns whether anything was done."""
        if self.asked and not self._read():
            return False
        missing, surplus = self.wanted - self.has, self.has - self.wanted
        calls = []
        if missing:
            calls.append(self._call(Action.ASSIGN_IPV4, missing, reassign=True))
        elif surplus:
            calls.append(self._call(Action.UNASSIGN_IPV4, surplus))
        elif not self.done_at:
            self.done_at = self.world.now
        if calls or self.asked:
            self._ask(*calls)
            return True
        return False

    def restart(self) -> None:
        """End, and begin as another run, which reads what its ENI has."""
        self.session += "'"
        self.asked = ()
        self.has = self.world.held(self.node)
        self._ask()

    def _call(self, action: Action, texts: set[str], *, reassign: bool = False) -> RelayCall:
        return self.world.call(self.node, action, *sorted(texts)[:MAX_ADDRESSES], reassign=reassign)

    def _ask(self, *calls: RelayCall) -> None:
        self.asked, self.asked_at = calls, self.world.now
        requests = RelayRequests(self.session, WALL + self.world.now, calls)
        self.world.put(self.node, requests=requests)

    def _read(self) -> bool:
        """Take the answers if all are there, or give up after a while."""
        answers = self.world.answers(self.node)
        if not all(call.id in answers for call in self.asked):
            late = self.world.now - self.asked_at >= WITHDRAWN
            if late:
                self.has = self.world.held(self.node)
            return late
        for call in self.asked:
            failure, texts = answers[call.id].failure, set(map(str, call.addresses))
            if failure is not None:
                self.faults.append(failure.fault)
                self.has = self.world.held(self.node)
            elif call.action is Action.ASSIGN_IPV4:
                self.has |= texts
            else:
                self.has -= texts
        return True


class Account:
    """EC2's request limits, of which others use a part."""

    def __init__(self, world: RelayWorld, others: float = 0.0) -> None:
        self.world = world
        self.refused = 0
        self._others = others
        self._used_at = world.now
        self._buckets = {action: TokenBucket(rate) for action, rate in RATES.items()}

    def refuse(self, call: Call) -> Refused | None:
        """Refuse what is too much."""
        (action,) = call.actions
        bucket, now = self._buckets[action], self.world.now
        if self._others:
            bucket.charge(min(self._others * (now - self._used_at), bucket.rate.burst / 2), now)
            self._used_at = now
        if bucket.take(now):
            return None
        self.refused += 1
        return throttled(call)


def fleet(world: RelayWorld, nodes: int, each: int) -> list[NodeAgent]:
    found = []
    for number in range(nodes):
        agent = NodeAgent(world, world.add_node(f"n{number}"))
        agent.wanted = {f"10.20.{number}.{last}" for last in range(1, each + 1)}
        found.append(agent)
    return found


def stepping(agents: list[NodeAgent]) -> Callable[[], bool]:
    return lambda: sum(agent.step() for agent in agents) > 0


def test_800_addresses_at_once_are_a_call_a_node(  # one for the whole ENI, as a node agent would make it
) -> None:
    world = RelayWorld()
    account = Account(world)
    world.refuse = account.refuse
    agents = fleet(world, 20, 40)
    leader = RelayLeader(world, latency=0.2)
    leader.run(10, stepping(agents))
    assert all(world.held(agent.node) == agent.wanted for agent in agents)
    assert world.calls["AssignAddresses"] == 20
    # They ask for takeover: whose the addresses are is looked up for all of them together.
    assert world.calls["LookUpHolders"] <= 6
    assert max(agent.done_at for agent in agents) - 1000.0 < 4.0
    assert account.refused == 0


def test_800_addresses_that_come_one_by_one_stay_within_ec2s_limits() -> None:
    world = RelayWorld()
    account = Account(world)
    world.refuse = account.refuse
    agents = fleet(world, 20, 40)
    arriving = [(agent, text) for agent in agents for text in sorted(agent.wanted)]
    Random(7).shuffle(arriving)
    for agent in agents:
        agent.wanted = set()
    leader = RelayLeader(world, latency=0.2)

    def step() -> bool:
        # 80 pods a second, for ten seconds.
        while arriving and 800 - len(arriving) < (world.now - 1000.0) * 80:
            agent, text = arriving.pop()
            agent.wanted.add(text)
        return stepping(agents)()

    leader.run(60, step)
    assert all(world.held(agent.node) == agent.wanted and len(agent.wanted) == 40 for agent in agents)
    assert account.refused == 0
    assert not any(agent.faults for agent in agents)
    # A batch grows while it waits: 100 calls at once, and 5 a second after that.
    assert world.calls["AssignAddresses"] <= 100 + 5 * 60


def test_one_nodes_flood_does_not_starve_another() -> None:
    world = RelayWorld()
    account = Account(world)
    world.refuse = account.refuse
    quiet = fleet(world, 5, 4)
    flood = [world.add_node("flood"), world.add_node("flood2")]
    asked: dict[str, list[RelayCall]] = {node: [] for node in flood}

    def step() -> bool:
        for node, calls in asked.items():
            if all(call.id in world.answers(node) for call in calls):
                calls[:] = [world.call(node, Action.ASSIGN_IPV4, f"10.20.200.{n}") for n in range(16)]
                world.ask(node, *calls)
        # The quiet ones come when the bucket is empty.
        return world.now > 1060.0 and stepping(quiet)()

    leader = RelayLeader(world, latency=0.2)
    leader.run(80, step)
    assert account.refused == 0
    assert all(world.held(agent.node) == agent.wanted for agent in quiet)
    assert max(agent.done_at for agent in quiet) - 1060.0 < 5.0
    assert world.calls["AssignAddresses"] >= 150


def test_what_ec2_throttles_is_no_node_agents_business() -> None:
    world = RelayWorld()
    account = Account(world, others=2.0)
    world.refuse = account.refuse
    agents = fleet(world, 20, 40)
    for bucket in account._buckets.values():  # noqa: SLF001 - others have used them up
        bucket.drain(world.now)
    leader = RelayLeader(world, latency=0.2)
    leader.run(40, stepping(agents))
    assert account.refused > 0
    assert all(world.held(agent.node) == agent.wanted for agent in agents)
    assert world.calls["AssignAddresses"] - account.refused <= 20
    assert not any(agent.faults for agent in agents)


class Killed(BaseException):
    """The process ends here, and what the call did is done."""


def kills(number: int) -> Iterator[bool]:
    """Yield False so many times, and True once."""
    yield from [False] * number
    yield True
    while True:
        yield False


@pytest.mark.parametrize("number", range(0, 60, 5))
def test_a_leader_that_is_killed_in_the_burst_costs_seconds(number: int) -> None:
    world = RelayWorld()
    account = Account(world)
    world.refuse = account.refuse
    agents = fleet(world, 20, 40)
    when = kills(number)

    def maybe(_: object) -> None:
        if next(when):
            raise Killed

    leader = RelayLeader(world, before=maybe, between=maybe, latency=0.2)
    killed = None
    try:
        leader.run(10, stepping(agents))
    except Killed:
        killed = world.now
        # The Lease runs out, and another replica lists what there is.
        while world.now < killed + 15.0:
            world.now += 0.5
            stepping(agents)()
        leader = RelayLeader(world, latency=0.2)
        leader.run(20, stepping(agents))
    assert all(world.held(agent.node) == agent.wanted for agent in agents)
    assert account.refused == 0
    assert not any(agent.faults for agent in agents)
    if killed is not None:
        assert max(agent.done_at for agent in agents) - killed < 20.0


class Chaos:
    """A world, whoever leads in it, node agents, and the accidents."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.world = RelayWorld()
        self.account = Account(self.world, others=self.random.choice([0.0, 0.0, 3.0]))
        self.world.refuse = self._refuse
        self.agents = fleet(self.world, 4, 0)
        self.theirs = self.world.add_node("theirs", "10.20.9.1", "10.20.9.2")
        eni = self.world.enis[eni_of(self.theirs)]
        self.world.enis[eni.eni_id] = replace(eni, device_number=0)
        del self.world.attachments[attachment_of(self.theirs)]
        self.late: list[Call] = []
        self.wild = True
        self.elect()

    def elect(self) -> None:
        """Let a replica lead that remembers nothing."""
        latency = self.random.choice([0.0, 0.2, 1.5]) if self.wild else 0.2
        self.leader = RelayLeader(self.world, self._maybe_kill, self._maybe_kill, latency)

    def turn(self) -> None:
        """Let something happen, and the leader decide."""
        if self.random.random() < 0.3:
            self.random.choice([self._want, self._want, self._drop, self._move, self._restart, self._steal])()
        for agent in self.agents:
            agent.step()
        try:
            self.leader.turn()
        except Killed:
            self.elect()
        self.world.now += self.random.choice([0.0, 0.05, 0.2, 2.0])
        assert self.world.held(self.theirs) == {"10.20.9.1", "10.20.9.2"}

    def calm(self) -> None:
        """Let no more accidents happen, and everything settle."""
        self.wild = False
        self.elect()
        self.leader.run(60, stepping(self.agents))
        # A call that was made again may have taken an address back: node agents notice that by themselves.
        for agent in self.agents:
            agent.restart()
        self.leader.run(60, stepping(self.agents))

    def _maybe_kill(self, _: object) -> None:
        if self.wild and self.random.random() < 0.05:
            raise Killed

    def _refuse(self, call: Call) -> Refused | None:
        return self.account.refuse(call) if self.wild else None

    def _want(self) -> None:
        taken = {text for agent in self.agents for text in agent.wanted}
        text = f"10.20.1.{self.random.randrange(1, 100)}"
        agent = self.random.choice(self.agents)
        if text not in taken and len(agent.wanted) < 30:
            agent.wanted.add(text)

    def _drop(self) -> None:
        agent = self.random.choice(self.agents)
        if agent.wanted:
            agent.wanted.remove(self.random.choice(sorted(agent.wanted)))

    def _move(self) -> None:
        """A floating address comes up on another node; its former node does not want it any more."""
        there, here = self.random.sample(self.agents, 2)
        if there.wanted and len(here.wanted) < 30:
            text = self.random.choice(sorted(there.wanted))
            there.wanted.remove(text)
            there.has.discard(text)
            here.wanted.add(text)

    def _restart(self) -> None:
        self.random.choice(self.agents).restart()

    def _steal(self) -> None:
        """Somebody asks for what is not a pod's."""
        agent = self.random.choice(self.agents)
        agent.wanted.add("10.20.9.1")
        agent.step()
        agent.wanted.remove("10.20.9.1")


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whoever_is_killed_each_node_gets_what_it_asks_for(seed: int) -> None:
    chaos = Chaos(seed)
    for _ in range(200):
        chaos.turn()
    chaos.calm()
    for agent in chaos.agents:
        assert agent.wanted <= chaos.world.held(agent.node)
    # An address is on one interface.
    held = [text for agent in chaos.agents for text in chaos.world.held(agent.node)]
    assert len(held) == len(set(held))
    for call in chaos.world.made:
        if isinstance(call, AssignAddresses):
            assert call.eni == eni_of(call.node)
        if isinstance(call, UnassignAddresses):
            assert call.eni == eni_of(call.node)
            assert not set(call.addresses) & set(addresses("10.20.9.1", "10.20.9.2"))
