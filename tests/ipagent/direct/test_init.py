"""The init mode, from the kernel's view to the exit code and the sentence."""

from collections.abc import Collection
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, NoReturn

import pytest

from common.agent_settings import Takeover
from common.exit_codes import ExitCode
from ipagent.assign.addresses import Detection, IPAddress
from ipagent.assign.ec2_error_codes import RETRIED, Failure, Fault
from ipagent.assign.errors import BadUsage, EniFull, NoImds, error_of
from ipagent.assign.report import Report
from ipagent.assign.selection import DETECTION_SECONDS
from ipagent.assign.topology import EniDetails, Topology
from ipagent.aws.pod_cloud import WaitingFor
from ipagent.direct import init
from ipagent.direct.agent import PENDING_PACE
from ipagent.interrupting_signals import StopSignal
from ipagent.startup import write_message
from tests.ipagent.fakes import (
    ENI_0,
    ENI_1,
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

HELD = ((ETH0, "10.10.0.21"), (NET1, "10.10.1.80"), (NET2, "10.10.2.80"))


class Pod:
    def __init__(self, source: FakeSource | None = None, **cloud: Any) -> None:
        self.time = Time()
        self.cloud = FakeCloud(self.time, **cloud)
        self.source = source or FakeSource(*HELD)
        self.lines = Lines()

    def init(self, timeout: int = 120, *, restarted: bool = False, **settings: Any) -> Report:
        made = agent(self.source, self.cloud, self.lines, timeout=timeout, restarted=restarted, **settings)
        return init.run(made, self.time.now + timeout, self.time.timing)


def test_assigned_addresses_are_reported_in_one_sentence() -> None:
    pod = Pod()
    report = pod.init()
    assert report.exit_code == ExitCode.OK
    assert report.message == "Assigned: 10.10.1.80 on eni-1; 10.10.2.80 on eni-2."
    assert (report.address, report.eni) == ("10.10.1.80, 10.10.2.80", "eni-1, eni-2")
    assert pod.lines.events("info") == ["start"]
    assert pod.lines.events("warning") == []


class LateEni(FakeCloud):
    """Two ENIs that are known late: net2's is absent for a while, and until then nobody knows net1's."""

    late = 5.0

    def topology(self, macs: Collection[str], *, fresh: bool = False) -> Topology:
        shown = super().topology(macs, fresh=fresh)
        if self.time.now >= 1000.0 + self.late:
            return shown
        other = replace(ENI_1, id="eni-9", device_number=9, mac="02:aa:00:00:00:77")
        return Topology((other,), absent={NET2.mac: "eni-2"})


@pytest.mark.parametrize("takeover", Takeover)
def test_what_init_itself_put_on_another_eni_it_takes_off_there(takeover: Takeover) -> None:
    pod = Pod()
    pod.cloud = LateEni(pod.time)
    report = pod.init(takeover=takeover)
    assert report.message == "Assigned: 10.10.1.80 on eni-1; 10.10.2.80 on eni-2."
    assert pod.cloud.secondaries["eni-9"] == set()
    assert [line["address"] for line in pod.lines.of("moved")] == ["10.10.1.80"]
    assert pod.cloud.asked("unassign") == [("eni-9", ["10.10.1.80"])]
    assert pod.time.now < 1000.0 + LateEni.late + PENDING_PACE.cap, "it ends with the last address"


def test_an_address_that_waits_for_its_eni_is_told_once_with_the_reason() -> None:
    pod = Pod()
    pod.cloud = LateEni(pod.time)
    pod.init()
    (line,) = pod.lines.of("lookup-failed")
    assert (line["level"], line["address"]) == ("warning", "10.10.2.80")
    assert line["message"] == ("10.10.2.80 (net2) waits for its ENI: its interface has the MAC of eni-2")


def test_a_pod_without_addresses_calls_no_aws_service() -> None:
    pod = Pod(FakeSource((ETH0, "10.10.0.21")))
    report = pod.init()
    assert report.exit_code == ExitCode.OK
    assert "no addresses that count on net1, net2" in report.message
    assert pod.cloud.calls == []
    assert pod.cloud.lookups == []


def test_a_missing_interface_ends_the_run_before_any_assignment() -> None:
    pod = Pod(FakeSource(*HELD, links=(ETH0, NET1)))
    report = pod.init()
    assert report.exit_code == ExitCode.NO_ENI
    assert "no interface net2" in report.message
    assert "10.10.1.80" in report.message
    assert "Multus" in report.message
    assert pod.cloud.calls == []


def test_an_interface_that_was_unplugged_before_a_restart_is_a_warning_and_the_others_go_on() -> None:
    pod = Pod(FakeSource((ETH0, "10.10.0.21"), (NET1, "10.10.1.80"), links=(ETH0, NET1)))
    report = pod.init(restarted=True)
    assert (report.exit_code, report.message) == (ExitCode.OK, "Assigned: 10.10.1.80 on eni-1.")
    (line,) = pod.lines.of("interface-missing")
    assert line["message"].startswith("The pod no longer has the interface net2")


def test_refused_addresses_do_not_hold_up_the_others() -> None:
    pod = Pod(FakeSource((NET1, "10.10.1.9"), (NET1, "10.10.1.80"), (NET2, "192.168.0.1")))
    report = pod.init()
    assert report.exit_code == ExitCode.NO_ENI
    assert "192.168.0.1 (net2) on" not in report.message
    assert "192.168.0.1 (net2): " in report.message
    assert "10.10.1.9 (net1) on eni-1: it is a primary address of eni-9 (device" in report.message
    assert "Assigned anyway: 10.10.1.80 on eni-1." in report.message
    assert pod.cloud.secondaries["eni-1"] == {ip("10.10.1.80")}


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault.NO_CREDENTIALS, ExitCode.NO_CREDENTIALS),
        (Fault.NO_PERMISSION, ExitCode.NO_PERMISSION),
        (Fault.NO_ENI, ExitCode.NO_ENI),
        (Fault.REFUSED, ExitCode.ADDRESS_REFUSED),
        (Fault.HELD_ELSEWHERE, ExitCode.HELD_ELSEWHERE),
        (Fault.ENI_FULL, ExitCode.ENI_FULL),
        (Fault.SUBNET_FULL, ExitCode.ENI_FULL),
        (Fault.UNKNOWN, ExitCode.ADDRESS_REFUSED),
        (Fault.UNREACHABLE, ExitCode.EC2_UNREACHABLE),
        (Fault.THROTTLED, ExitCode.DEADLINE),
        (Fault.TRANSIENT, ExitCode.DEADLINE),
    ],
)
def test_each_failure_has_its_exit_code_and_remedy(fault: Fault, code: ExitCode) -> None:
    pod = Pod(FakeSource((NET1, "10.10.1.80")), struck=[Strike("assign", fault)] * 1000)
    if fault is Fault.HELD_ELSEWHERE:
        pod.cloud.secondaries["eni-9"].add(ip("10.10.1.80"))
    report = pod.init()
    assert report.exit_code == code
    assert "10.10.1.80 (net1) on eni-1" in report.message
    assert error_of(Failure(fault, "")).remedy in report.message


def test_the_deadline_reports_the_last_error_and_the_address() -> None:
    pod = Pod(FakeSource((NET1, "10.10.1.80")), struck=[Strike("assign", Fault.THROTTLED)] * 1000)
    report = pod.init(timeout=30)
    assert "not within 30 s: struck by THROTTLED" in report.message
    assert pod.time.now == 1030


def test_a_short_failure_is_retried_soon() -> None:
    pod = Pod(struck=[Strike("assign", Fault.TRANSIENT)] * 2)
    begun = pod.time.now
    assert pod.init().exit_code == ExitCode.OK
    assert pod.time.now - begun < 3


def test_accepted_but_never_confirmed_ends_at_the_deadline() -> None:
    pod = Pod(
        FakeSource((NET1, "10.10.1.80")), imds_delay=900, struck=[Strike("describe", Fault.TRANSIENT)] * 1000
    )
    report = pod.init(timeout=60)
    assert report.exit_code == ExitCode.DEADLINE
    assert (
        "EC2 accepted it, but neither IMDS nor DescribeNetworkInterfaces shows it after 60 s"
        in report.message
    )


def test_a_full_enis_addresses_are_listed() -> None:
    pod = Pod(FakeSource((NET1, "10.10.1.80")), room=2)
    pod.cloud.secondaries["eni-1"] = {ip("10.10.1.50"), ip("10.10.1.51")}
    report = pod.init()
    assert report.exit_code == ExitCode.ENI_FULL
    assert "its secondary addresses are 10.10.1.50, 10.10.1.51" in report.message
    assert "unassign-private-ip-addresses" in report.message


def test_of_several_hundred_addresses_too_many_for_the_eni_the_last_message_has_the_remedy(
    tmp_path: Path,
) -> None:
    addresses = [f"2001:db8:1::{number:x}" for number in range(0x1000, 0x1000 + 300)]
    pod = Pod(FakeSource(*((NET1, each) for each in addresses)), room=50)
    report = pod.init()
    assert report.exit_code == ExitCode.ENI_FULL
    assert {*addresses} == {str(each) for each in map(ip, addresses) if str(each) in report.message}
    log = tmp_path / "termination-log"
    log.touch()
    write_message(str(log), report.message)
    shown = log.read_text(encoding="utf-8")
    assert shown.startswith("Not assigned: 2001:db8:1::")
    assert shown.endswith(EniFull.remedy)


def test_takeover_never_forbids_reassignment_in_the_call() -> None:
    pod = Pod(FakeSource((NET1, "10.10.1.80")))
    pod.cloud.secondaries["eni-9"] = {ip("10.10.1.80")}
    assert pod.init(takeover=Takeover.NEVER).exit_code == ExitCode.HELD_ELSEWHERE
    assert pod.init().exit_code == ExitCode.OK


class SharedSubnet(FakeCloud):
    """A subnet of another account, whose ENIs EC2 does not show."""

    def holders(self, addresses: Collection[IPAddress], subnet_id: str) -> tuple[EniDetails, ...]:
        return tuple(each for each in super().holders(addresses, subnet_id) if each.eni_id != "eni-9")

    def prefix_holders(self, addresses: Collection[IPAddress], subnet_id: str) -> tuple[EniDetails, ...]:
        return tuple(each for each in super().prefix_holders(addresses, subnet_id) if each.eni_id != "eni-9")


@pytest.mark.parametrize("takeover", Takeover)
@pytest.mark.parametrize("address", ["10.10.1.80", "2001:db8:1::80"])
def test_what_an_eni_that_ec2_does_not_show_may_have_is_told_at_the_deadline(
    address: str, takeover: Takeover
) -> None:
    pod = Pod(FakeSource((NET1, address)))
    pod.cloud = SharedSubnet(pod.time)
    pod.cloud.secondaries["eni-9"].add(ip(address))
    report = pod.init(takeover=takeover)
    assert report.exit_code == ExitCode.HELD_ELSEWHERE
    assert "EC2 shows no ENI that has it" in report.message
    assert "an ENI of another account may have it" in report.message


def test_addresses_outside_the_allowed_cidrs_are_never_sent() -> None:
    pod = Pod()
    report = pod.init(allowed_cidrs=("10.10.1.0/24",))
    assert report.exit_code == ExitCode.ADDRESS_REFUSED
    assert "10.10.2.80 (net2): it lies outside the allowed CIDRs 10.10.1.0/24" in report.message
    assert pod.cloud.asked("assign") == [("eni-1", ["10.10.1.80"])]


def test_both_families_of_an_interface_are_assigned() -> None:
    pod = Pod(FakeSource((NET1, "10.10.1.80"), (NET1, "2001:db8:1::80")))
    assert pod.init().message == "Assigned: 10.10.1.80, 2001:db8:1::80 on eni-1."
    assert pod.cloud.secondaries["eni-1"] == {ip("10.10.1.80"), ip("2001:db8:1::80")}


def test_an_ipv6_address_outside_the_subnet_does_not_hold_up_the_others() -> None:
    pod = Pod(FakeSource((NET1, "10.10.1.80"), (NET1, "2001:db8:f::80")))
    report = pod.init()
    assert report.exit_code == ExitCode.NO_ENI
    assert "2001:db8:f::80 (net1)" in report.message
    assert "Assigned anyway: 10.10.1.80" in report.message


class TestDetection:
    """IPv6 addresses that are tentative at the start."""

    V6 = "2001:db8:1::80"

    def pod(self) -> Pod:
        pod = Pod(FakeSource((NET1, "10.10.1.80"), (NET1, self.V6)))
        pod.source.detections[self.V6] = Detection.TENTATIVE
        return pod

    def test_tentative_addresses_are_waited_for(self) -> None:
        pod = self.pod()
        begun = pod.time.now

        def end() -> None:
            if pod.time.now - begun >= 1:
                pod.source.detections.clear()

        pod.time.on_sleep = end
        assert pod.init().exit_code == ExitCode.OK
        assert pod.time.now - begun < 2
        assert ip(self.V6) in pod.cloud.secondaries["eni-1"]
        assert pod.lines.events("warning") == []

    def test_waiting_for_tentative_addresses_ends_after_five_seconds(self) -> None:
        pod = self.pod()
        begun = pod.time.now
        assert pod.init().exit_code == ExitCode.OK
        assert DETECTION_SECONDS <= pod.time.now - begun < DETECTION_SECONDS + 1
        (warning,) = pod.lines.of("tentative")
        assert f"{self.V6} (net1)" in warning["message"]

    def test_a_failed_detection_is_refused_and_the_others_are_assigned(self) -> None:
        pod = self.pod()
        pod.time.on_sleep = lambda: pod.source.detections.update({self.V6: Detection.FAILED})
        report = pod.init()
        assert report.exit_code == ExitCode.ADDRESS_REFUSED
        assert f"{self.V6} (net1): duplicate address detection has failed (dadfailed)" in report.message
        assert pod.cloud.secondaries["eni-1"] == {ip("10.10.1.80")}

    @pytest.mark.parametrize("alarm", [True, False])
    def test_the_deadline_during_detection_is_a_failure(self, alarm: bool) -> None:
        pod = Pod(FakeSource((NET1, self.V6)))
        pod.source.detections[self.V6] = Detection.TENTATIVE

        def ring() -> None:
            if alarm:
                raise StopSignal(14)

        pod.time.on_sleep = ring
        report = pod.init(timeout=2)
        assert report.exit_code == ExitCode.DEADLINE
        assert f"{self.V6} (net1): duplicate address detection has not ended" in report.message


def test_malformed_allowed_cidrs_are_a_usage_error() -> None:
    with pytest.raises(BadUsage, match="banana"):
        Pod().init(allowed_cidrs=("banana",))


def test_without_imds_the_waiting_addresses_are_named() -> None:
    report = Pod(lookup_error=NoImds("IMDS does not answer")).init()
    assert report.exit_code == ExitCode.NO_IMDS
    assert report.message.startswith(
        "Not assigned: 10.10.1.80 (net1), 10.10.2.80 (net2): IMDS does not answer."
    )
    assert "HttpPutResponseHopLimit" in report.message


def test_a_lookup_that_fails_for_a_moment_is_repeated() -> None:
    error = error_of(Failure(Fault.THROTTLED, "DescribeNetworkInterfaces by mac-address: slow down"))
    pod = Pod(lookup_error=error)

    def recover() -> None:
        pod.cloud.lookup_error = None

    pod.time.on_sleep = recover
    assert pod.init().exit_code == ExitCode.OK
    assert pod.lines.events("warning") == ["lookup-failed"]


def test_a_lookup_that_goes_on_failing_ends_at_the_deadline() -> None:
    error = error_of(Failure(Fault.UNREACHABLE, "no route"))
    pod = Pod(lookup_error=error)
    begun = pod.time.now
    assert pod.init(timeout=20).exit_code == ExitCode.EC2_UNREACHABLE
    assert pod.time.now - begun <= 20


def test_an_unknown_default_interface_is_a_usage_error() -> None:
    other = replace(ETH0, name="ens5")
    pod = Pod(FakeSource((other, "10.10.0.21"), (NET1, "10.10.1.80"), links=(other, NET1)))
    report = pod.init(interfaces=())
    assert report.exit_code == ExitCode.USAGE
    assert "multus-eni.io/interfaces" in report.message


def test_device_0_is_refused() -> None:
    device_0 = replace(NET1, mac=ENI_0.mac)
    pod = Pod(FakeSource((device_0, "10.10.0.80"), links=(device_0,)))
    report = pod.init(interfaces=("net1",))
    assert report.exit_code == ExitCode.NO_ENI
    assert "device number 0" in report.message
    assert pod.cloud.calls == []


def test_a_foreign_mac_warns_once_and_names_the_candidates() -> None:
    foreign = replace(NET1, mac="5e:00:00:00:00:01")
    pod = Pod(FakeSource((foreign, "10.10.1.80"), links=(foreign,)))
    assert pod.init(interfaces=("net1",)).exit_code == ExitCode.OK
    (warning,) = pod.lines.of("eni-by-subnet")
    assert warning["eni"] == "eni-1"
    assert warning["level"] == "warning"


@pytest.mark.parametrize("when", ["before the ENIs are known", "after"])
def test_the_alarm_of_the_deadline_interrupts_and_names_the_addresses(when: str) -> None:
    pod = Pod(FakeSource((NET1, "10.10.1.80")), struck=[Strike("assign", Fault.THROTTLED)])
    if when != "after":
        pod.cloud.lookup_error = error_of(Failure(Fault.THROTTLED, ""))

    def ring() -> None:
        raise StopSignal(14)

    pod.time.on_sleep = ring
    report = pod.init()
    assert report.exit_code == ExitCode.DEADLINE
    assert "10.10.1.80 (net1)" in report.message


@pytest.mark.parametrize("fault", [Fault.UNREACHABLE, Fault.THROTTLED])
def test_where_the_alarm_interrupts_a_failing_look_the_remedy_is_that_of_the_failure(fault: Fault) -> None:
    error = error_of(Failure(fault, "what is wrong", remedy="Do this."))
    error.remedy += " multus-eni.io/timeout gives more." if fault is Fault.THROTTLED else ""
    pod = Pod(FakeSource((NET1, "10.10.1.80")), lookup_error=error)

    def ring() -> None:
        raise StopSignal(14)

    pod.time.on_sleep = ring
    report = pod.init()
    assert report.exit_code == ExitCode.DEADLINE
    assert "what is wrong. Do this. " in report.message
    assert report.message.count("multus-eni.io/timeout") == 1


@pytest.mark.parametrize(
    ("waiting_for", "code", "says"),
    [
        (
            "EC2",
            ExitCode.EC2_UNREACHABLE,
            "EC2 has not answered within 120 s which ENI has the interface's MAC",
        ),
        ("IMDS", ExitCode.NO_IMDS, "IMDS has not answered within 120 s which ENIs the node has"),
    ],
)
def test_the_alarm_during_the_first_look_tells_who_was_being_waited_for(
    waiting_for: str, code: ExitCode, says: str
) -> None:
    pod = Pod(FakeSource((NET1, "10.10.1.80")))

    def ring(macs: object, *, fresh: bool = False) -> NoReturn:
        del macs, fresh
        with WaitingFor(waiting_for):
            raise StopSignal(14)

    pod.cloud.topology = ring  # type: ignore[method-assign] # it never answers
    report = pod.init()
    assert (report.exit_code, says in report.message) == (code, True), report.message


def test_a_signal_from_outside_is_passed_on() -> None:
    pod = Pod(struck=[Strike("assign", Fault.THROTTLED)])

    def stop() -> None:
        raise StopSignal(15)

    pod.time.on_sleep = stop
    with pytest.raises(StopSignal, match="SIGTERM"):
        pod.init()


@pytest.mark.no_cover
@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("kind", ["assign", "unassign", "holders", "describe"])
def test_no_fault_ends_with_exit_0_and_an_unassigned_address(kind: str, fault: Fault) -> None:
    for address, holder, lost, times in product(
        ("10.10.1.80", "2001:db8:1::80"), (None, "eni-1", "eni-9"), (False, True), (1, 1000)
    ):
        pod = Pod(FakeSource((NET1, address)), struck=[Strike(kind, fault, lost)] * times)
        if holder:
            pod.cloud.secondaries[holder].add(ip(address))
        report = pod.init()
        case = f"{address} held by {holder}, answer lost: {lost}, {times} times: {report}"
        if report.exit_code == ExitCode.OK:
            assert ip(address) in pod.cloud.secondaries["eni-1"], case
        else:
            assert f"{address} (net1) on eni-1: " in report.message, case
            assert report.exit_code not in (ExitCode.INTERNAL, ExitCode.USAGE), case
            assert times > 1 or fault not in RETRIED, case
        assert pod.time.now <= 1000 + 120, case
