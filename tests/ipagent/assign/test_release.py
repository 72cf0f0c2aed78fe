"""Addresses that wait to be taken off their ENIs."""

from __future__ import annotations

import pytest

from common.token_bucket import Rate
from ipagent.assign.address_calls import Unassign
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.errors import Ec2Error
from ipagent.assign.release import ReleaseQueue
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
