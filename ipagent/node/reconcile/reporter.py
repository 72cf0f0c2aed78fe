"""Status reporter: derives each pod's claim status and events, and passes on only what has changed.

Pure but for the clock that it is given. Thread: the main loop's, through NodeController.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ipagent.assign.address_state import Phase, PlannedAddress
from ipagent.assign.addresses import IPAddress
from ipagent.assign.release import Pair
from ipagent.assign.report import Problem
from ipagent.node.model.address_events import AddressEvent, EventType
from ipagent.node.model.claim import ClaimStatus
from ipagent.node.model.pod import PodKey
from ipagent.node.reconcile.claim_status import (
    StatusContext,
    claim_status,
    pending,
    problem_of,
    waiting_for_eips,
)
from ipagent.node.reconcile.conflicts import Conflict
from ipagent.node.reconcile.desired import PodDesired

MAX_REFUSED = 8
"""Refused addresses of a pod that have an event: a claim may state thousands. Its status lists all."""

Topic = tuple[IPAddress | None, bool]
"""An address, and whether the event is a warning about it, which stands beside the address's own state."""


@dataclass(frozen=True)
class PodState:
    """All that a pod's status and events follow from; `has_session`: its container waits for a status."""

    desired: PodDesired
    items: Sequence[PlannedAddress]
    conflicts: tuple[Conflict, ...]
    context: StatusContext
    has_session: bool
    eip_wait: bool = False
    """Its container waits for the pod's Elastic IPs, too."""


@dataclass
class _Reported:
    """What was reported of one pod: the state that it was derived from, its status, and its events."""

    state: PodState | None = None
    status: ClaimStatus | None = None
    pod_status: ClaimStatus | None = None
    events: dict[Topic, AddressEvent] = field(default_factory=dict)


class ClaimStatusReporter:
    """Remembers what was reported of each pod; `clock` is the one of the `since` times.

    With `every_pod` also the pods whose container does not wait have a status.
    """

    def __init__(self, clock: Callable[[], float], *, every_pod: bool = False) -> None:
        self._clock = clock
        self._every_pod = every_pod
        self._pod_statuses: dict[PodKey, ClaimStatus] = {}
        self._reported: dict[PodKey, _Reported] = {}
        self._status_changes: dict[PodKey, ClaimStatus] = {}
        self._events: list[AddressEvent] = []

    @property
    def statuses(self) -> dict[PodKey, ClaimStatus]:
        """The last status of each pod that has a session."""
        # A scrape asks from a thread of its own, while the main loop's adds pods. Only `copy` takes all at
        # once: new tuples may begin a collection of garbage, in which threads may change.
        reported = self._reported.copy()
        return {key: each.status for key, each in reported.items() if each.status is not None}

    def expect_answer(self, key: PodKey) -> None:
        """Report the pod's next status whatever was reported before: it has made a new claim."""
        reported = self._reported.setdefault(key, _Reported())
        reported.state = reported.status = None

    def end_session(self, key: PodKey) -> None:
        """Drop the status of a pod that nobody waits for any more."""
        self.expect_answer(key)
        self._status_changes.pop(key, None)

    def prune(self, living: Collection[PodKey]) -> None:
        """Forget what was reported of pods that are gone; a session that is still open keeps its status."""
        for key in self._reported.keys() - living:
            self._reported[key] = _Reported(status=self._reported[key].status)
        self._reported = {
            key: each for key, each in self._reported.items() if key in living or each.status is not None
        }

    def take_status_changes(self) -> dict[PodKey, ClaimStatus]:
        """Return the statuses that have changed, and those of new claims, since the last call."""
        changes, self._status_changes = self._status_changes, {}
        return changes

    def take_pod_statuses(self) -> dict[PodKey, ClaimStatus]:
        """Return the statuses of living pods with Multus interfaces that have changed since the last call."""
        changes, self._pod_statuses = self._pod_statuses, {}
        return changes

    def take_events(self) -> list[AddressEvent]:
        """Return the events since the last call."""
        events, self._events = self._events, []
        return events

    def add_event(self, event: AddressEvent) -> None:
        """Add an event that does not follow from a pod's state."""
        self._events.append(event)

    def update(self, state: PodState, since: Mapping[Pair, float]) -> None:
        """Report what is new in a pod's state; `since` tells from when on each address was wanted."""
        key = state.desired.pod.key
        reported = self._reported.setdefault(key, _Reported())
        if reported.state == state:
            return
        reported.state = state
        # An address that the pod does not name any more is new when it comes back.
        reported.events = {t: each for t, each in reported.events.items() if t[0] in state.desired.named}
        for event in _events(state):
            topic = event.address, event.kind is EventType.WARNING
            if reported.events.get(topic) != event:
                reported.events[topic] = event
                self._events.append(self._timed(event, since))
        every_pod = self._every_pod and state.desired.pod.attached
        if not (state.has_session or every_pod):
            return
        status = claim_status(state.desired, state.items, state.conflicts, state.context)
        if state.has_session:
            without = state.desired.pod.without_eips if state.eip_wait else ""
            self.set_status(key, waiting_for_eips(status, without) if without else status)
        if every_pod and reported.pod_status != status:
            reported.pod_status = self._pod_statuses[key] = status

    def set_status(self, key: PodKey, status: ClaimStatus) -> None:
        """Report a pod's status if it has changed."""
        reported = self._reported.setdefault(key, _Reported())
        if reported.status != status:
            reported.status = self._status_changes[key] = status

    def _timed(self, event: AddressEvent, since: Mapping[Pair, float]) -> AddressEvent:
        if event.kind is not EventType.ASSIGNED or event.address is None:
            return event
        begun = since.get((event.eni_id, event.address))
        return event if begun is None else replace(event, seconds=self._clock() - begun)


def _events(state: PodState) -> Iterator[AddressEvent]:
    """Yield an event for each address of the pod, save those on their way that have not waited for long."""
    key, context = state.desired.pod.key, state.context
    for item in state.items:
        if warning := item.placement.warning:
            yield AddressEvent(EventType.WARNING, key, item.address, item.eni_id, warning)
        if not pending(item, context):
            yield _event_of(key, item, context)
        elif item.failure is not None and item.failure.lasting:
            yield _refused(EventType.DELAYED, key, problem_of(item, context))
    for conflict in state.conflicts:
        if conflict.transient:
            continue
        yield _refused(EventType.CONFLICT, key, conflict.problem)
    unplaced = () if context.looking else state.desired.unplaced
    for problem in (*state.desired.problems, *unplaced)[:MAX_REFUSED]:
        yield _refused(EventType.REFUSED, key, problem)


def _event_of(key: PodKey, item: PlannedAddress, context: StatusContext) -> AddressEvent:
    if item.phase is Phase.CONFIRMED and item.found:
        text = f"{item.address} is on {item.eni_id} already"
        return AddressEvent(EventType.FOUND, key, item.address, item.eni_id, text)
    if item.phase is Phase.CONFIRMED:
        text = f"assigned {item.address} to {item.eni_id}"
        return AddressEvent(EventType.ASSIGNED, key, item.address, item.eni_id, text)
    kind = EventType.CONFLICT if item.phase is Phase.TAKEN else EventType.REFUSED
    return _refused(kind, key, problem_of(item, context))


def _refused(kind: EventType, key: PodKey, problem: Problem) -> AddressEvent:
    holding = problem.holding
    on = f" to {problem.eni_id}" if problem.eni_id else ""
    what = "not assigned yet" if kind is EventType.DELAYED else "not assigned"
    text = f"{what}: {holding.address} ({holding.interface}){on}: {problem.text}. {problem.error.remedy}"
    return AddressEvent(kind, key, holding.address, problem.eni_id, text)
