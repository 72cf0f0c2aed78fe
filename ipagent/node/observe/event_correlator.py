"""Event correlator: which Kubernetes Events a pod gets, how often, and their texts. No I/O.

A repeated Event is written once and counted after that, as client-go's recorder does
(`tools/record/events_cache.go`). Events that come too fast wait; those that wait too long or are too many are
dropped and counted: Events are a courtesy, and the API server has better things to do.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from common.kube.timestamps import timestamp
from common.shorten import without_middle
from common.token_bucket import Rate, TokenBucket
from ipagent.node.model.address_events import AddressEvent, EventType
from ipagent.node.model.pod import PodKey

COMPONENT = "multus-eni-node-agent"
MAX_MESSAGE = 1000
"""Characters; the API server takes 1024 bytes (events.k8s.io/v1 Event, `note`)."""
MAX_ENTRIES = 1000
"""Events that are remembered or wait, together: a node has at most 250 pods."""
BURST = 10
RATE = 5.0
"""Events a second after a burst."""
OF_A_POD = 10
"""Different Events of a pod that are written; room for another one comes every POD_PAUSE seconds."""
POD_PAUSE = 60.0
AGAIN = 300.0
"""Seconds after which the new count of a repeated Event is written."""
LATE = 900.0
"""Seconds after which an Event that could not be written is dropped."""

TEXTS = {
    EventType.ASSIGNED: ("AddressAssigned", "assigned {addresses} to {eni}"),
    EventType.RELEASED: ("AddressReleased", "released {addresses} from {eni}"),
    EventType.CONFLICT: ("AddressConflict", ""),
    EventType.REFUSED: ("AddressNotAssigned", ""),
    EventType.DELAYED: ("AddressNotAssigned", ""),
    EventType.WARNING: ("AddressWarning", ""),
}
"""Kinds that concern a pod: the Event's reason, and its message where what happened has none of its own."""
_NORMAL = frozenset({EventType.ASSIGNED, EventType.RELEASED})


@dataclass(frozen=True, slots=True)
class PodEvent:
    """An Event on a pod, without times and count: what makes two of them the same."""

    pod: PodKey
    reason: str
    message: str
    warning: bool


@dataclass(frozen=True, slots=True)
class Write:
    """An Event to be written: made if `new`, otherwise counted on. Times are seconds since 1970."""

    event: PodEvent
    name: str
    first: float
    last: float
    count: int
    new: bool


def pod_events(events: Iterable[AddressEvent]) -> tuple[PodEvent, ...]:
    """Return the Events of what happened to pods: several addresses on one ENI are one Event."""
    groups: dict[tuple[PodKey, EventType, str, str], list[str]] = defaultdict(list)
    for each in events:
        if each.pod is not None and each.kind in TEXTS:
            alone = "" if each.kind in _NORMAL else each.message
            groups[each.pod, each.kind, each.eni_id, alone].append(str(each.address))
    return tuple(
        _pod_event(pod, kind, eni_id, message, addresses)
        for (pod, kind, eni_id, message), addresses in groups.items()
    )


def _pod_event(pod: PodKey, kind: EventType, eni_id: str, message: str, addresses: list[str]) -> PodEvent:
    reason, pattern = TEXTS[kind]
    text = message or pattern.format(addresses=", ".join(dict.fromkeys(addresses)), eni=eni_id)
    return PodEvent(pod, reason, without_middle(text, MAX_MESSAGE), kind not in _NORMAL)


@dataclass(slots=True)
class _Entry:
    name: str
    first: float
    last: float
    count: int = 1
    since: float = 0.0
    """When it began to wait."""
    at: float = 0.0
    """When it was written last."""
    there: bool = False
    """Whether the API server has it."""
    waiting: bool = True
    until: float = 0.0
    """Until when it waits, once it could not be written."""


class EventCorrelator:
    """Decides which Events are written when. `now` is a monotonic clock's, `wall` is seconds since 1970.

    `token` makes the names of this process's Events unique.
    """

    def __init__(self, token: str) -> None:
        self._token = token
        self._number = 0
        self._entries: OrderedDict[PodEvent, _Entry] = OrderedDict()
        self._waiting: deque[PodEvent] = deque()
        self._bucket = TokenBucket(Rate(BURST, RATE))
        self._of_pods: OrderedDict[PodKey, TokenBucket] = OrderedDict()
        self.dropped = 0

    def add(self, found: Iterable[PodEvent], now: float, wall: float) -> None:
        """Let these be written, or counted where they are known."""
        for event in found:
            self._add(event, now, wall)

    def due(self, now: float) -> Write | float | None:
        """Return what to write now, or in how many seconds to ask again; None if nothing waits.

        What is returned counts as written unless `put_back` follows.
        """
        self._drop_late(now)
        if not self._waiting:
            return None
        waiting = ((event, self._entries[event]) for event in self._waiting)
        # What has not failed first: what hangs for 10 s is due again before all of its kind have been tried.
        event, entry = min(waiting, key=lambda pair: pair[1].until)
        if (pause := max(entry.until - now, self._bucket.wait(now))) > 0:
            return pause
        self._waiting.remove(event)
        self._bucket.take(now)
        write = Write(event, entry.name, entry.first, entry.last, entry.count, not entry.there)
        entry.there, entry.at, entry.waiting = True, now, False
        return write

    def put_back(self, write: Write, *, new: bool, until: float = 0.0) -> None:
        """Let it be written again from `until` on, after what has not failed; `new` if there is none."""
        entry = self._entries.get(write.event)
        if entry is None:
            return
        entry.there, entry.until = not new, until
        if not entry.waiting:
            entry.waiting = True
            self._waiting.appendleft(write.event)

    def _add(self, event: PodEvent, now: float, wall: float) -> None:
        entry = self._entries.get(event)
        if entry is None:
            self._begin(event, now, wall)
            return
        self._entries.move_to_end(event)
        entry.count += 1
        entry.last = wall
        if not entry.waiting and now - entry.at >= AGAIN:
            entry.waiting, entry.since = True, now
            self._waiting.append(event)

    def _begin(self, event: PodEvent, now: float, wall: float) -> None:
        if not self._allows(event.pod, now) or not self._has_room():
            self.dropped += 1
            return
        self._number += 1
        name = f"{event.pod.name[:200].rstrip('-.')}.{self._token}{self._number:x}"
        self._entries[event] = _Entry(name, wall, wall, since=now)
        self._waiting.append(event)

    def _allows(self, pod: PodKey, now: float) -> bool:
        bucket = self._of_pods.setdefault(pod, TokenBucket(Rate(OF_A_POD, 1 / POD_PAUSE)))
        self._of_pods.move_to_end(pod)
        if len(self._of_pods) > MAX_ENTRIES:
            self._of_pods.popitem(last=False)
        return bucket.take(now)

    def _has_room(self) -> bool:
        if len(self._entries) < MAX_ENTRIES:
            return True
        oldest = next((event for event, entry in self._entries.items() if not entry.waiting), None)
        if oldest is None:
            return False
        del self._entries[oldest]
        return True

    def _drop_late(self, now: float) -> None:
        for event in [each for each in self._waiting if self._entries[each].since + LATE < now]:
            self.dropped += 1
            self._waiting.remove(event)
            del self._entries[event]


def path_of(write: Write) -> str:
    """Return the path to POST a new Event to, or to PATCH one that is there."""
    folder = f"/api/v1/namespaces/{write.event.pod.namespace}/events"
    return folder if write.new else f"{folder}/{write.name}"


def body_of(write: Write, node: str) -> dict[str, Any]:
    """Make the Event (core/v1), or what changes of it."""
    changes = {"count": write.count, "lastTimestamp": timestamp(write.last)}
    if not write.new:
        return changes
    pod = write.event.pod
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": write.name, "namespace": pod.namespace},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": pod.namespace,
            "name": pod.name,
            "uid": pod.uid,
        },
        "type": "Warning" if write.event.warning else "Normal",
        "reason": write.event.reason,
        "message": write.event.message,
        "firstTimestamp": timestamp(write.first),
        "source": {"component": COMPONENT, "host": node},
        "reportingComponent": COMPONENT,
        "reportingInstance": node,
        **changes,
    }
