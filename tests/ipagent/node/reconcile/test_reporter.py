"""What is said of pods, and that nothing is said twice."""

from __future__ import annotations

import gc
import sys
import threading
from dataclasses import replace

import pytest

from common.exit_codes import ExitCode
from ipagent.assign.address_state import Phase, PlannedAddress
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.errors import NoEni, NoImds
from ipagent.assign.release import ReleaseOutcome
from ipagent.assign.report import Problem
from ipagent.node.model.address_events import EventType
from ipagent.node.model.claim import AddressState, ClaimState
from ipagent.node.model.pod import ElasticIps
from ipagent.node.reconcile.claim_status import StatusContext, claim_status, release_status
from ipagent.node.reconcile.desired import PodDesired
from ipagent.node.reconcile.reporter import ClaimStatusReporter, PodState
from ipagent.node.reconcile.state import TOO_OFTEN
from tests.ipagent.fakes import ip, placement
from tests.ipagent.node.pods import holding, key, pod

pytestmark = pytest.mark.pure

PLACED = placement("10.10.1.80")
A = PLACED.holding.address
WISH = PodDesired(pod("a", "10.10.1.80"), placements=(PLACED,), named=frozenset({A}))


def item(phase: Phase, fault: Fault | None = None) -> PlannedAddress:
    return PlannedAddress(PLACED, phase, Failure(fault, "why") if fault else None)


@pytest.mark.parametrize(
    ("one", "state", "code", "told"),
    [
        (item(Phase.CONFIRMED), ClaimState.ASSIGNED, ExitCode.OK, AddressState.ASSIGNED),
        (item(Phase.WANTED), ClaimState.PENDING, ExitCode.DEADLINE, AddressState.PENDING),
        (
            item(Phase.WANTED, Fault.THROTTLED),
            ClaimState.PENDING,
            ExitCode.DEADLINE,
            AddressState.PENDING,
        ),
        (
            item(Phase.WANTED, Fault.UNREACHABLE),
            ClaimState.PENDING,
            ExitCode.EC2_UNREACHABLE,
            AddressState.PENDING,
        ),
        (item(Phase.ACCEPTED), ClaimState.PENDING, ExitCode.DEADLINE, AddressState.PENDING),
        (
            item(Phase.DISPUTED, Fault.REFUSED),
            ClaimState.PENDING,
            ExitCode.ADDRESS_REFUSED,
            AddressState.PENDING,
        ),
        (
            item(Phase.WANTED, Fault.NO_PERMISSION),
            ClaimState.FAILED,
            ExitCode.NO_PERMISSION,
            AddressState.FAILED,
        ),
        (
            item(Phase.WANTED, Fault.ENI_FULL),
            ClaimState.FAILED,
            ExitCode.ENI_FULL,
            AddressState.FAILED,
        ),
        (
            item(Phase.REFUSED, Fault.REFUSED),
            ClaimState.FAILED,
            ExitCode.ADDRESS_REFUSED,
            AddressState.FAILED,
        ),
        (
            item(Phase.TAKEN, Fault.HELD_ELSEWHERE),
            ClaimState.FAILED,
            ExitCode.HELD_ELSEWHERE,
            AddressState.CONFLICT,
        ),
        (item(Phase.TAKEN), ClaimState.FAILED, ExitCode.HELD_ELSEWHERE, AddressState.CONFLICT),
    ],
)
def test_a_claims_state_follows_from_its_addresses(
    one: PlannedAddress, state: ClaimState, code: ExitCode, told: AddressState
) -> None:
    said = claim_status(WISH, [one], (), StatusContext())
    assert (said.state, said.code) == (state, code)
    assert [each.phase for each in said.addresses] == [told]
    assert "10.10.1.80" in said.message


def test_a_full_eni_that_is_about_to_be_swept_is_no_refusal_yet() -> None:
    full = item(Phase.WANTED, Fault.ENI_FULL)
    said = claim_status(WISH, [full], (), StatusContext(reclaiming=frozenset({"eni-1"})))
    assert (said.state, said.code) == (ClaimState.PENDING, ExitCode.ENI_FULL)


def test_an_address_without_eni_is_refused_when_it_was_looked_for() -> None:
    lost = holding("10.9.9.9")
    each = PodDesired(pod("a"), unplaced=(Problem(lost, "", "no ENI", NoEni("no ENI")),))
    refused = claim_status(each, [], (), StatusContext())
    assert (refused.state, refused.code) == (ClaimState.FAILED, ExitCode.NO_ENI)
    waiting = claim_status(each, [], (), StatusContext(looking=True))
    assert waiting.state is ClaimState.PENDING
    assert [one.phase for one in waiting.addresses] == [AddressState.PENDING]


def test_what_failed_to_tell_the_enis_is_said_while_it_is_waited_for() -> None:
    each = PodDesired(pod("a"), held_back={holding("10.1.1.1"): "its ENI is being looked for"})
    said = claim_status(each, [], (), StatusContext(lookup_error=NoImds("IMDS is silent")))
    assert said.state is ClaimState.PENDING
    assert "IMDS is silent" in said.message
    assert "its ENI is being looked for" in said.message
    lost = holding("10.9.9.9")
    each = PodDesired(pod("a"), unplaced=(Problem(lost, "", "no ENI", NoEni("no ENI")),))
    said = claim_status(each, [], (), StatusContext(looking=True, lookup_error=NoImds("IMDS is silent")))
    assert "IMDS is silent" in said.message


@pytest.mark.parametrize("why", ["duplicate address detection has not ended", TOO_OFTEN])
def test_what_waits_for_something_else_is_told_of_no_failed_look(why: str) -> None:
    each = PodDesired(pod("a"), held_back={holding("10.1.1.1"): why})
    said = claim_status(each, [], (), StatusContext(lookup_error=NoImds("IMDS is silent")))
    assert said.state is ClaimState.PENDING
    assert why in said.message
    assert "IMDS" not in said.message


def test_a_pod_without_addresses_has_nothing_to_wait_for() -> None:
    said = claim_status(PodDesired(pod("a"), bare=("net1",)), [], (), StatusContext())
    assert said.state is ClaimState.ASSIGNED
    assert "no addresses that count on net1" in said.message


def test_a_pod_that_ends_is_told_the_worst_that_has_happened() -> None:
    good = ReleaseOutcome("eni-1", ip("10.1.1.1"), "10.1.1.1 was taken off eni-1")
    bad = ReleaseOutcome("eni-1", ip("10.1.1.2"), "10.1.1.2 stays", Failure(Fault.NO_PERMISSION, "no"))
    assert release_status([], [good]).state is ClaimState.ASSIGNED
    said = release_status([], [good, bad])
    assert (said.state, said.code) == (ClaimState.FAILED, ExitCode.NO_PERMISSION)
    assert "10.1.1.1 was taken off eni-1; 10.1.1.2 stays" in said.message
    assert "no address to release" in release_status([], []).message


class TestReporter:
    """What is passed on of each pod: only what has changed."""

    def report(
        self, reporter: ClaimStatusReporter, *items: PlannedAddress, desired: PodDesired = WISH
    ) -> list[EventType]:
        state = PodState(desired, items, (), StatusContext(), has_session=True)
        reporter.update(state, {("eni-1", A): 10.0})
        return [each.kind for each in reporter.take_events()]

    def reporter(self) -> ClaimStatusReporter:
        return ClaimStatusReporter(lambda: 12.5)

    def test_each_change_is_an_event_once(self) -> None:
        reporter = self.reporter()
        assert self.report(reporter, item(Phase.WANTED)) == []
        for phase, kind in (
            (Phase.CONFIRMED, EventType.ASSIGNED),
            (Phase.TAKEN, EventType.CONFLICT),
            (Phase.CONFIRMED, EventType.ASSIGNED),
        ):
            assert self.report(reporter, item(phase)) == [kind]
            assert self.report(reporter, item(phase)) == []

    def test_a_retry_between_two_equal_failures_makes_no_event(self) -> None:
        reporter = self.reporter()
        refused = item(Phase.REFUSED, Fault.REFUSED)
        assert self.report(reporter, refused) == [EventType.REFUSED]
        assert self.report(reporter, item(Phase.WANTED)) == []
        assert self.report(reporter, refused) == []

    def test_an_address_that_the_pod_had_dropped_is_new_when_it_comes_back(self) -> None:
        reporter = self.reporter()
        assert self.report(reporter, item(Phase.CONFIRMED)) == [EventType.ASSIGNED]
        assert self.report(reporter, desired=PodDesired(WISH.pod)) == []
        assert self.report(reporter, item(Phase.CONFIRMED)) == [EventType.ASSIGNED]

    def test_pods_that_are_gone_are_forgotten(self) -> None:
        reporter = self.reporter()
        self.report(reporter, item(Phase.CONFIRMED))
        reporter.prune([])
        assert self.report(reporter, item(Phase.CONFIRMED)) == [EventType.ASSIGNED]

    def test_an_assigned_address_has_the_seconds_since_it_was_wanted(self) -> None:
        reporter = self.reporter()
        state = PodState(WISH, [item(Phase.CONFIRMED)], (), StatusContext(), has_session=False)
        reporter.update(state, {("eni-1", A): 10.0})
        assert [each.seconds for each in reporter.take_events()] == [2.5]
        assert reporter.statuses == {}

    def test_a_status_is_passed_on_once_and_again_to_a_new_claim(self) -> None:
        reporter, key = self.reporter(), WISH.pod.key
        self.report(reporter, item(Phase.CONFIRMED))
        (status,) = reporter.take_status_changes().values()
        self.report(reporter, replace(item(Phase.CONFIRMED), since=9.0))
        assert reporter.take_status_changes() == {}
        reporter.expect_answer(key)
        self.report(reporter, item(Phase.CONFIRMED))
        assert reporter.take_status_changes() == {key: status}
        assert reporter.statuses == {key: status}

    def test_a_session_that_has_ended_has_no_status(self) -> None:
        reporter, key = self.reporter(), WISH.pod.key
        self.report(reporter, item(Phase.CONFIRMED))
        reporter.end_session(key)
        assert reporter.take_status_changes() == {}
        assert reporter.statuses == {}

    def test_every_pod_with_multus_interfaces_has_a_status_where_that_is_asked_for(self) -> None:
        reporter = ClaimStatusReporter(lambda: 0.0, every_pod=True)
        bare = PodDesired(pod("without"))
        for desired, items in ((WISH, [item(Phase.WANTED)]), (WISH, [item(Phase.CONFIRMED)]), (bare, [])):
            reporter.update(PodState(desired, items, (), StatusContext(), has_session=False), {})
        (status,) = reporter.take_pod_statuses().values()
        assert status.state is ClaimState.ASSIGNED
        assert (reporter.take_pod_statuses(), reporter.take_status_changes()) == ({}, {})

    def test_no_pod_without_a_session_has_a_status_otherwise(self) -> None:
        reporter = self.reporter()
        reporter.update(PodState(WISH, [item(Phase.CONFIRMED)], (), StatusContext(), has_session=False), {})
        assert (reporter.take_pod_statuses(), reporter.statuses) == ({}, {})


def test_a_container_that_waits_for_elastic_ips_is_told_when_they_are_there() -> None:
    without = replace(
        WISH, pod=replace(WISH.pod, elastic_ips=ElasticIps(False, "net1: no Elastic IP of pool sip is free"))
    )
    reporter = ClaimStatusReporter(lambda: 0.0, every_pod=True)
    key = WISH.pod.key
    for desired, state, code in (
        (without, ClaimState.PENDING, ExitCode.DEADLINE),
        (WISH, ClaimState.ASSIGNED, ExitCode.OK),
    ):
        reporter.update(
            PodState(desired, [item(Phase.CONFIRMED)], (), StatusContext(), has_session=True, eip_wait=True),
            {},
        )
        status = reporter.take_status_changes()[key]
        assert (status.state, status.code) == (state, code)
        assert ("pool sip is free" in status.message) is (state is ClaimState.PENDING)
        # What every pod's condition says is about its addresses alone.
        assert all(each.state is ClaimState.ASSIGNED for each in reporter.take_pod_statuses().values())
    reporter.update(PodState(without, [item(Phase.CONFIRMED)], (), StatusContext(), has_session=True), {})
    assert key not in reporter.take_status_changes()


def test_metrics_may_be_scraped_while_pods_come() -> None:
    """The scrape has a thread of its own; with a collection of garbage Python code may run anywhere in it."""
    reporter = ClaimStatusReporter(lambda: 0.0)
    status = claim_status(WISH, [item(Phase.CONFIRMED)], (), StatusContext())
    interval, threshold = sys.getswitchinterval(), gc.get_threshold()

    def come() -> None:
        for number in range(2000):
            reporter.set_status(key(f"pod-{number}"), status)

    def collecting(_phase: str, _info: dict[str, int]) -> None:
        sum(range(20))

    pods = threading.Thread(target=come)
    gc.callbacks.append(collecting)
    try:
        gc.set_threshold(50)
        sys.setswitchinterval(1e-6)
        pods.start()
        while pods.is_alive():
            assert len(reporter.statuses) <= 2000
    finally:
        sys.setswitchinterval(interval)
        gc.set_threshold(*threshold)
        gc.callbacks.remove(collecting)
        pods.join()
    assert len(reporter.statuses) == 2000


def test_an_address_that_has_waited_for_long_is_told_once_until_it_is_assigned() -> None:
    reporter = ClaimStatusReporter(lambda: 0.0)
    silence = Failure(Fault.UNREACHABLE, "nobody answers", remedy="See who leads.", lasting=True)
    sent = Failure(Fault.UNREACHABLE, "not answered yet", pending=True)
    again = sent.after(silence)
    told, states = [], [sent, silence, again, replace(silence), again, None]
    for number, failure in enumerate(states):
        phase = Phase.WANTED if failure else Phase.CONFIRMED
        one = PlannedAddress(PLACED, phase, failure, since=float(number))
        reporter.update(PodState(WISH, [one], (), StatusContext(), has_session=True), {})
        told += reporter.take_events()
        message = reporter.statuses[key("a")].message
        assert ("nobody answers" in message) is (failure not in (sent, None))
    assert [each.kind for each in told] == [EventType.DELAYED, EventType.ASSIGNED]
    assert told[0].message.startswith("not assigned yet: 10.10.1.80 (net1) to eni-1: nobody answers. See who")
