"""Percentiles, medians and CPU time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.common.percentiles import percentile
from benchmarks.webhook.figures import Sample, medians

pytestmark = pytest.mark.pure


def sample(p50: float, p99: float, rate: float = 1000.0, failures: int = 0) -> Sample:
    return Sample(rate, p50, p99, seconds=1.0, client_cpu=0.2, server_cpu=1.0, failures=failures)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([1], 0.5, 1),
        ([3, 1, 2], 0.5, 2),
        ([4, 1, 3, 2], 0.5, 2),
        (list(range(1, 101)), 0.99, 99),
        (list(range(1, 101)), 1, 100),
        (list(range(1, 1001)), 0.99, 990),
    ],
)
def test_percentiles_are_nearest_ranks(values: list[float], share: float, expected: float) -> None:
    assert percentile(values, share) == expected


@given(st.lists(st.integers(0, 1000), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed(
    values: list[float], share: float
) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values)


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1.0], 0.0), ([1.0], 1.1)])
def test_there_is_no_percentile_of_nothing(values: list[float], share: float) -> None:
    with pytest.raises(ValueError, match="no percentile"):
        percentile(values, share)


def test_medians_are_taken_figure_by_figure_and_failures_are_summed() -> None:
    found = medians([sample(1, 30, failures=1), sample(2, 10), sample(3, 20, failures=2)])
    assert (found.p50, found.p99, found.failures) == (2, 20, 3)


def test_cpu_time_a_request_is_cores_by_rate() -> None:
    assert sample(1, 2, rate=8000).cpu_microseconds == pytest.approx(125)
