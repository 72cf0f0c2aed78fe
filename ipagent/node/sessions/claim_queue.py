"""Claim queue between the sessions' thread and the main loop: claims one way, statuses the other. No I/O.

The main loop takes claims when it has time for them. Whatever a pod claims in between replaces its claim
before, so what waits is bounded by the number of pods. A status reaches a pod only if it was found after the
pod's last claim was taken: `match` gives each status the ticket of that claim. Which statuses have changed
is the status reporter's to know (node/reconcile/reporter.py).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ipagent.node.model.claim import Claim, ClaimStatus
from ipagent.node.model.pod import PodKey


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """The session of a pod has ended; whether the pod goes on is not known by that."""

    pod: PodKey


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """A status for the claim with this ticket."""

    pod: PodKey
    ticket: int
    status: ClaimStatus


@dataclass(frozen=True, slots=True)
class _Waiting:
    ticket: int
    claim: Claim | None
    closed: bool = False


class ClaimQueue:
    """Claims that wait, by pod, and the tickets of those that were taken. Any thread may call any method."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[PodKey, _Waiting] = {}
        self._tickets = 0
        self._taken: dict[PodKey, int] = {}

    def put(self, claim: Claim) -> int:
        """Leave a claim for the main loop; returns its ticket."""
        with self._lock:
            self._tickets += 1
            before = self._waiting.get(claim.pod)
            if before and before.claim:
                claim = replace(claim, again=claim.again | before.claim.again)
            self._waiting[claim.pod] = _Waiting(self._tickets, claim)
            return self._tickets

    def close(self, pod: PodKey) -> None:
        """Say that a session has ended. A claim that waits is still handed over before."""
        with self._lock:
            before = self._waiting.get(pod)
            self._waiting[pod] = _Waiting(
                before.ticket if before else 0, before.claim if before else None, closed=True
            )

    def take(self) -> list[Claim | SessionClosed]:
        """Take what has come since the last time; of one pod a claim stands before the end of its session."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
            found: list[Claim | SessionClosed] = []
            for pod, each in waiting.items():
                if each.claim:
                    found.append(each.claim)
                    self._taken[pod] = each.ticket
                if each.closed:
                    found.append(SessionClosed(pod))
                    self._taken.pop(pod, None)
            return found

    def match(self, changes: Mapping[PodKey, ClaimStatus]) -> list[StatusUpdate]:
        """Return the changed statuses with their claims' tickets; to be called by the one who takes."""
        with self._lock:
            return [
                StatusUpdate(pod, ticket, status)
                for pod, status in changes.items()
                if (ticket := self._taken.get(pod)) is not None
            ]
