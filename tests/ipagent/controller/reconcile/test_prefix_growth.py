"""A node of a network of prefixes while many pods start on it, and after its power was cut."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import pytest

from ipagent.controller.model.actions import AssignPrefixes, Call
from ipagent.controller.model.node_attachment import PodUsage
from ipagent.controller.model.prefixes import CniSpec, Family, PrefixSpec, PrefixState
from ipagent.links.cni_files import WATCH_SECONDS
from ipagent.links.pool import IDLE_SECONDS, PoolReport, PrefixUse, worth_reporting
from ipagent.node.observe.usage_reporter import GATHER
from tests.ipagent.controller.leader import Leader
from tests.ipagent.controller.prefix_world import PrefixWorld
from tests.ipagent.controller.world import network

pytestmark = [pytest.mark.pure, pytest.mark.no_cover]

OAM = "n1.oam"
SPEC = PrefixSpec(1, 0, 8, CniSpec((Family.IPV4,)))
POD_RETRY = 10.0
"""Seconds until the kubelet makes a pod's sandbox again (`pkg/kubelet`, backOffPeriod)."""
SANDBOX = 0.5
"""Seconds from a pod's binding until its sandbox asks for an address: volumes, cgroup, pause container."""
STEP = 0.1
"""Seconds after which a change that the API server has got is seen by whoever watches it."""


@dataclass
class Node:
    """A node whose prefixes grow: EC2 needs `ec2_seconds` for a call.

    `requesting`: pods request the network's resource (`capacity.enabled`).
    """

    ec2_seconds: float
    requesting: bool = False
    world: PrefixWorld = field(default_factory=PrefixWorld)
    refused: Counter[int] = field(default_factory=Counter)
    """How often each pod found no address free."""

    def __post_init__(self) -> None:
        self.world.add_network(network("oam", prefixes=SPEC))
        self.world.add_node("n1")
        self.leader = Leader(self.world, between=self._wait)
        self.started = self.bound = 0
        self._looked = self._counted = 0.0
        self._reported: tuple[PoolReport, float] | None = None
        self.live(20)

    def _wait(self, call: Call) -> None:
        """Let time pass on the node while EC2 answers."""
        if isinstance(call, AssignPrefixes):
            self.pass_time(self.ec2_seconds)

    def pass_time(self, seconds: float) -> None:
        """Let pods start, and `links` write and report, but the controller not decide."""
        for _ in range(round(seconds / STEP)):
            self.world.advance(STEP)
            file = self.world.files.get(OAM)
            self.world.write_files()
            if self.world.now >= self._looked + WATCH_SECONDS or self.world.files.get(OAM) != file:
                self._looked = self.world.now
                self._report()
            if self.requesting and self.world.now >= self._counted + GATHER:
                self._counted = self.world.now
                self._count()

    def _report(self) -> None:
        """Report the pool as `links` does: what changes no decision waits for half a minute."""
        before = self.world.attachments.get(OAM)
        if before is None:
            return
        self.world.report()
        now, pool = self.world.now, self.world.attachments[OAM].pool
        assert pool is not None
        uses = tuple(PrefixUse(prefix, each.used, each.offered) for prefix, each in pool.prefixes.items())
        found, (last, at) = PoolReport(pool.file, "", uses), self._reported or (PoolReport(), now)
        if self._reported and now - at < IDLE_SECONDS and not worth_reporting(last, found):
            self.world.attachments[OAM] = before
        elif found != last:
            self._reported = found, now

    def _count(self) -> None:
        """Report what bound pods request, as the node agent does."""
        if OAM in self.world.attachments:
            found = self.world.attachments[OAM]
            self.world.attachments[OAM] = replace(found, usage=PodUsage(found.status.mac, self.bound))

    def live(self, seconds: float) -> None:
        """Let time pass for all."""
        until = self.world.now + seconds
        while self.world.now < until:
            self.leader.turn()
            self.pass_time(STEP)

    def create(self, pods: int, a_second: float) -> None:
        """Let the scheduler bind so many pods, a hundred a second, and the kubelet make their sandboxes."""
        for number in range(pods):
            bound = number / 100
            self.world.due.append((self.world.now + bound, self._bind))
            self.try_later(number, max(bound, number / a_second) + SANDBOX)

    def _bind(self) -> None:
        self.bound += 1

    def try_later(self, pod: int, seconds: float) -> None:
        """Make a pod's sandbox in a while; again where no address is free."""
        self.world.due.append((self.world.now + seconds, lambda: self._try(pod)))

    def _try(self, pod: int) -> None:
        if self.world.start_pod(OAM):
            self.started += 1
        else:
            self.refused[pod] += 1
            self.try_later(pod, POD_RETRY)


@pytest.mark.parametrize(("a_second", "ec2_seconds"), [(5.0, 0.3), (5.0, 1.0), (10.0, 0.3)])
def test_another_prefix_comes_before_the_last_address_is_gone_while_100_pods_start(
    a_second: float, ec2_seconds: float
) -> None:
    node = Node(ec2_seconds)
    assert len(node.world.prefixes(OAM)) == 1
    node.create(100, a_second)
    node.live(100 / a_second + 5)
    assert (node.started, node.refused) == (100, Counter())
    # 100 addresses are in 7 prefixes; 12 are free in the last one, so no other is asked for.
    assert len(node.world.prefixes(OAM)) == node.world.calls["AssignPrefixes"] == 7
    assert node.world.cut_off == []


@pytest.mark.parametrize(
    ("a_second", "ec2_seconds"), [(1.0, 1.0), (5.0, 1.0), (10.0, 1.0), (15.0, 0.2), (20.0, 0.3)]
)
def test_what_bound_pods_request_is_assigned_before_they_ask_for_it(
    a_second: float, ec2_seconds: float
) -> None:
    node = Node(ec2_seconds, requesting=True)
    node.create(100, a_second)
    node.live(100 / a_second + 5)
    assert (node.started, node.refused) == (100, Counter())
    assert len(node.world.prefixes(OAM)) == 7
    assert node.world.calls["AssignPrefixes"] <= 4
    assert node.world.cut_off == []


def test_what_is_requested_is_not_given_back_and_what_is_not_any_more_is() -> None:
    node = Node(0.3, requesting=True)
    node.bound = 60
    node.live(10)
    before = node.world.prefixes(OAM)
    assert len(before) == 5
    for _ in range(5):
        node.leader.run(400)
        node.live(1)
    assert node.world.prefixes(OAM) == before
    node.bound = 0
    for _ in range(9):
        node.leader.run(400)
        node.live(1)
    assert len(node.world.prefixes(OAM)) < 5


@pytest.mark.parametrize(("a_second", "ec2_seconds", "most"), [(10.0, 2.0, 2), (50.0, 1.0, 4)])
def test_pods_that_are_faster_than_growth_get_their_addresses_when_the_kubelet_tries_again(
    a_second: float, ec2_seconds: float, most: int
) -> None:
    node = Node(ec2_seconds)
    node.create(100, a_second)
    node.live(100 / a_second + (most + 1) * POD_RETRY)
    assert node.started == 100
    assert 0 < max(node.refused.values()) <= most
    assert node.world.calls["AssignPrefixes"] == 7
    assert node.world.cut_off == []


def test_after_a_power_cut_no_address_and_no_prefix_is_left_behind() -> None:
    node = Node(0.3)
    world = node.world
    node.create(40, 5.0)
    node.live(20)
    assert len(world.prefixes(OAM)) == 4
    before = world.prefixes(OAM)
    # host-local's state is on tmpfs: nothing is reserved any more, and `links` does not report.
    world.used[OAM] = set()
    node.leader.run(120)
    assert world.prefixes(OAM) == before
    node.create(4, 5.0)
    node.live(IDLE_SECONDS + 10)
    pool = world.attachments[OAM].pool
    assert pool is not None
    assert sorted(use.used for use in pool.prefixes.values()) == [0, 0, 0, 4]
    for _ in range(6):
        node.leader.run(400)
        node.live(1)
    # The pods' prefix, and another one, so that sixteen addresses are free beside it.
    assert [each.state for each in world.attachments[OAM].status.prefixes] == [PrefixState.ACTIVE] * 2
    assert world.cut_off == []


def test_a_node_that_does_not_come_back_takes_its_prefixes_with_it() -> None:
    node = Node(0.3)
    world = node.world
    node.create(40, 5.0)
    node.live(3)
    eni = world.attachments[OAM].status.eni
    assert world.enis[eni].prefixes
    gone = world.nodes.pop("n1")
    world.terminate(gone.instance)
    node.leader.run(600)
    assert eni not in world.enis
    assert OAM not in world.attachments
    assert not [each for each in world.enis.values() if each.prefixes]
