"""Who is told what: pods that wait for an answer, and those who read Events, the log and the metrics."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from ipagent.assign.plan import Item
from ipagent.assign.release import Pair
from ipagent.node.model.claim import ClaimStatus
from ipagent.node.model.events import AddressEvent, EventType
from ipagent.node.model.pod import PodKey
from ipagent.node.reconcile.changes import AddressChanges
from ipagent.node.reconcile.desired import Conflict, PodDesired
from ipagent.node.reconcile.status import StatusContext, claim_status


@dataclass(frozen=True)
class ReportedState:
    """All that a pod's standing follows from; `asking` tells whether the pod has a session."""

    wish: PodDesired
    items: Sequence[Item]
    conflicts: tuple[Conflict, ...]
    outlook: StatusContext
    asking: bool


class StatusReporter:
    """Remembers what was said, so that each change is said once, and only what has changed is worked out."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.standings: dict[PodKey, ClaimStatus] = {}
        self._clock = clock
        self._changed: dict[PodKey, ClaimStatus] = {}
        self._happenings: list[AddressEvent] = []
        self._news = AddressChanges()
        self._known: dict[PodKey, ReportedState] = {}

    def asked(self, key: PodKey) -> None:
        """Take note that the pod is to be told how things stand, whatever it was told before."""
        self.standings.pop(key, None)
        self._known.pop(key, None)

    def left(self, key: PodKey) -> None:
        """Take note that there is nobody any more to be told."""
        self.asked(key)
        self._changed.pop(key, None)

    def forget(self, living: Collection[PodKey]) -> None:
        """Forget pods that are gone."""
        self._known = {key: each for key, each in self._known.items() if key in living}
        self._news.forget(living)

    def changes(self) -> dict[PodKey, ClaimStatus]:
        """Give the standings that are to be told."""
        changed, self._changed = self._changed, {}
        return changed

    def happenings(self) -> list[AddressEvent]:
        """Give what has happened since the last time."""
        told, self._happenings = self._happenings, []
        return told

    def happened(self, happening: AddressEvent) -> None:
        """Take note of what the pods' addresses don't show."""
        self._happenings.append(happening)

    def tell(self, affairs: ReportedState, since: Mapping[Pair, float]) -> None:
        """Tell what is new about one pod; `since` says since when addresses are wanted."""
        key = affairs.wish.pod.key
        if self._known.get(key) == affairs:
            return
        self._known[key] = affairs
        wish, items, conflicts, outlook = affairs.wish, affairs.items, affairs.conflicts, affairs.outlook
        for each in self._news.of(wish, items, conflicts, outlook):
            self._happenings.append(self._timed(each, since))
        if affairs.asking:
            self.say(key, claim_status(wish, items, conflicts, outlook))

    def say(self, key: PodKey, said: ClaimStatus) -> None:
        """Say how a pod stands, if that is new."""
        if self.standings.get(key) != said:
            self.standings[key] = self._changed[key] = said

    def _timed(self, happening: AddressEvent, since: Mapping[Pair, float]) -> AddressEvent:
        if happening.kind is not EventType.ASSIGNED or happening.address is None:
            return happening
        begun = since.get((happening.eni_id, happening.address))
        return happening if begun is None else replace(happening, seconds=self._clock() - begun)
