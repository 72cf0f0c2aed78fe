"""Writes whereabouts' NodeSlicePools of networks of prefixes, and records for each whether it is written.

Thread: the loop's. A pool that the controller has not made is left alone: its label tells.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from common.kube.backoff import SLOW, next_try
from common.kube.client import Client
from common.kube.errors import ApiError, ClusterError, Unreachable
from ipagent.controller.model.node_slice_pools import SlicePool, SliceReport
from ipagent.log import Log
from ipagent.node_network_api import API_VERSION, CONTROLLER_MANAGER, NETWORK_LABEL

GROUP = "whereabouts.cni.cncf.io/v1alpha1"
MANAGED_BY = "app.kubernetes.io/managed-by"
AGAIN = 10.0
"""Seconds after a write that has failed, at least."""
LOOK = 300.0
"""Seconds after which a pool is compared again: pools are not watched."""


@dataclass(slots=True)
class SlicePools:
    """The pools of whereabouts' namespace; `may` is asked whether this replica still leads."""

    client: Client
    namespace: str
    log: Log
    may: Callable[[], bool]
    clock: Callable[[], float] = time.monotonic
    reports: Mapping[str, SliceReport] = field(default_factory=dict)
    """By network, as the API server had it last."""
    _looked: dict[str, tuple[SlicePool, float]] = field(default_factory=dict)
    _paused: float = 0.0
    """Until when no pool is looked at, since one was refused slowly: a webhook that hangs does so for all."""

    def write(self, pools: Mapping[str, SlicePool], now: float) -> float:
        """Write what differs; returns when to come again (monotonic seconds)."""
        reports = {}
        # The longest due first, and before them those that were never looked at.
        for name in sorted(pools, key=lambda name: self._looked.get(name, (None, 0.0))[1]):
            pool = pools[name]
            before, due = self._looked.get(name, (None, now))
            waits = now < due and (before == pool or self.reports[name].problem)
            if waits or now < self._paused:
                if name in self.reports:
                    reports[name] = self.reports[name]
            elif self.may():
                began = self.clock()
                reports[name] = self._write(pool)
                self._log_problem(name, reports[name])
                took = self.clock() - began
                again = next_try(now, took, AGAIN)
                self._looked[name] = pool, again if reports[name].problem else now + LOOK
                if reports[name].problem and took >= SLOW:
                    self._paused = again
        self.reports = reports
        self._looked = {name: each for name, each in self._looked.items() if name in reports}
        due = min((due for _, due in self._looked.values()), default=float("inf"))
        return max(due, self._paused) if now < self._paused else due

    def _write(self, pool: SlicePool) -> SliceReport:
        try:
            return self._written(pool)
        except (ApiError, Unreachable, ClusterError) as error:
            return SliceReport({}, f"NodeSlicePool {self.namespace}/{pool.network}: {error}")

    def _written(self, pool: SlicePool) -> SliceReport:
        paths = f"/apis/{GROUP}/namespaces/{self.namespace}/nodeslicepools"
        path, what = f"{paths}/{pool.network}", f"write NodeSlicePool {self.namespace}/{pool.network}"
        try:
            found = self.client.get(path, f"read NodeSlicePool {self.namespace}/{pool.network}").object
        except ApiError as error:
            if not error.not_found:
                raise
            body = _body(pool)
            body["metadata"] |= {"name": pool.network, "namespace": self.namespace}
            return SliceReport(_slices(self.client.create(paths, what, body).object))
        if not _ours(found, pool.network):
            return SliceReport({}, _foreign(self.namespace, pool.network))
        wanted = _body(pool)
        if _slices(found) != pool.slices or found.get("spec") != wanted["spec"]:
            # With the version that was read: nobody's change is overwritten unseen.
            wanted["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"]
            found = self.client.merge(path, what, wanted, manager=CONTROLLER_MANAGER).object
        return SliceReport(_slices(found))

    def _log_problem(self, name: str, report: SliceReport) -> None:
        before = self.reports.get(name)
        if report.problem and (before is None or before.problem != report.problem):
            self.log.warning("slices-failed", message=report.problem)


def _body(pool: SlicePool) -> dict[str, Any]:
    owner = {"apiVersion": API_VERSION, "kind": "NodeNetwork", "name": pool.network, "uid": pool.uid}
    size = "/80" if ":" in pool.range else "/28"
    return {
        "apiVersion": GROUP,
        "kind": "NodeSlicePool",
        # It goes with its NodeNetwork, when no ENI of that is left.
        "metadata": {
            "labels": {MANAGED_BY: CONTROLLER_MANAGER, NETWORK_LABEL: pool.network},
            "ownerReferences": [owner],
        },
        "spec": {"range": pool.range, "sliceSize": size},
        "status": {
            "allocations": [{"nodeName": node, "sliceRange": found} for node, found in pool.slices.items()]
        },
    }


def _ours(found: Mapping[str, Any], network: str) -> bool:
    labels = found["metadata"].get("labels") or {}
    return (labels.get(MANAGED_BY), labels.get(NETWORK_LABEL)) == (CONTROLLER_MANAGER, network)


def _slices(found: Mapping[str, Any]) -> dict[str, str]:
    """Return each node's first slice; what is not one is left out, and so replaced."""
    status = found.get("status")
    allocations = status.get("allocations") if isinstance(status, dict) else None
    pairs = (
        (each.get("nodeName"), each.get("sliceRange"))
        for each in reversed(allocations if isinstance(allocations, list) else [])
        if isinstance(each, dict)
    )
    return {node: found for node, found in pairs if isinstance(node, str) and isinstance(found, str)}


def _foreign(namespace: str, name: str) -> str:
    return (
        f"NodeSlicePool {namespace}/{name} was made by another program, such as "
        "whereabouts' node-slice-controller: stop it and delete the pool once no pod has an address of it, "
        "or give the NodeNetwork another name"
    )
