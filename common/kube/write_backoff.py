"""Backoff by write: one that has failed waits longer and longer, and delays no other. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import dataclass, field
from typing import NamedTuple

from common.backoff import half_jitter
from common.kube.backoff import FIRST_PATIENCE, SLOW

FIRST, LONGEST = 1.0, 60.0
"""Seconds until a refused write is tried again: after its first refusal, and at most."""
FORGET = 2 * LONGEST
"""Seconds after which a refused write that was due and is not wanted any more is forgotten."""


class _Refused(NamedTuple):
    times: int
    """How often in a row."""
    until: float
    """When it is due again."""
    wanted: float
    """When it was last said to be."""
    slow: bool
    """Whether its last try took long."""


@dataclass(slots=True)
class WriteBackoff:
    """Writes by their keys; times are monotonic seconds."""

    _refused: dict[Hashable, _Refused] = field(default_factory=dict)
    _unanswered: dict[Hashable, float] = field(default_factory=dict)
    """When a write had no answer that is not known to hang: others come first, as it may."""

    def due(self, key: Hashable, now: float) -> float:
        """Return when a write may be made: `now`, unless it was refused."""
        return max(now, self._refused[key].until) if key in self._refused else now

    def refuse(  # noqa: PLR0913 - one keyword an option
        self,
        key: Hashable,
        now: float,
        random: float = 1.0,
        *,
        longest: float = LONGEST,
        took: float = 0.0,
        rest: float = 0.0,
    ) -> float:
        """Record that a write was refused; returns until when it waits.

        Where several programs make such writes, a `random` of [0, 1) keeps them apart. `took`: after so many
        seconds; all that are refused slowly wait so long that the time between is `rest` times as much.
        """
        count = self._refused[key].times if key in self._refused else 0
        pause, slow = half_jitter(FIRST, longest, count, random), took >= SLOW
        if slow:
            others = sum(each.slow for other, each in self._refused.items() if other != key)
            pause = max(pause, rest * took * (1 + others))
        self._refused[key] = _Refused(count + 1, now + pause, now, slow)
        return now + pause

    def patience(self, key: Hashable) -> float | None:
        """Return for how many seconds a write is waited for, None for as long as the client does."""
        failed = key in self._refused or key in self._unanswered
        slow = any(each.slow for each in self._refused.values())
        return FIRST_PATIENCE if slow and not failed else None

    def record_unanswered(self, key: Hashable, now: float) -> None:
        """Record that a write had no answer, as others may have none: it is due as before, and comes last."""
        self._unanswered[key] = now

    def rank(self, key: Hashable) -> tuple[bool, float]:
        """Return by what writes are sorted: those that fail, perhaps slowly, come last."""
        return key in self._refused, self._unanswered.get(key, 0.0)

    def want(self, key: Hashable, now: float) -> None:
        """Record that a write that was refused is still wanted, though it may not be tried again for long."""
        if key in self._refused:
            self._refused[key] = self._refused[key]._replace(wanted=now)

    def __len__(self) -> int:
        """Return how many have failed and wait for their next try."""
        return len(self._refused)

    def __contains__(self, key: Hashable) -> bool:
        """Return whether the last try of a write was refused."""
        return key in self._refused

    def accept(self, key: Hashable) -> None:
        """Record that a write was not refused: its next refusal is the first in a row.

        If it was refused slowly before, the others like it are due as well: their webhook may answer again.
        """
        self._unanswered.pop(key, None)
        found = self._refused.pop(key, None)
        if found is not None and found.slow:
            for other, each in self._refused.items():
                if each.slow:
                    self._refused[other] = each._replace(until=min(each.until, found.until))

    def retain(self, keys: Collection[Hashable]) -> None:
        """Forget all other writes."""
        self._refused = {key: each for key, each in self._refused.items() if key in keys}
        self._unanswered = {key: at for key, at in self._unanswered.items() if key in keys}

    def prune(self, now: float) -> None:
        """Forget the writes that were due long ago, and that are not wanted any more."""
        self._refused = {
            key: each for key, each in self._refused.items() if now - max(each.until, each.wanted) < FORGET
        }
