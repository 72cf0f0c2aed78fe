"""Nodes' batch windows against pods that come at random: when each node calls, and how long each pod waits.

Nothing else of a node is played: a call takes LATENCY and succeeds. `fleet.py` has the whole core.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median

from ipagent.node.reconcile.batch_window import BatchWindow

LATENCY = 0.05
SANDBOX = (0.5, 1.5)
"""Seconds from a pod's binding to its network-status."""


@dataclass(frozen=True)
class Outcome:
    """How many calls there were, and how long pods waited, in order."""

    calls: int
    waits: list[float]

    @property
    def p50(self) -> float:
        return median(self.waits)

    @property
    def longest(self) -> float:
        return self.waits[-1]


@dataclass
class Node:
    """A node with its window; `waiting` are the times at which addresses came that no call was made for."""

    window: BatchWindow
    waiting: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    calls: int = 0
    free: float = 0.0

    def run(self, pods: Iterable[tuple[float, float]]) -> None:
        """Let pods come: each is bound at a time, and has its network-status at a later one."""
        events = sorted((at, change) for pod in pods for at, change in zip(pod, (1, -1), strict=True))
        for at, change in events:
            self._call_until(at)
            self.window.expected += change
            if change < 0:
                self.waiting.append(at)
            self._call_until(at)
        self._call_until(float("inf"))

    def _call_until(self, end: float) -> None:
        """Call if that is due before something else happens."""
        now = self.free
        while self.waiting:
            now = max(now, self.waiting[-1])
            due = max(self.window.due(4, self.waiting, now), self.free)
            if due >= end:
                return
            if due <= now:
                self._call(now)
            now = due

    def _call(self, now: float) -> None:
        self.free = now + LATENCY
        self.waits += [self.free - at for at in self.waiting]
        self.waiting.clear()
        self.calls += 1
        self.window.called(4, self.free, throttled=False)


@dataclass(frozen=True)
class Load:
    """Pods that come to nodes in turn, at random within some seconds; `sandbox` as SANDBOX."""

    nodes: int
    pods: int
    seconds: float
    sandbox: tuple[float, float] = SANDBOX


def play(kind: type[BatchWindow], seed: int, load: Load) -> Outcome:
    """Have the pods come."""
    chance = random.Random(seed)
    bound = [chance.uniform(0, load.seconds) for _ in range(load.pods)]
    times = [(at, at + chance.uniform(*load.sandbox)) for at in bound]
    made = [Node(kind()) for _ in range(load.nodes)]
    for number, node in enumerate(made):
        node.run(times[number :: load.nodes])
    waits = sorted(wait for node in made for wait in node.waits)
    assert len(waits) == load.pods
    return Outcome(sum(node.calls for node in made), waits)
