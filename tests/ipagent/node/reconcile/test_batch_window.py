"""Calls at once when it is calm, few of them in a rush, and fewer still when EC2 turns them down."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipagent.node.reconcile.batch_window import (
    EXPECTED_SECONDS,
    INTERVALS,
    MAX_EXPECTED,
    MAX_THROTTLED,
    RECENT_SECONDS,
    THROTTLED_SECONDS,
    BatchWindow,
    RelayedWindow,
)
from tests.ipagent.node.fleet import LATENCY, Arrival, Fleet

pytestmark = [pytest.mark.pure, pytest.mark.no_cover]

NOW = 1000.0


def after(
    *calls: float, version: int = 4, throttled: bool = False, kind: type[BatchWindow] = BatchWindow
) -> BatchWindow:
    window = kind()
    for at in calls:
        window.called(version, at, throttled=throttled)
    return window


def test_a_calm_node_calls_at_once() -> None:
    assert BatchWindow().due(4, [NOW], NOW) == NOW


def test_what_comes_after_a_pause_is_called_for_at_once() -> None:
    assert after(NOW - INTERVALS[0]).due(4, [NOW], NOW) == NOW
    assert after(NOW - 9, NOW - 6, NOW - INTERVALS[-1]).due(4, [NOW], NOW) == NOW


@pytest.mark.parametrize("number", [1, 2, 3, 4, 9])
def test_the_more_calls_the_longer_to_the_next(number: int) -> None:
    window = after(*[NOW] * number)
    assert window.due(4, [NOW], NOW) == NOW + INTERVALS[min(number, len(INTERVALS)) - 1]


def test_calls_of_long_ago_count_no_more() -> None:
    window = after(NOW - RECENT_SECONDS, NOW - RECENT_SECONDS + 0.1, NOW)
    assert window.due(4, [NOW], NOW) == NOW + INTERVALS[1]
    assert after(*[NOW - RECENT_SECONDS] * 9).due(4, [NOW], NOW) == NOW


def test_many_are_not_held_up_by_the_wait_for_a_few_more() -> None:
    window = after(NOW, NOW, NOW)
    arrived = [NOW + 0.5] * 10
    assert window.due(4, arrived, NOW + 0.5) == pytest.approx(NOW + 0.5 + 0.7)
    assert window.due(4, [NOW] * 1000, NOW) == NOW + INTERVALS[0]


def test_pods_that_are_about_to_come_are_waited_for_a_little() -> None:
    window = BatchWindow()
    window.expected = 2
    assert window.due(4, [NOW, NOW + 0.1], NOW) == NOW + 2 * EXPECTED_SECONDS
    window.expected = 1000
    assert window.due(4, [NOW], NOW) == NOW + MAX_EXPECTED * EXPECTED_SECONDS
    window.expected = 0
    assert window.due(4, [NOW], NOW) == NOW


def test_a_throttled_call_widens_the_window_step_by_step_and_passes() -> None:
    window = BatchWindow()
    for step in range(1, MAX_THROTTLED + 3):
        window.called(4, NOW, throttled=True)
        assert window.due(4, [NOW], NOW) == NOW + INTERVALS[-1] * 2 ** min(step, MAX_THROTTLED)
    later = NOW + THROTTLED_SECONDS
    window.called(4, later, throttled=False)
    assert window.due(4, [later], later) == later + INTERVALS[-1] * 2 ** (MAX_THROTTLED - 1)
    calm = NOW + MAX_THROTTLED * THROTTLED_SECONDS
    assert window.due(4, [calm], calm) == calm


def test_each_family_has_its_own_limit() -> None:
    window = after(NOW, NOW, NOW, version=6, throttled=True)
    assert window.due(4, [NOW], NOW) == NOW
    assert window.due(6, [NOW], NOW) > NOW


@given(
    kind=st.sampled_from([BatchWindow, RelayedWindow]),
    calls=st.lists(st.floats(0, 100), max_size=12),
    throttled=st.booleans(),
    waits=st.lists(st.floats(0, 5), min_size=1, max_size=60),
    expected=st.integers(0, 300),
)
def test_no_address_waits_longer_than_the_longest_interval(
    kind: type[BatchWindow], calls: list[float], throttled: bool, waits: list[float], expected: int
) -> None:
    window = after(*sorted(calls), throttled=throttled, kind=kind)
    window.expected = expected
    arrived = [100 + wait for wait in waits]
    due = window.due(4, arrived, 105)
    longest = INTERVALS[-1] * (2**MAX_THROTTLED if throttled else 1)
    assert due >= min(arrived)
    assert due <= min(arrived) + max(longest, MAX_EXPECTED * EXPECTED_SECONDS)
    if kind is BatchWindow:
        assert window.due(4, arrived, 110) <= due


PODS, NODES = 800, 20


def at_once(early: float = 0.0, within: float = 0.0) -> list[Arrival]:
    chance = random.Random(3)
    return [Arrival(chance.random() * within, number % NODES, early) for number in range(PODS)]


@pytest.mark.parametrize(
    "arrivals",
    [at_once(), at_once(early=1.0), at_once(within=2.0), at_once(early=1.0, within=2.5)],
    ids=["in one instant", "announced", "as an API server writes them", "announced and written"],
)
def test_800_pods_in_one_instant(arrivals: list[Arrival]) -> None:
    found = Fleet(NODES).run(arrivals)
    assert found.calls <= 60
    assert found.throttled == 0
    assert found.waits[-1] <= 3.0


def spread(seed: int, early: float = 0.0) -> list[Arrival]:
    chance = random.Random(seed)
    return [Arrival(chance.random() * 30, number % NODES, early) for number in range(PODS)]


@pytest.mark.parametrize(
    "arrivals",
    [
        spread(1),
        spread(2, early=1.0),
        [Arrival(30 * number / PODS, number % NODES) for number in range(PODS)],
        [Arrival(30 * number / PODS, number * 7919 % 6007 % NODES) for number in range(PODS)],
    ],
    ids=["at random", "announced", "evenly", "unevenly over the nodes"],
)
def test_800_pods_in_half_a_minute(arrivals: list[Arrival]) -> None:
    found = Fleet(NODES).run(arrivals)
    assert found.calls <= 250
    assert found.throttled <= 5
    assert found.p50 <= 1.5
    assert found.waits[-1] <= 4.0


def test_a_pod_alone_waits_for_its_call_and_nothing_else() -> None:
    arrivals = [Arrival(20.0 * number, 0) for number in range(4)]
    found = Fleet(1).run(arrivals)
    assert list(found.waits) == pytest.approx([LATENCY] * 4)
    assert found.calls == 4


def test_a_fleet_too_large_for_the_limit_gets_there_all_the_same() -> None:
    arrivals = [Arrival(number / 20, number % 100) for number in range(600)]
    found = Fleet(100).run(arrivals, seconds=300)
    assert found.throttled < found.calls / 2
    assert found.last <= 75
