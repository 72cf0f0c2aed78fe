"""A refused write is tried ever more rarely, and delays no other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.kube.refused_writes import FIRST, FORGET, LONGEST, RefusedWrites

pytestmark = pytest.mark.pure


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=12))
def test_each_refusal_in_a_row_waits_up_to_twice_as_long_and_no_longer_than_the_longest(
    chances: list[float],
) -> None:
    refused, now = RefusedWrites(), 100.0
    for count, chance in enumerate(chances):
        until = refused.refuse("a", now, chance)
        longest = min(FIRST * 2**count, LONGEST)
        assert longest / 2 - 1e-9 <= until - now <= longest + 1e-9
        assert refused.due("a", now) == until
        assert refused.due("b", now) == now
        now = until
    assert refused.due("a", now) == now


def test_a_write_that_was_accepted_is_refused_for_the_first_time_again() -> None:
    refused = RefusedWrites()
    first = refused.refuse("a", 0.0)
    assert refused.refuse("a", first) - first > first
    refused.accept("a")
    assert refused.due("a", 0.0) == 0.0
    assert refused.refuse("a", 0.0) == first


def test_a_postponed_write_waits_and_is_still_as_often_refused_as_it_was() -> None:
    refused = RefusedWrites()
    first = refused.refuse("a", 0.0)
    assert "a" in refused
    refused.postpone("a", first + 5)
    assert refused.due("a", first) == first + 5
    assert refused.refuse("a", first + 5) == first + 5 + 2 * FIRST
    refused.postpone("b", 100.0)
    assert "b" not in refused
    assert refused.due("b", 0.0) == 0.0


def test_those_that_were_postponed_stay_the_longest_due() -> None:
    refused = RefusedWrites()
    for key, now in (("a", 0.0), ("b", 1.0), ("c", 2.0)):
        refused.refuse(key, now)
    refused.postpone("a", 10.0)
    assert refused.longest_due(9.9, 2) == {"b", "c"}
    assert refused.longest_due(10.0, 2) == {"a", "b"}
    assert refused.longest_due(2.5, 2) == {"b"}


def test_only_the_retained_writes_wait() -> None:
    refused = RefusedWrites()
    until = refused.refuse("a", 0.0)
    refused.refuse("b", 0.0)
    refused.retain({"a"})
    assert (refused.due("a", 0.0), refused.due("b", 0.0)) == (until, 0.0)


def test_a_write_that_nobody_tries_again_is_forgotten() -> None:
    refused = RefusedWrites()
    until = refused.refuse("a", 0.0)
    refused.prune(until + FORGET - 1)
    assert refused.due("a", 0.0) == until
    refused.prune(until + FORGET)
    assert refused.due("a", 0.0) == 0.0
