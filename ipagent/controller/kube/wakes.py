"""When the loop runs next: at once, or delayed if nothing has changed but a node that changes too often.

Each turn decides about all nodes. What a node reports, and what others change in its objects, causes one, as
long as the node's budget lasts; after that its changes wait for the next turn, whatever causes that one, or
for the budget. A NodeNetwork, whose status follows its nodes, has a budget of its own.

Thread: any; the loop's takes what has been gathered.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

from common.token_bucket import BucketsByKey, Rate
from ipagent.controller.kube.write_budget import next_tick

TURNS = Rate(120, 0.5)
"""Turns that one node may cause: as many as writes (STATUSES in `write_budget.py`). A node with eight
networks needs about 60 until all are ready."""
LOOKS = Rate(600, 20)
"""Looks at what node agents ask for that one node may cause. Its agent gets two calls a second made for each
NodeAttachment (PACE in `relay/decide.py`), each of which changes that three or four times. A change beyond
these is looked at with the next one, or in the next turn."""


class Wakes:
    """`event` is set when there is something to look at, or to turn for earlier. `clock` is monotonic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.event = threading.Event()
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: BucketsByKey[str] = BucketsByKey(TURNS)
        self._looks: BucketsByKey[str] = BucketsByKey(LOOKS)
        self._due = float("inf")
        self._counted: set[str] = set()
        """Nodes that have paid for the next turn."""
        self._waiting: set[str] = set()
        """Nodes that have changed and could not."""

    def soon(self) -> None:
        """Have the loop turn as soon as it may."""
        with self._lock:
            self._due = float("-inf")
        self.event.set()

    def changed(self, nodes: Collection[str]) -> None:
        """Have it turn because these nodes or networks have changed; without any something else has."""
        if not nodes:
            self.soon()
            return
        now = self._clock()
        with self._lock:
            before = self._due
            for node in nodes:
                self._charge(node, now)
            look = [self._looks.of(node).take(now) for node in nodes]
            news = any(look) or self._due < before
        if news:
            self.event.set()

    def due(self, until: float) -> float:
        """Return when to turn, at `until` at the latest."""
        with self._lock:
            return min(self._due, until)

    def turns(self) -> None:
        """Record that a turn begins, for which all is gathered that has changed until now."""
        now = self._clock()
        with self._lock:
            for node in self._waiting:
                self._buckets.of(node).take(now)
            self._due = float("inf")
            self._counted.clear()
            self._waiting.clear()

    def _charge(self, node: str, now: float) -> None:
        if node in self._counted:
            return
        bucket = self._buckets.of(node)
        if bucket.take(now):
            self._counted.add(node)
            self._due = float("-inf")
        else:
            self._waiting.add(node)
            self._due = min(self._due, next_tick(now + bucket.wait(now)))
