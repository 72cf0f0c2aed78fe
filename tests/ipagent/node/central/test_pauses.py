"""For how long nothing is asked by a NodeAttachment that has failed."""

from __future__ import annotations

import pytest

from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.node.central.pauses import PAUSE, Pauses
from tests.ipagent.fakes import Time

pytestmark = pytest.mark.pure

FAILURE = Failure(Fault.UNREACHABLE, "no")


@pytest.mark.parametrize("hanging", [1, 2, 8])
def test_those_that_hang_take_a_tenth_of_the_time_whatever_number_of_them_there_is(hanging: int) -> None:
    time = Time()
    pauses, begun, spent = Pauses(time.timing.clock), time.now, 0.0
    while time.now < begun + 7200:
        for name in map(str, range(hanging)):
            if pauses.of(name) is None:
                time.now += 10
                spent += 10
                pauses.pause(name, FAILURE, 10)
        time.now += 1
    assert spent >= 2 * 10 * hanging
    assert spent <= 0.12 * (time.now - begun)


def test_a_failure_at_once_is_tried_again_soon_and_beside_others() -> None:
    time = Time()
    pauses = Pauses(time.timing.clock)
    pauses.pause("a", FAILURE, 0.1)
    assert (pauses.of("a"), pauses.of("b"), pauses.of_all()) == (FAILURE, None, None)
    assert pauses.failed_at("a") > pauses.failed_at("b")
    time.now += PAUSE
    assert pauses.of("a") is None
    pauses.end("a")
    assert pauses.failed_at("a") == pauses.failed_at("b")
    pauses.pause_all(FAILURE)
    assert pauses.of_all() == FAILURE
    time.now += PAUSE
    assert pauses.of_all() is None
