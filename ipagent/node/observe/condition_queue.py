"""Which pod conditions are to be written, and when. No I/O.

A condition is written if it says something else than the pod shows. What is pending is written only if it
lasts: most addresses are assigned within a second, and a readiness gate must not follow each of them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from common.shorten import shortened, without_middle
from common.token_bucket import Rate, TokenBucket
from ipagent.node.model.claim import ClaimState, ClaimStatus
from ipagent.node.model.condition import MAX_MESSAGE, PodCondition
from ipagent.node.model.pod import PodKey

PENDING_DELAY = 2.0
"""Seconds for which a condition is pending before that is written."""
RATE = Rate(20, 5)
"""Writes at once, and a second after that."""
_PENDING = "Pending"
_REASONS = {
    ClaimState.ASSIGNED: "Assigned",
    ClaimState.PENDING: _PENDING,
    ClaimState.FAILED: "NotAssigned",
}


@dataclass(frozen=True, slots=True)
class ConditionWrite:
    """What to write into a pod's status."""

    pod: PodKey
    condition: PodCondition


def condition_of(status: ClaimStatus) -> PodCondition:
    """Write a pod's status as a condition.

    It is the same whether an address was assigned now or found there, so that a restart changes nothing.
    """
    if status.state is not ClaimState.ASSIGNED:
        return PodCondition("False", _REASONS[status.state], without_middle(status.message, MAX_MESSAGE))
    listed = ", ".join(f"{each.address} on {each.eni}" for each in status.addresses)
    return PodCondition(
        "True", _REASONS[status.state], shortened(listed or "no address to assign", MAX_MESSAGE)
    )


class ConditionQueue:
    """The conditions that pods show and are to show. Times are seconds of a clock that never jumps."""

    def __init__(self) -> None:
        self._shown: dict[PodKey, PodCondition | None] = {}
        self._desired: dict[PodKey, PodCondition] = {}
        self._due: dict[PodKey, float] = {}
        self._failed: set[PodKey] = set()
        """Pods whose last write has failed: each may take long again, and others come first."""
        self._bucket = TokenBucket(RATE)

    def observe(self, pod: PodKey, shown: PodCondition | None) -> None:
        """Record what a living pod shows."""
        self._shown[pod] = shown

    def forget(self, pod: PodKey) -> None:
        """Forget a pod that is gone."""
        for table in (self._shown, self._desired, self._due):
            table.pop(pod, None)
        self._failed.discard(pod)

    def retain(self, living: Collection[PodKey]) -> None:
        """Forget all other pods."""
        for pod in {*self._shown, *self._desired} - set(living):
            self.forget(pod)

    def set_desired(self, pod: PodKey, condition: PodCondition, now: float) -> None:
        """Record what a pod is to show."""
        before = self._desired.get(pod)
        self._desired[pod] = condition
        if condition.matches(self._shown.get(pod)):
            self._due.pop(pod, None)
        elif condition.reason != _PENDING:
            self._due[pod] = now
        elif before is not None and before.reason == _PENDING:
            self._due.setdefault(pod, now + PENDING_DELAY)
        else:
            # Also where the condition before still waits to be written: that one is not true any more.
            self._due[pod] = now + PENDING_DELAY

    def due(self, now: float, timestamp: str) -> ConditionWrite | float | None:
        """Return what to write now, or in how many seconds to ask again; None if nothing waits.

        What is returned counts as written unless `put_back` is called. `timestamp` is the time of day
        (RFC 3339), for a status that changes.
        """
        if not self._due:
            return None
        ready = [pod for pod, due in self._due.items() if due <= now and pod not in self._failed]
        pod = min(ready or self._due, key=self._due.__getitem__)
        if (wait := max(self._due[pod] - now, self._bucket.wait(now))) > 0:
            return wait
        self._bucket.take(now)
        del self._due[pod]
        self._failed.discard(pod)
        shown, wanted = self._shown.get(pod), self._desired[pod]
        kept = shown.since if shown is not None and shown.status == wanted.status else ""
        condition = replace(wanted, since=kept or timestamp)
        self._shown[pod] = condition
        return ConditionWrite(pod, condition)

    def put_back(self, write: ConditionWrite, now: float) -> None:
        """Record that a write has failed and is to be tried again, unless something else is wanted since."""
        if write.pod in self._desired:
            self._shown[write.pod] = None
            self._due.setdefault(write.pod, now)
            self._failed.add(write.pod)
