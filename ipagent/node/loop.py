"""The main loop of the node agent: what its threads bring goes into the core, what the core says goes out."""

from __future__ import annotations

import math
import os
import select
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NoReturn, Protocol

from common.contract import LogLevel
from ipagent.log import Log
from ipagent.node.model.claim import Claim, ClaimStatus
from ipagent.node.model.events import AddressEvent
from ipagent.node.model.pod import Pod, PodKey
from ipagent.node.sessions.claim_queue import SessionClosed
from ipagent.signals import Signals

STALE_SECONDS = 180.0
"""After so long without a word of the API server the watch is in doubt: it sends a bookmark each minute."""


class Controller(Protocol):
    """What the loop drives: see NodeCore."""

    def pods(self, pods: Iterable[Pod]) -> None:
        """Take in a complete list."""

    def pod(self, pod: Pod, *, gone: bool = False) -> None:
        """Take in one change."""

    def trust(self, *, current: bool) -> None:
        """Say whether the watch keeps up."""

    def claim(self, claim: Claim) -> None:
        """Take in what a container states."""

    def unclaim(self, key: PodKey) -> None:
        """Take in that a session has ended."""

    def step(self) -> float | None:
        """Do what is due; returns the seconds until more is due, None if nothing is."""

    def standings(self) -> Mapping[PodKey, ClaimStatus]:
        """Say how the containers stand."""

    def happenings(self) -> list[AddressEvent]:
        """Give what has happened since the last time."""


class SessionServer(Protocol):
    """Where containers state what they hold: see Sessions."""

    def pods(self, living: Collection[PodKey]) -> None:
        """Say which pods live here."""

    def take(self) -> list[Claim | SessionClosed]:
        """Take what came since the last time."""

    def tell(self, standings: Mapping[PodKey, ClaimStatus]) -> None:
        """Say how the containers stand."""


class NoSessions:
    """A gate that nobody comes through: pods without containers of ours are served all the same."""

    def pods(self, living: Collection[PodKey]) -> None:
        """Tell nobody."""

    def take(self) -> list[Claim | SessionClosed]:
        """Give nothing."""
        return []

    def tell(self, standings: Mapping[PodKey, ClaimStatus]) -> None:
        """Tell nobody."""


class Wakeup:
    """Wakes the loop from other threads; `fileno` becomes readable."""

    def __init__(self) -> None:
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """Give the descriptor to wait for."""
        return self._event

    def set(self) -> None:
        """Wake the loop; any number of times."""
        os.eventfd_write(self._event, 1)

    def clear(self) -> None:
        """Take note of it."""
        try:
            os.eventfd_read(self._event)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Close it, when nobody can call `set` any more."""
        os.close(self._event)


@dataclass(frozen=True, slots=True)
class _Listed:
    pods: tuple[Pod, ...]


@dataclass(frozen=True, slots=True)
class _Changed:
    pod: Pod
    gone: bool


class Loop:
    """`report` gets what has happened, `age` tells the seconds since the API server was last heard of."""

    def __init__(
        self,
        core: Controller,
        wakeup: Wakeup,
        age: Callable[[], float | None],
        report: Callable[[list[AddressEvent]], None],
        clock: Callable[[], float],
    ) -> None:
        self.gate: SessionServer = NoSessions()
        self.listed = False
        """Whether the node's pods are known."""
        self._core = core
        self._wakeup = wakeup
        self._age = age
        self._report = report
        self._clock = clock
        self._inbox: deque[_Listed | _Changed] = deque()
        self._living: set[PodKey] = set()
        self._busy_since: float | None = None

    def on_list(self, pods: tuple[Pod, ...]) -> None:
        """Take a complete list; for the watcher's thread."""
        self._inbox.append(_Listed(pods))
        self._wakeup.set()

    def on_event(self, pod: Pod, gone: bool) -> None:
        """Take one change; for the watcher's thread."""
        self._inbox.append(_Changed(pod, gone))
        self._wakeup.set()

    def busy_seconds(self) -> float:
        """Tell for how long one turn has been going on; 0.0 while the loop waits."""
        since = self._busy_since
        return 0.0 if since is None else self._clock() - since

    def run(self, signals: Signals) -> NoReturn:
        """Go on until `Stop`."""
        poll = select.poll()
        for descriptor in (self._wakeup.fileno(), signals.wakeup):
            poll.register(descriptor, select.POLLIN)
        while True:
            signals.check()
            self._busy_since = self._clock()
            pause = self.turn()
            self._busy_since = None
            poll.poll(None if pause is None else math.ceil(pause * 1000))

    def turn(self) -> float | None:
        """Take in what has come, do what is due, say what is new; returns the seconds to wait."""
        self._wakeup.clear()
        self._take_in()
        age = self._age()
        self._core.trust(current=age is not None and age < STALE_SECONDS)
        pause = self._core.step()
        self.gate.tell(self._core.standings())
        if happenings := self._core.happenings():
            self._report(happenings)
        return pause

    def _take_in(self) -> None:
        before = frozenset(self._living)
        while self._inbox:
            news = self._inbox.popleft()
            if isinstance(news, _Listed):
                self._list(news.pods)
            else:
                self._note(news.pod, gone=news.gone)
                self._core.pod(news.pod, gone=news.gone)
        if self._living != before:
            self.gate.pods(frozenset(self._living))
        for each in self.gate.take():
            if isinstance(each, Claim):
                self._core.claim(each)
            else:
                self._core.unclaim(each.pod)

    def _list(self, pods: Iterable[Pod]) -> None:
        self._living.clear()
        for pod in pods:
            self._note(pod, gone=False)
        self._core.pods(pods)
        self.listed = True

    def _note(self, pod: Pod, *, gone: bool) -> None:
        if pod.alive and not gone:
            self._living.add(pod.key)
        else:
            self._living.discard(pod.key)


def log_events(log: Log, happenings: Iterable[AddressEvent]) -> None:
    """Write a line for each, with its pod."""
    write = {
        LogLevel.DEBUG: log.debug,
        LogLevel.INFO: log.info,
        LogLevel.WARNING: log.warning,
        LogLevel.ERROR: log.error,
    }
    for each in happenings:
        fields = {"address": str(each.address or ""), "eni": each.eni_id}
        if each.pod:
            fields |= {"namespace": each.pod.namespace, "pod": each.pod.name}
        write[each.level](each.kind, message=each.message, **fields)
