"""Who is told what: pods that wait for an answer, and those who read Events, the log and the metrics."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from ipagent.assign.plan import Item
from ipagent.assign.release import Pair
from ipagent.node.model.claim import Standing
from ipagent.node.model.events import Happening, Kind
from ipagent.node.model.pod import PodKey
from ipagent.node.reconcile.changes import News
from ipagent.node.reconcile.desired import Conflict, Wish
from ipagent.node.reconcile.status import Outlook, standing


@dataclass(frozen=True)
class Affairs:
    """All that a pod's standing follows from; `asking` tells whether the pod has a session."""

    wish: Wish
    items: Sequence[Item]
    conflicts: tuple[Conflict, ...]
    outlook: Outlook
    asking: bool


class Teller:
    """Remembers what was said, so that each change is said once, and only what has changed is worked out."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.standings: dict[PodKey, Standing] = {}
        self._clock = clock
        self._changed: dict[PodKey, Standing] = {}
        self._happenings: list[Happening] = []
        self._news = News()
        self._known: dict[PodKey, Affairs] = {}

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

    def changes(self) -> dict[PodKey, Standing]:
        """Give the standings that are to be told."""
        changed, self._changed = self._changed, {}
        return changed

    def happenings(self) -> list[Happening]:
        """Give what has happened since the last time."""
        told, self._happenings = self._happenings, []
        return told

    def happened(self, happening: Happening) -> None:
        """Take note of what the pods' addresses don't show."""
        self._happenings.append(happening)

    def tell(self, affairs: Affairs, since: Mapping[Pair, float]) -> None:
        """Tell what is new about one pod; `since` says since when addresses are wanted."""
        key = affairs.wish.pod.key
        if self._known.get(key) == affairs:
            return
        self._known[key] = affairs
        wish, items, conflicts, outlook = affairs.wish, affairs.items, affairs.conflicts, affairs.outlook
        for each in self._news.of(wish, items, conflicts, outlook):
            self._happenings.append(self._timed(each, since))
        if affairs.asking:
            self.say(key, standing(wish, items, conflicts, outlook))

    def say(self, key: PodKey, said: Standing) -> None:
        """Say how a pod stands, if that is new."""
        if self.standings.get(key) != said:
            self.standings[key] = self._changed[key] = said

    def _timed(self, happening: Happening, since: Mapping[Pair, float]) -> Happening:
        if happening.kind is not Kind.ASSIGNED or happening.address is None:
            return happening
        begun = since.get((happening.eni_id, happening.address))
        return happening if begun is None else replace(happening, seconds=self._clock() - begun)
