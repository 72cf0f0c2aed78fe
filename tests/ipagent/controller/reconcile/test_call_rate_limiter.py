"""Which calls start, in which order, and how long a thousand nodes take at EC2's request limits."""

from __future__ import annotations

import pytest

from common.token_bucket import Rate
from ipagent.controller.model.actions import Attach, Call, Create, Delete, ListPods, Modify
from ipagent.controller.reconcile.call_rate_limiter import MAX_IN_FLIGHT, RATES, CallRateLimiter

pytestmark = pytest.mark.pure


def attach(number: int) -> Attach:
    return Attach(f"n{number}.oam", f"eni-{number}", f"i-{number}", 0, 1)


def create(number: int) -> Create:
    return Create(f"n{number}.oam", str(number), "subnet-1", ("sg-1",), (), "")


def test_one_call_a_key_and_no_more_than_fit_at_once() -> None:
    calls: list[Call] = [attach(1), Delete("n1.oam", "eni-1"), *map(attach, range(2, 30))]
    started, _ = CallRateLimiter().take(calls, {"n2.oam"}, 0.0)
    assert started == (attach(1), *map(attach, range(3, 9)))
    assert len(started) == MAX_IN_FLIGHT - 1


def test_an_empty_bucket_stops_its_own_action_alone_and_says_until_when() -> None:
    limiter = CallRateLimiter({**RATES, "AttachNetworkInterface": Rate(1, 5)})
    started, due = limiter.take([attach(1), attach(2), create(3), ListPods(())], (), 10.0)
    assert started == (attach(1), create(3), ListPods(()))
    assert due == pytest.approx(10.2)
    assert limiter.take([attach(2)], (), 10.2)[0] == (attach(2),)


def test_a_throttled_bucket_is_empty_at_once() -> None:
    limiter = CallRateLimiter()
    limiter.throttled("CreateNetworkInterface", 0.0)
    limiter.throttled("DescribeRegions", 0.0)
    started, due = limiter.take([create(1)], (), 0.0)
    assert not started
    assert due == pytest.approx(0.2)
    assert limiter.take([attach(1)], (), 0.0)[0] == (attach(1),)


def test_many_throttled_answers_empty_a_bucket_once() -> None:
    limiter = CallRateLimiter()
    for _ in range(8):
        limiter.throttled("CreateNetworkInterface", 0.0)
    assert limiter.take([create(1)], (), 0.2)[0] == (create(1),)


def test_a_modify_of_another_owner_does_not_overtake_one_that_waits() -> None:
    limiter = CallRateLimiter({"ModifyNetworkInterfaceAttribute": Rate(1, 1)})
    first, second = (Modify(name, "eni-1", source_dest_check=False) for name in ("a", "b"))
    assert limiter.take([first, second], (), 0.0)[0] == (first,)
    assert limiter.take([second], (), 0.5)[0] == ()
    assert limiter.take([second], (), 1.0)[0] == (second,)
