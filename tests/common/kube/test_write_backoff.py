"""A refused write is tried ever more rarely, and delays no other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
