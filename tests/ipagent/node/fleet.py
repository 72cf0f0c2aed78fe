"""Many nodes' agents against one account with its real request limits, on a clock that is only counted."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from statistics import median

from common.agent_settings import LogLevel
from ipagent.assign.addresses import Holding, parse_address
from ipagent.assign.retry import Timing
from ipagent.node.model.address_events import EventType
from ipagent.node.model.grants import Grants
from ipagent.node.model.pod import Pod, PodKey
from ipagent.node.reconcile.batch_window import BatchWindow
from ipagent.node.reconcile.controller import NodeController
from tests.ipagent.fakes import Lines, Time
from tests.ipagent.node.account import Account, NodeCloud

BEGIN = 1000.0
LATENCY = 0.05
"""Seconds that a call to EC2 takes, during which its node does nothing else."""


@dataclass(frozen=True)
class Arrival:
    """A pod's network-status is written `at` seconds after the beginning; it was scheduled `early` before."""

    at: float
    node: int
    early: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """How it went: EC2's calls, how many it turned down, and how long each pod waited, in order."""

    calls: int
    throttled: int
    waits: Sequence[float]
    last: float

    @property
    def p50(self) -> float:
        return median(self.waits)


@dataclass
class Node:
    core: NodeController
    cloud: NodeCloud
    queue: list[Pod] = field(default_factory=list)
    busy_until: float = 0.0
    wakes: float | None = None


class Fleet:
    """20 nodes, each of which works off what has come, then sleeps until it is woken or something is due."""

    def __init__(self, nodes: int = 20, window: type[BatchWindow] = BatchWindow) -> None:
        self._window = window
        self._time = Time()
        self._account = Account(self._time, room=1000, limited=True)
        self._spent = 0.0
        self._account.before_call = self._spend
        self._nodes = [self._node(number) for number in range(nodes)]
        self._numbers = count()
        self._agenda: list[tuple[float, int, int, Pod | None]] = []

    def _node(self, number: int) -> Node:
        cloud = self._account.node(f"i-{number}", number)
        # Each of its own, and the same in each run.
        chance = (number + 0.5) / 20
        timing = Timing(self._time.clock, self._time.sleep, lambda: chance)
        core = NodeController(cloud, Grants(), timing, Lines(LogLevel.ERROR).log, window=self._window())
        core.replace_pods([])
        return Node(core, cloud)

    def _spend(self, kind: str) -> None:
        self._spent += LATENCY if kind != "lookup" else 0.0

    def run(self, arrivals: Iterable[Arrival], seconds: float = 90.0) -> Outcome:
        begun: dict[PodKey, float] = {}
        done: dict[PodKey, float] = {}
        for number, each in enumerate(arrivals):
            key = PodKey("apps", f"pod-{number}", str(number))
            mac = self._nodes[each.node].cloud.mine()[1].eni.mac
            address = parse_address(f"10.1.{100 + number // 250}.{number % 250 + 1}")
            begun[key] = BEGIN + each.at
            if each.early:
                self._plan(BEGIN + each.at - each.early, each.node, Pod(key, alive=True, waiting=True))
            self._plan(begun[key], each.node, Pod(key, True, holdings=(Holding("net1", mac, address),)))
        while self._agenda and self._agenda[0][0] < BEGIN + seconds:
            at, _, number, pod = heapq.heappop(self._agenda)
            done.update(dict.fromkeys(self._turn(at, number, pod), self._nodes[number].busy_until))
        assert done.keys() == begun.keys()
        waits = sorted(done[key] - begun[key] for key in begun)
        calls = self._account.calls["assign"]
        return Outcome(calls, self._account.refused["assign"], waits, max(done.values()) - BEGIN)

    def _plan(self, at: float, number: int, pod: Pod | None) -> None:
        heapq.heappush(self._agenda, (at, next(self._numbers), number, pod))

    def _turn(self, at: float, number: int, pod: Pod | None) -> list[PodKey]:
        """Let one node work, if it is free; returns the pods whose addresses are assigned by then."""
        node = self._nodes[number]
        if pod is not None:
            node.queue.append(pod)
        elif node.wakes != at:
            return []
        while self._agenda and self._agenda[0][0] == at and self._agenda[0][2] == number:
            node.queue += [one for one in [heapq.heappop(self._agenda)[3]] if one is not None]
        if node.busy_until > at:
            self._wake(node, number, node.busy_until)
            return []
        self._time.now, self._spent = at, 0.0
        for each in node.queue:
            node.core.update_pod(each)
        node.queue.clear()
        delay = node.core.step()
        node.busy_until = at + self._spent
        if delay is not None:
            self._wake(node, number, max(node.busy_until, at + delay))
        return [h.pod for h in node.core.take_events() if h.pod and h.kind is EventType.ASSIGNED]

    def _wake(self, node: Node, number: int, at: float) -> None:
        node.wakes = at
        self._plan(at, number, None)
