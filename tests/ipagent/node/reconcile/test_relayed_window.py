"""Backend `central`: fewer calls than a node agent of its own makes, and nobody waits longer for that."""

from __future__ import annotations

import random
from dataclasses import replace
from statistics import mean

import pytest

from ipagent.node.reconcile.batch_window import (
    ANNOUNCED_PATIENCE,
    CALL_WORTH,
    INTERVALS,
    UNANNOUNCED_SECONDS,
    BatchWindow,
    RelayedWindow,
)
from tests.ipagent.node.fleet import Arrival, Fleet
from tests.ipagent.node.windows import SANDBOX, Load, play

pytestmark = [pytest.mark.pure, pytest.mark.no_cover]

NOW = 1000.0
MANY = int(CALL_WORTH / UNANNOUNCED_SECONDS)


BENCHMARK = Load(20, 800, 30.0)
"""What `make bench-fleet` plays."""


@pytest.mark.parametrize(
    ("load", "calls", "p50"),
    [
        (BENCHMARK, 0.92, 1.0),
        # The kubelets are slow: more pods are waited for.
        (replace(BENCHMARK, sandbox=(2.0, 8.0)), 0.9, 1.12),
        (Load(20, 200, 60.0), 1.0, 1.0),
        (Load(60, 800, 60.0), 1.0, 1.0),
        (Load(1, 60, 60.0), 1.0, 1.0),
        (Load(5, 600, 30.0), 1.0, 1.0),
    ],
)
def test_pods_that_come_at_random_cost_fewer_calls_and_wait_no_longer(
    load: Load, calls: float, p50: float
) -> None:
    node, central = ([play(kind, seed, load) for seed in range(6)] for kind in (BatchWindow, RelayedWindow))
    assert sum(each.calls for each in central) <= calls * sum(each.calls for each in node)
    assert mean(each.p50 for each in central) <= p50 * mean(each.p50 for each in node)
    assert max(each.longest for each in central) <= 1.03 * max(each.longest for each in node)


def test_in_the_benchmark_it_is_fewer_calls_whatever_the_chance() -> None:
    for seed in range(10):
        assert play(RelayedWindow, seed, BENCHMARK).calls <= play(BatchWindow, seed, BENCHMARK).calls


def test_the_core_of_20_node_agents_makes_so_few_calls() -> None:
    chance = random.Random(20)
    bound = [chance.uniform(0, 30) for _ in range(800)]
    sandboxes = [chance.uniform(*SANDBOX) for _ in bound]
    arrivals = [
        Arrival(at + early, number % 20, early)
        for number, (at, early) in enumerate(zip(bound, sandboxes, strict=True))
    ]
    found = Fleet(20, RelayedWindow).run(arrivals)
    # With the window of the backend node it is 236, and the median 1.29 s.
    assert found.calls <= 222
    assert found.throttled == 0
    assert found.p50 <= 1.3
    assert found.waits[-1] <= 3.5


def busy(*calls: float, expected: int = 0) -> RelayedWindow:
    window = RelayedWindow()
    for at in calls:
        window.called(4, at, throttled=False)
    window.expected = expected
    return window


def test_a_pod_that_is_announced_is_waited_for_and_not_without_end() -> None:
    window = busy(NOW - 4, NOW - 3.5, expected=1)
    assert window.due(4, [NOW], NOW) == NOW + INTERVALS[-1]
    window.expected = 0
    assert window.due(4, [NOW], NOW) == NOW


def test_a_pod_that_nobody_follows_waits_as_after_the_last_call_of_a_node_agent() -> None:
    for calls in ([NOW - 0.2], [NOW - 1, NOW - 0.5], [NOW - 3, NOW - 2, NOW - 1]):
        expected = calls[-1] + INTERVALS[len(calls) - 1]
        assert busy(*calls).due(4, [NOW], NOW) == expected


def test_so_many_that_one_more_is_not_worth_it_are_called_for_at_once() -> None:
    window = busy(NOW - 2, NOW - 1)
    assert window.due(4, [NOW] * MANY, NOW) == NOW
    assert window.due(4, [NOW] * (MANY - 1), NOW) == NOW - 1 + INTERVALS[1]
    window.expected = 2
    # The next one comes sooner, so that it is worth more.
    assert window.due(4, [NOW] * MANY, NOW) == NOW + ANNOUNCED_PATIENCE / MANY
    assert window.due(4, [NOW] * 3 * MANY, NOW) == NOW
    # A call has been made just now.
    assert busy(NOW - 2, NOW).due(4, [NOW] * MANY, NOW) == NOW + INTERVALS[0]
