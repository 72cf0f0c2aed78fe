"""The sidecar's life, with a scripted kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from ipaddress import ip_network
from itertools import product
from typing import Any

import pytest

from common.contract import ExitCode, Takeover
from ipagent.assign.addresses import Detection, IPAddress
from ipagent.assign.drift import METADATA_SECONDS
from ipagent.assign.ec2_error_codes import HEALING, Fault
from ipagent.assign.errors import NoImds
from ipagent.assign.report import Report
from ipagent.assign.selection import DETECTION_SECONDS
from ipagent.pod import init, sidecar
from ipagent.signals import Signals, Stop
from tests.ipagent.fakes import (
    ENI_1,
    ENI_2,
    ETH0,
    NET1,
    NET2,
    FakeCloud,
    FakeSource,
    Lines,
    Strike,
    Time,
    agent,
    ip,
)

pytestmark = pytest.mark.pure

Step = Callable[[], None]


class Events:
    """A kernel that plays a script, one step whenever nothing but the slow check would wake the sidecar.

    As with a socket, what has happened wakes every wait until it is taken. `later` happens at its time, too
    late for the wait that lasts until then. Until `quiet_until` nothing of the script happens.
    """

    def __init__(self, time: Time) -> None:
        self._time = time
        self._removed: set[IPAddress] = set()
        self._happened = False
        self.script: list[Step] = []
        self.later: list[tuple[float, Step]] = []
        self.waits: list[float | None] = []
        self.quiet_until = 0.0
        self.busy: Callable[[], bool] = lambda: False

    def wait(self, seconds: float | None, wakeup: int) -> bool:
        assert wakeup >= 0
        assert len(self.waits) < 1000, "it spins"
        self.waits.append(seconds)
        if self._happened:
            return True
        if seconds is not None and (self.busy() or self._time.now < self.quiet_until):
            self._time.now += seconds
            for at, step in self.later:
                if at <= self._time.now:
                    self.happen(step)
            self.later = [(at, step) for at, step in self.later if at > self._time.now]
            return False
        if not self.script:
            raise Stop(15)
        self.happen(self.script.pop(0))
        return True

    def happen(self, step: Step) -> None:
        step()
        self._happened = True

    def removed(self) -> frozenset[IPAddress]:
        gone, self._removed, self._happened = frozenset(self._removed), set(), False
        return gone

    def remove(self, address: str) -> None:
        self._removed.add(ip(address))


class Sidecar:
    """A pod with net1 and net2 whose sidecar runs until its script is over, then gets SIGTERM."""

    def __init__(self, **cloud: Any) -> None:
        self.time = Time()
        self.cloud = FakeCloud(self.time, **cloud)
        self.source = FakeSource((ETH0, "10.10.0.21"), (NET1, "10.10.1.80"))
        self.lines = Lines()
        self.started = 0
        self.events = Events(self.time)
        self.script = self.events.script

    def run(self, timeout: int = 120, **settings: Any) -> Report:
        made = agent(self.source, self.cloud, self.lines, timeout=timeout, **settings)
        first = partial(init.run, made, self.time.now + timeout, self.time.timing)
        self.events.busy = lambda: bool(made.detection_seconds()) or not made.reconciler.plan.settled
        with Signals() as signals:
            return sidecar.run(made, self.events, signals, first, self._on_started)

    def _on_started(self) -> None:
        if any(link is not ETH0 for link, _ in self.source.held):
            assert self.cloud.secondaries["eni-1"], "started before the first assignment"
        self.started += 1

    def add(self, address: str) -> None:
        self.source.held.append((NET1, address))

    def remove(self, address: str) -> None:
        self.source.held.remove((NET1, address))
        self.events.remove(address)

    def let_pass(self, seconds: float) -> None:
        """Let nothing happen for so long."""
        self.events.quiet_until = self.time.now + seconds

    def steal(self, address: str, eni: str = "eni-1") -> None:
        self.cloud.secondaries[eni].discard(ip(address))
        self.cloud.secondaries["eni-9"].add(ip(address))


def test_after_the_start_it_sleeps_until_the_slow_check() -> None:
    pod = Sidecar()
    report = pod.run()
    assert report.exit_code == ExitCode.OK
    assert pod.started == 1
    assert pod.events.waits == [METADATA_SECONDS]
    assert pod.lines.events("info") == ["start", "started"]


def test_a_pod_without_addresses_sleeps_without_a_timer() -> None:
    pod = Sidecar()
    pod.source.held.clear()
    pod.run()
    assert pod.events.waits == [None]


def test_the_first_address_to_appear_starts_the_slow_check() -> None:
    pod = Sidecar()
    pod.source.held.clear()
    pod.script.append(lambda: pod.add("10.10.1.80"))
    pod.run()
    assert pod.events.waits == [None, METADATA_SECONDS]


def test_an_address_that_appears_is_assigned() -> None:
    pod = Sidecar()
    pod.script.append(lambda: pod.add("10.10.1.81"))
    pod.run()
    assert pod.cloud.asked("assign") == [("eni-1", ["10.10.1.80"]), ("eni-1", ["10.10.1.81"])]
    (line,) = pod.lines.of("assigned")
    assert (line["address"], line["eni"]) == ("10.10.1.81", "eni-1")


def test_an_address_that_appears_during_the_first_assignment_is_assigned() -> None:
    pod = Sidecar(struck=[Strike("assign", Fault.TRANSIENT)])

    def appear() -> None:
        pod.events.happen(lambda: pod.add("10.10.1.81"))
        pod.time.on_sleep = lambda: None

    pod.time.on_sleep = appear
    pod.run()
    assert pod.cloud.secondaries["eni-1"] == {ip("10.10.1.80"), ip("10.10.1.81")}


def test_a_burst_is_one_call() -> None:
    pod = Sidecar(room=60)

    def burst() -> None:
        for last in range(100, 150):
            pod.add(f"10.10.1.{last}")

    pod.script.append(burst)
    pod.run()
    assert [len(addresses) for _, addresses in pod.cloud.asked("assign")] == [1, 50]


def test_an_address_that_went_away_and_came_back_is_assigned_again() -> None:
    pod = Sidecar()

    def fail_over() -> None:
        # Another node's pod took it; in the same moment it is back here.
        pod.cloud.secondaries["eni-1"].clear()
        pod.cloud.secondaries["eni-9"].add(ip("10.10.1.80"))
        pod.events.remove("10.10.1.80")

    pod.script.append(fail_over)
    pod.run()
    assert pod.cloud.secondaries["eni-1"] == {ip("10.10.1.80")}
    assert pod.cloud.secondaries["eni-9"] == set()


def test_an_event_that_changes_nothing_calls_nobody() -> None:
    pod = Sidecar()
    pod.script.append(lambda: None)
    pod.run()
    assert len(pod.cloud.calls) == 1


def test_a_removed_address_stays_on_the_eni_and_is_logged() -> None:
    pod = Sidecar()
    pod.script.append(lambda: pod.remove("10.10.1.80"))
    pod.run()
    assert pod.cloud.secondaries["eni-1"] == {ip("10.10.1.80")}
    (line,) = pod.lines.of("removed")
    assert (line["address"], line["message"]) == (
        "10.10.1.80",
        "The pod no longer holds 10.10.1.80; it stays on eni-1",
    )
    assert pod.cloud.asked("unassign") == []


@pytest.mark.parametrize("release_on_exit", [True, False])
def test_an_address_in_a_prefix_of_the_eni_is_never_said_to_be_released(release_on_exit: bool) -> None:
    pod = Sidecar(
        prefixes={"eni-1": (ip_network("10.10.1.96/28"),)},
        enis=(replace(ENI_1, prefixes=(ip_network("10.10.1.96/28"),)),),
    )
    pod.script += [lambda: pod.add("10.10.1.97"), lambda: pod.remove("10.10.1.97")]
    pod.run(release_on_exit=release_on_exit)
    assert [line["message"] for line in pod.lines.of("removed")] == [
        "The pod no longer holds 10.10.1.97; it stays on eni-1, in that ENI's prefix 10.10.1.96/28"
    ]
    assert not any("10.10.1.97" in addresses for _, addresses in pod.cloud.asked("unassign"))


class TestRelease:
    """With release-on-exit an address that leaves the pod leaves the ENI."""

    def test_a_removed_address_is_released_at_once(self) -> None:
        pod = Sidecar()
        pod.add("2001:db8:1::80")
        pod.script += [lambda: pod.remove("10.10.1.80"), lambda: pod.remove("2001:db8:1::80")]
        pod.run(release_on_exit=True)
        assert pod.cloud.asked("unassign") == [("eni-1", ["10.10.1.80"]), ("eni-1", ["2001:db8:1::80"])]
        assert [line["address"] for line in pod.lines.of("released")] == ["10.10.1.80", "2001:db8:1::80"]
        assert [line["message"] for line in pod.lines.of("removed")] == [
            "The pod no longer holds 10.10.1.80; it is to be released from eni-1",
            "The pod no longer holds 2001:db8:1::80; it is to be released from eni-1",
        ]

    def test_an_address_is_never_released_from_the_eni_that_took_it(self) -> None:
        pod = Sidecar()

        def hand_over() -> None:
            pod.steal("10.10.1.80")
            pod.remove("10.10.1.80")

        pod.script.append(hand_over)
        pod.run(release_on_exit=True)
        assert pod.cloud.asked("unassign") == []
        assert pod.cloud.secondaries["eni-9"] == {ip("10.10.1.80")}

    def test_a_primary_address_is_never_released(self) -> None:
        pod = Sidecar()
        pod.add("10.10.1.10")
        pod.script.append(lambda: pod.remove("10.10.1.10"))
        pod.run(release_on_exit=True)
        assert [addresses for _, addresses in pod.cloud.asked("unassign")] == [["10.10.1.80"]]
        (kept,) = pod.lines.of("released")
        assert kept["message"] == "10.10.1.10 stays on eni-1, whose primary address it is"

    def test_a_release_during_an_outage_is_logged_once_and_retried(self) -> None:
        pod = Sidecar()

        def leave() -> None:
            pod.cloud.struck = [Strike(kind, Fault.UNREACHABLE) for kind in ("describe", "unassign")] * 5
            pod.remove("10.10.1.80")
            pod.let_pass(300)

        pod.script.append(leave)
        pod.run(release_on_exit=True)
        assert pod.cloud.secondaries["eni-1"] == set()
        assert len(pod.lines.of("not-released")) == 1
        assert len(pod.lines.of("released")) == 1

    def test_a_release_that_cannot_succeed_is_logged_and_dropped(self) -> None:
        pod = Sidecar()

        def leave() -> None:
            pod.cloud.struck = [Strike("unassign", Fault.REFUSED)]
            pod.remove("10.10.1.80")
            pod.let_pass(300)

        pod.script.append(leave)
        pod.run(release_on_exit=True)
        assert len(pod.cloud.asked("unassign")) == 1
        assert pod.lines.of("not-released")[0]["address"] == "10.10.1.80"

    def test_an_address_that_returns_before_its_release_stays(self) -> None:
        pod = Sidecar()

        def leave() -> None:
            pod.cloud.struck = [Strike("unassign", Fault.UNREACHABLE)]
            pod.remove("10.10.1.80")

        def come_back() -> None:
            pod.add("10.10.1.80")
            pod.let_pass(600)

        pod.script += [leave, come_back]
        pod.run(release_on_exit=True)
        # The first failed, the second is that of the end.
        assert len(pod.cloud.asked("unassign")) == 2
        assert pod.lines.of("released") == []

    def test_pending_releases_are_made_at_exit(self) -> None:
        pod = Sidecar()

        def leave() -> None:
            pod.cloud.struck = [Strike("unassign", Fault.NO_PERMISSION)]
            pod.remove("10.10.1.80")

        pod.script.append(leave)
        report = pod.run(release_on_exit=True)
        assert "10.10.1.80 was taken off eni-1" in report.message
        assert pod.cloud.secondaries["eni-1"] == set()

    def test_a_failed_detection_releases_nothing(self) -> None:
        pod = Sidecar()
        pod.add("2001:db8:1::80")
        pod.script.append(lambda: pod.source.detections.update({"2001:db8:1::80": Detection.FAILED}))
        pod.run(release_on_exit=False)
        assert pod.lines.of("removed") == []
        assert "dadfailed" in pod.lines.of("not-assigned")[0]["message"]


class TestDetection:
    """IPv6 addresses that are tentative."""

    V6 = "2001:db8:1::80"

    def appear(self, pod: Sidecar) -> None:
        pod.source.detections[self.V6] = Detection.TENTATIVE
        pod.add(self.V6)

    def test_the_end_of_the_detection_is_waited_for(self) -> None:
        pod = Sidecar()
        pod.script.append(lambda: self.appear(pod))
        pod.events.later.append((pod.time.now + 1, pod.source.detections.clear))
        pod.run()
        assert ip(self.V6) in pod.cloud.secondaries["eni-1"]

    def test_a_detection_that_never_ends_is_not_waited_for_for_ever(self) -> None:
        pod = Sidecar()
        pod.script.append(lambda: self.appear(pod))
        begun = pod.time.now
        pod.run()
        assert ip(self.V6) in pod.cloud.secondaries["eni-1"]
        assert DETECTION_SECONDS <= pod.time.now - begun < METADATA_SECONDS

    def test_an_address_that_is_assigned_stays_so_while_it_is_tentative_again(self) -> None:
        pod = Sidecar()
        pod.add(self.V6)
        pod.script.append(lambda: pod.source.detections.update({self.V6: Detection.TENTATIVE}))
        pod.run()
        assert pod.lines.of("removed") == []
        assert len(pod.cloud.asked("assign")) == 2


class TestTakenAway:
    """What the slow check finds, and what comes of it."""

    def test_an_address_that_nobody_holds_any_more_is_assigned_again(self) -> None:
        pod = Sidecar()
        pod.add("2001:db8:1::80")

        def lose() -> None:
            pod.cloud.secondaries["eni-1"].clear()
            pod.let_pass(60)

        pod.script.append(lose)
        pod.run()
        assert pod.cloud.secondaries["eni-1"] == {ip("10.10.1.80"), ip("2001:db8:1::80")}
        assert sorted(line["address"] for line in pod.lines.of("lost")) == ["10.10.1.80", "2001:db8:1::80"]

    def test_an_address_taken_by_another_eni_is_a_conflict_logged_once(self) -> None:
        pod = Sidecar()

        def lose() -> None:
            pod.steal("10.10.1.80")
            pod.let_pass(7200)

        pod.script.append(lose)
        pod.run()
        assert pod.cloud.secondaries["eni-9"] == {ip("10.10.1.80")}
        assert len(pod.cloud.asked("assign")) == 1
        (conflict,) = pod.lines.of("conflict")
        assert conflict["level"] == "error"
        assert "eni-9 (device number 9 of i-9)" in conflict["message"]
        assert pod.lines.of("not-assigned") == []
        assert len(pod.cloud.asked("holders")) < 30

    def test_adding_the_address_anew_takes_it_back(self) -> None:
        pod = Sidecar()

        def lose() -> None:
            pod.steal("10.10.1.80")
            pod.let_pass(60)

        pod.script += [lose, lambda: pod.events.remove("10.10.1.80")]
        pod.run()
        assert pod.cloud.secondaries["eni-1"] == {ip("10.10.1.80")}
        assert [line["address"] for line in pod.lines.of("assigned")] == ["10.10.1.80"]

    def test_an_address_that_the_other_eni_released_is_assigned_again(self) -> None:
        pod = Sidecar()

        def lose() -> None:
            pod.steal("10.10.1.80")
            pod.let_pass(60)

        def give_up() -> None:
            pod.cloud.secondaries["eni-9"].clear()
            pod.let_pass(2000)

        pod.script += [lose, give_up]
        pod.run()
        assert pod.cloud.secondaries["eni-1"] == {ip("10.10.1.80")}

    def test_with_takeover_never_a_released_address_is_assigned(self) -> None:
        pod = Sidecar()
        pod.cloud.secondaries["eni-9"] = {ip("10.10.1.81")}

        def give_up() -> None:
            pod.cloud.secondaries["eni-9"].clear()
            pod.let_pass(2000)

        pod.script += [lambda: pod.add("10.10.1.81"), give_up]
        pod.run(takeover=Takeover.NEVER)
        assert pod.cloud.secondaries["eni-1"] == {ip("10.10.1.80"), ip("10.10.1.81")}
        assert [line["address"] for line in pod.lines.of("not-assigned")] == ["10.10.1.81"]

    def test_a_conflict_is_not_released(self) -> None:
        pod = Sidecar()

        def lose() -> None:
            pod.steal("10.10.1.80")
            pod.let_pass(60)

        pod.script.append(lose)
        report = pod.run(release_on_exit=True)
        assert "no address to release" in report.message
        assert pod.cloud.secondaries["eni-9"] == {ip("10.10.1.80")}

    def test_an_hour_without_ec2_and_imds_heals_with_few_log_lines(self) -> None:
        pod = Sidecar()

        def outage() -> None:
            faults = (Fault.UNREACHABLE, Fault.NO_CREDENTIALS)
            pod.cloud.struck = [
                Strike(kind, fault) for kind in ("assign", "holders", "describe") for fault in faults * 500
            ]
            pod.cloud.imds = False
            pod.cloud.secondaries["eni-1"].clear()
            pod.let_pass(3600)

        def recover() -> None:
            pod.cloud.struck.clear()
            pod.cloud.imds = True
            pod.let_pass(3600)

        pod.script += [outage, recover]
        pod.run()
        assert pod.cloud.secondaries["eni-1"] == {ip("10.10.1.80")}
        assert pod.lines.events("warning") == ["lost"]
        assert pod.lines.events("error") == []


@pytest.mark.no_cover
@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("kind", ["assign", "unassign", "holders", "describe"])
def test_every_fault_after_the_start_heals_or_is_logged(kind: str, fault: Fault) -> None:
    for address, holder, lost in product(
        ("10.10.1.81", "2001:db8:1::81"), (None, "eni-1", "eni-9"), (False, True)
    ):
        pod = Sidecar(room=9)

        def appear(pod: Sidecar = pod, address: str = address, lost: bool = lost) -> None:
            pod.cloud.struck = [Strike(kind, fault, lost)]
            pod.add(address)
            pod.let_pass(1200)

        if holder:
            pod.cloud.secondaries[holder].add(ip(address))
        pod.script.append(appear)
        report = pod.run()
        case = f"{address} held by {holder}, answer lost: {lost}"
        assert report.exit_code == ExitCode.OK, case
        if fault in HEALING:
            assert ip(address) in pod.cloud.secondaries["eni-1"], case
        if ip(address) not in pod.cloud.secondaries["eni-1"]:
            assert [line["address"] for line in pod.lines.of("not-assigned")] == [address], case


def test_the_sidecar_survives_the_loss_of_ec2() -> None:
    pod = Sidecar()

    def outage() -> None:
        pod.cloud.struck = [
            Strike("assign", fault) for fault in (Fault.UNREACHABLE, Fault.NO_CREDENTIALS)
        ] * 9
        pod.add("10.10.1.81")

    pod.script.append(outage)
    report = pod.run()
    assert report.exit_code == ExitCode.OK
    assert ip("10.10.1.81") in pod.cloud.secondaries["eni-1"]
    assert pod.time.now > 1060
    # It is on its way: an error is what nothing is tried for any more.
    assert pod.lines.of("not-assigned") == []


def test_the_loss_of_imds_is_logged_and_retried() -> None:
    pod = Sidecar()

    def outage() -> None:
        pod.cloud.lookup_error = NoImds("IMDS does not answer")
        pod.add("10.10.1.81")

    def recover() -> None:
        pod.cloud.lookup_error = None

    pod.script += [outage, lambda: pod.let_pass(60)]
    pod.events.later.append((pod.time.now + 10, recover))
    assert pod.run().exit_code == ExitCode.OK
    assert ip("10.10.1.81") in pod.cloud.secondaries["eni-1"]
    assert "lookup-failed" in pod.lines.events("warning")


def test_an_address_that_appears_while_another_is_retried_is_not_missed() -> None:
    pod = Sidecar()

    def trouble() -> None:
        pod.cloud.struck.append(Strike("assign", Fault.UNREACHABLE))
        pod.add("10.10.1.81")

    pod.script.append(trouble)
    pod.events.later.append((pod.time.now, lambda: pod.add("10.10.1.82")))
    pod.run()
    assert pod.cloud.secondaries["eni-1"] == {ip(f"10.10.1.{last}") for last in (80, 81, 82)}


def test_a_refused_address_is_logged_once_and_does_not_end_the_sidecar() -> None:
    pod = Sidecar()
    pod.script += [lambda: pod.add("10.10.1.9"), lambda: pod.add("10.10.1.81"), lambda: None]
    assert pod.run().exit_code == ExitCode.OK
    (line,) = pod.lines.of("not-assigned")
    assert line["level"] == "error"
    assert line["address"] == "10.10.1.9"
    assert ip("10.10.1.81") in pod.cloud.secondaries["eni-1"]


def test_an_address_without_eni_triggers_a_lookup_of_new_enis() -> None:
    pod = Sidecar(enis=(FakeCloud(Time()).enis[1],))

    def attach() -> None:
        pod.cloud.enis = (*pod.cloud.enis, ENI_2)
        pod.source.held.append((NET2, "10.10.2.80"))

    pod.script += [lambda: pod.add("192.168.0.1"), attach]
    pod.run()
    assert pod.cloud.lookups.count(True) == 2
    assert [line["address"] for line in pod.lines.of("not-assigned")] == ["192.168.0.1"]
    assert ip("10.10.2.80") in pod.cloud.secondaries["eni-2"]


@pytest.mark.parametrize("takeover", Takeover)
def test_an_address_moves_to_the_eni_that_turns_out_to_carry_it(takeover: Takeover) -> None:
    other = replace(ENI_1, mac="02:aa:00:00:00:77")
    pod = Sidecar(enis=(other,))

    def appear() -> None:
        pod.cloud.enis = (other, replace(ENI_1, id="eni-9", device_number=9))
        pod.let_pass(3600)

    pod.script += [appear]
    assert pod.run(takeover=takeover).exit_code == ExitCode.OK
    assert pod.cloud.secondaries["eni-9"] == {ip("10.10.1.80")}
    assert pod.cloud.secondaries["eni-1"] == set()
    assert [line["eni"] for line in pod.lines.of("moved")] == ["eni-9"]


def test_a_failed_first_assignment_ends_it_before_it_has_started() -> None:
    pod = Sidecar(struck=[Strike("assign", Fault.NO_PERMISSION)])
    assert pod.run().exit_code == ExitCode.NO_PERMISSION
    assert pod.started == 0


@pytest.mark.parametrize("release", [True, False])
def test_sigterm_releases_only_if_asked_to(release: bool) -> None:
    pod = Sidecar()
    pod.source.held.append((NET2, "10.10.2.80"))
    pod.script.append(lambda: pod.add("10.10.1.81"))
    report = pod.run(release_on_exit=release)
    assert report.exit_code == ExitCode.OK
    released = [("eni-1", ["10.10.1.80", "10.10.1.81"]), ("eni-2", ["10.10.2.80"])]
    assert sorted(pod.cloud.asked("unassign")) == (released if release else [])
    assert ("10.10.1.81 was taken off eni-1" in report.message) is release


def test_an_address_taken_by_another_eni_is_not_released_at_exit() -> None:
    pod = Sidecar()
    pod.add("10.10.1.81")
    pod.script.append(lambda: pod.steal("10.10.1.81"))
    pod.run(release_on_exit=True)
    assert pod.cloud.secondaries == {"eni-1": set(), "eni-2": set(), "eni-9": {ip("10.10.1.81")}}


def test_a_failed_release_at_exit_is_reported() -> None:
    pod = Sidecar()
    pod.script.append(lambda: pod.cloud.struck.append(Strike("unassign", Fault.NO_PERMISSION)))
    report = pod.run(release_on_exit=True)
    assert report.exit_code == ExitCode.OK
    assert "10.10.1.80 could not be taken off eni-1: struck by NO_PERMISSION" in report.message
    assert pod.lines.of("not-released")[0]["address"] == "10.10.1.80"


def test_the_release_at_exit_is_a_single_call() -> None:
    pod = Sidecar()
    pod.add("10.10.1.81")
    pod.script.append(pod.cloud.calls.clear)
    pod.run(release_on_exit=True)
    assert [kind for kind, _, _ in pod.cloud.calls] == ["unassign"]


def test_a_deleted_eni_needs_no_release() -> None:
    pod = Sidecar()
    pod.script.append(lambda: pod.cloud.struck.append(Strike("unassign", Fault.NO_ENI)))
    report = pod.run(release_on_exit=True)
    assert report.exit_code == ExitCode.OK
    assert "10.10.1.80 went with eni-1" in report.message
    assert pod.lines.of("not-released") == []


def test_sigterm_during_the_first_assignment_ends_it_and_releases_what_may_have_landed() -> None:
    pod = Sidecar(struck=[Strike("assign", Fault.UNREACHABLE, lost=True)])

    def stop() -> None:
        raise Stop(15)

    pod.time.on_sleep = stop
    report = pod.run(release_on_exit=True)
    assert report.exit_code == 143
    assert pod.started == 0
    assert pod.cloud.secondaries["eni-1"] == set()
