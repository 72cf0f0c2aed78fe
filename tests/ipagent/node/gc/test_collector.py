"""When the node agent looks for what is left behind, what it asks, and what it does about it."""

from __future__ import annotations

from ipaddress import ip_network
from itertools import pairwise
from typing import Any

import pytest

from ipagent.assign.address_calls import Assign
from ipagent.assign.addresses import Holding, IPAddress
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.errors import Ec2Error, NoPermission
from ipagent.assign.topology import Eni
from ipagent.node.central.standing_changes import KEPT
from ipagent.node.gc.collector import SOON_SECONDS, Collector
from ipagent.node.gc.records import OwnershipRecords
from ipagent.node.gc.verdict import Decision, VerdictReason
from ipagent.node.model.address_events import AddressEvent, EventType
from ipagent.node.model.garbage_collector import GarbageCollector
from ipagent.node.model.gc_policy import GcMode, GcPolicy
from ipagent.node.model.grants import Grants
from ipagent.node.model.pod import InjectedAgent, Pod, PodKey
from ipagent.node.model.pool_addresses import NO_POOL, PoolAddresses
from ipagent.node.reconcile.controller import NodeController
from tests.ipagent.fakes import ENI_1, ENI_2, Lines, Strike, Time, ip
from tests.ipagent.node.node_fakes import FakeCheckpoint, FakeListing, NodeFake, Watched

pytestmark = pytest.mark.pure

X, Y = PodKey("apps", "x-0", "uid-x"), PodKey("apps", "y-0", "uid-y")
A, B, V6 = ip("10.10.1.80"), ip("10.10.1.81"), ip("2001:db8:1::80")
COOLDOWN, INTERVAL = 60.0, 300.0


def pod(key: PodKey, *addresses: str, eni: Eni = ENI_1, **more: Any) -> Pod:
    holdings = tuple(Holding("net1", eni.mac, ip(address)) for address in addresses)
    return Pod(**{"key": key, "alive": True, "holdings": holdings, "agent": InjectedAgent.NODE_INIT, **more})


class Run:
    """A sweeper with everything around it."""

    def __init__(self, mode: GcMode = GcMode.ON, **rules: Any) -> None:
        self.time = Time()
        self.cloud = NodeFake(self.time)
        self.listing = FakeListing()
        self.checkpoint = FakeCheckpoint(self.time)
        self.watched = Watched()
        self.lines = Lines()
        self.pool: PoolAddresses | None = NO_POOL
        self.rules = GcPolicy(mode, COOLDOWN, INTERVAL, **rules)
        self.sweeper = self.start()

    def start(self) -> Collector:
        """Begin anew with what is on the disk."""
        self.sweeper = Collector(
            self.rules,
            self.cloud,
            self.listing,
            self.checkpoint,
            timing=self.time.timing,
            wall=lambda: self.time.now,
            log=self.lines.log,
            pool=lambda: self.pool,
        )
        return self.sweeper

    def comes(self, *pods: Pod) -> None:
        """Let pods come with their addresses assigned."""
        for each in pods:
            self.listing.all[each.key] = self.watched.pods[each.key] = each
            for held in each.holdings:
                eni = ENI_1 if held.mac == ENI_1.mac else ENI_2
                self.cloud.secondaries[eni.id].add(held.address)
        self.sweeper.observe(self.watched.ownership())

    def goes(self, *keys: PodKey) -> None:
        for key in keys:
            self.listing.all.pop(key, None)
            self.watched.pods.pop(key, None)
            self.watched.sessions.pop(key, None)
        self.sweeper.observe(self.watched.ownership())

    def step(self) -> float | None:
        self.sweeper.observe(self.watched.ownership())
        return self.sweeper.step()

    def until(self, seconds: float) -> None:
        """Let time pass, with every step at its time."""
        end = self.time.now + seconds
        for _ in range(2000):
            delay = self.step()
            if delay is None or self.time.now + delay > end:
                self.time.now = end
                return
            self.time.now += delay
        pytest.fail("it spins")

    def sweep(self) -> None:
        """Let the first sweep after a change take place."""
        self.until(2 * SOON_SECONDS)

    def held(self, eni: str = "eni-1") -> set[str]:
        return {str(address) for address in self.cloud.secondaries[eni]}


def left_behind(mode: GcMode = GcMode.ON, *addresses: str, **rules: Any) -> Run:
    """Let a pod leave its addresses behind."""
    run = Run(mode, **rules)
    run.comes(pod(X, *(addresses or (str(A),))))
    run.until(60)
    run.goes(X)
    return run


class TestWithAnEniThatCannotBeRead:
    def left_on_both(self) -> Run:
        run = Run()
        run.comes(pod(X, str(A)), pod(Y, "10.10.2.80", eni=ENI_2))
        run.until(60)
        run.cloud.unread = {"eni-2"}
        run.goes(X, Y)
        return run

    def test_the_others_are_swept_and_its_own_records_stay(self) -> None:
        run = self.left_on_both()
        run.until(2 * COOLDOWN)
        assert (run.held("eni-1"), run.held("eni-2")) == (set(), {"10.10.2.80"})
        assert [*run.sweeper.records.entries] == [("eni-2", ip("10.10.2.80"))]
        (told,) = run.lines.of("sweep-failed")
        assert (told["level"], told["eni"]) == ("warning", "eni-2")
        assert "Nothing is reclaimed on eni-2 for the time being: " in told["message"]
        assert "a webhook refuses that" in told["message"]

    def test_it_is_swept_soon_after_it_can_be_read_and_a_full_one_does_not_wait_for_it(self) -> None:
        run = self.left_on_both()
        run.until(3600)
        before = len(run.cloud.asked("observed"))
        run.until(3600)
        assert len(run.cloud.asked("observed")) - before <= 3600 / 100
        run.comes(pod(X, str(B)))
        run.until(60)
        run.goes(X)
        run.sweeper.make_room("eni-1")
        run.until(COOLDOWN + SOON_SECONDS)
        assert run.held("eni-1") == set()
        run.cloud.unread.clear()
        run.until(300 + COOLDOWN + SOON_SECONDS)
        assert run.held("eni-2") == set()
        assert len(run.lines.of("sweep-failed")) == 1

    def test_nothing_is_swept_where_none_can_be_read(self) -> None:
        run = self.left_on_both()
        run.cloud.observed_error = NoPermission("no")
        run.until(3600)
        assert (run.held("eni-1"), run.held("eni-2")) == ({str(A)}, {"10.10.2.80"})


class TestOneLife:
    def test_what_a_pod_leaves_is_taken_back_after_two_sweeps_and_told(self) -> None:
        run = left_behind(GcMode.ON, str(A), str(B), str(V6))
        run.sweep()
        assert run.sweeper.candidates == 3
        assert {each.decision for each in run.sweeper.last.verdicts} == {Decision.WAIT}
        run.until(COOLDOWN - 2 * SOON_SECONDS)
        assert run.held() == {str(A), str(B), str(V6)}
        run.until(3 * SOON_SECONDS)
        assert run.held() == set()
        assert run.cloud.asked("unassign") == [("eni-1", [str(A), str(B)]), ("eni-1", [str(V6)])]
        told = run.sweeper.take_events()
        assert [(each.kind, each.pod, each.address, each.eni_id) for each in told] == [
            (EventType.RECLAIMED, X, address, "eni-1") for address in (A, B, V6)
        ]
        assert told[0].message == (
            "10.10.1.80 was taken off eni-1: it was the own address of apps/x-0, which is gone"
        )
        assert run.sweeper.take_events() == []
        assert run.sweeper.candidates == 0
        assert run.sweeper.records == OwnershipRecords()

    def test_nothing_is_asked_of_anybody_while_nothing_can_be_left_behind(self) -> None:
        run = Run()
        run.comes(pod(X, str(A)), pod(Y, str(B), agent=InjectedAgent.NODE_SIDECAR))
        run.until(86_400)
        assert run.step() is None
        assert (run.listing.lists, run.cloud.calls) == (0, [])

    def test_a_sweep_in_report_only_mode_is_not_repeated_without_a_change(self) -> None:
        run = left_behind()
        run.until(1000)
        lists, calls = run.listing.lists, len(run.cloud.calls)
        run.until(86_400)
        assert (run.listing.lists, len(run.cloud.calls)) == (lists, calls)
        assert len(run.cloud.asked("observed")) == 2

    def test_a_pod_that_gets_the_address_in_time_keeps_it(self) -> None:
        run = left_behind()
        run.sweep()
        run.comes(pod(Y, str(A)))
        run.until(1000)
        assert run.held() == {str(A)}
        assert run.cloud.asked("unassign") == []
        assert run.sweeper.records.entries[("eni-1", A)].pod == Y

    def test_a_pod_that_only_the_list_knows_keeps_it_too(self) -> None:
        run = left_behind()
        run.sweep()
        run.listing.all[Y] = pod(Y, str(A))
        run.until(1000)
        assert run.held() == {str(A)}
        (verdict,) = run.sweeper.last.verdicts
        assert verdict.why is VerdictReason.HELD

    def test_foreign_addresses_are_never_touched(self) -> None:
        run = left_behind()
        run.cloud.secondaries["eni-1"].add(ip("10.10.1.200"))
        run.until(1000)
        assert run.held() == {"10.10.1.200"}

    def test_while_the_watch_is_not_complete_nothing_is_done(self) -> None:
        run = left_behind()
        run.watched.complete = False
        run.until(1000)
        assert (run.listing.lists, run.held()) == (0, {str(A)})
        run.watched.complete = True
        run.until(1000)
        assert run.held() == set()


class TestModes:
    def test_a_report_says_once_what_would_go_and_touches_nothing(self) -> None:
        run = left_behind(GcMode.REPORT)
        run.until(5000)
        assert run.held() == {str(A)}
        assert run.cloud.asked("unassign") == []
        (told,) = run.sweeper.take_events()
        assert told == AddressEvent(
            EventType.WOULD_RECLAIM,
            X,
            A,
            "eni-1",
            "10.10.1.80 would be taken off eni-1: it was the own address of apps/x-0, which is gone",
        )
        assert run.sweeper.candidates == 1
        run.comes(pod(Y, str(A)))
        run.until(INTERVAL)
        run.goes(Y)
        run.until(5000)
        assert [each.pod for each in run.sweeper.take_events()] == [Y]

    def test_off_asks_nobody_and_still_records(self) -> None:
        run = left_behind(GcMode.OFF)
        run.until(5000)
        assert (run.listing.lists, run.cloud.calls, run.held()) == (0, [], {str(A)})
        run.rules = GcPolicy(GcMode.ON, COOLDOWN, INTERVAL)
        run.start()
        run.until(1000)
        assert run.held() == set()


class TestRestart:
    def test_what_was_left_while_the_agent_was_away_is_taken_back(self) -> None:
        run = Run()
        run.comes(pod(X, str(A)))
        run.until(60)
        run.goes(X)
        run.start()
        run.sweep()
        assert run.held() == {str(A)}
        run.until(1000)
        assert run.held() == set()

    def test_a_kill_before_the_record_is_written_loses_the_ground_and_nothing_else(self) -> None:
        run = Run()
        run.comes(pod(Y, str(B)))
        run.step()
        run.comes(pod(X, str(A)))
        run.goes(X)
        run.start()
        run.until(5000)
        assert run.held() == {str(A), str(B)}
        assert run.cloud.asked("unassign") == []

    def test_a_kill_between_the_sweeps_begins_the_cooldown_anew(self) -> None:
        run = left_behind()
        run.until(COOLDOWN - 1)
        run.start()
        run.until(COOLDOWN - 1)
        assert run.held() == {str(A)}
        run.until(1000)
        assert run.held() == set()

    def test_a_floating_address_outlives_the_agent_and_a_silent_sidecar(self) -> None:
        """It was once another pod's own: only the record and the silence tell that it is in use."""
        run = Run()
        run.comes(pod(X, str(A)), pod(Y, str(B), agent=InjectedAgent.NODE_SIDECAR))
        run.watched.sessions[Y] = frozenset()
        run.until(60)
        run.goes(X)
        run.watched.sessions[Y] = frozenset({("eni-1", A)})
        run.step()
        run.start()
        run.watched.sessions.clear()
        run.until(300)
        assert run.held() == {str(A), str(B)}
        run.watched.sessions[Y] = frozenset({("eni-1", A)})
        run.until(5000)
        assert run.held() == {str(A), str(B)}
        run.goes(Y)
        run.until(5000)
        # Nobody's now, but who could tell whose a floating address is?
        assert run.held() == {str(A)}


class TestFailures:
    def test_a_failed_list_deletes_nothing_is_told_once_and_tried_again(self) -> None:
        run = left_behind()
        run.sweep()
        run.listing.failing = 6
        run.until(COOLDOWN)
        assert run.held() == {str(A)}
        assert run.lines.events("warning") == ["sweep-failed"]
        assert "503" in run.lines.of("sweep-failed")[0]["message"]
        run.until(3000)
        assert run.held() == set()
        assert run.listing.failing == 0

    def test_an_hour_without_ec2_costs_few_calls_and_converges(self) -> None:
        run = left_behind()
        run.cloud.observed_error = NoPermission("UnauthorizedOperation")
        run.until(3600)
        assert len(run.cloud.asked("observed")) < 40
        assert run.lines.events("warning") == ["sweep-failed"]
        run.cloud.observed_error = None
        run.until(1000)
        assert run.held() == set()

    @pytest.mark.parametrize(
        "fault", [Fault.THROTTLED, Fault.UNREACHABLE, Fault.NO_PERMISSION, Fault.UNKNOWN]
    )
    def test_a_refused_call_is_tried_again_with_a_new_look(self, fault: Fault) -> None:
        run = left_behind()
        run.cloud.struck.append(Strike("unassign", fault))
        run.until(COOLDOWN + 3 * SOON_SECONDS)
        assert run.held() == {str(A)}
        assert run.lines.of("not-reclaimed")[0]["address"] == str(A)
        run.until(2 * INTERVAL)
        assert run.held() == set()
        assert len(run.cloud.asked("observed")) == 3

    def test_a_lost_answer_is_found_out_by_the_next_look(self) -> None:
        run = left_behind()
        run.cloud.struck.append(Strike("unassign", Fault.UNREACHABLE, lost=True))
        run.until(1000)
        assert run.held() == set()
        assert run.sweeper.records == OwnershipRecords()

    @pytest.mark.parametrize("fault", [Fault.NOT_HELD, Fault.NO_ENI])
    def test_what_is_gone_already_needs_no_taking_back(self, fault: Fault) -> None:
        run = left_behind()
        run.cloud.struck.append(Strike("unassign", fault, lost=True))
        run.until(1000)
        assert run.sweeper.take_events() == []
        assert run.sweeper.records == OwnershipRecords()

    def test_one_address_that_ec2_refuses_does_not_keep_the_others(self) -> None:
        run = left_behind(GcMode.ON, str(A), str(B))
        run.cloud.struck += [Strike("unassign", Fault.REFUSED), Strike("unassign", Fault.REFUSED)]
        run.until(COOLDOWN + 3 * SOON_SECONDS)
        assert run.held() == {str(A)}
        assert [each.address for each in run.sweeper.take_events()] == [B]


class TestPace:
    def test_what_has_to_stay_is_looked_at_ever_less(self) -> None:
        run = left_behind()
        run.comes(pod(Y, str(B), agent=InjectedAgent.DIRECT_SIDECAR))
        run.until(86_400)
        assert run.held() == {str(A), str(B)}
        assert 20 <= len(run.cloud.asked("observed")) <= 86_400 / INTERVAL / 4

    def test_many_ends_of_pods_are_few_sweeps(self) -> None:
        run = Run()
        keys = [PodKey("apps", f"p-{n}", f"uid-{n}") for n in range(100)]
        run.comes(*(pod(key, f"10.10.1.{n + 20}") for n, key in enumerate(keys)))
        run.until(60)
        for key in keys:
            run.goes(key)
            run.until(3)
        run.until(COOLDOWN * 3)
        assert run.held() == set()
        assert len(run.cloud.asked("observed")) <= 500 / (COOLDOWN / 2) + 2


class TestFullEni:
    def test_without_a_suspect_there_is_no_room_to_make(self) -> None:
        run = Run()
        run.comes(pod(X, str(A)))
        run.sweeper.make_room("eni-1")
        assert not run.sweeper.is_reclaiming("eni-1")
        run.until(1000)
        assert run.cloud.asked("observed") == []

    def test_a_sweep_is_made_at_once_and_what_has_waited_long_enough_goes(self) -> None:
        run = left_behind()
        run.sweep()
        run.time.now += COOLDOWN
        # Not due yet: nobody has called step in the meantime.
        run.sweeper.make_room("eni-1")
        assert run.sweeper.is_reclaiming("eni-1")
        run.step()
        assert run.held() == set()
        assert run.sweeper.take_freed() == {"eni-1"}
        assert run.sweeper.take_freed() == frozenset()
        assert not run.sweeper.is_reclaiming("eni-1")

    def test_a_first_look_is_made_at_once_and_room_follows_with_the_cooldown(self) -> None:
        run = left_behind()
        run.step()
        run.sweeper.make_room("eni-1")
        run.step()
        assert len(run.cloud.asked("observed")) == 1
        assert run.sweeper.is_reclaiming("eni-1"), "the cooldown runs"
        for _ in range(50):
            run.sweeper.make_room("eni-1")
            run.step()
            run.time.now += 1
        assert len(run.cloud.asked("observed")) == 1
        run.until(COOLDOWN)
        assert run.sweeper.take_freed() == {"eni-1"}
        assert run.held() == set()

    def test_a_full_eni_with_nothing_to_reclaim_is_not_swept_all_the_time(self) -> None:
        run = left_behind()
        run.comes(pod(Y, str(B), agent=InjectedAgent.DIRECT_SIDECAR))
        for _ in range(600):
            run.sweeper.make_room("eni-1")
            run.step()
            run.time.now += 1
        assert run.held() == {str(A), str(B)}
        assert not run.sweeper.is_reclaiming("eni-1")
        assert len(run.cloud.asked("observed")) <= 12

    def test_another_eni_of_the_node_is_no_reason(self) -> None:
        run = left_behind()
        run.sweeper.make_room("eni-2")
        assert not run.sweeper.is_reclaiming("eni-2")

    @pytest.mark.parametrize("mode", [GcMode.REPORT, GcMode.OFF])
    def test_report_only_mode_does_not_make_room_on_a_full_eni(self, mode: GcMode) -> None:
        run = left_behind(mode)
        run.sweeper.make_room("eni-1")
        assert not run.sweeper.is_reclaiming("eni-1")


class TestSecondLook:
    """A pod is given the address between the list of pods and the call."""

    def gets_it(self, run: Run, *, struck: Strike | None = None, failing: int = 0) -> None:
        run.sweep()

        def meanwhile() -> None:
            run.cloud.on_observed = lambda: None
            run.listing.all[Y] = pod(Y, str(A), agent=InjectedAgent.DIRECT_INIT)
            run.listing.failing = failing
            if struck:
                run.cloud.struck.append(struck)

        run.cloud.on_observed = meanwhile

    def test_it_is_put_back_at_once(self) -> None:
        run = left_behind(GcMode.ON, str(A), str(B))
        self.gets_it(run)
        run.until(COOLDOWN + 3 * SOON_SECONDS)
        assert run.cloud.asked("unassign") == [("eni-1", [str(A), str(B)])]
        assert run.cloud.asked("assign") == [("eni-1", [str(A)])]
        assert run.held() == {str(A)}
        assert run.lines.of("restored")[0]["address"] == str(A)
        run.until(5000)
        assert run.held() == {str(A)}

    def test_lists_that_fail_put_it_off(self) -> None:
        run = left_behind()
        self.gets_it(run, failing=3)
        run.until(COOLDOWN + 100)
        assert run.held() == {str(A)}
        assert set(run.lines.events("warning")) == {"restore-failed", "restored"}

    def test_an_ec2_that_fails_puts_it_off(self) -> None:
        run = left_behind()
        self.gets_it(run, struck=Strike("assign", Fault.THROTTLED))
        run.until(COOLDOWN + 100)
        assert run.held() == {str(A)}
        assert run.lines.events("error") == ["not-restored"]

    def test_an_answer_that_is_late_is_asked_for_again_soon_and_is_no_failure(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run, assign, asked = left_behind(), NodeFake.assign, []

        def late(cloud: NodeFake, call: Assign) -> frozenset[IPAddress]:
            asked.append(run.time.now)
            if run.time.now < asked[0] + 15:
                raise Ec2Error(Failure(Fault.UNREACHABLE, "not answered yet", pending=True))
            return assign(cloud, call)

        monkeypatch.setattr(NodeFake, "assign", late)
        self.gets_it(run)
        run.until(COOLDOWN + 100)
        assert run.held() == {str(A)}
        assert run.lines.events("error") == []
        assert max(after - before for before, after in pairwise(asked)) <= KEPT

    def test_what_another_eni_has_by_then_is_left_there_and_told(self) -> None:
        run = left_behind()
        self.gets_it(run, struck=Strike("assign", Fault.HELD_ELSEWHERE))
        run.until(1000)
        assert run.held() == set()
        assert run.lines.events("error") == ["not-restored"]
        assert len(run.cloud.asked("assign")) == 1

    def test_a_lost_answer_is_looked_after_as_well(self) -> None:
        run = left_behind()
        self.gets_it(run, struck=Strike("unassign", Fault.UNREACHABLE, lost=True))
        run.until(COOLDOWN + 3 * SOON_SECONDS)
        assert run.held() == {str(A)}

    def test_a_pod_of_another_eni_with_that_address_is_not_meant(self) -> None:
        run = left_behind()
        run.sweep()

        def meanwhile() -> None:
            run.listing.all[Y] = pod(Y, str(A), eni=ENI_2)

        run.cloud.on_observed = meanwhile
        run.until(1000)
        assert run.cloud.asked("assign") == []


def test_only_what_is_managed_and_not_protected_goes() -> None:
    run = left_behind(
        GcMode.ON,
        str(A),
        str(B),
        str(V6),
        managed=(ip_network("10.10.1.0/24"),),
        protected=(ip_network("10.10.1.81/32"),),
    )
    run.until(5000)
    assert run.held() == {str(B), str(V6)}


class TestWithTheCore:
    """The core and the sweep on one cloud, as they run in the process."""

    def core(self, run: Run) -> NodeController:
        run.cloud.room = 2
        collector: GarbageCollector = run.sweeper
        return NodeController(run.cloud, Grants(), run.time.timing, run.lines.log, collector)

    def until(self, run: Run, core: NodeController, seconds: float) -> None:
        end = run.time.now + seconds
        for _ in range(5000):
            delay = core.step()
            if delay is None or run.time.now + delay > end:
                run.time.now = end
                return
            run.time.now += max(delay, 0.001)
        pytest.fail("it spins")

    def lists(self, run: Run, core: NodeController, *pods: Pod) -> None:
        run.listing.all = {each.key: each for each in pods}
        core.replace_pods(pods)

    def test_a_full_eni_has_room_again_when_the_cooldown_is_over(self) -> None:
        run = Run()
        core = self.core(run)
        self.lists(run, core, pod(X, str(A)), pod(Y, str(B)))
        self.until(run, core, 60)
        assert run.held() == {str(A), str(B)}
        third = PodKey("apps", "z-0", "uid-z")
        self.lists(run, core, pod(Y, str(B)), pod(third, "10.10.1.82"))
        self.until(run, core, 5)
        assert run.held() == {str(A), str(B)}
        self.until(run, core, COOLDOWN + 5)
        assert run.held() == {str(B), "10.10.1.82"}
        kinds = {(each.kind, each.pod) for each in core.take_events()}
        assert {(EventType.RECLAIMED, X), (EventType.ASSIGNED, third)} <= kinds

    def test_a_statefulset_pod_that_comes_back_with_the_address_keeps_it(self) -> None:
        run = Run()
        core = self.core(run)
        self.lists(run, core, pod(X, str(A)))
        self.until(run, core, 60)
        self.lists(run, core)
        self.until(run, core, COOLDOWN - 10)
        again = PodKey(X.namespace, X.name, "uid-x2")
        self.lists(run, core, pod(again, str(A)))
        self.until(run, core, 1000)
        assert run.held() == {str(A)}
        assert run.cloud.asked("unassign") == []
        assert run.sweeper.records.entries[("eni-1", A)].pod == again


def test_what_the_node_hands_out_stays_and_nothing_is_reclaimed_before_that_is_known() -> None:
    run = left_behind(GcMode.ON, str(A))
    run.pool = None
    run.until(3 * INTERVAL)
    assert run.held() == {str(A)}
    run.pool = PoolAddresses(frozenset({("eni-1", A)}))
    run.until(3 * INTERVAL)
    assert run.held() == {str(A)}
    assert run.sweeper.candidates == 0
    run.pool = NO_POOL
    run.until(3 * INTERVAL)
    assert run.held() == set()
