"""Delays before the next try."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.retry import PENDING_SECONDS, Attempt, Backoff, after_failures, backoff_for, remaining

pytestmark = pytest.mark.pure


@given(st.floats(0.01, 10), st.floats(10, 600), st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_delays_stay_within_their_range(base: float, cap: float, attempt: int, random: float) -> None:
    delay = Backoff(base, cap).delay(attempt, random)
    assert 0 < delay <= cap
    assert delay <= base * 2.0 ** min(attempt, 64)


def test_delays_double_up_to_the_cap() -> None:
    assert [Backoff(1, 10).delay(attempt, 0.5) for attempt in range(6)] == [0.5, 1, 2, 4, 5, 5]


def test_faults_that_only_people_can_mend_have_a_longer_backoff() -> None:
    assert (
        backoff_for(Fault.NO_PERMISSION).base
        > backoff_for(Fault.THROTTLED).base
        > backoff_for(Fault.UNREACHABLE).base
    )


def test_to_ask_for_an_answer_is_no_try() -> None:
    throttled, pending = Failure(Fault.THROTTLED, "no"), Failure(Fault.UNREACHABLE, "wait", pending=True)
    last = Attempt(90.0, 7)
    assert after_failures([throttled, pending], last, 100.0, 0.5) == Attempt(100.0 + PENDING_SECONDS, 7)
    found = after_failures([throttled, replace(pending, pending=False)], last, 100.0, 0.5)
    assert found == last.later(100.0, backoff_for(Fault.UNREACHABLE), 0.5)
    assert found.tries == 8


def test_no_time_is_left_after_the_deadline() -> None:
    assert remaining(10.0, 7.5) == 2.5
    assert remaining(10.0, 12.0) == 0.0
