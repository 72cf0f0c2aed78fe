"""Writes the condition `multus-eni.io/ElasticIPsAssociated` of pods, and Events on them.

Thread: the loop's. What fails is written again a little later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from common.kube.client import Client
from common.kube.errors import ApiError, ClusterError, Unreachable
from common.kube.pod_status import status_path
from common.kube.timestamps import timestamp
from ipagent.controller.kube import bodies
from ipagent.controller.kube.events import EventWriter, Subject
from ipagent.controller.kube.recent_writes import PASSED, REFUSED, RecentWrites
from ipagent.controller.model.condition import FALSE, TRUE, Condition
from ipagent.controller.model.eip_calls import EipPlan
from ipagent.controller.model.eips import EipPod
from ipagent.log import Log
from ipagent.node_network_names import CONTROLLER_MANAGER


@dataclass(slots=True)
class PodConditionWriter:
    """`may` is asked before each write whether this replica still leads."""

    client: Client
    events: EventWriter
    log: Log
    may: Callable[[], bool]
    recent: RecentWrites = field(default_factory=RecentWrites)

    def write(self, plan: EipPlan, pods: Mapping[str, EipPod], now: float) -> float:
        """Write what is different; returns when to come again at the latest (monotonic seconds)."""
        if (until := self.recent.pause(now)) is not None:
            return until
        try:
            for key, condition in plan.conditions.items():
                if key in pods and self.may():
                    self._condition(pods[key], condition, now)
        except (ApiError, Unreachable, ClusterError) as error:
            self.log.warning("write-failed", message=str(error))
            return self.recent.failed(now)
        return self.recent.done(now)

    def _condition(self, pod: EipPod, condition: Condition, now: float) -> None:
        before = pod.condition
        if before == condition or self.recent.has(pod.key, condition) or self.recent.waits(pod.key, now):
            return
        path, body = status_path(pod.namespace, pod.name), bodies.pod_condition(pod, condition, timestamp())
        try:
            self.client.apply(
                path, f"write the status of pod {pod.key}", body, manager=CONTROLLER_MANAGER, force=True
            )
        except ApiError as error:
            if error.code in REFUSED and self.recent.refused(pod.key, now):
                self.log.warning("write-failed", message=str(error))
                return
            if error.code not in PASSED:
                raise
            # The pod is gone, as the watch will show: this is not written again, as if it had been.
        else:
            self._event(pod, condition)
        self.recent.record(pod.key, condition, now)

    def _event(self, pod: EipPod, condition: Condition) -> None:
        """Say what has been reached or refused; what is only under way is not news."""
        if condition.status not in (TRUE, FALSE):
            return
        kind = "Normal" if condition.status == TRUE else "Warning"
        about = Subject("v1", "Pod", pod.name, pod.uid, pod.namespace)
        self.events.write(about, kind, f"ElasticIP{condition.reason}", condition.message)
