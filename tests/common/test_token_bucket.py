"""How much is allowed at once, and how much a second after that."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.token_bucket import Rate, TokenBucket

pytestmark = pytest.mark.pure


def test_a_bucket_gives_its_burst_and_then_its_refill() -> None:
    bucket = TokenBucket(Rate(3, 2))
    assert [bucket.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.wait(10.0) == pytest.approx(0.5)
    assert bucket.take(10.5)
    assert not bucket.take(10.5)


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    bucket = TokenBucket(Rate(2, 1))
    assert bucket.take(0.0)
    assert [bucket.take(1000.0) for _ in range(3)] == [True, True, False]


def test_a_larger_cost_waits_longer_for_tokens() -> None:
    bucket = TokenBucket(Rate(10, 2))
    assert bucket.take(0.0, 8)
    assert not bucket.take(0.0, 8)
    assert bucket.wait(0.0, 8) == pytest.approx(3.0)


def test_what_has_been_used_already_is_paid_for_afterwards() -> None:
    bucket = TokenBucket(Rate(10, 2))
    assert bucket.charge(10, 0.0) == 0
    assert bucket.charge(6, 0.0) == pytest.approx(3.0)
    assert not bucket.take(3.0)
    assert bucket.take(3.5)


def test_a_clock_that_steps_back_takes_nothing_away() -> None:
    bucket = TokenBucket(Rate(1, 1))
    assert bucket.take(10.0)
    assert bucket.wait(5.0) == 1.0


@given(st.lists(st.floats(0, 30), max_size=60))
def test_no_span_of_time_gives_more_than_the_burst_and_its_refill(pauses: list[float]) -> None:
    bucket, now = TokenBucket(Rate(5, 0.1)), 100.0
    taken: list[float] = []
    for pause in pauses:
        now += pause
        assert 0 <= bucket.wait(now) <= 10.0
        if bucket.take(now):
            taken.append(now)
    for first, start in enumerate(taken):
        for last, end in enumerate(taken[first:], 1):
            assert last <= 5 + (end - start) / 10 + 1e-6


@given(st.floats(0, 1e7), st.sampled_from([0.1, 1 / 3, 0.7, 5.0]))
def test_a_caller_that_waited_as_long_as_it_was_told_is_served(start: float, refill: float) -> None:
    bucket = TokenBucket(Rate(1, refill))
    assert bucket.take(start)
    assert bucket.take(start + bucket.wait(start))


def test_draining_a_bucket_twice_is_draining_it_once() -> None:
    bucket = TokenBucket(Rate(10, 2))
    bucket.drain(5.0)
    bucket.drain(5.0)
    assert bucket.wait(5.0) == pytest.approx(0.5)
    bucket.charge(4, 5.0)
    bucket.drain(5.0)
    assert bucket.wait(5.0) == pytest.approx(2.5)
