"""Waiting for Elastic IPs after the assignment: IMDS shows them, late or never."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from common.exit_codes import ExitCode
from ipagent.assign.errors import NoImds
from ipagent.assign.report import Report
from ipagent.direct import eips, init
from ipagent.interrupting_signals import StopSignal
from tests.ipagent.fakes import ETH0, NET1, NET2, FakeCloud, FakeSource, Lines, Time, agent

pytestmark = pytest.mark.pure

HELD = ((ETH0, "10.10.0.21"), (NET1, "10.10.1.80"), (NET2, "10.10.2.80"))
THERE = {"10.10.1.80": "198.51.100.1"}


class Imds:
    """Shows one answer after the other, and the last one for ever."""

    def __init__(self, *answers: Mapping[str, str] | Exception | StopSignal) -> None:
        self.asked: list[str] = []
        self._answers: Iterator[Mapping[str, str] | Exception | StopSignal] = iter(answers)
        self._last: Mapping[str, str] | Exception | StopSignal = {}

    def elastic_ips(self, mac: str) -> Mapping[str, str]:
        self.asked.append(mac)
        self._last = next(self._answers, self._last)
        if isinstance(self._last, Mapping):
            return self._last
        raise self._last


def wait(
    imds: Imds, *interfaces: str, failed: bool = False, lines: Lines | None = None
) -> tuple[Report, Time]:
    time = Time()
    made = agent(
        FakeSource(*HELD),
        FakeCloud(time),
        lines or Lines(),
        timeout=60,
        eip_wait=interfaces or ("net1",),
        timing=time.timing,
    )
    report = init.run(made, time.now + 60, time.timing)
    if failed:
        report = Report(ExitCode.ENI_FULL, "full")
    return eips.wait(made, imds, report, time.now + 60), time


def test_it_waits_until_imds_shows_the_elastic_ip_of_each_interface() -> None:
    both = {**THERE, "10.10.2.80": "198.51.100.2"}
    imds = Imds({}, {}, NoImds("gone"), THERE, THERE, both)
    report, _ = wait(imds, "net1", "net2")
    assert report.exit_code == ExitCode.OK
    assert report.message.startswith("Assigned: 10.10.1.80 on eni-1; 10.10.2.80 on eni-2.")
    assert "198.51.100.1 is associated with 10.10.1.80 (net1)" in report.message
    assert "198.51.100.2 is associated with 10.10.2.80 (net2)" in report.message


@pytest.mark.parametrize("never", [{}, {"10.10.1.99": "198.51.100.9"}, NoImds("no answer")])
def test_the_deadline_ends_it_with_what_is_missing(never: Mapping[str, str] | Exception) -> None:
    report, _ = wait(Imds(never))
    assert report.exit_code == ExitCode.DEADLINE
    assert report.message.startswith("The Elastic IP of net1 has not come within 60 s")
    assert "multus-eni.io/ElasticIPsAssociated" in report.message


def test_an_imds_that_does_not_answer_is_in_the_log_once() -> None:
    lines = Lines()
    wait(Imds(NoImds("no answer")), lines=lines)
    (line,) = lines.of("lookup-failed")
    assert (line["level"], line["message"]) == ("warning", "The Elastic IPs can't be read: no answer")


def test_the_alarm_ends_it_as_well_and_a_signal_from_outside_ends_the_run() -> None:
    report, _ = wait(Imds({}, StopSignal(14)))
    assert report.exit_code == ExitCode.DEADLINE
    with pytest.raises(StopSignal):
        wait(Imds({}, StopSignal(15)))


def test_an_assignment_that_failed_is_not_waited_for() -> None:
    imds = Imds()
    report, _ = wait(imds, failed=True)
    assert (report.exit_code, imds.asked) == (ExitCode.ENI_FULL, [])
