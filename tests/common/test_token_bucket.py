"""How much is allowed at once, and how much a second after that."""

from __future__ import annotations

import pytest

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


def test_what_costs_more_waits_longer() -> None:
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
