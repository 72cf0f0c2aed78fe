"""What is new about the pods' addresses since it was told last."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from ipagent.assign.plan import Item, Phase
from ipagent.assign.report import Problem
from ipagent.assign.selection import IPAddress
from ipagent.node.model.events import AddressEvent, EventType
from ipagent.node.model.pod import PodKey
from ipagent.node.reconcile.desired import Conflict, PodDesired
from ipagent.node.reconcile.status import StatusContext, pending, problem_of

Topic = tuple[IPAddress | None, bool]
"""An address, and whether it is a warning about it, which stands beside what becomes of it."""


class AddressChanges:
    """Compares how things are with what was told of them."""

    def __init__(self) -> None:
        self._told: dict[PodKey, dict[Topic, AddressEvent]] = {}

    def forget(self, living: Collection[PodKey]) -> None:
        """Forget what was told of pods that are gone."""
        self._told = {key: told for key, told in self._told.items() if key in living}

    def of(
        self, each: PodDesired, items: Iterable[Item], conflicts: Iterable[Conflict], outlook: StatusContext
    ) -> Iterator[AddressEvent]:
        """Give what is new about one pod; what is on its way is no news."""
        key = each.pod.key
        told = self._told.get(key, {})
        # What the pod names no longer is news when it comes back.
        self._told[key] = {topic: one for topic, one in told.items() if topic[0] in each.named}
        for happening in _state(each, items, conflicts, outlook):
            topic = happening.address, happening.kind is EventType.WARNING
            if self._told[key].get(topic) != happening:
                self._told[key][topic] = happening
                yield happening


def _state(
    each: PodDesired, items: Iterable[Item], conflicts: Iterable[Conflict], outlook: StatusContext
) -> Iterator[AddressEvent]:
    """Say how things are, as if it all had just happened."""
    key = each.pod.key
    for item in items:
        if warning := item.placement.warning:
            yield AddressEvent(EventType.WARNING, key, item.address, item.eni_id, warning)
        if not pending(item, outlook):
            yield _of_item(key, item, outlook)
    for conflict in conflicts:
        yield _refused(EventType.CONFLICT, key, conflict.problem)
    for problem in (*each.problems, *(() if outlook.looking else each.unplaced)):
        yield _refused(EventType.REFUSED, key, problem)


def _of_item(key: PodKey, item: Item, outlook: StatusContext) -> AddressEvent:
    if item.phase is Phase.CONFIRMED and item.found:
        return AddressEvent(
            EventType.FOUND, key, item.address, item.eni_id, f"{item.address} is on {item.eni_id} already"
        )
    if item.phase is Phase.CONFIRMED:
        text = f"assigned {item.address} to {item.eni_id}"
        return AddressEvent(EventType.ASSIGNED, key, item.address, item.eni_id, text)
    kind = EventType.CONFLICT if item.phase is Phase.TAKEN else EventType.REFUSED
    return _refused(kind, key, problem_of(item, outlook))


def _refused(kind: EventType, key: PodKey, problem: Problem) -> AddressEvent:
    holding = problem.holding
    on = f" to {problem.eni_id}" if problem.eni_id else ""
    text = (
        f"not assigned: {holding.address} ({holding.interface}){on}: {problem.text}. {problem.error.remedy}"
    )
    return AddressEvent(kind, key, holding.address, problem.eni_id, text)
