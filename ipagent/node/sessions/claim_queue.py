"""What goes between the sessions' thread and the main loop: claims one way, standings the other. No I/O.

The main loop takes claims when it has time for them. Whatever a pod states in between replaces what it
stated before, so what waits is bounded by the number of pods. A standing reaches a pod only if it was found
after the pod's last claim was taken.
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
    """A standing for the claim with this ticket."""

    pod: PodKey
    ticket: int
    standing: ClaimStatus


@dataclass(frozen=True, slots=True)
class _Waiting:
    ticket: int
    claim: Claim | None
    closed: bool = False


class ClaimQueue:
    """Claims that wait, by pod, and what was told last; every method may be called by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[PodKey, _Waiting] = {}
        self._tickets = 0
        self._taken: dict[PodKey, int] = {}
        self._told: dict[PodKey, ClaimStatus] = {}

    def put(self, claim: Claim) -> int:
        """Leave a claim for the main loop; gives its ticket."""
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
                    # To a new claim even the same standing is news.
                    self._told.pop(pod, None)
                if each.closed:
                    found.append(SessionClosed(pod))
                    self._taken.pop(pod, None)
                    self._told.pop(pod, None)
            return found

    def tell(self, standings: Mapping[PodKey, ClaimStatus]) -> list[StatusUpdate]:
        """Give what is news to the pods whose claims were taken; to be called by the one who takes."""
        with self._lock:
            news = [
                StatusUpdate(pod, ticket, standing)
                for pod, ticket in self._taken.items()
                if (standing := standings.get(pod)) is not None and self._told.get(pod) != standing
            ]
            self._told.update((told.pod, told.standing) for told in news)
            return news
