"""For how long nothing is asked by a NodeAttachment that has failed."""

from __future__ import annotations

import pytest

from common.kube.backoff import REST
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.node.central.pauses import PAUSE, TURN, Pauses, Silence
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


def test_answers_that_were_waited_for_together_rest_once_they_are_late_again_and_for_that_wait_alone() -> (
    None
):
    time = Time()
    pauses, late = Pauses(time.timing.clock), dict.fromkeys("abcdefg", FAILURE)
    time.now += 5
    pauses.record_answers({*late, "h"}, late, 5)
    time.now += PAUSE
    # A new leader answers them the next time.
    assert [pauses.of(name) for name in late] == [None] * 7
    time.now += 5
    pauses.record_answers({*late, "h"}, late, 5)
    time.now += 5 * REST - 1
    assert [pauses.of(name) for name in late] == [FAILURE] * 7
    time.now += 1
    assert [pauses.of(name) for name in late] == [None] * 7
    pauses.record_answers(late, {}, 0)
    pauses.record_answers(late, {"a": FAILURE}, 5)
    time.now += PAUSE
    assert pauses.of("a") is None


def test_silence_is_the_controllers_until_it_has_answered_others() -> None:
    time = Time()
    pauses = Pauses(time.timing.clock)
    for _ in range(3):
        pauses.record_silence(["a"], FAILURE, 20)
        assert pauses.of_all() is not None
        assert pauses.of("a") is None
        time.now += PAUSE
    pauses.record_answers(["b"], {}, 0)
    assert pauses.answered_others(["a"])
    pauses.record_silence(["a"], FAILURE, 20)
    assert (pauses.of("a"), pauses.of("b")) == (FAILURE, None)
    time.now += 20 * REST
    assert pauses.of("a") is None
    # Nobody was answered since.
    pauses.record_silence(["a"], FAILURE, 20)
    assert pauses.of_all() is not None
    assert pauses.of("a") is None


@pytest.mark.parametrize("alone", [False, True])
def test_after_a_wait_in_vain_the_others_are_asked_a_moment_later_as_if_they_had_been_sent(
    alone: bool,
) -> None:
    """Else one turn would wait for each of them, and they would be tried less often for nothing."""
    time = Time()
    pauses = Pauses(time.timing.clock)
    if alone:
        pauses.record_unawaited("a", FAILURE, 20)
        pauses.record_answers(["b"], {}, 0)
    pauses.record_silence(["a"], FAILURE, 20)
    untried = pauses.of_all()
    assert untried is not None
    assert (untried.pending, untried.lasting, untried.fault) == (True, False, FAILURE.fault)
    assert FAILURE.text in untried.text
    time.now += PAUSE
    assert pauses.of_all() is None


def test_who_is_silent_is_known_since_when_until_it_answers_or_is_gone() -> None:
    time = Time()
    pauses = Pauses(time.timing.clock)
    begun = time.now
    time.now += 20
    pauses.record_silence(["a"], FAILURE, 20)
    time.now += 30
    pauses.record_unawaited("a", FAILURE, 20)
    pauses.record_unawaited("b", FAILURE, 20)
    # Once late is a new leader's, twice is not.
    pauses.record_answers(["c", "d"], {"c": FAILURE}, 5)
    assert pauses.silences == {
        "a": Silence(FAILURE, begun, begun + 50),
        "b": Silence(FAILURE, begun + 30, begun + 50),
    }
    pauses.record_answers(["c", "d", "a"], {"c": FAILURE}, 5)
    assert pauses.silences.keys() == {"b", "c"}
    pauses.prune(["a", "c"])
    assert pauses.silences.keys() == {"c"}
    pauses.record_answers(["c"], {}, 0)
    assert pauses.silences == {}


def test_one_that_is_gone_has_no_other_rest_for_longer() -> None:
    time = Time()
    pauses = Pauses(time.timing.clock)
    pauses.pause("gone", FAILURE, 10)
    pauses.pause("a", FAILURE, 0.1)
    pauses.prune(["a", "b"])
    assert pauses.of("a") == FAILURE
    pauses.pause("b", FAILURE, 10)
    time.now += 10 * REST
    assert pauses.of("b") is None


@pytest.mark.parametrize("fault", [Fault.NO_ENI, Fault.NO_PERMISSION])
def test_what_one_lacks_is_not_what_the_others_lack(fault: Fault) -> None:
    """An address that can't be released for that reason counts as gone with its ENI."""
    pauses = Pauses(Time().timing.clock)
    pauses.end_turn(Failure(fault, "gone"))
    paused = pauses.of_all()
    assert paused is not None
    assert paused.fault is Fault.UNREACHABLE


def test_nobody_waits_for_one_that_is_not_asked_any_more_or_can_not_be() -> None:
    time = Time()
    pauses = Pauses(time.timing.clock)
    pauses.record_silence(["a"], FAILURE, 20)
    pauses.refuse(["b"])
    time.now += PAUSE
    assert pauses.behind("a") is not None
    time.now += TURN
    pauses.record_silence(["c"], FAILURE, 20)
    time.now += PAUSE
    assert pauses.behind("a") is None
    pauses.refuse(["b"])
    assert pauses.behind("a") is not None
    pauses.pause("b", FAILURE, 17.0)
    assert pauses.behind("a") is None
