"""Recent writes, which are not repeated, and failed ones, which wait.

A writer asks before each write: the watch shows later what the API server has got.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from common.kube.backoff import MAX_PAUSE, MAX_SLOW, SLOW, pause_after_failure
from common.kube.write_backoff import LONGEST, WriteBackoff
from ipagent.controller.kube.slow_writes import Key, SlowWrites

LAG = 3.0
"""Seconds for which something that was written is not written again: the watch will show it."""
CONFLICT_PAUSE = 1.0
"""Seconds after which a write is decided again whose object is gone, or has changed meanwhile."""
NO_CHANCE = 0.5
"""In place of a random value: only the leader writes, and has nobody to keep apart from."""
MAX_REFUSED = 20
"""Writes of a turn that fail, each for itself, after which no other one is tried: without rights none would
be accepted."""
SLOW_PAUSE = 1.0
"""Seconds at most for which a group waits of which one was refused slowly: its next one has another turn."""

_Item = TypeVar("_Item")


@dataclass(slots=True)
class RecentWrites:
    """Times are monotonic seconds."""

    failures: int = 0
    """Writes that the API server has refused or not answered, in all."""
    refusals: int = 0
    """Of this turn."""
    until: float = 0.0
    """When the pause ends after a turn that has ended early."""
    _slow_refusals: int = 0
    _written: dict[Key, tuple[object, float]] = field(default_factory=dict)
    _row: int = 0
    """Turns that have ended early, without an answer since."""
    _refused: WriteBackoff = field(default_factory=WriteBackoff)
    _slow_groups: WriteBackoff = field(default_factory=WriteBackoff)
    _slow: SlowWrites = field(default_factory=SlowWrites)
    _again: float = float("inf")
    """When what this turn could not write is tried again."""

    @property
    def waiting(self) -> int:
        """How many writes have failed and wait for their next try."""
        return len(self._refused)

    def pause(self, now: float) -> float | None:
        """Return until when nothing is to be written, None if it may be; forgets old writes."""
        if now < self.until:
            return self.until
        self._written = {key: each for key, each in self._written.items() if now - each[1] < LAG}
        self._refused.prune(now)
        self._slow_groups.prune(now)
        self._slow.begin(self._refused)
        self.refusals = self._slow_refusals = 0
        self._again = float("inf")
        return None

    def in_order(self, items: Iterable[_Item], key_of: Callable[[_Item], Key], now: float) -> list[_Item]:
        """Return what is to be written in this turn, those first that will most likely be taken."""
        wanted = list(items)
        self._slow.want(map(key_of, wanted), now)
        ranks = [self._slow.rank(key_of(item), place, now) for place, item in enumerate(wanted)]
        return [wanted[abs(place)] for *_, place in sorted(ranks)]

    def due(self, key: Key, now: float) -> float:
        """Return when a write may be made: `now`, unless it has failed or its group is refused slowly."""
        return max(
            self._refused.due(key, now), self._slow_groups.due(key.group, now), self._slow.due(key, now)
        )

    def patience(self, key: Key) -> float | None:
        """Return for how many seconds a write is waited for, None for as long as the client does."""
        # Not that of a first try once it has failed: the API server may be as slow as that for all.
        return None if self._last(key) in self._refused else self._slow.patience(key)

    def has_failed(self, key: Key, now: float) -> bool:
        """Return whether the last try of a write has failed that is to be made now."""
        last = self._last(key)
        self._refused.want(last, now)
        return last in self._refused

    def due_since(self, key: Key) -> float:
        """Return when a write that has failed is due, or was."""
        return self._refused.due(self._last(key), 0.0)

    def _last(self, key: Key) -> Key:
        """Return the attempt that has failed, which may be an earlier one if it was slow."""
        return key if key in self._refused else self._slow.last_attempt(key)

    def come_again(self, due: float) -> None:
        """Record that something waits until then."""
        self._again = min(self._again, due)

    def failed(self, key: Key, now: float, *, alone: bool, took: float = 0.0) -> bool:
        """Record that a write has failed; returns whether others are tried in this turn.

        `alone`: the API server has answered, with a word on this write. `took`: after so many seconds.
        """
        self.failures += 1
        longest, chance = (LONGEST, 1.0) if alone else (MAX_PAUSE, NO_CHANCE)
        self.come_again(self._refused.refuse(key, now, chance, longest=longest))
        if took >= SLOW:
            if alone:
                self._slow.hang(key, now, took)
            self._slow_refusals += 1
            longest = SLOW_PAUSE if alone else MAX_PAUSE
            self.come_again(self._slow_groups.refuse(key.group, now, NO_CHANCE, longest=longest))
        else:
            self._slow.end(key)
        if alone:
            self._row = 0
            self.refusals += 1
            if self.refusals < MAX_REFUSED and self._slow_refusals < MAX_SLOW:
                return True
        self._row += 1
        self.until = now + pause_after_failure(self._row, NO_CHANCE)
        return False

    def has(self, key: Key, value: object) -> bool:
        """Return whether just this was written a moment ago."""
        before = self._written.get(key)
        return before is not None and before[0] == value

    def record(self, key: Key, value: object, now: float) -> None:
        """Record what was written."""
        self._written[key] = value, now

    def changed_meanwhile(self, key: Key, value: object, now: float) -> None:
        """Record that an object is gone or has changed before it was written: the watch shows that soon."""
        self.record(key, value, now - LAG + CONFLICT_PAUSE)
        self.come_again(now + CONFLICT_PAUSE)

    def accept(self, key: Key, now: float, took: float = 0.0) -> None:
        """Record that a write has not failed: its next failure, and its group's, are the first in a row.

        `took`: after so many seconds.
        """
        self._row = 0
        self._refused.accept(key)
        self._refused.accept(self._slow.last_attempt(key))
        self._slow_groups.accept(key.group)
        self._slow.accept(key, now, took)

    def done(self, now: float) -> float:
        """Return when to come again at the latest, after a turn that has not ended early."""
        return min(self._again, now + LAG if self._written else float("inf"))
