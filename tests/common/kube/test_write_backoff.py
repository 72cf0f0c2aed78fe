"""A refused write is tried ever more rarely, and delays no other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.kube.backoff import FIRST_PATIENCE, REST, SLOW
from common.kube.write_backoff import FIRST, FORGET, LONGEST, WriteBackoff

pytestmark = pytest.mark.pure


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=12))
def test_each_refusal_in_a_row_waits_up_to_twice_as_long_and_no_longer_than_the_longest(
    chances: list[float],
) -> None:
    refused, now = WriteBackoff(), 100.0
    for count, chance in enumerate(chances):
        until = refused.refuse("a", now, chance)
        longest = min(FIRST * 2**count, LONGEST)
        assert longest / 2 - 1e-9 <= until - now <= longest + 1e-9
        assert refused.due("a", now) == until
        assert refused.due("b", now) == now
        now = until
    assert refused.due("a", now) == now


def test_a_write_that_was_accepted_is_refused_for_the_first_time_again() -> None:
    refused = WriteBackoff()
    first = refused.refuse("a", 0.0)
    assert refused.refuse("a", first) - first > first
    refused.accept("a")
    assert refused.due("a", 0.0) == 0.0
    assert refused.refuse("a", 0.0) == first


def test_a_shorter_longest_wait_is_no_reason_to_forget_how_often_it_was_refused() -> None:
    refused, now = WriteBackoff(), 100.0
    for _ in range(8):
        now = refused.refuse("a", now, longest=4.0)
    assert refused.refuse("a", now, longest=4.0) - now == 4.0
    assert refused.refuse("a", now) - now == LONGEST
    assert ("a" in refused, "b" in refused, len(refused)) == (True, False, 1)


def test_only_the_retained_writes_wait() -> None:
    refused = WriteBackoff()
    until = refused.refuse("a", 0.0)
    refused.refuse("b", 0.0)
    refused.retain({"a"})
    assert (refused.due("a", 0.0), refused.due("b", 0.0)) == (until, 0.0)


def test_a_write_that_nobody_tries_again_is_forgotten() -> None:
    refused = WriteBackoff()
    until = refused.refuse("a", 0.0)
    refused.prune(until + FORGET - 1)
    assert refused.due("a", 0.0) == until
    refused.want("a", until + 1)
    refused.want("b", until + 1)
    refused.prune(until + FORGET)
    assert ("a" in refused, "b" in refused) == (True, False)
    refused.prune(until + 1 + FORGET)
    assert refused.due("a", 0.0) == 0.0


@pytest.mark.parametrize("count", [1, 3, 20])
def test_all_that_are_refused_slowly_take_a_tenth_of_the_time_together(count: int) -> None:
    refused, began, now, waited = WriteBackoff(), 100.0, 100.0, 0.0
    due = dict.fromkeys(range(count), now)
    for turn in range(10 * count):
        if turn == 4 * count:
            began, waited = now, 0.0
        key = min(due, key=due.__getitem__)
        now = max(now, due[key]) + 10.0
        waited += 10.0
        due[key] = refused.refuse(key, now, took=10.0, rest=REST)
    assert 0.08 * (now - began) <= waited <= 0.13 * (now - began)


def test_while_some_are_refused_slowly_the_first_tries_of_others_are_given_up_sooner() -> None:
    refused = WriteBackoff()
    refused.refuse("quick", 0.0)
    assert (refused.patience("quick"), refused.patience("new")) == (None, None)
    refused.refuse("slow", 0.0, took=SLOW)
    assert [refused.patience(key) for key in ("quick", "slow", "new")] == [None, None, FIRST_PATIENCE]
    refused.accept("slow")
    assert refused.patience("new") is None


def test_once_one_of_those_that_were_refused_slowly_is_taken_the_others_are_due() -> None:
    refused = WriteBackoff()
    first = refused.refuse("a", 0.0, took=10.0, rest=REST)
    assert refused.refuse("b", 0.0, took=10.0, rest=REST) > first
    quick = refused.refuse("quick", first, took=0.0)
    refused.accept("a")
    assert (refused.due("b", first), refused.due("quick", first)) == (first, quick)
