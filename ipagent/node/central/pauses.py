"""Backoff by NodeAttachment: after a failure nothing is requested through it for a while. No I/O.

After a wait in vain nothing at all is asked for a moment: a turn of the loop waits once, and what it has not
tried is asked for in the next one, as if it had been sent.

Not the controller's `RecentWrites`: a node has few, each of which rests by itself, also if answers are late.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from common.kube.backoff import REST, SLOW
from ipagent.assign.ec2_error_codes import RETRIED, Failure, Fault

PAUSE = 1.0
"""Seconds after a failure: one turn of the loop waits once."""
TURN = 30.0
"""Seconds for which those that were asked in vain wait for those that were not asked for their sake.

These may be wanted again as late as that."""


@dataclass(frozen=True, slots=True)
class Silence:
    """What was asked for by a NodeAttachment last, in vain; since when that is so, on the clock."""

    failure: Failure
    since: float
    last: float


class _Paused(NamedTuple):
    failed_at: float
    until: float
    failure: Failure
    slow: bool


@dataclass(slots=True)
class Pauses:
    """`clock` gives monotonic seconds."""

    clock: Callable[[], float]
    _all: tuple[float, Failure] | None = None
    # The last wait in vain; those that were refused and not written since, and when they were.
    _waited: tuple[float, Failure] | None = None
    _refused: dict[str, float] = field(default_factory=dict)
    _paused: dict[str, _Paused] = field(default_factory=dict)
    # Those that were asked last in vain -> whether others were answered then or since.
    _unanswered: dict[str, bool] = field(default_factory=dict)
    silences: Mapping[str, Silence] = field(default_factory=dict)
    """Those that were asked in vain for so long that it is more than an answer that is late once."""

    def of_all(self) -> Failure | None:
        """Return why nothing at all is asked; None if it may be."""
        return self._all[1] if self._all is not None and self.clock() < self._all[0] else None

    def of(self, name: str) -> Failure | None:
        """Return why nothing is asked by this NodeAttachment; None if it may be."""
        found = self._paused.get(name)
        return found.failure if found is not None and self.clock() < found.until else None

    def refuse(self, asked: Collection[str]) -> None:
        """Record that these were not asked, as something was waited for in vain."""
        self._refused |= dict.fromkeys(asked, self.clock())

    def behind(self, name: str) -> Failure | None:
        """Return why one that was asked in vain lets the others go first that were refused for its sake."""
        # Not for what fails by itself or is silent, too, nor for what nobody asks for any more.
        others = self._refused.keys() - self._paused.keys() - self._unanswered.keys()
        since = self.clock() - TURN
        waiting = any(self._refused[other] > since for other in others)
        if self._waited is None or name not in self._unanswered or not waiting:
            return None
        return self._waited[1] if self.clock() < self._waited[0] + TURN else None

    def failing(self, name: str) -> bool:
        """Whether it has failed since it was written or answered."""
        return name in self._paused

    def failed_at(self, name: str) -> float:
        """Return when it failed last, 0.0 if it has not since it was written."""
        return self._paused[name].failed_at if name in self._paused else 0.0

    def pause_all(self, failure: Failure) -> None:
        """Record that nothing is taken or answered.

        That one's ENI is gone, or forbidden, is no failure of the others.
        """
        if failure.fault not in RETRIED:
            failure = replace(failure, fault=Fault.UNREACHABLE)
        self._all = self.clock() + PAUSE, failure

    def end_turn(self, failure: Failure) -> None:
        """Record that something was waited for in vain: what the same turn wants beside that comes next."""
        text = f"it waits for others, which are not answered: {failure.text}"
        self.pause_all(Failure(failure.fault, text, remedy=failure.remedy, pending=True, unsent=True))
        self._waited = self._all

    def pause(self, name: str, failure: Failure, took: float, together: Collection[str] = ()) -> None:
        """Record a failure of this NodeAttachment alone, after so many seconds.

        `together` are those for which the same seconds were waited: each of the others takes its own.
        """
        now = self.clock()
        apart = self._paused.keys() - {name, *together}
        slow = [other for other in apart if self._paused[other].slow]
        rest = REST * took * (1 + len(slow)) if took >= SLOW else PAUSE
        self._paused[name] = _Paused(now, now + rest, failure, took >= SLOW)

    def end(self, name: str) -> None:
        """Record that it has been written."""
        self._paused.pop(name, None)
        self._refused.pop(name, None)

    def record_answers(self, asked: Collection[str], late: Mapping[str, Failure], took: float) -> None:
        """Record that of those that were asked some were answered, and some not within so many seconds.

        A new leader, or a call that EC2 throttles, makes answers late once: what rests is late again.
        """
        again = {name for name in late if self._unanswered.get(name)}
        others = dict.fromkeys(self._unanswered.keys() - {*asked}, True)
        self._unanswered = {**others, **dict.fromkeys(late, True)}
        answered = {*asked} - late.keys()
        self.silences = {name: each for name, each in self.silences.items() if name not in answered}
        for name in again:
            self._record_silent(name, late[name], took)
        for name, failure in late.items():
            self.pause(name, failure, took if name in again else 0.0, late)

    def answered_others(self, asked: Collection[str]) -> bool:
        """Whether others were answered since each of these was asked in vain."""
        return all(self._unanswered.get(name) for name in asked)

    def record_silence(self, asked: Collection[str], failure: Failure, took: float) -> None:
        """Record that none of those that were asked was answered, within so many seconds.

        That is the controller's, unless it has answered others since each of these was asked in vain before.
        """
        alone = self.answered_others(asked)
        self._unanswered |= dict.fromkeys(asked, False)
        self.end_turn(failure)
        for name in asked:
            self._record_silent(name, failure, took)
            if alone:
                self.pause(name, failure, took, asked)

    def record_unawaited(self, name: str, failure: Failure, took: float) -> None:
        """Record that something was asked for in vain, for so many seconds, that nobody has waited for."""
        self._unanswered[name] = False
        self._record_silent(name, failure, took)

    def _record_silent(self, name: str, failure: Failure, took: float) -> None:
        now, known = self.clock(), self.silences.get(name)
        found = Silence(failure, known.since if known else now - took, now)
        # Status commands read it in a thread of their own.
        self.silences = {**self.silences, name: found}

    def prune(self, known: Collection[str]) -> None:
        """Forget the NodeAttachments that are gone: they would have the others rest for longer."""
        for each in (self._paused, self._unanswered, self._refused):
            for name in each.keys() - {*known}:
                del each[name]
        if self.silences.keys() - {*known}:
            self.silences = {name: each for name, each in self.silences.items() if name in known}
