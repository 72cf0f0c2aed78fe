"""Creates through the API server: lanes are compared within each turn."""

from __future__ import annotations

from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.webhook.creates import DOUBT, FEWEST, Batch, Spread, as_factor, compare, spread
from benchmarks.webhook.figures import CONSTANT, NONE, OURS

pytestmark = pytest.mark.pure


def batch(*latencies: float, failures: int = 0) -> Batch:
    return Batch(latencies, client_cpu=0.1 * len(latencies), failures=failures)


def test_a_lane_is_compared_with_the_others_of_each_turn() -> None:
    turns = [
        {NONE: batch(2), OURS: batch(4), CONSTANT: batch(3)},
        {OURS: batch(40), CONSTANT: batch(20)},
        {NONE: batch(1), OURS: batch(6), CONSTANT: batch(6)},
        {NONE: batch(1), OURS: batch(9), CONSTANT: batch(6)},
    ]
    found = compare(turns, [NONE, OURS, CONSTANT])
    assert found[OURS].of_constant.turns == pytest.approx([4 / 3, 2, 1, 1.5])
    assert found[OURS].of_constant.median == pytest.approx((4 / 3 + 1.5) / 2)
    assert found[OURS].added.turns == [2, 5, 8]
    assert found[NONE].of_constant.turns == pytest.approx([2 / 3, 1 / 6, 1 / 6])
    assert found[CONSTANT].of_constant.turns == [1, 1, 1, 1]


def test_percentiles_are_those_of_all_creates_and_failures_are_summed() -> None:
    turn = {NONE: batch(1, 2), CONSTANT: batch(1)}
    turns = [turn | {OURS: batch(1, 2, 9)}, turn | {OURS: batch(3, failures=2)}]
    ours = compare(turns, [OURS])[OURS]
    assert (ours.p50, ours.p99, ours.failures) == (2, 9, 2)
    assert ours.client_cpu == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("count", "low", "high"),
    # Ranks as tables of the test have them; for fewer than 6 values they have none.
    [(1, 1, 1), (5, 1, 5), (6, 1, 6), (8, 1, 8), (9, 2, 8), (10, 2, 9), (20, 6, 15), (30, 10, 21)],
)
def test_the_interval_of_a_median_is_that_of_the_sign_test(count: int, low: int, high: int) -> None:
    values = [float(rank) for rank in range(1, count + 1)]
    found = spread(values[::-1])
    assert (found.low, found.median, found.high) == (low, (count + 1) / 2, high)


@given(st.integers(FEWEST, 60))
def test_it_misses_the_median_as_seldom_as_is_said_and_no_more_seldom_than_needed(count: int) -> None:
    found = spread(list(range(1, count + 1)))
    outside = [2 * sum(comb(count, below) for below in range(rank)) / 2**count for rank in range(count)]
    assert outside[int(found.low)] <= DOUBT < outside[int(found.low) + 1]
    assert found.low - 1 == count - found.high


def test_there_is_no_median_of_nothing() -> None:
    with pytest.raises(ValueError, match="no median"):
        spread([])


def test_a_ratio_is_written_with_its_interval() -> None:
    assert as_factor(Spread(1.0249, 0.988, 1.05, [])) == "1.02 x (0.99 to 1.05)"
