"""However many writes fail, each one is tried again, and all others are made."""

from __future__ import annotations

import io
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import pytest

from common.kube.errors import ApiError
from ipagent.controller.kube.recent_writes import MAX_REFUSED, Key, RecentWrites
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
    """Seconds until a write is refused."""
    written: set[Hashable] = field(default_factory=set)
    tried: list[Hashable] = field(default_factory=list)
    """In this turn."""
    now: float = 100.0

    def __post_init__(self) -> None:
        self.turns = WriteTurns(RecentWrites(), Log(stream=io.StringIO()), lambda: self.now)

    def run(self, seconds: float, keys: Sequence[Hashable]) -> None:
        """Make all of these writes in each turn, for so many seconds."""
        end = self.now + seconds
        while self.now < end:
            self.tried.clear()
            self.turns.run(self._writes(keys), self.now)
            self.now = max(self.now + TICK, self.turns.recent.until)

    def _writes(self, keys: Sequence[Hashable]) -> Iterator[PendingWrite]:
        for key in keys:
            yield PendingWrite(Key("group", key), "value", lambda: True, partial(self._make, key))

    def _make(self, key: Hashable) -> None:
        if key in self.refused:
            self.now += self.took
            self.tried.append(key)
            assert len(self.tried) <= MAX_REFUSED
            raise ApiError(403, "Forbidden", "not like this", f"write {key}")
        self.written.add(key)


def test_more_refused_writes_than_can_be_tried_again_hold_up_no_other_one() -> None:
    rig = Rig(set(PROTECTED))
    rig.run(300.0, PROTECTED)
    rig.run(2 * TICK, (*PROTECTED, "other"))
    assert rig.written == {"other"}


@pytest.mark.parametrize(("count", "took"), [(1000, 0.0), (20, 10.0)])
def test_one_that_is_refused_no_longer_is_made_though_so_many_others_are(count: int, took: float) -> None:
    others = PROTECTED[:count]
    rig = Rig({*others, "last"}, took)
    keys = (*others, "last")
    rig.run(600.0, keys)
    rig.refused.remove("last")
    rig.run(900.0, keys)
    assert rig.written == {"last"}


def test_what_is_waited_for_takes_the_loop_one_try_of_its_kind_a_turn() -> None:
    rig, tries = Rig(set(PROTECTED), took=10.0), []
    for _ in range(20):
        rig.run(TICK, PROTECTED)
        tries.append(len(rig.tried))
    assert set(tries) == {0, 1}
    assert sum(tries) >= 5
