"""However many writes fail, each one is tried again, and all others are made."""

from __future__ import annotations

import io
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.kube.backoff import FIRST_PATIENCE
from common.kube.errors import ApiError, HangingWrite
from ipagent.controller.kube.recent_writes import LAG, MAX_REFUSED, RecentWrites
from ipagent.controller.kube.slow_writes import (
    MAX_ACCEPTED,
    MAX_FIRST_PATIENCE,
    NEW_REST,
    OF_LATE,
    USUAL,
    Key,
)
from ipagent.controller.kube.write_budget import TICK
from ipagent.controller.kube.write_turns import PendingWrite, WriteTurns
from ipagent.log import Log

pytestmark = pytest.mark.pure

PROTECTED = tuple(range(1000))
"""More than can be tried again within a minute."""


@dataclass
class Rig:
    """Turns of a writer at the pace of the real ones, by a clock of their own; some writes are refused."""

    refused: set[Hashable]
    took: float = 0.0
    """Seconds until a write is refused, unless it is given up sooner."""
    slow: dict[Hashable, float] = field(default_factory=dict)
    """Seconds until these are taken."""
    written: set[Hashable] = field(default_factory=set)
    times: dict[Hashable, list[float]] = field(default_factory=dict)
    """When each was written."""
    tried: list[Hashable] = field(default_factory=list)
    """In this turn."""
    waited: float = 0.0
    """Seconds for what was not taken."""
    now: float = 100.0

    def __post_init__(self) -> None:
        self.turns = WriteTurns(RecentWrites(), Log(stream=io.StringIO()), lambda: self.now)

    def run(self, seconds: float, keys: Sequence[Hashable], until: Hashable = None) -> None:
        """Make all of these writes in each turn, for so many seconds, or until one of them is made."""
        end, writes = self.now + seconds, list(self._writes(keys))
        while self.now < end and until not in self.written:
            self.tried.clear()
            self.turns.run(writes, self.now)
            self.now = max(self.now + TICK, self.turns.recent.until)

    def _writes(self, keys: Sequence[Hashable]) -> Iterator[PendingWrite]:
        for key in keys:
            yield PendingWrite(Key("group", key), "value", lambda: True, partial(self._make, key))

    def _make(self, key: Hashable, patience: float | None) -> None:
        took = self.took if key in self.refused else self.slow.get(key, 0.0)
        given_up = patience is not None and patience < took
        self.now += patience if given_up and patience is not None else took
        if given_up or key in self.refused:
            self.waited += took if patience is None else min(took, patience)
            self.tried.append(key)
            assert len(self.tried) <= MAX_REFUSED
            if given_up:
                raise HangingWrite(f"cannot write {key}: it answers reads")
            raise ApiError(403, "Forbidden", "not like this", f"write {key}")
        self.written.add(key)
        self.times.setdefault(key, []).append(self.now)


def test_more_refused_writes_than_can_be_tried_again_hold_up_no_other_one() -> None:
    rig = Rig(set(PROTECTED))
    rig.run(300.0, PROTECTED)
    rig.run(2 * TICK, (*PROTECTED, "other"))
    assert rig.written == {"other"}


@pytest.mark.parametrize(("count", "took", "wait"), [(1000, 0.0, 900.0), (5, 10.0, 900.0)])
def test_one_that_is_refused_no_longer_is_made_though_so_many_others_are(
    count: int, took: float, wait: float
) -> None:
    others = PROTECTED[:count]
    rig = Rig({*others, "last"}, took)
    keys = (*others, "last")
    rig.run(600.0, keys)
    rig.refused.remove("last")
    rig.run(wait, keys, until="last")
    assert rig.written == {"last"}


def test_what_is_waited_for_takes_the_loop_one_try_of_its_kind_a_turn() -> None:
    rig, tries = Rig(set(PROTECTED), took=10.0), []
    for _ in range(20):
        rig.run(TICK, PROTECTED)
        tries.append(len(rig.tried))
    assert set(tries) == {0, 1}
    assert sum(tries) >= 5


@pytest.mark.parametrize("count", [1, 8, 100])
def test_what_is_waited_for_takes_a_tenth_of_the_time_whatever_number_of_it_there_is(count: int) -> None:
    rig = Rig(set(PROTECTED), took=10.0)
    rig.run(1200.0, PROTECTED[:count])
    before, began = rig.waited, rig.now
    rig.run(7200.0, PROTECTED[:count])
    assert 0.08 * (rig.now - began) <= rig.waited - before <= 0.13 * (rig.now - began)


def test_beside_what_is_waited_for_others_of_its_kind_are_written_soon() -> None:
    """A webhook may hang for the objects of some nodes alone."""
    rig = Rig(set(PROTECTED[:8]), took=10.0)
    keys = [*PROTECTED[:8]]
    rig.run(600.0, keys)
    began, before = rig.now, rig.waited
    for number in range(120):
        keys.append(1000 + number)
        rig.run(30.0, keys)
        assert 1000 + number in rig.written
    assert rig.waited - before <= 0.13 * (rig.now - began)


def test_once_one_is_taken_again_the_others_that_were_waited_for_are_tried_at_once() -> None:
    rig = Rig(set(PROTECTED[:8]), took=10.0)
    rig.run(3600.0, PROTECTED[:8])
    rig.refused.clear()
    rig.run(240.0, PROTECTED[:8])
    assert rig.written == set(PROTECTED[:8])


MANY = PROTECTED[:200]


def test_the_first_writes_of_many_of_which_every_second_hangs_leave_the_loop_most_of_its_time() -> None:
    rig = Rig(set(MANY[::2]), took=10.0)
    began = rig.now
    rig.run(1200.0, MANY)
    assert rig.waited <= 0.4 * (rig.now - began)
    # Each has its turn.
    rig.run(2400.0, MANY)
    assert rig.written == set(MANY[1::2])
    before, began = rig.waited, rig.now
    rig.run(2400.0, MANY)
    assert 0.08 * (rig.now - began) <= rig.waited - before <= 0.13 * (rig.now - began)


@pytest.mark.parametrize("hanging", [1, 3])
def test_few_that_hang_do_not_hold_up_the_first_writes_of_others(hanging: int) -> None:
    rig = Rig(set(MANY[: 50 * hanging : 50]), took=10.0)
    rig.run(15.0 * hanging, MANY)
    assert len(rig.written) == len(MANY) - hanging


def _longest_gap(rig: Rig, key: Hashable) -> float:
    return max(after - before for before, after in pairwise([*rig.times[key], rig.now]))


@pytest.mark.parametrize("first", [0, 60, 100])
def test_of_neighbours_that_hang_only_few_are_tried_before_all_others_are_written(first: int) -> None:
    hanging = MANY[first : first + 100]
    rig = Rig({*hanging}, took=10.0)
    rig.run(26.0, MANY)
    assert rig.written == {*MANY} - {*hanging}


@pytest.mark.parametrize("took", [10.0, 30.0])
def test_what_is_taken_is_written_once_no_other_one_is_waited_for_however_many_hang(took: float) -> None:
    """What is known to be taken, and what is new, come between two that hang."""
    rig = Rig(set(MANY), took)
    rig.run(TICK, ["known"])
    keys: list[Hashable] = [*MANY]
    for number in range(30):
        keys.append(f"new-{number}")
        rig.run(took + 2 * TICK, [*keys, "known"])
        assert f"new-{number}" in rig.written
        rig.run(60.0, [*keys, "known"])
    assert max(_longest_gap(rig, key) for key in ("known", "new-0")) <= took + LAG + TICK


def test_of_those_that_were_accepted_before_few_wait_for_others_that_begin_to_hang() -> None:
    rig = Rig(set(), took=10.0)
    rig.run(TICK, MANY)
    rig.refused |= set(MANY[:100])
    rig.run(3600.0, MANY)
    assert max(_longest_gap(rig, key) for key in MANY[100:]) <= 30.0


def test_what_was_accepted_before_does_not_wait_for_all_that_was_never_tried() -> None:
    rig = Rig(set(MANY[::2]), took=10.0)
    rig.run(10.0, ["known"])
    rig.run(600.0, [*MANY, "known"])
    assert _longest_gap(rig, "known") <= 10.0 + LAG + TICK


def test_many_that_were_accepted_before_and_hang_now_leave_the_loop_most_of_its_time() -> None:
    rig = Rig(set(), took=10.0)
    rig.run(10.0, MANY)
    assert rig.written == set(MANY)
    rig.refused |= set(MANY[::2])
    began = rig.now
    rig.run(1200.0, MANY)
    assert rig.waited <= 0.4 * (rig.now - began)


def test_what_was_accepted_before_so_many_others_counts_as_new() -> None:
    recent = RecentWrites()
    old, *others = (Key("group", number) for number in range(MAX_ACCEPTED + 1))
    recent.accept(old, 100.0)
    for key in others[:-1]:
        recent.accept(key, 100.0)
    for number in range(4):
        recent.failed(Key("group", f"hangs-{number}"), 100.0, alone=True, took=30.0)
    assert recent.due(old, 100.0) == recent.due(others[0], 100.0)
    recent.accept(others[-1], 100.0)
    assert recent.due(old, 100.0) > recent.due(others[0], 100.0)


def test_first_tries_that_hang_bring_no_other_one_forward_that_has_hung_before() -> None:
    rig = Rig({"old"}, took=17.0)
    keys: list[Hashable] = ["old"]
    rig.run(600.0, keys)
    began, before = rig.now, rig.waited
    for number in range(30):
        rig.refused.add(f"new-{number}")
        keys.append(f"new-{number}")
        rig.run(60.0, keys)
    again = rig.waited - before - 30 * FIRST_PATIENCE
    assert again <= 0.13 * (rig.now - began)


def test_one_that_has_hung_is_tried_again_however_many_new_ones_hang() -> None:
    rig = Rig({"old"}, took=17.0)
    rig.run(300.0, ["old"])
    rig.refused.remove("old")
    for number in range(40):
        rig.refused.add(f"new-{number}")
        # Pods come and go, for example.
        rig.run(20.0, ["old", *(f"new-{each}" for each in range(max(0, number - 3), number + 1))])
    assert rig.written == {"old"}


ONE = (1 + NEW_REST) * FIRST_PATIENCE
"""Seconds for the first try of each one that hangs, with the rest after it."""


@given(st.sets(st.integers(0, 59), max_size=20), st.sampled_from([2.0, 10.0, 17.0, 30.0]))
def test_a_controller_that_starts_has_written_all_that_is_taken_before_long_wherever_those_are_that_hang(
    hanging: set[int], took: float
) -> None:
    rig = Rig({*hanging}, took)
    rig.run((1 + NEW_REST) * took + ONE * len(hanging), range(60))
    assert rig.written == {*range(60)} - hanging


@given(st.sets(st.integers(0, 59), min_size=1, max_size=20), st.floats(FIRST_PATIENCE, 14.0))
def test_what_is_taken_after_longer_than_a_first_try_is_waited_for_is_written_at_its_next_one(
    slow: set[int], seconds: float
) -> None:
    """As by a webhook that answers late, beside one object for which it hangs."""
    rig = Rig({0}, took=17.0, slow=dict.fromkeys(slow - {0}, seconds))
    while rig.now < 1000.0 and len(rig.written) < 59:
        rig.run(TICK, [key for key in range(60) if key not in rig.written])
    assert rig.written == {*range(1, 60)}


def test_what_was_given_up_sooner_in_vain_is_waited_for_as_long_as_usual_at_its_next_try() -> None:
    """Also where a read had no answer either: an API server may be slow beside a webhook that hangs."""
    recent, hanging, other = RecentWrites(), Key("group", "hangs"), Key("group", "other")
    recent.failed(hanging, 100.0, alone=True, took=17.0)
    assert recent.patience(other) == FIRST_PATIENCE
    recent.failed(other, 110.0, alone=False, took=5.0)
    assert recent.patience(other) is None
    recent.accept(other, 120.0, took=4.0)
    assert recent.patience(other) == USUAL * 4.0


def test_where_accepted_writes_take_long_others_are_waited_for_accordingly() -> None:
    recent = RecentWrites()
    hanging, other, elsewhere = Key("group", "hangs"), Key("group", "other"), Key("another", "other")
    first = FIRST_PATIENCE
    assert recent.patience(other) is None
    recent.failed(hanging, 100.0, alone=True, took=17.0)
    assert [recent.patience(key) for key in (hanging, other, elsewhere)] == [None, first, first]
    recent.accept(Key("group", "third"), 100.0, took=2.0)
    assert [recent.patience(key) for key in (other, elsewhere)] == [2.0 * USUAL, first]
    recent.accept(Key("group", "third"), 100.0, took=MAX_FIRST_PATIENCE / USUAL)
    assert recent.patience(other) is None
    for now, expected in ((100.0, None), (100.0 + OF_LATE, None), (101.0 + OF_LATE, first)):
        recent.accept(Key("group", "third"), now, took=0.01)
        assert recent.patience(other) == expected
