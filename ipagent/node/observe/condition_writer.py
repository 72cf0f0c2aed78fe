"""Condition writer: shows in each pod's status whether its Multus addresses are assigned.

Thread: one of its own writes; the main loop's calls `observe`, `retain` and `record`.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any

from common.kube.client import Client
from common.kube.errors import ApiError
from common.kube.pod_conditions import status_path, with_condition
from common.kube.timestamps import timestamp
from ipagent.log import Log
from ipagent.node.model.claim import ClaimStatus
from ipagent.node.model.condition import CONDITION
from ipagent.node.model.pod import Pod, PodKey
from ipagent.node.observe.api_writer import ApiWriter
from ipagent.node.observe.condition_queue import ConditionQueue, ConditionWrite, condition_of
from ipagent.node_network_api import NODE_MANAGER

REFUSED_SECONDS = 300.0
"""Until what was refused for want of a right, for example, is written again."""


class ConditionWriter(ApiWriter[ConditionWrite]):
    """Writes conditions by server-side apply, so that everybody else's stay as they are."""

    def __init__(self, client: Client, log: Log) -> None:
        super().__init__("conditions")
        self._log = log
        self._client = client
        self._queue = ConditionQueue()

    def observe(self, pod: Pod, *, gone: bool) -> None:
        """Record what a pod shows."""
        with self.wake:
            if gone or not pod.alive:
                self._queue.forget(pod.key)
            else:
                self._queue.observe(pod.key, pod.condition)

    def retain(self, living: Collection[PodKey]) -> None:
        """Forget all other pods."""
        with self.wake:
            self._queue.retain(living)

    def record(self, statuses: Mapping[PodKey, ClaimStatus]) -> None:
        """Record the statuses of pods; returns at once."""
        if not statuses:
            return
        with self.wake:
            for pod, status in statuses.items():
                self._queue.set_desired(pod, condition_of(status), time.monotonic())
            self.wake.notify()

    def due(self) -> ConditionWrite | float | None:
        """Return what to write now."""
        return self._queue.due(time.monotonic(), timestamp())

    def write(self, item: ConditionWrite, patience: float | None) -> None:
        """Apply the condition to the pod's status."""
        pod = item.pod
        path, what = status_path(pod.namespace, pod.name), f"write the condition {CONDITION} of pod {pod}"
        body = body_of(item)
        self._client.apply(path, what, body, manager=NODE_MANAGER, force=True, patience=patience)

    def key(self, item: ConditionWrite) -> PodKey:
        """Return the pod: its next condition does not wait."""
        return item.pod

    def put_back(self, item: ConditionWrite, until: float) -> None:
        """Write it again later."""
        self._queue.put_back(item, until)

    def refused(self, item: ConditionWrite, error: ApiError) -> bool:
        """Drop it where the pod is gone or another one has its name; else try again, if rarely.

        A readiness gate waits for it, and nothing else brings it about: the pod's status stays as it is.
        """
        if error.outdated:
            return False
        with self.wake:
            self._queue.put_back(item, time.monotonic() + REFUSED_SECONDS)
        return True

    def log_failure(self, message: str) -> None:
        """Log why nothing is written."""
        self._log.warning("conditions-failed", message=message)


def body_of(write: ConditionWrite) -> dict[str, Any]:
    """Make the patch: the one condition of the pod with this uid."""
    pod, condition = write.pod, write.condition
    entry = {
        "type": CONDITION,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": condition.since,
    }
    return with_condition(pod.namespace, pod.name, pod.uid, entry)
