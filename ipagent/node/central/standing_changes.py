"""Changes that were requested from the controller and are not answered yet. No I/O.

The loop goes on meanwhile. Such a change stays requested, and nothing else of its ENI is changed before it is
answered or its time is over; looks are asked for beside it. Asked for again, it is not sent again: its answer
is that to the first request.

Only what is asked for again as it was may stand: an assign that begins the work on its addresses. What
follows an answer (a takeover after a refusal, a batch in parts) and what is taken off an ENI is waited for:
who wants that begins from the start the next time, and comes to the same call after another answer alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from ipagent.assign.addresses import IPAddress
from ipagent.assign.ec2_error_codes import BY_ADDRESS, Failure, Fault
from ipagent.call_relay import ASSIGNS, MAX_AGE, MAX_CALLS, RelayAnswer, RelayCall
from ipagent.node.central.answers import answered

GRACE = 3.0
"""Seconds for which the loop waits for the answer to a change: most come within one."""
MAX_STANDING = MAX_CALLS // 2
"""Calls of a change that is not waited for: looks of as many calls have room beside it."""
KEPT = 5.0
"""Seconds for which an answer is kept from another change, for whoever asks for its own again."""
REFUSED = 60.0
"""Seconds after an answer in which a part of what was refused counts as what follows the refusal."""

_SLOW = "EC2 is slow, or throttles. If that lasts, the controller's log says why (`refused`, `write-failed`)."


@dataclass(frozen=True, slots=True)
class Standing:
    """A change with its ids, and when it was asked for; `passed`: since when its answer is kept."""

    calls: tuple[RelayCall, ...]
    since: float
    passed: float | None = None

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
    # What was assigned last and refused: when it, or a part of it, was answered, and its addresses.
    _refused: dict[str, tuple[float, frozenset[IPAddress]]] = field(default_factory=dict)

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

    def may_stand(self, name: str, calls: Sequence[RelayCall], now: float) -> bool:
        """Whether these calls need not be waited for: who asks for them asks for just the same again."""
        first = all(call.action in ASSIGNS and not call.allow_reassignment for call in calls)
        return first and len(calls) <= MAX_STANDING and not _addresses(calls) < self._last_refused(name, now)

    def record(
        self, name: str, calls: Sequence[RelayCall], answers: Sequence[RelayAnswer], now: float
    ) -> None:
        """Record the answers: after a refusal the same addresses are tried in parts."""
        if any(call.action not in ASSIGNS for call in calls):
            return
        wanted, refused = _addresses(calls), self._last_refused(name, now)
        if wanted < refused:
            self._refused[name] = now, refused
        elif any(each.failure is not None and each.failure.fault in BY_ADDRESS for each in answers):
            self._refused[name] = now, wanted
        else:
            self._refused.pop(name, None)

    def is_kept(self, name: str, calls: Sequence[RelayCall], now: float) -> bool:
        """Whether the answer to the change that stands is kept from these calls, which are another change.

        Who has asked for the change is there within a turn, unless its pod has gone.
        """
        found = self._by_name[name]
        if found.leads(calls) or _addresses(found.calls) & _addresses(calls):
            return False
        passed = now if found.passed is None else found.passed
        self._by_name[name] = replace(found, passed=passed)
        return now - passed < KEPT

    def _last_refused(self, name: str, now: float) -> frozenset[IPAddress]:
        at, addresses = self._refused.get(name, (now, frozenset[IPAddress]()))
        return addresses if now - at < REFUSED else frozenset()

    def expire(self, now: float) -> None:
        """Forget what is not worked off any more: who asked for it has gone, and others may change that."""
        self._by_name = {name: each for name, each in self._by_name.items() if now - each.since < MAX_AGE}

    def prune(self, known: Collection[str]) -> None:
        """Forget the NodeAttachments that are gone."""
        self._refused = {name: each for name, each in self._refused.items() if name in known}
        self._by_name = {name: each for name, each in self._by_name.items() if name in known}
        self._slow &= {*known}


def _addresses(calls: Sequence[RelayCall]) -> frozenset[IPAddress]:
    return frozenset(address for call in calls for address in call.addresses)


def may_pass(calls: Sequence[RelayCall]) -> bool:
    """Whether these calls may be made beside a change that stands: they only look."""
    return len(calls) <= MAX_CALLS - MAX_STANDING and all(call.change is None for call in calls)
