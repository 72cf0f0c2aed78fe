"""However many writes are refused, each one is tried again, and all others are made."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import pytest

from ipagent.controller.kube.recent_writes import MAX_REFUSED, RecentWrites
from ipagent.controller.kube.write_budget import TICK

pytestmark = pytest.mark.pure

PROTECTED = tuple(range(1000))
"""More than can be tried again within a minute."""


@dataclass
class Turns:
    """Turns of a writer at the pace of the real ones, by a clock of their own."""

    refused: set[Hashable]
    recent: RecentWrites = field(default_factory=RecentWrites)
    written: set[Hashable] = field(default_factory=set)
    now: float = 100.0

    def run(self, seconds: float, keys: Sequence[Hashable]) -> None:
        """Make all of these writes in each turn, for so many seconds."""
        end = self.now + seconds
        while self.now < end:
            self.now = max(self.now + TICK, self._turn(keys))

    def _turn(self, keys: Sequence[Hashable]) -> float:
        if (until := self.recent.pause(self.now)) is not None:
            return until
        refused = 0
        for key in keys:
            if self.recent.waits(key, self.now):
                continue
            if key not in self.refused:
                self.written.add(key)
                self.recent.record(key, "value", self.now)
                continue
            refused += 1
            assert refused <= MAX_REFUSED
            if not self.recent.refused(key, self.now):
                return self.recent.failed(self.now)
        self.recent.done(self.now)
        return 0.0


def test_more_refused_writes_than_can_be_tried_again_hold_up_no_other_one() -> None:
    turns = Turns(set(PROTECTED))
    turns.run(300.0, PROTECTED)
    turns.run(2 * TICK, (*PROTECTED, "other"))
    assert turns.written == {"other"}


def test_one_that_is_refused_no_longer_is_made_though_so_many_others_are() -> None:
    turns = Turns({*PROTECTED, "last"})
    keys = (*PROTECTED, "last")
    turns.run(300.0, keys)
    turns.refused.remove("last")
    turns.run(600.0, keys)
    assert turns.written == {"last"}
