"""Pods of every kind come and go, addresses are handed out anew, the agent is killed, everything fails.

What must hold at all times: an address that a living pod has, and that was assigned, stays assigned. At the
end: what pods left behind as their own is gone, and nothing foreign was touched.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

import pytest

from ipagent.assign.addresses import Holding, IPAddress
from ipagent.assign.ec2_error_codes import Fault
from ipagent.assign.topology import Eni
from ipagent.node.gc.collector import Collector
from ipagent.node.gc.rules import suspected_leaks
from ipagent.node.model.address_events import EventType
from ipagent.node.model.gc_policy import GcMode, GcPolicy
from ipagent.node.model.pod import InjectedAgent, Pod, PodKey
from tests.ipagent.fakes import ENI_1, ENI_2, Lines, Strike, Time, ip
from tests.ipagent.node.node_fakes import FakeCheckpoint, FakeListing, NodeFake, Watched

pytestmark = [pytest.mark.pure, pytest.mark.no_cover]

POOLS = {
    "eni-1": tuple(map(ip, ("10.10.1.80", "10.10.1.81", "10.10.1.82", "2001:db8:1::80"))),
    "eni-2": tuple(map(ip, ("10.10.2.80", "2001:db8:2::80"))),
}
FOREIGN = {"eni-1": ip("10.10.1.200"), "eni-2": ip("2001:db8:2::200")}
"""Whose they are nobody knows, and no pod ever has them."""
RULES = GcPolicy(GcMode.ON, cooldown=60, interval=120)

NODE_AGENTS = (InjectedAgent.NODE_INIT, InjectedAgent.NODE_SIDECAR)
AGENTS = {
    "node": NODE_AGENTS,
    "direct init beside it": (*NODE_AGENTS, InjectedAgent.DIRECT_INIT),
    "every kind": tuple(InjectedAgent),
}
FLOATERS = (InjectedAgent.NODE_SIDECAR, InjectedAgent.DIRECT_SIDECAR, InjectedAgent.NONE)
"""Who may come to hold more than at its start: by our agents, or by means of its own."""


class Killed(BaseException):
    """The agent's end, in the middle of something."""


@dataclass
class Life:
    """A pod: what it holds, and what of it was assigned."""

    pod: Pod
    eni: Eni
    floating: set[IPAddress] = field(default_factory=set)
    assigned: set[IPAddress] = field(default_factory=set)

    @property
    def held(self) -> set[IPAddress]:
        return {each.address for each in self.pod.holdings} | self.floating


class Node:
    """One node with two ENIs for pods, and an agent that may be killed; chance decides by a seed."""

    def __init__(self, agents: Collection[InjectedAgent], seed: int) -> None:
        self.random = random.Random(seed)
        self.agents = tuple(agents)
        self.time = Time()
        self.cloud = NodeFake(self.time, room=50)
        for eni_id, address in FOREIGN.items():
            self.cloud.secondaries[eni_id].add(address)
        self.primaries = dict(self.cloud.primaries)
        self.listing = FakeListing()
        self.checkpoint = FakeCheckpoint(self.time)
        self.lines = Lines()
        for part in (self.cloud, self.listing, self.checkpoint):
            part.on_io = self.io
        self.until_killed = 0
        self.kills = 0
        self.pods: dict[PodKey, Life] = {}
        self.told: Counter[str] = Counter()
        self.lagging = False
        self.watched = Watched()
        self.sweeper = self.restart()

    def io(self) -> None:
        """Kill the agent before or after a call, a list of pods or a write."""
        self.until_killed -= 1
        if self.until_killed == 0:
            self.kills += 1
            raise Killed

    # What the agent's core does.

    def restart(self) -> Collector:
        """Kill the agent, if it runs, and start it again."""
        self.watched = Watched()
        self.sweeper = Collector(
            RULES,
            self.cloud,
            self.listing,
            self.checkpoint,
            timing=self.time.timing,
            wall=lambda: self.time.now,
            log=self.lines.log,
        )
        self.watched.pods = dict(self.listing.all)
        self.catch_up()
        return self.sweeper

    def catch_up(self) -> None:
        """Learn what the API server knows, unless the watch lags, and assign what pods are to have."""
        if not self.lagging:
            self.watched.pods = dict(self.listing.all)
            known = self.watched.pods
            self.watched.sessions = {k: v for k, v in self.watched.sessions.items() if k in known}
        try:
            self.sweeper.observe(self.watched.ownership())
        except Killed:
            self.restart()
            return
        for key in self.watched.pods:
            life = self.pods.get(key)
            if life and life.pod.agent in NODE_AGENTS:
                stated = {address for _, address in self.watched.sessions.get(key, ())}
                self.assign(life, {each.address for each in life.pod.holdings} | stated)

    def assign(self, life: Life, addresses: Collection[IPAddress]) -> None:
        self.cloud.secondaries[life.eni.id].update(addresses)
        life.assigned.update(addresses)

    def state(self, life: Life) -> None:
        """Let a sidecar say all that it holds."""
        if life.pod.key in self.watched.pods:
            held = frozenset((life.eni.id, address) for address in life.held)
            self.watched.sessions[life.pod.key] = held
            self.catch_up()

    # What pods do.

    def free(self, eni: Eni) -> list[IPAddress]:
        """Return what may be handed out: first what others have left behind, which is in danger."""
        held = {address for life in self.pods.values() for address in life.held}
        left = [address for address in POOLS[eni.id] if address not in held]
        return sorted(left, key=lambda address: address not in self.cloud.secondaries[eni.id])

    def a_pod_starts(self) -> None:
        eni = self.random.choice([ENI_1, ENI_1, ENI_2])
        addresses = self.free(eni)[: self.random.randint(0, 2)]
        if len(self.pods) < 5:
            self.start_pod(eni, self.random.choice(self.agents), addresses)

    def start_pod(self, eni: Eni, agent: InjectedAgent, addresses: Collection[IPAddress]) -> None:
        name = f"p-{self.random.getrandbits(32):x}"
        holdings = tuple(Holding("net1", eni.mac, address) for address in addresses)
        pod = Pod(PodKey("apps", name, f"uid-{name}"), alive=True, holdings=holdings, agent=agent)
        life = self.pods[pod.key] = Life(pod, eni)
        self.listing.all[pod.key] = pod
        if agent not in NODE_AGENTS:
            self.assign(life, addresses)

    def a_pod_starts_in_the_middle_of_the_next_sweep(self) -> None:
        """After the list of pods and before the call."""

        def meanwhile() -> None:
            self.cloud.on_observed = lambda: None
            if free := self.free(ENI_1):
                self.start_pod(ENI_1, self.random.choice(self.agents), free[:1])

        self.cloud.on_observed = meanwhile

    def a_pod_ends(self) -> None:
        if self.pods:
            key = self.random.choice(sorted(self.pods))
            del self.pods[key], self.listing.all[key]

    def a_pod_comes_to_hold_a_floating_address(self) -> None:
        able = [life for _, life in sorted(self.pods.items()) if life.pod.agent in FLOATERS]
        able = [life for life in able if life.pod.holdings and self.free(life.eni)]
        if not able:
            return
        life = self.random.choice(able)
        address = self.free(life.eni)[0]
        life.floating.add(address)
        if life.pod.agent is not InjectedAgent.NODE_SIDECAR:
            self.assign(life, {address})
        elif life.pod.key in self.watched.sessions:
            self.state(life)
        elif address in self.cloud.secondaries[life.eni.id]:
            # Left behind by another pod: it works at once, and nobody has been told.
            life.assigned.add(address)

    def a_pod_loses_a_floating_address(self) -> None:
        floating = [
            (key, a) for key, life in sorted(self.pods.items()) for a in sorted(life.floating, key=str)
        ]
        if floating:
            key, address = self.random.choice(floating)
            self.pods[key].floating.discard(address)
            if key in self.watched.sessions:
                self.state(self.pods[key])

    def sidecars_state_what_they_hold(self) -> None:
        for life in list(self.pods.values()):
            if life.pod.agent is InjectedAgent.NODE_SIDECAR:
                self.state(life)

    # What goes wrong.

    def a_connection_breaks(self) -> None:
        if self.watched.sessions:
            del self.watched.sessions[self.random.choice(sorted(self.watched.sessions))]

    def the_agent_is_killed(self) -> None:
        self.restart()

    def the_agent_will_be_killed_in_the_middle_of_something(self) -> None:
        self.until_killed = self.random.randint(1, 12)

    def the_watch_lags(self) -> None:
        self.lagging = True

    def the_watch_catches_up(self) -> None:
        self.lagging = False

    def calls_fail(self) -> None:
        self.listing.failing += self.random.randint(0, 2)
        faults = (Fault.THROTTLED, Fault.UNREACHABLE, Fault.NO_CREDENTIALS)
        for kind in self.random.sample(("unassign", "unassign", "assign", "observed"), 2):
            self.cloud.struck.append(Strike(kind, self.random.choice(faults), self.random.random() < 0.5))

    def somebody_assigns_an_address_that_no_pod_has(self) -> None:
        self.cloud.secondaries["eni-1"].add(self.random.choice(self.free(ENI_1) or [FOREIGN["eni-1"]]))

    def an_eni_is_full(self) -> None:
        self.sweeper.make_room(self.random.choice(["eni-1", "eni-2"]))

    def step(self) -> None:
        """Let one thing happen, and then some time pass."""
        happens = (
            (self.a_pod_starts, 8),
            (self.a_pod_ends, 8),
            (self.a_pod_starts_in_the_middle_of_the_next_sweep, 2),
            (self.a_pod_comes_to_hold_a_floating_address, 5),
            (self.a_pod_loses_a_floating_address, 2),
            (self.sidecars_state_what_they_hold, 5),
            (self.a_connection_breaks, 1),
            (self.the_agent_is_killed, 1),
            (self.the_agent_will_be_killed_in_the_middle_of_something, 3),
            (self.the_watch_lags, 1),
            (self.the_watch_catches_up, 3),
            (self.calls_fail, 1),
            (self.somebody_assigns_an_address_that_no_pod_has, 1),
            (self.an_eni_is_full, 1),
        )
        names, weights = zip(*happens, strict=True)
        self.random.choices(names, weights)[0]()
        self.pass_time(self.random.choice([0.0, 0.0, 10.0, 70.0, 200.0]))
        self.check()

    def pass_time(self, seconds: float) -> None:
        until = self.time.now + seconds
        for _ in range(2000):
            self.catch_up()
            try:
                delay = self.sweeper.step()
            except Killed:
                self.restart()
                continue
            self.told.update(each.kind for each in self.sweeper.take_events())
            if delay is None or self.time.now + delay > until:
                self.time.now = until
                return
            self.time.now += delay
        pytest.fail("it spins")

    # What must hold.

    def check(self) -> None:
        assert self.cloud.primaries == self.primaries
        for eni_id, address in FOREIGN.items():
            assert address in self.cloud.secondaries[eni_id]
        if self.cloud.struck or self.listing.failing:
            # What is put back while everything fails comes back when it does not.
            return
        for life in self.pods.values():
            lacking = (life.held & life.assigned) - self.cloud.secondaries[life.eni.id]
            assert not lacking, f"{life.pod} has lost {lacking}"

    def end(self) -> None:
        """Let everything work again, and the pods end that never say what they hold."""
        self.cloud.struck.clear()
        self.listing.failing = 0
        self.lagging = False
        self.until_killed = 0
        self.cloud.on_observed = lambda: None
        self.pass_time(1000)
        self.check()
        for key, life in list(self.pods.items()):
            if life.pod.agent in (InjectedAgent.DIRECT_SIDECAR, InjectedAgent.NONE):
                del self.pods[key], self.listing.all[key]
        self.sidecars_state_what_they_hold()
        self.pass_time(3000)
        self.check()
        left = suspected_leaks(self.sweeper.records, self.watched.ownership(), RULES)
        assert not left, f"left behind for ever: {left}"
        assert self.checkpoint.saved == self.sweeper.records


@pytest.mark.parametrize("agents", AGENTS)
def test_what_living_pods_have_stays_and_what_they_leave_goes(agents: str) -> None:
    told: Counter[str] = Counter()
    put_back = kills = 0
    for seed in range(30):
        node = Node(AGENTS[agents], seed)
        for _ in range(100):
            node.step()
        node.end()
        told += node.told
        put_back += len(node.lines.of("restored"))
        kills += node.kills
    # Otherwise this would show nothing.
    assert told[EventType.RECLAIMED] >= 100
    assert kills >= 100
    if agents == "direct init beside it":
        assert put_back
