"""The order of writes: one that fails delays no other; if the API server itself fails, all wait.

Thread: the loop's. What has not failed before comes first; then what has, the longest due first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from common.kube.backoff import SLOW
from common.kube.errors import ApiError, KubeError
from ipagent.controller.kube.recent_writes import RecentWrites
from ipagent.controller.kube.slow_writes import Key
from ipagent.log import Log

MAX_AGAIN = 10
"""Writes of a turn that had failed before and fail again, after which the others of them wait."""
POSTPONED = 1.0
"""Seconds for which these wait."""


class Unwritable(KubeError):
    """What is to be written has no room in its object; the text says which."""

    @property
    def of_one_object(self) -> bool:
        """Whether others may be written."""
        return True


Make: TypeAlias = Callable[[float | None], None]
"""Makes a write, and waits so many seconds for its answer, None for as long as the client does."""


class PendingWrite(NamedTuple):
    """A write that is to be made, if it is `allowed` at its turn.

    `make` raises KubeError; `then` is called after it has not.
    """

    key: Key
    value: object
    allowed: Callable[[], bool]
    make: Make
    then: Callable[[], None] | None = None
    attempt: Key | None = None
    """The key with an attempt, where what else is written under it does not wait once this has failed."""

    @property
    def waits(self) -> Key:
        """Return what waits once it has failed."""
        return self.attempt or self.key


@dataclass(slots=True)
class WriteTurns:
    """`clock` gives monotonic seconds."""

    recent: RecentWrites
    log: Log
    clock: Callable[[], float] = time.monotonic

    def run(self, writes: Iterable[PendingWrite], now: float) -> float:
        """Make these writes; returns when to come again at the latest (monotonic seconds)."""
        if (until := self.recent.pause(now)) is not None:
            return until
        again: list[PendingWrite] = []
        wanted = (each for each in writes if not self.recent.has(each.key, each.value))
        for each in self.recent.in_order(wanted, lambda each: each.key, now):
            if self.recent.has_failed(each.waits, now):
                again.append(each)
            elif not self._try(each, now):
                return self.recent.until
        return self._try_again(again, now)

    def _try_again(self, writes: list[PendingWrite], now: float) -> float:
        refusals = self.recent.refusals
        for each in sorted(writes, key=lambda each: self.recent.due_since(each.waits)):
            if self.recent.refusals - refusals >= MAX_AGAIN:
                self.recent.come_again(now + POSTPONED)
                break
            if not self._try(each, now):
                return self.recent.until
        return self.recent.done(now)

    def _try(self, write: PendingWrite, now: float) -> bool:
        """Make a write if it is due; returns whether others are tried in this turn."""
        due = self.recent.due(write.waits, now)
        if due > now:
            self.recent.come_again(due)
            return True
        if not write.allowed():
            return True
        began = self.clock()
        try:
            write.make(self.recent.patience(write.waits))
        except KubeError as error:
            ended = self.clock()
            took = ended - began
            # Not `now`: others may have been slow in this turn.
            return self._failed(write, error, ended if took >= SLOW else now, took)
        self.recent.accept(write.waits, now, self.clock() - began)
        self.recent.record(write.key, write.value, now)
        if write.then is not None:
            write.then()
        return True

    def _failed(self, write: PendingWrite, error: KubeError, now: float, took: float) -> bool:
        if isinstance(error, ApiError) and error.outdated:
            self.recent.accept(write.waits, now)
            self.recent.changed_meanwhile(write.key, write.value, now)
            return True
        goes_on = self.recent.failed(write.waits, now, alone=error.of_one_object, took=took)
        wait = self.recent.due(write.waits, now) - now
        self.log.warning("write-failed", message=f"{error}; it is tried again in {wait:.0f} s")
        return goes_on
