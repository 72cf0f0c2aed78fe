"""Changes that the controller was asked for and has not answered yet. No I/O.

The loop goes on meanwhile. Such a change stays requested, and nothing else of its ENI is changed before it is
answered or its time is over; looks are asked for beside it. Asked for again, it is not sent again: its answer
is that to the first request.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.call_relay import MAX_CALLS, RelayAnswer, RelayCall
from ipagent.node.central.answers import answered

GRACE = 3.0
"""Seconds for which the loop waits for the answer to a change: most come within one."""
MAX_STANDING = MAX_CALLS // 2
"""Calls of a change that is not waited for: looks of as many calls have room beside it."""

_SLOW = "EC2 is slow, or throttles. If that lasts, the controller's log says why (`refused`, `write-failed`)."


@dataclass(frozen=True, slots=True)
class Standing:
    """A change with its ids, and when it was asked for."""

    calls: tuple[RelayCall, ...]
    since: float

    def leads(self, calls: Sequence[RelayCall]) -> bool:
        """Whether the first ones of these calls are the same; ids do not count."""
        first = calls[: len(self.calls)]
        return [replace(each, id=0) for each in first] == [replace(each, id=0) for each in self.calls]

    def answers_for(
        self, calls: Sequence[RelayCall], given: tuple[RelayAnswer, ...]
    ) -> tuple[RelayAnswer, ...]:
        """Return the answers to the first ones of these calls, none if others were asked for.

        After a failure the rest is not asked for.
        """
        if not self.leads(calls):
            return ()
        failed = next((each.failure for each in given if each.failure is not None), None)
        return given if failed is None else (*given, *answered(calls[len(given) :], failed))

    def pending(self) -> Failure:
        """Return the failure of what has to wait for it."""
        text = f"{self.calls[0].action} on {self.calls[0].eni}: the controller has not answered yet"
        return Failure(Fault.UNREACHABLE, text, remedy=_SLOW, pending=True)


@dataclass(slots=True)
class StandingChanges:
    """At most one change of each NodeAttachment, by its name."""

    grace: float = GRACE
    _by_name: dict[str, Standing] = field(default_factory=dict)
    # Those whose last change was not answered within `grace`: their next one is not waited for.
    _slow: set[str] = field(default_factory=set)

    def of(self, name: str) -> Standing | None:
        """Return the change that stands."""
        return self._by_name.get(name)

    def calls(self, name: str) -> tuple[RelayCall, ...]:
        """Return the calls of the change that stands, none without one."""
        found = self._by_name.get(name)
        return () if found is None else found.calls

    def patience(self, name: str) -> float:
        """Return for how long the loop waits for the answer to a change."""
        return 0.0 if name in self._slow else self.grace

    def add(self, name: str, calls: Sequence[RelayCall], since: float) -> Standing:
        """Record a change that was asked for."""
        self._by_name[name] = found = Standing(tuple(calls), since)
        self._slow.add(name)
        return found

    def end(self, name: str, now: float | None = None) -> None:
        """Forget it; `now`: it was answered by then."""
        found = self._by_name.pop(name)
        if now is not None and now - found.since < self.grace:
            self._slow.discard(name)

    def prune(self, known: Collection[str]) -> None:
        """Forget the NodeAttachments that are gone."""
        self._by_name = {name: each for name, each in self._by_name.items() if name in known}
        self._slow &= {*known}


def may_stand(calls: Sequence[RelayCall]) -> bool:
    """Whether these calls are a change that need not be waited for."""
    return len(calls) <= MAX_STANDING and any(call.change is not None for call in calls)


def may_pass(calls: Sequence[RelayCall]) -> bool:
    """Whether these calls may be made beside a change that stands: they only look."""
    return len(calls) <= MAX_CALLS - MAX_STANDING and all(call.change is None for call in calls)
