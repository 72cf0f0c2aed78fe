"""Main loop of the node agent: hands pods and claims to the controller, and its statuses and events on.

Thread: the main thread runs `Loop.run`; the informer's thread calls `on_list` and `on_event`, the threads of
sessions `Wakeup.set`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NoReturn, Protocol

from common.agent_settings import LogLevel
from ipagent.interrupting_signals import InterruptingSignals
from ipagent.log import Log
from ipagent.main_loop import TurnLoop, Wakeup
from ipagent.node.model.address_events import AddressEvent
from ipagent.node.model.claim import Claim, ClaimStatus
from ipagent.node.model.pod import Pod, PodKey
from ipagent.node.sessions.claim_queue import SessionClosed

STALE_SECONDS = 180.0
"""The API server sends a bookmark each minute: after so long without one the watch counts as stuck."""


class Controller(Protocol):
    """What the loop drives: see reconcile.controller.NodeController."""

    def replace_pods(self, pods: Iterable[Pod]) -> None:
        """Record a complete list."""

    def update_pod(self, pod: Pod, *, gone: bool = False) -> None:
        """Record one change."""

    def set_watch_current(self, *, current: bool) -> None:
        """Record whether the watch keeps up."""

    def set_claim(self, claim: Claim) -> None:
        """Record what a container claims."""

    def end_session(self, key: PodKey) -> None:
        """Record that a session has ended."""

    def step(self) -> float | None:
        """Do what is due; returns the seconds until more is due, None if nothing is."""

    def take_status_changes(self) -> Mapping[PodKey, ClaimStatus]:
        """Return the statuses that have changed, and those of new claims, since the last call."""

    def take_pod_statuses(self) -> Mapping[PodKey, ClaimStatus]:
        """Return the statuses of living pods with Multus interfaces that have changed since the last call."""

    def take_events(self) -> list[AddressEvent]:
        """Return the events since the last call."""


class PodConditions(Protocol):
    """What shows each pod's status to the cluster: see observe.condition_writer.ConditionWriter."""

    def observe(self, pod: Pod, *, gone: bool) -> None:
        """Record what a pod shows."""

    def retain(self, living: Collection[PodKey]) -> None:
        """Forget all other pods."""

    def record(self, statuses: Mapping[PodKey, ClaimStatus]) -> None:
        """Record the statuses of pods."""


class SessionServer(Protocol):
    """Where containers claim what they hold: see sessions.server.PodSessionServer."""

    def set_living_pods(self, living: Collection[PodKey]) -> None:
        """Record which pods live on this node."""

    def take_claims(self) -> list[Claim | SessionClosed]:
        """Return what came since the last call."""

    def publish(self, changes: Mapping[PodKey, ClaimStatus]) -> None:
        """Send the changed statuses to their pods."""


class NoSessions:
    """A session server without sessions, for `watchOnly`: pods are served by their network-status alone."""

    def set_living_pods(self, living: Collection[PodKey]) -> None:
        """Do nothing."""

    def take_claims(self) -> list[Claim | SessionClosed]:
        """Return nothing."""
        return []

    def publish(self, changes: Mapping[PodKey, ClaimStatus]) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class _Listed:
    pods: tuple[Pod, ...]


@dataclass(frozen=True, slots=True)
class _Changed:
    pod: Pod
    gone: bool


class Loop:
    """`report` gets the events, `age` returns the seconds since the API server was last heard of.

    `own` is the namespace and name of the agent's own pod: once it is gone from the API, other pods that are
    gone from there may live on.
    """

    def __init__(  # noqa: PLR0913 - one argument a collaborator
        self,
        controller: Controller,
        wakeup: Wakeup,
        age: Callable[[], float | None],
        report: Callable[[list[AddressEvent]], None],
        clock: Callable[[], float],
        *,
        own: tuple[str, str] | None = None,
    ) -> None:
        self.sessions: SessionServer = NoSessions()
        self.conditions: PodConditions | None = None
        self.listed = False
        """Whether the node's pods are known."""
        self.after_turn: Callable[[], None] = lambda: None
        """Called at the end of each turn; must not wait."""
        self._controller = controller
        self._wakeup = wakeup
        self._age = age
        self._report = report
        self._turns = TurnLoop(self.turn, clock)
        self._own = own
        self._inbox: deque[_Listed | _Changed] = deque()
        self._living: set[PodKey] = set()

    def on_list(self, pods: tuple[Pod, ...]) -> None:
        """Enqueue a complete list. Thread: the informer's."""
        self._inbox.append(_Listed(pods))
        self._wakeup.set()

    def on_event(self, pod: Pod, gone: bool) -> None:
        """Enqueue one change. Thread: the informer's."""
        self._inbox.append(_Changed(pod, gone))
        self._wakeup.set()

    def busy_seconds(self) -> float:
        """Return for how long one turn has been going on; 0.0 while the loop waits. Thread: any."""
        return self._turns.busy_seconds()

    def run(self, signals: InterruptingSignals) -> NoReturn:
        """Turn until `StopSignal` is raised."""
        self._turns.run(signals, self._wakeup.fileno())

    def turn(self) -> float | None:
        """Handle what has come, do what is due, pass on what has changed; returns the seconds to wait."""
        self._wakeup.clear()
        self._drain_inbox()
        self._controller.set_watch_current(current=self._is_current())
        pause = self._controller.step()
        self.sessions.publish(self._controller.take_status_changes())
        if self.conditions is not None:
            self.conditions.record(self._controller.take_pod_statuses())
        if events := self._controller.take_events():
            self._report(events)
        self.after_turn()
        return pause

    def _is_current(self) -> bool:
        """Whether the pods that are known are those of the node."""
        age = self._age()
        if age is None or age >= STALE_SECONDS:
            return False
        return self._own is None or any((key.namespace, key.name) == self._own for key in self._living)

    def _drain_inbox(self) -> None:
        before = frozenset(self._living)
        while self._inbox:
            change = self._inbox.popleft()
            if isinstance(change, _Listed):
                self._list(change.pods)
            else:
                self._track_living(change.pod, gone=change.gone)
                self._controller.update_pod(change.pod, gone=change.gone)
        if self._living != before:
            self.sessions.set_living_pods(frozenset(self._living))
        for each in self.sessions.take_claims():
            if isinstance(each, Claim):
                self._controller.set_claim(each)
            else:
                self._controller.end_session(each.pod)

    def _list(self, pods: Iterable[Pod]) -> None:
        self._living.clear()
        for pod in pods:
            self._track_living(pod, gone=False)
        if self.conditions is not None:
            self.conditions.retain(self._living)
        self._controller.replace_pods(pods)
        self.listed = True

    def _track_living(self, pod: Pod, *, gone: bool) -> None:
        if self.conditions is not None:
            self.conditions.observe(pod, gone=gone)
        if pod.alive and not gone:
            self._living.add(pod.key)
        else:
            self._living.discard(pod.key)


def log_events(log: Log, events: Iterable[AddressEvent]) -> None:
    """Write a line for each, with its pod."""
    write = {
        LogLevel.DEBUG: log.debug,
        LogLevel.INFO: log.info,
        LogLevel.WARNING: log.warning,
        LogLevel.ERROR: log.error,
    }
    for each in events:
        fields = {"address": str(each.address or ""), "eni": each.eni_id}
        if each.pod:
            fields |= {"namespace": each.pod.namespace, "pod": each.pod.name}
        write[each.level](each.kind, message=each.message, **fields)
