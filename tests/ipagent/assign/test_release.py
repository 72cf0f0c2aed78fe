"""Addresses that wait to be taken off their ENIs."""

from __future__ import annotations

import pytest

from common.token_bucket import Rate
from ipagent.assign.address_calls import Unassign
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.errors import Ec2Error
from ipagent.assign.release import ReleaseQueue
from ipagent.assign.topology import EniDetails
from tests.ipagent.fakes import FakeCloud, Lines, Time, ip

pytestmark = pytest.mark.pure

A = ip("10.10.1.80")


class Busy(FakeCloud):
    """Another change of the ENI is not answered before `free`."""

    free = 60.0

    def unassign(self, call: Unassign) -> None:
        if self.time.now < self.free:
            self.calls.append(("unassign", call.eni_id, call.addresses))
            raise Ec2Error(Failure(Fault.UNREACHABLE, "not answered yet", pending=True))
        super().unassign(call)


@pytest.mark.parametrize("rate", [None, Rate(1.0, 2)])
def test_what_waits_for_another_change_is_no_error_and_is_asked_for_less_and_less_often(
    rate: Rate | None,
) -> None:
    time, lines = Time(), Lines()
    cloud = Busy(time)
    cloud.free = time.now + 60
    cloud.secondaries["eni-1"].add(A)
    queue = ReleaseQueue(cloud, time.timing, lines.log, rate=rate)
    queue.enqueue([("eni-1", A)], ())
    for _ in range(100):
        delay = queue.step()
        if delay is None:
            break
        time.sleep(delay)
    assert A not in cloud.secondaries["eni-1"]
    assert lines.events("error") == []
    assert lines.events("info") == ["released"]
    assert len(cloud.asked("describe")) < 15


class Paused(FakeCloud):
    """Nothing at all is sent before `free`."""

    free = 0.0

    def describe(self, eni_id: str) -> EniDetails:
        self._refuse()
        return super().describe(eni_id)

    def unassign(self, call: Unassign) -> None:
        self._refuse()
        super().unassign(call)

    def _refuse(self) -> None:
        if self.time.now < self.free:
            raise Ec2Error(Failure(Fault.UNREACHABLE, "others are waited for", pending=True, unsent=True))


def test_what_was_not_sent_is_no_try_and_takes_no_token() -> None:
    time, lines = Time(), Lines()
    cloud = Paused(time)
    cloud.free = time.now + 10
    cloud.secondaries["eni-1"].add(A)
    queue = ReleaseQueue(cloud, time.timing, lines.log, rate=Rate(1, 0.001))
    queue.enqueue([("eni-1", A)], ())
    began = time.now
    while (delay := queue.step()) is not None:
        time.sleep(delay)
    assert A not in cloud.secondaries["eni-1"]
    assert time.now - began <= 11
