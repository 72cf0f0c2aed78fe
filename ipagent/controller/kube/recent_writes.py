"""Recent writes, which are not repeated, and those that have failed, which wait.

A writer asks before each write: the watch shows later what the API server has got.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import NamedTuple

from common.backoff import half_jitter
from common.kube.backoff import MAX_PAUSE, pause_after_failure
from common.kube.refused_writes import LONGEST, RefusedWrites

LAG = 3.0
"""Seconds for which something that was written is not written again: the watch will show it."""
CONFLICT_PAUSE = 1.0
"""Seconds after which a write is decided again whose object is gone, or has changed meanwhile."""
NO_CHANCE = 0.5
"""In place of a random value: only the leader writes, and has nobody to keep apart from."""
MAX_REFUSED = 20
"""Writes of a turn that fail, each for itself, after which no other one is tried: without rights none would
be accepted."""
SLOW = 2.0
"""Seconds after which a refusal is slow: an admission webhook was waited for, 10 s by default."""
MAX_SLOW = 2
"""Slow refusals of a turn after which no other write is tried: the loop has other work to do."""
REST = 9
"""Times as long as a slow refusal took nothing of its kind is tried: it takes a tenth of the loop's time."""
NEW_REST = 2
"""The same for what was not refused slowly before, where others of its kind were: a third of the loop's time.
Most of it may be fine, and whether it is shows only once it is tried."""
AHEAD = 60.0
"""Seconds of that rest which may be owed: few that are slow do not hold up the first writes of the others."""
MAX_ACCEPTED = 10_000
"""Keys of accepted writes that are remembered."""


def next_try(now: float, took: float, pause: float) -> float:
    """Return when what has failed after so many seconds is tried again, a turn having begun `now`."""
    return now + pause if took < SLOW else now + took + max(pause, REST * took)


class Key(NamedTuple):
    """What is written; a webhook or a policy that refuses one write of a `group` often refuses them all."""

    group: str
    name: Hashable
    attempt: Hashable = None
    """What of it waits alone once it has failed; how slow it was, counts for all attempts."""

    @property
    def whole(self) -> Key:
        """Return the key of all attempts."""
        return Key(self.group, self.name)


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
    _refused: RefusedWrites = field(default_factory=RefusedWrites)
    _slow_groups: RefusedWrites = field(default_factory=RefusedWrites)
    _slow: dict[Key, Key] = field(default_factory=dict)
    """Writes whose last refusal was slow, and that attempt. All together take a tenth of the loop's time;
    others of their group have their turn sooner, since a webhook may hang for some objects alone."""
    _slow_until: float = 0.0
    """When the next one of these may be tried."""
    _slow_kinds: set[str] = field(default_factory=set)
    """Their groups."""
    _owed_until: float = 0.0
    """When the rest is over that others of these groups owe; they may be tried AHEAD of that, and those that
    were accepted before twice as far, so that they do not wait for what was never tried."""
    _accepted: dict[Key, None] = field(default_factory=dict)
    """The last one is the newest."""
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
        self._slow = {key: each for key, each in self._slow.items() if each in self._refused}
        self._slow_kinds = {key.group for key in self._slow}
        self.refusals = self._slow_refusals = 0
        self._again = float("inf")
        return None

    def due(self, key: Key, now: float) -> float:
        """Return when a write may be made: `now`, unless it has failed or its group is refused slowly."""
        return max(self._refused.due(key, now), self._slow_groups.due(key.group, now), self._rested(key))

    def _rested(self, key: Key) -> float:
        if key.whole in self._slow:
            return self._slow_until
        if key.group not in self._slow_kinds:
            return 0.0
        return self._owed_until - (2 * AHEAD if key.whole in self._accepted else AHEAD)

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
        return key if key in self._refused else self._slow.get(key.whole, key)

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
            self._refuse_slowly(key, now, took, alone=alone)
        else:
            self._slow.pop(key.whole, None)
        if alone:
            self._row = 0
            self.refusals += 1
            if self.refusals < MAX_REFUSED and self._slow_refusals < MAX_SLOW:
                return True
        self._row += 1
        self.until = now + pause_after_failure(self._row, NO_CHANCE)
        return False

    def _refuse_slowly(self, key: Key, now: float, took: float, *, alone: bool) -> None:
        longest = MAX_PAUSE
        if alone:
            # Where one after the other of the group turns out to be slow, it may be so for all of it.
            if key.whole not in self._slow:
                longest = max(MAX_PAUSE, REST * took / half_jitter(1.0, 1.0, 0, NO_CHANCE))
            self._slow[key.whole] = key
            self._slow_kinds.add(key.group)
            self._accepted.pop(key.whole, None)
            self._slow_until = now + REST * took
            # The rest goes on while another one is tried.
            self._owed_until = max(self._owed_until, now - took) + (1 + NEW_REST) * took
        self._slow_refusals += 1
        self.come_again(self._slow_groups.refuse(key.group, now, NO_CHANCE, longest=longest))

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

    def accept(self, key: Key) -> None:
        """Record that a write has not failed: its next failure, and its group's, are the first in a row."""
        self._row = 0
        self._refused.accept(key)
        self._slow_groups.accept(key.group)
        self._accepted.pop(key.whole, None)
        self._accepted[key.whole] = None
        if len(self._accepted) > MAX_ACCEPTED:
            del self._accepted[next(iter(self._accepted))]
        if (last := self._slow.pop(key.whole, None)) is not None:
            self._refused.accept(last)
            # Its webhook answers again, and perhaps for others, too.
            self._slow_until = 0.0

    def done(self, now: float) -> float:
        """Return when to come again at the latest, after a turn that has not ended early."""
        return min(self._again, now + LAG if self._written else float("inf"))
