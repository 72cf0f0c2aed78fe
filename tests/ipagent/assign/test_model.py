"""Pods come, go, move and take over addresses while EC2 fails at random: what must hold at the end."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection
from itertools import chain, count
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from common.agent_settings import Takeover
from ipagent.assign.address_calls import Assign, Unassign
from ipagent.assign.address_state import Phase
from ipagent.assign.addresses import IPAddress, Link
from ipagent.assign.drift import DESCRIBE_SECONDS
from ipagent.assign.ec2_error_codes import Fault
from ipagent.assign.plan import STALE_SECONDS
from ipagent.assign.release import release_at_exit
from ipagent.assign.topology import Eni, EniDetails, Topology
from ipagent.direct import init
from ipagent.direct.sidecar import Follower
from tests.ipagent.fakes import NET1, FakeCloud, FakeSource, Lines, Strike, Time, agent, ip, patient_exit

pytestmark = [pytest.mark.pure, pytest.mark.no_cover]

NODES = ("eni-1", "eni-2", "eni-9")
SHARED = tuple(map(ip, ("10.10.1.80", "10.10.1.81", "2001:db8:1::80", "2001:db8:1::81")))
NOBODYS = tuple(map(ip, ("10.10.1.200", "2001:db8:1::200")))
"""On eni-9, for a reason of their own: no pod ever holds them."""


class PodsCloud:
    """The cloud as one pod's agent sees it, which watches what the agent takes off."""

    def __init__(self, cloud: FakeCloud, eni_id: str) -> None:
        self._cloud = cloud
        self.secondaries = cloud.secondaries
        self._eni = Eni(eni_id, NET1.mac, 1, "subnet-1")
        self.ever_held: set[IPAddress] = set()

    def topology(self, macs: Collection[str], *, fresh: bool = False) -> Topology:
        self._cloud.topology(macs, fresh=fresh)
        return Topology((self._eni,))

    def cached(self, macs: Collection[str]) -> Topology | None:
        return self._cloud.cached(macs)

    def known(self, mac: str) -> Eni | None:
        return self._eni if mac == self._eni.mac else None

    def verified(self, shown: Topology, macs: Collection[str]) -> Topology:
        return self._cloud.verified(shown, macs)

    def ranged(self, shown: Topology, macs: Collection[str]) -> Topology:
        return self._cloud.ranged(shown, macs)

    def metadata(self, eni: Eni, versions: Collection[int]) -> frozenset[IPAddress] | None:
        return self._cloud.metadata(eni, versions)

    def describe(self, eni_id: str) -> EniDetails:
        return self._cloud.describe(eni_id)

    def holders(self, addresses: Collection[IPAddress], subnet_id: str) -> tuple[EniDetails, ...]:
        return self._cloud.holders(addresses, subnet_id)

    def prefix_holders(self, addresses: Collection[IPAddress], subnet_id: str) -> tuple[EniDetails, ...]:
        return self._cloud.prefix_holders(addresses, subnet_id)

    def assign(self, call: Assign) -> frozenset[IPAddress]:
        assert self.ever_held.issuperset(call.addresses)
        return self._cloud.assign(call)

    def unassign(self, call: Unassign) -> None:
        assert self.ever_held.issuperset(call.addresses), "not ours"
        self._cloud.unassign(call)


class Kernel:
    """A pod's address events."""

    def __init__(self) -> None:
        self.gone: set[IPAddress] = set()

    def wait(self, seconds: float | None, wakeup: int) -> bool:
        raise NotImplementedError(seconds, wakeup)

    def removed(self) -> frozenset[IPAddress]:
        gone, self.gone = frozenset(self.gone), set()
        return gone


class Pod:
    """A pod with a sidecar, stepped by hand."""

    def __init__(self, cloud: FakeCloud, eni_id: str, held: Collection[IPAddress], **given: Any) -> None:
        self.eni_id = eni_id
        self.cloud = PodsCloud(cloud, eni_id)
        self.cloud.ever_held.update(held)
        self.source = FakeSource(*((NET1, str(address)) for address in held))
        self.lines = Lines()
        self.agent = agent(
            self.source, self.cloud, self.lines, cloud.time.timing, interfaces=("net1",), **given
        )
        self.kernel = Kernel()
        self.life: Follower | None = None

    def start(self, timing: Time) -> bool:
        """Do the first assignment as init does; tells whether the pod starts."""
        report = init.run(self.agent, timing.now + 60, timing.timing)
        on_eni = self.cloud.secondaries[self.eni_id].issuperset(self.held)
        assert report.exit_code != 0 or on_eni, "exit 0 and not assigned"
        if report.exit_code == 0:
            self.life = Follower(self.agent, self.kernel)
        return report.exit_code == 0

    @property
    def held(self) -> set[IPAddress]:
        return {ip(address) for _, address in self.source.held}

    def add(self, address: IPAddress) -> None:
        entry: tuple[Link, str] = (NET1, str(address))
        if entry not in self.source.held:
            self.source.held.append(entry)
        self.cloud.ever_held.add(address)
        self.wake()

    def remove(self, address: IPAddress) -> None:
        self.source.held = [entry for entry in self.source.held if entry[1] != str(address)]
        self.kernel.gone.add(address)
        self.wake()

    def wake(self) -> None:
        assert self.life
        self.life.mark_changed()

    def release(self, timing: Time) -> None:
        assert self.life
        with patient_exit():
            release_at_exit(self.life.releasable, self.cloud, timing.timing, self.lines.log)


class Cluster(RuleBasedStateMachine):
    """Up to four pods on three ENIs of one subnet, and an EC2 that fails."""

    def __init__(self) -> None:
        super().__init__()
        self.time = Time()
        self.cloud = FakeCloud(self.time, room=50)
        self.cloud.secondaries["eni-9"] = set(NOBODYS)
        self.primaries = dict(self.cloud.primaries)
        self.pods: dict[int, Pod] = {}
        self.names = count()

    @initialize(
        imds=st.booleans(),
        delay=st.sampled_from([0.0, 5.0, 100.0]),
        lag=st.sampled_from([0.0, STALE_SECONDS]),
    )
    def begin(self, imds: bool, delay: float, lag: float) -> None:
        self.cloud.imds, self.cloud.imds_delay, self.cloud.ec2_delay = imds, delay, lag

    @precondition(lambda self: len(self.pods) < 4)
    @rule(
        eni=st.sampled_from(NODES),
        held=st.sets(st.sampled_from(SHARED), max_size=3),
        release=st.booleans(),
        takeover=st.sampled_from(Takeover),
    )
    def a_pod_starts(self, eni: str, held: set[IPAddress], release: bool, takeover: Takeover) -> None:
        pod = Pod(self.cloud, eni, sorted(held, key=int), release_on_exit=release, takeover=takeover)
        struck, self.cloud.struck = self.cloud.struck, []
        before = self.on_enis()
        started = pod.start(self.time)
        self.nothing_is_taken_for_nothing(pod, before)
        self.cloud.struck = struck
        if started:
            self.pods[next(self.names)] = pod

    @precondition(lambda self: self.pods)
    @rule(data=st.data(), address=st.sampled_from(SHARED))
    def a_pod_gets_an_address(self, data: st.DataObject, address: IPAddress) -> None:
        data.draw(st.sampled_from(list(self.pods.values()))).add(address)

    @precondition(lambda self: self.pods)
    @rule(data=st.data(), address=st.sampled_from(SHARED))
    def a_pod_loses_an_address(self, data: st.DataObject, address: IPAddress) -> None:
        data.draw(st.sampled_from(list(self.pods.values()))).remove(address)

    @precondition(lambda self: self.pods)
    @rule(data=st.data(), killed=st.booleans())
    def a_pod_ends(self, data: st.DataObject, killed: bool) -> None:
        pod = self.pods.pop(data.draw(st.sampled_from(list(self.pods))))
        if pod.agent.settings.release_on_exit and not killed:
            pod.release(self.time)

    @rule(
        struck=st.lists(
            st.builds(
                Strike,
                st.sampled_from(["assign", "unassign", "holders", "describe"]),
                st.sampled_from([Fault.THROTTLED, Fault.TRANSIENT, Fault.UNREACHABLE, Fault.NO_CREDENTIALS]),
                st.booleans(),
            ),
            max_size=6,
        )
    )
    def ec2_fails(self, struck: list[Strike]) -> None:
        self.cloud.struck += struck

    # Whether a full ENI has the address already is decided by a description, which must not be old then.
    @precondition(lambda self: not self.cloud.ec2_delay)
    @rule(eni=st.sampled_from(NODES))
    def an_eni_is_full(self, eni: str) -> None:
        count = Counter(address.version for address in self.cloud.secondaries[eni])
        self.cloud.rooms[eni] = max(count.values(), default=0)

    @rule()
    def all_enis_have_room(self) -> None:
        self.cloud.rooms.clear()

    @rule(address=st.sampled_from(SHARED))
    def somebody_takes_an_address_away(self, address: IPAddress) -> None:
        for held in self.cloud.secondaries.values():
            held.discard(address)

    @rule(seconds=st.sampled_from([0.0, 1.0, 60.0, 1000.0]))
    def time_passes(self, seconds: float) -> None:
        until = self.time.now + seconds
        for _ in range(5000):
            delays = [self.step(pod.life, pod) for pod in self.pods.values() if pod.life]
            delay = min((each for each in delays if each is not None), default=math.inf)
            if self.time.now + delay > until:
                self.time.now = max(until, self.time.now)
                return
            self.time.now += delay
        pytest.fail("it spins")

    def step(self, life: Follower, pod: Pod) -> float | None:
        before, fails = self.on_enis(), bool(self.cloud.struck)
        delay = life.step()
        if not fails:
            self.nothing_is_taken_for_nothing(pod, before)
        return delay

    def on_enis(self) -> set[IPAddress]:
        return set().union(*self.cloud.secondaries.values())

    def nothing_is_taken_for_nothing(self, pod: Pod, before: set[IPAddress]) -> None:
        assert not (before - self.on_enis()) & pod.held, "taken off an ENI, and on none now"

    @invariant()
    def what_is_not_the_pods_is_left_alone(self) -> None:
        assert self.cloud.primaries == self.primaries
        assert self.cloud.secondaries["eni-9"].issuperset(NOBODYS)

    def teardown(self) -> None:
        self.cloud.struck.clear()
        self.cloud.rooms.clear()
        self.time_passes(2 * DESCRIBE_SECONDS)
        self.time_passes(2 * DESCRIBE_SECONDS)
        for pod in self.pods.values():
            self.every_address_is_where_the_pod_thinks(pod)
        holders = list(chain.from_iterable(pod.held for pod in self.pods.values()))
        for pod in self.pods.values():
            alone = {address for address in pod.held if holders.count(address) == 1}
            if pod.agent.settings.takeover is Takeover.ALWAYS:
                self.a_fresh_add_brings_them_here(pod, alone)

    def every_address_is_where_the_pod_thinks(self, pod: Pod) -> None:
        items = pod.agent.reconciler.plan.items
        assert {item.address for item in items} == pod.held
        for item in items:
            here = item.address in self.cloud.secondaries[pod.eni_id]
            assert item.phase in (Phase.CONFIRMED, Phase.TAKEN, Phase.REFUSED)
            assert here is (item.phase is Phase.CONFIRMED)
            if item.phase is Phase.REFUSED:
                assert pod.agent.settings.takeover is Takeover.NEVER

    def a_fresh_add_brings_them_here(self, pod: Pod, addresses: Collection[IPAddress]) -> None:
        for address in addresses:
            pod.remove(address)
            pod.add(address)
        self.time_passes(2 * DESCRIBE_SECONDS)
        assert self.cloud.secondaries[pod.eni_id].issuperset(addresses)


Cluster.TestCase.settings = settings(stateful_step_count=25, derandomize=True)
TestCluster = Cluster.TestCase
