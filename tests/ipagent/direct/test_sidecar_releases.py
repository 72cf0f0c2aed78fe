"""What a sidecar releases: while it runs, and at its end."""

from __future__ import annotations

import pytest

from common.exit_codes import ExitCode
from ipagent.assign.addresses import Detection
from ipagent.assign.ec2_error_codes import Fault
from ipagent.assign.errors import NoImds
from ipagent.interrupting_signals import StopSignal
from tests.ipagent.direct.sidecar_rig import Sidecar
from tests.ipagent.fakes import (
    NET2,
    Strike,
    ip,
)

pytestmark = pytest.mark.pure


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

    def test_a_removed_address_is_released_though_the_look_for_another_ones_eni_fails(self) -> None:
        pod = Sidecar()

        def change() -> None:
            pod.remove("10.10.1.80")
            pod.source.held.append((NET2, "10.10.2.80"))
            pod.cloud.lookup_error = NoImds("IMDS is silent")

        def heal() -> None:
            pod.cloud.lookup_error = None
            pod.let_pass(600)

        pod.script += [change, heal]
        pod.run(release_on_exit=True)
        assert "lookup-failed" in pod.lines.events("warning")
        assert [line["address"] for line in pod.lines.of("released")] == ["10.10.1.80"]
        assert pod.cloud.asked("assign")[-1] == ("eni-2", ["10.10.2.80"])
        assert pod.cloud.secondaries["eni-1"] == set()

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
        raise StopSignal(15)

    pod.time.on_sleep = stop
    report = pod.run(release_on_exit=True)
    assert report.exit_code == 143
    assert pod.started == 0
    assert pod.cloud.secondaries["eni-1"] == set()
