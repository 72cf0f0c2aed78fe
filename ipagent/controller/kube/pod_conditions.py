"""Writes the condition `multus-eni.io/ElasticIPsAssociated` of pods, and Events on them.

Thread: the loop's. What fails is written again a little later.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from common.kube.client import Client
from common.kube.pod_conditions import status_path
from common.kube.timestamps import timestamp
from ipagent.controller.kube import bodies
from ipagent.controller.kube.events import EventWriter, Subject
from ipagent.controller.kube.recent_writes import RecentWrites
from ipagent.controller.kube.slow_writes import Key
from ipagent.controller.kube.write_turns import PendingWrite, WriteTurns
from ipagent.controller.model.condition import FALSE, TRUE, Condition
from ipagent.controller.model.eip_calls import EipPlan
from ipagent.controller.model.eips import EipPod
from ipagent.log import Log
from ipagent.node_network_api import CONTROLLER_MANAGER


@dataclass(slots=True)
class PodConditionWriter:
    """`may` is asked before each write whether this replica still leads; `clock` is monotonic, in seconds."""

    client: Client
    events: EventWriter
    log: Log
    may: Callable[[], bool]
    clock: Callable[[], float] = time.monotonic
    recent: RecentWrites = field(default_factory=RecentWrites)
    _turns: WriteTurns = field(init=False)

    def __post_init__(self) -> None:
        self._turns = WriteTurns(self.recent, self.log, self.clock)

    def write(self, plan: EipPlan, pods: Mapping[str, EipPod], now: float) -> float:
        """Write what is different; returns when to come again at the latest (monotonic seconds)."""
        writes = (
            self._write(pods[key], condition)
            for key, condition in plan.conditions.items()
            if key in pods and pods[key].condition != condition
        )
        return self._turns.run(writes, now)

    def _write(self, pod: EipPod, condition: Condition) -> PendingWrite:
        make, tell = partial(self._apply, pod, condition), partial(self._event, pod, condition)
        return PendingWrite(Key("Pod status", (pod.key, pod.uid)), condition, self.may, make, tell)

    def _apply(self, pod: EipPod, condition: Condition, patience: float | None) -> None:
        path, body = status_path(pod.namespace, pod.name), bodies.pod_condition(pod, condition, timestamp())
        what = f"write the status of pod {pod.key}"
        self.client.apply(path, what, body, manager=CONTROLLER_MANAGER, force=True, patience=patience)

    def _event(self, pod: EipPod, condition: Condition) -> None:
        """Say what has been reached or refused; what is only under way is not news."""
        if condition.status not in (TRUE, FALSE):
            return
        kind = "Normal" if condition.status == TRUE else "Warning"
        about = Subject("v1", "Pod", pod.name, pod.uid, pod.namespace)
        self.events.write(about, kind, f"ElasticIP{condition.reason}", condition.message)
