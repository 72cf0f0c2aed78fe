"""Networks of prefixes: how many an ENI has, when one comes and goes, and what is said where none is left."""

from __future__ import annotations

import os
from dataclasses import replace
from random import Random

import pytest

from ipagent.controller.model.actions import AssignPrefixes, Call, UnassignPrefix
from ipagent.controller.model.ec2_snapshot import Eni
from ipagent.controller.model.node_attachment import PREFIXES_READY, READY, PodUsage
from ipagent.controller.model.prefixes import CniSpec, Family, PrefixSpec, PrefixState
from ipagent.controller.reconcile.ec2_answers import Refused
from ipagent.controller.reconcile.ec2_error_conditions import Kind
from ipagent.controller.reconcile.prefixes import capacity
from ipagent.node_network_api import STARTUP_TAINT
from tests.ipagent.controller.leader import Leader
from tests.ipagent.controller.prefix_world import OAM, PrefixWorld, condition, settle
from tests.ipagent.controller.world import RANGE, network

pytestmark = pytest.mark.pure

SEEDS = int(os.environ.get("MULTUS_ENI_NETWORK_SCHEDULES", "8"))


def spec(ipv4: int = 1, ipv6: int = 0, most: int = 4) -> PrefixSpec:
    families = [each for each, count in ((Family.IPV4, ipv4), (Family.IPV6, ipv6)) if count]
    return PrefixSpec(ipv4, ipv6, most, CniSpec(tuple(families)))


def world(prefixes: PrefixSpec | None = None) -> PrefixWorld:
    found = PrefixWorld()
    found.add_network(network("oam", prefixes=prefixes or spec()))
    found.add_node("n1")
    return found


def states(world: PrefixWorld) -> list[PrefixState]:
    return [each.state for each in world.attachments[OAM].status.prefixes]


def start(world: PrefixWorld, pods: int) -> None:
    assert all(world.start_pod(OAM) for _ in range(pods))


@pytest.mark.parametrize(
    ("asked", "counts"), [(spec(2), (2, 0)), (spec(0, 1, 0), (0, 1)), (spec(1, 1), (1, 1))]
)
def test_a_node_is_ready_once_its_eni_has_the_prefixes_and_it_hands_them_out(
    asked: PrefixSpec, counts: tuple[int, int]
) -> None:
    oam = world(asked)
    leader = Leader(oam)
    leader.run(30)
    found = oam.prefixes(OAM)
    assert (sum("." in each for each in found), sum(":" in each for each in found)) == counts
    assert condition(oam) == ("Unknown", "WaitingForNode")
    assert [taint.key for taint in oam.nodes["n1"].taints] == [STARTUP_TAINT]
    settle(oam, leader)
    assert (condition(oam), condition(oam, READY)) == (("True", "Offered"), ("True", "Ready"))
    assert oam.nodes["n1"].taints == ()
    assert oam.attachments[OAM].status.cidrs == (RANGE,)
    calls = oam.calls["AssignPrefixes"]
    settle(oam, leader, 60)
    assert oam.calls["AssignPrefixes"] == calls == sum(bool(each) for each in counts)


def test_a_node_that_can_not_write_its_configuration_says_so() -> None:
    oam = world()
    leader = Leader(oam)
    settle(oam, leader)
    attachment = oam.attachments[OAM]
    assert attachment.pool is not None
    oam.attachments[OAM] = replace(attachment, pool=replace(attachment.pool, message="read-only: mount it"))
    leader.run(2)
    assert oam.attachments[OAM].status.conditions[READY].message == "read-only: mount it"


def test_another_prefix_comes_before_the_last_address_is_gone() -> None:
    oam = world(spec(1, most=3))
    leader = Leader(oam)
    settle(oam, leader)
    start(oam, 7)
    settle(oam, leader, 3)
    assert len(oam.prefixes(OAM)) == 1
    start(oam, 1)
    settle(oam, leader, 3)
    assert len(oam.prefixes(OAM)) == 2
    for _ in range(20):
        start(oam, 2)
        settle(oam, leader, 1)
    assert oam.refused_pods == 0
    assert len(oam.prefixes(OAM)) == 3
    # Three prefixes are the most, and all of their addresses are handed out.
    assert oam.attachments[OAM].status.free == 0
    assert not oam.start_pod(OAM)


def test_pods_may_request_what_prefixes_have_and_may_get() -> None:
    there = world(spec(most=4))
    leader = Leader(there)
    settle(there, leader)
    start(there, 10)
    settle(there, leader)
    held = sorted(there.used[OAM])
    found = there.attachments[OAM]
    # Three of the ten request nothing, a fourth one that does has no address yet.
    usage = PodUsage(found.status.mac, 8, frozenset((*held[:7], "192.0.2.1")), frozenset(held[7:]))
    there.attachments[OAM] = replace(found, usage=usage)
    settle(there, leader)
    status = there.attachments[OAM].status
    assert (status.pool_free, status.free, status.capacity, status.requested) == (54, 53, 61, 8)
    assert there.nodes["n1"].advertised == {"multus-eni.io/oam": ("61", "61")}


def test_a_late_report_makes_no_more_addresses_than_there_are() -> None:
    there = world(spec(2, most=4))
    leader = Leader(there)
    settle(there, leader)
    start(there, 1)
    settle(there, leader)
    start(there, 9)
    # The node agent is faster than the container `links`, which need not report while many are free.
    found = there.attachments[OAM]
    usage = PodUsage(found.status.mac, 10, frozenset(there.used[OAM]))
    there.attachments[OAM] = replace(found, usage=usage)
    leader.run(2)
    status = there.attachments[OAM].status
    assert (status.pool_free, status.free, status.capacity) == (63, 54, 64)


BOUND, USED, NAMED = "bound", "used", "named"


@pytest.mark.parametrize(
    ("reports", "free"),
    [
        # What is used and nobody's counts as gone.
        ((BOUND, USED, NAMED), (27, 26, 27)),
        ((BOUND, NAMED, USED), (27, 27, 27)),
        ((USED, NAMED), (27, 27)),
        ((NAMED, USED), (27, 27)),
    ],
)
def test_a_pod_that_starts_leaves_no_more_free_in_whatever_order_its_node_reports_it(
    reports: tuple[str, ...], free: tuple[int, ...]
) -> None:
    there = world(spec(2, most=2))
    leader = Leader(there)
    settle(there, leader)
    start(there, 4)
    settle(there, leader)
    before = sorted(there.used[OAM])

    def report(requested: int, *addresses: str) -> None:
        found = there.attachments[OAM]
        # One pod requests nothing.
        usage = PodUsage(found.status.mac, requested, frozenset(addresses), frozenset(before[3:]))
        there.attachments[OAM] = replace(found, usage=usage)

    report(3, *before[:3])
    leader.run(2)
    assert (there.attachments[OAM].status.free, there.attachments[OAM].status.capacity) == (28, 31)
    start(there, 1)
    (new,) = there.used[OAM] - set(before)
    shown = []
    for each in reports:
        if each == USED:
            there.report()
        else:
            report(4, *before[:3], *([new] if each == NAMED else []))
        leader.run(2)
        shown.append(there.attachments[OAM].status.free)
    assert tuple(shown) == free
    assert there.attachments[OAM].status.capacity == 31


def test_what_nobody_has_requested_is_not_for_pods_that_are_yet_to_start() -> None:
    """The node names no pod without an agent, and no pod that is gone and has left its reservation."""
    there = world(spec(2, most=1))
    leader = Leader(there)
    settle(there, leader)
    start(there, 5)
    settle(there, leader)
    found = there.attachments[OAM]
    there.attachments[OAM] = replace(found, usage=PodUsage(found.status.mac, 3))
    leader.run(2)
    status = there.attachments[OAM].status
    assert (status.pool_free, status.free, status.capacity) == (11, 8, 11)


def test_what_is_in_reserve_is_not_free() -> None:
    there = world(spec(most=4))
    there.networks["oam"] = replace(there.networks["oam"], reserve=60)
    leader = Leader(there)
    settle(there, leader)
    found = there.attachments[OAM]
    there.attachments[OAM] = replace(found, usage=PodUsage(found.status.mac))
    settle(there, leader)
    status = there.attachments[OAM].status
    assert (status.pool_free, status.free, status.capacity) == (64, 4, 4)


def test_no_more_come_than_the_instance_type_allows() -> None:
    oam = world(spec(2, most=8))
    oam.addresses = 4
    leader = Leader(oam)
    settle(oam, leader)
    start(oam, 30)
    settle(oam, leader, 5)
    assert len(oam.prefixes(OAM)) == 3
    assert oam.attachments[OAM].status.free == 18
    start(oam, 18)
    settle(oam, leader, 5)
    assert len(oam.prefixes(OAM)) == 3
    assert condition(oam) == ("True", "Offered")


def test_an_eni_without_room_for_any_says_so() -> None:
    oam = world()
    oam.addresses = 1
    leader = Leader(oam)
    leader.run(30)
    assert condition(oam) == ("False", "NoPlace")
    assert "1 are allowed" in oam.attachments[OAM].status.conditions[READY].message


def test_a_prefix_goes_when_it_has_been_empty_for_long_and_the_node_hands_it_out_no_more() -> None:
    oam = world(spec(1, most=3))
    leader = Leader(oam)
    settle(oam, leader)
    for pods in (16, 10):
        start(oam, pods)
        settle(oam, leader, 3)
    assert len(oam.prefixes(OAM)) == 3
    for _ in range(24):
        oam.end_pod(OAM)
    settle(oam, leader, 3)
    leader.run(580)
    assert states(oam) == [PrefixState.ACTIVE] * 3
    leader.run(30)
    assert sorted(states(oam)) == [PrefixState.ACTIVE, PrefixState.ACTIVE, PrefixState.DRAINING]
    # The node still hands it out: nothing goes until it has reported that it does not.
    leader.run(3000)
    assert len(oam.prefixes(OAM)) == 3
    settle(oam, leader, 3)
    leader.run(280)
    assert len(oam.prefixes(OAM)) == 3
    leader.run(30)
    assert len(oam.prefixes(OAM)) == 2
    settle(oam, leader, 3)
    leader.run(3000)
    assert len(oam.prefixes(OAM)) == 2, "sixteen addresses are to be left beside one that goes"
    assert oam.cut_off == []


def test_a_draining_prefix_is_used_again_before_another_one_is_asked_for() -> None:
    oam = world(spec(1, most=3))
    leader = Leader(oam)
    settle(oam, leader)
    start(oam, 16)
    settle(oam, leader, 3)
    for _ in range(16):
        oam.end_pod(OAM)
    start(oam, 2)
    oam.report()
    leader.run(700)
    calls = oam.calls["AssignPrefixes"]
    assert PrefixState.DRAINING not in states(oam), "16 must be free beside the one that goes"
    oam.networks["oam"] = replace(oam.networks["oam"], prefixes=None)
    settle(oam, leader, 3)
    assert set(states(oam)) == {PrefixState.DRAINING}
    oam.networks["oam"] = replace(oam.networks["oam"], prefixes=spec(2))
    settle(oam, leader, 3)
    assert states(oam) == [PrefixState.ACTIVE] * 2
    assert oam.calls["AssignPrefixes"] == calls


def test_a_network_that_goes_back_to_single_addresses_lets_its_pods_live() -> None:
    oam = world(spec(2))
    leader = Leader(oam)
    settle(oam, leader)
    start(oam, 3)
    oam.networks["oam"] = replace(oam.networks["oam"], prefixes=None)
    settle(oam, leader)
    leader.run(2000)
    assert condition(oam, READY) == ("True", "Ready")
    assert len(oam.prefixes(OAM)) == 1
    assert oam.files[OAM] == ()
    for _ in range(3):
        oam.end_pod(OAM)
    oam.report()
    leader.run(2000)
    assert oam.prefixes(OAM) == frozenset()
    assert PREFIXES_READY not in oam.attachments[OAM].status.conditions
    assert oam.cut_off == []


def test_a_network_that_moves_to_prefixes_leaves_its_single_addresses() -> None:
    oam = world()
    oam.networks["oam"] = replace(oam.networks["oam"], prefixes=None)
    leader = Leader(oam)
    leader.run(30)
    eni = oam.enis[oam.attachments[OAM].status.eni]
    oam.enis[eni.id] = replace(eni, ipv4=4)
    oam.networks["oam"] = replace(oam.networks["oam"], prefixes=spec(2))
    settle(oam, leader, 320)
    assert oam.enis[eni.id].ipv4 == 6
    assert oam.attachments[OAM].status.free == 4 * 16
    assert condition(oam, READY) == ("True", "Ready")


def test_prefixes_that_somebody_else_has_assigned_to_an_eni_with_single_addresses_stay() -> None:
    oam = world()
    oam.networks["oam"] = replace(oam.networks["oam"], prefixes=None)
    leader = Leader(oam)
    leader.run(30)
    eni = oam.enis[oam.attachments[OAM].status.eni]
    oam.enis[eni.id] = replace(eni, prefixes=frozenset({"10.10.9.0/28"}))
    settle(oam, leader, 400)
    assert oam.attachments[OAM].status.prefixes == ()
    assert oam.prefixes(OAM) == {"10.10.9.0/28"}


def test_of_several_prefixes_a_fragmented_subnet_gives_what_it_has() -> None:
    oam = world(spec(3, 1))
    oam.refuse = lambda call: (
        Refused(Kind.NO_BLOCKS, call.actions[0], "InsufficientCidrBlocks")
        if isinstance(call, AssignPrefixes) and call.family is Family.IPV4 and (call.count > 1 or blocks(oam))
        else None
    )
    leader = Leader(oam)
    settle(oam, leader, 60)
    assert blocks(oam) == 1
    # The other family does not wait for the rest.
    assert len(oam.prefixes(OAM)) == 2
    assert (condition(oam), condition(oam, READY)) == (("True", "SubnetFragmented"), ("True", "Ready"))


def blocks(world: PrefixWorld) -> int:
    return sum("." in each for eni in world.enis.values() for each in eni.prefixes)


def test_the_same_refusal_does_not_make_the_network_unpermitted_but_a_right_that_is_missing_does() -> None:
    oam = world()
    leader = Leader(oam)
    oam.refuse = lambda call: (
        Refused(Kind.NOT_PERMITTED, "AssignPrivateIpAddresses", "ec2:AssignPrivateIpAddresses")
        if isinstance(call, AssignPrefixes)
        else None
    )
    leader.run(60)
    assert oam.networks["oam"].status["Permitted"].reason == "NotPermitted"


def test_a_call_without_an_answer_is_not_made_twice() -> None:
    oam = world()
    leader = Leader(oam)
    lost: list[Call] = []

    def lose(call: Call) -> Refused | None:
        if isinstance(call, AssignPrefixes) and not lost:
            lost.append(call)
            oam.refuse = lambda _: None
            oam.execute(call)
            return Refused(Kind.UNREACHABLE, "AssignPrivateIpAddresses", "read timeout")
        return None

    oam.refuse = lose
    leader.run(30)
    assert condition(oam)[1] in ("Assigning", "Ec2Unreachable", "Reading")
    settle(oam, leader, 200)
    assert len(oam.prefixes(OAM)) == 1
    assert condition(oam, READY) == ("True", "Ready")


def test_a_description_that_is_late_takes_no_prefix_from_the_node() -> None:
    oam = world()
    leader = Leader(oam)
    settle(oam, leader)
    (prefix,) = oam.prefixes(OAM)
    eni = oam.enis[oam.attachments[OAM].status.eni]
    oam.enis[eni.id] = replace(eni, prefixes=frozenset(), ipv4=1)
    leader = Leader(oam)
    settle(oam, leader, 30)
    assert (oam.files[OAM], oam.calls["AssignPrefixes"]) == ((prefix,), 1)
    # After a minute it is true: somebody has unassigned it.
    settle(oam, leader, 90)
    assert prefix not in oam.files[OAM]
    assert oam.calls["AssignPrefixes"] == 2


def test_a_description_that_is_late_gives_no_prefix_to_the_node() -> None:
    oam = world()
    leader = Leader(oam)
    settle(oam, leader)
    eni = oam.enis[oam.attachments[OAM].status.eni]
    oam.enis[eni.id] = replace(eni, prefixes=eni.prefixes | {"10.10.9.0/28"}, ipv4=3)
    leader = Leader(oam)
    settle(oam, leader, 30)
    assert "10.10.9.0/28" not in oam.files[OAM]
    settle(oam, leader, 90)
    assert "10.10.9.0/28" in oam.files[OAM]


@pytest.mark.parametrize(
    ("limit", "others", "most", "found"), [(15, 1, 4, 64), (15, 13, 4, 32), (15, 15, 4, 0), (30, 1, 1, 16)]
)
def test_each_prefix_counts_as_sixteen_addresses(limit: int, others: int, most: int, found: int) -> None:
    assert capacity(spec(most=most), limit, others) == found


def fragmented(prefixes: PrefixSpec | None = None, pods: int = 0) -> tuple[PrefixWorld, Leader]:
    oam = world(prefixes)
    oam.blocks, oam.addresses, oam.ipv6_limit = 0, 30, 30
    leader = Leader(oam)
    settle(oam, leader)
    start(oam, pods)
    settle(oam, leader, 5)
    return oam, leader


def test_in_a_fragmented_subnet_pods_get_single_addresses_and_the_remedy_is_said() -> None:
    oam, leader = fragmented()
    assert (condition(oam), condition(oam, READY)) == (("True", "SubnetFragmented"), ("True", "Ready"))
    found = oam.attachments[OAM].status
    assert "InsufficientCidrBlocks" in found.conditions[PREFIXES_READY].message
    assert "create-subnet-cidr-reservation" in found.conditions[PREFIXES_READY].message
    network_ready = oam.networks["oam"].status[READY]
    assert (network_ready.status, network_ready.reason) == ("True", "SubnetFragmented")
    assert "create-subnet-cidr-reservation" in network_ready.message
    # Sixteen are free, as with a prefix; and all 29 that the ENI takes may come.
    assert (len(oam.singles(OAM)), found.free, oam.enis[found.eni].ipv4) == (16, 29, 17)
    start(oam, 16)
    settle(oam, leader, 5)
    assert (len(oam.singles(OAM)), oam.attachments[OAM].status.free) == (29, 13)
    assert oam.cut_off == []


def test_single_addresses_of_pods_that_request_them_count_in_the_capacity() -> None:
    there, leader = fragmented(pods=10)
    found = there.attachments[OAM]
    usage = PodUsage(found.status.mac, 8, frozenset(sorted(there.used[OAM])[:8]))
    there.attachments[OAM] = replace(found, usage=usage)
    settle(there, leader)
    assert (there.attachments[OAM].status.free, there.attachments[OAM].status.capacity) == (19, 27)


def test_both_families_fall_back_by_themselves() -> None:
    oam, leader = fragmented(spec(1, 1))
    assert sum(":" in each for each in oam.singles(OAM)) == 16
    assert condition(oam, READY) == ("True", "Ready")
    oam.blocks = 1
    leader.run(700)
    settle(oam, leader, 5)
    assert blocks(oam) == 1
    assert len(oam.prefixes(OAM)) == 1


@pytest.mark.parametrize("kind", [Kind.SUBNET_FULL, Kind.NO_BLOCKS])
def test_a_subnet_that_is_almost_full_gives_its_last_addresses(kind: Kind) -> None:
    oam = world()
    oam.full = kind
    oam.blocks, oam.spare = 0, 3
    leader = Leader(oam)
    settle(oam, leader, 400)
    assert (len(oam.singles(OAM)), condition(oam, READY)) == (3, ("True", "Ready"))
    assert condition(oam)[1] == "SubnetFull"


def test_when_there_are_prefixes_again_single_addresses_go_as_they_empty() -> None:
    oam, leader = fragmented(pods=3)
    calls = oam.calls["AssignPrefixes"]
    oam.blocks = 10
    leader.run(500)
    assert oam.calls["AssignPrefixes"] == calls, "it is asked again only now and then"
    leader.run(200)
    settle(oam, leader, 3)
    assert len(oam.prefixes(OAM)) == 1
    for _ in range(30):
        leader.run(60)
        oam.write_files()
        oam.report()
    used = oam.used[OAM]
    assert (set(oam.singles(OAM)), condition(oam)) == (used, ("True", "SubnetFragmented"))
    while used:
        oam.end_pod(OAM)
    for _ in range(30):
        leader.run(60)
        oam.write_files()
        oam.report()
    assert (oam.singles(OAM), condition(oam)) == (frozenset(), ("True", "Offered"))
    assert oam.cut_off == []


def test_an_eni_full_of_single_addresses_gives_one_back_to_make_room_for_a_prefix() -> None:
    oam = world()
    oam.blocks, oam.addresses = 0, 10
    leader = Leader(oam)
    settle(oam, leader)
    start(oam, 2)
    oam.blocks = 5
    for _ in range(60):
        leader.run(60)
        oam.write_files()
        oam.report()
    assert (len(oam.prefixes(OAM)), set(oam.singles(OAM))) == (1, oam.used[OAM])
    assert oam.cut_off == []


def test_a_secondary_address_that_the_controller_did_not_ask_for_is_never_handed_out() -> None:
    oam, leader = fragmented()
    floating = "10.12.0.1"
    eni = oam.enis[oam.attachments[OAM].status.eni]
    oam.enis[eni.id] = replace(eni, addresses=eni.addresses | {floating}, ipv4=eni.ipv4 + 1)
    leader = Leader(oam)
    settle(oam, leader, 400)
    assert f"{floating}/32" not in oam.files[OAM]
    assert len(oam.files[OAM]) == 16
    oam.networks["oam"] = replace(oam.networks["oam"], prefixes=None)
    for _ in range(40):
        settle(oam, leader, 2)
        leader.run(60)
    assert oam.singles(OAM) == {floating}


class Killed(BaseException):
    """The process ends here, and what the call did is done."""


class Chaos:
    """Pods come and go, descriptions and reports are late, leaders are killed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.world = world(spec(self.random.choice([1, 2]), self.random.choice([0, 1]), 3))
        self.world.add_node("n2")
        self.world.lag = lambda: self.random.choice([0.0, 0.0, 2.0, 30.0, 50.0])
        self.world.addresses = 30
        # Half of the time the subnets have prefixes now and then only.
        self.scarce = seed % 2 == 1
        self.killing = 0.05
        self.elect()

    def elect(self) -> None:
        """Let a replica lead that remembers nothing."""
        self.leader = Leader(self.world, before=self._maybe_kill, between=self._maybe_kill)

    def _maybe_kill(self, what: object) -> None:
        likely = 0.4 if isinstance(what, AssignPrefixes | UnassignPrefix) else 0.05
        if self.random.random() < likely * self.killing * 20:
            raise Killed

    def turn(self) -> None:
        """Let something happen, and the leader decide."""
        if self.scarce and self.random.random() < 0.1:
            self.world.blocks = self.random.choice([0, 0, 1, 3])
        names = sorted(self.world.attachments)
        for name in names:
            for _ in range(self.random.choice([0, 0, 0, 1, 3, 9])):
                if self.random.random() < self.rising:
                    self.world.start_pod(name)
                else:
                    self.world.end_pod(name, self.random.random() ** 0.3)
        for name in names:
            if self.random.random() < 0.1:
                self.world.begin_pod(name, self.random.choice([1.0, 30.0, 240.0]))
        if self.random.random() < 0.5:
            self.world.write_files()
        if self.random.random() < 0.6:
            self.world.report()
        try:
            self.leader.turn()
        except Killed:
            self.elect()
        self.world.advance(self.random.choice([0.1, 1.0, 5.0, 30.0, 60.0]))
        assert all(self.most(eni) <= 3 for eni in self.world.enis.values())
        assert all(eni.ipv4 <= self.world.addresses for eni in self.world.enis.values())
        assert self.world.cut_off == []

    @property
    def rising(self) -> float:
        """Pods become more for a while, and fewer for a longer one, in which prefixes go."""
        return 0.7 if self.world.now % 3000 < 600 else 0.2

    def most(self, eni: Eni) -> int:
        return sum("." in prefix for prefix in eni.prefixes)


@pytest.mark.no_cover
@pytest.mark.parametrize("seed", range(SEEDS))
def test_whoever_is_killed_no_pod_is_cut_off_and_no_prefix_too_many(seed: int) -> None:
    chaos = Chaos(seed)
    for _ in range(400):
        chaos.turn()
    chaos.killing = 0.0
    chaos.world.lag = lambda: 0.0
    chaos.world.blocks = 100
    chaos.elect()
    for _ in range(20):
        chaos.leader.run(15)
        chaos.world.write_files()
        chaos.world.report()
    chaos.leader.run(15)
    for name, attachment in chaos.world.attachments.items():
        assert attachment.status.conditions[READY].status == "True", (name, attachment.status.conditions)
        assert attachment.status.assigning == "" or len(chaos.world.prefixes(name)) <= 4
    assert chaos.world.cut_off == []
