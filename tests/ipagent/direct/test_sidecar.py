"""The sidecar's life, with a scripted kernel."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from itertools import product

import pytest

from common.agent_settings import Takeover
from common.exit_codes import ExitCode
from ipagent.assign.addresses import Detection
from ipagent.assign.drift import METADATA_SECONDS
from ipagent.assign.ec2_error_codes import HEALING, Fault
from ipagent.assign.errors import NoImds
from ipagent.assign.selection import DETECTION_SECONDS
from ipagent.direct.agent import BY_SUBNET_PACE
from tests.ipagent.direct.sidecar_rig import Sidecar
from tests.ipagent.fakes import (
    ENI_1,
    ENI_2,
    NET2,
    FakeCloud,
    Strike,
    Time,
    ip,
)

pytestmark = pytest.mark.pure


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


@pytest.mark.parametrize("held", [True, False], ids=["held on", "removed meanwhile"])
def test_what_was_on_no_eni_for_a_while_is_taken_off_the_wrong_one(held: bool) -> None:
    other = replace(ENI_1, mac="02:aa:00:00:00:77")
    pod = Sidecar(enis=(other,))

    def disappear() -> None:
        pod.cloud.enis = (replace(other, barred="is being detached"),)
        pod.cloud.traits["eni-1"] = {"detaching": True}

    def remove_and_add() -> None:
        if not held:
            pod.remove("10.10.1.80")

    def appear() -> None:
        pod.cloud.enis = (other, replace(ENI_1, id="eni-9", device_number=9))
        if not held:
            pod.add("10.10.1.80")

    def pause() -> None:
        # In which the agent looks whether an ENI has the MAC after all.
        pod.let_pass(3 * BY_SUBNET_PACE.cap)

    pod.script += [disappear, pause, remove_and_add, pause, appear, pause]
    assert pod.run(takeover=Takeover.NEVER).exit_code == ExitCode.OK
    # What the pod had removed may be another pod's on that ENI by now.
    where = "eni-9" if held else "eni-1"
    assert {eni for eni, addresses in pod.cloud.secondaries.items() if addresses} == {where}
    assert [line["eni"] for line in pod.lines.of("moved")] == (["eni-9"] if held else [])


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


@pytest.mark.parametrize("restarted", [False, True])
def test_an_address_of_no_eni_ends_the_first_assignment_of_every_container(restarted: bool) -> None:
    # The app may have added it: a sidecar that runs only logs it.
    pod = Sidecar()
    pod.add("192.168.0.1")
    assert pod.run(restarted=restarted).exit_code == ExitCode.NO_ENI
    assert pod.started == 0
    assert pod.cloud.secondaries["eni-1"] == {ip("10.10.1.80")}
