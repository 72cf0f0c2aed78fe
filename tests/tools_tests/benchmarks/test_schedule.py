"""Who is measured when."""

from __future__ import annotations

from itertools import chain, pairwise

import pytest

from benchmarks.common.order import in_turn
from benchmarks.webhook.figures import CONSTANT, NONE, OURS
from benchmarks.webhook.schedule import CYCLE, turns_of

pytestmark = pytest.mark.pure

LANES = (NONE, OURS, CONSTANT, "nri", "piw")


def test_the_lanes_of_a_target_take_every_turn_and_the_others_the_first_of_a_cycle() -> None:
    first, *others = turns_of(3, LANES)
    assert sorted(first) == sorted(LANES)
    assert [sorted(turn) for turn in others] == [sorted((OURS, CONSTANT))] * (CYCLE - 1)


def test_of_the_two_that_are_compared_each_is_first_as_often() -> None:
    turns = list(chain.from_iterable(turns_of(cycle, LANES) for cycle in range(20)))
    ours_first = [turn.index(OURS) < turn.index(CONSTANT) for turn in turns]
    assert sum(ours_first) == len(turns) / 2


def test_each_begins_as_often_and_none_follows_the_same_each_time() -> None:
    orders = [in_turn(turn, LANES) for turn in range(10)]
    assert sorted(order[0] for order in orders) == sorted(LANES * 2)
    before: dict[str, set[str]] = {name: set() for name in LANES}
    for order in orders:
        for one, next_one in pairwise(order):
            before[next_one].add(one)
    assert all(len(names) > 1 for names in before.values())
