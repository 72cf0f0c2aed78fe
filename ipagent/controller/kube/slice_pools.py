"""Writes whereabouts' NodeSlicePools of networks of prefixes, and records for each whether it is written.

Thread: the loop's. A pool that the controller has not made is left alone: its label tells.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from common.kube.backoff import SLOW, next_try
from common.kube.client import Client
from common.kube.errors import ApiError, KubeError
from ipagent.controller.model.node_slice_pools import SlicePool, SliceReport
from ipagent.log import Log
from ipagent.node_network_api import API_VERSION, CONTROLLER_MANAGER, NETWORK_LABEL

GROUP = "whereabouts.cni.cncf.io/v1alpha1"
MANAGED_BY = "app.kubernetes.io/managed-by"
AGAIN = 10.0
"""Seconds after a write that has failed, at least."""
LOOK = 300.0
"""Seconds after which a pool is compared again: pools are not watched."""


class _Look(NamedTuple):
    pool: SlicePool
    """What was to be written."""
    problem: str
    """Why it is not, empty if it is."""
    due: float
    """When it is looked at again."""


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
    _looked: dict[str, _Look] = field(default_factory=dict)
    _paused: float = 0.0
    """Until when no pool is looked at, since one was refused slowly: a webhook that hangs does so for all."""

    def write(self, pools: Mapping[str, SlicePool], now: float) -> float:
        """Write what differs; returns when to come again (monotonic seconds)."""
        reports = {}
        # The longest due first, and before them those that were never looked at.
        for name in sorted(pools, key=lambda name: self._looked[name].due if name in self._looked else 0.0):
            if self._waits(pools[name], now):
                if name in self.reports:
                    reports[name] = self.reports[name]
            elif self.may():
                reports[name] = self._look(pools[name], now)
        self.reports = reports
        self._looked = {name: each for name, each in self._looked.items() if name in reports}
        due = min((each.due for each in self._looked.values()), default=float("inf"))
        return max(due, self._paused) if now < self._paused else due

    def _waits(self, pool: SlicePool, now: float) -> bool:
        look = self._looked.get(pool.network)
        waits = look is not None and now < look.due and (bool(look.problem) or look.pool == pool)
        return waits or now < self._paused

    def _look(self, pool: SlicePool, now: float) -> SliceReport:
        began, name, passing, alone = self.clock(), pool.network, False, True
        try:
            found = self._written(pool)
        except KubeError as error:
            found = SliceReport({}, f"NodeSlicePool {self.namespace}/{name}: {error}")
            alone = error.of_one_object
            passing = not alone or (isinstance(error, ApiError) and error.conflict)
        took = self.clock() - began
        again = next_try(now, took, AGAIN, of_one_object=alone)
        self._log_problem(name, found.problem)
        self._looked[name] = _Look(pool, found.problem, again if found.problem else now + LOOK)
        if found.problem and took >= SLOW:
            self._paused = again
        # What is no word on the pool leaves what is known of it: all nodes' readiness rests on that.
        return self.reports.get(name, found) if passing else found

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

    def _log_problem(self, name: str, problem: str) -> None:
        before = self._looked.get(name)
        if problem and (before is None or before.problem != problem):
            self.log.warning("slices-failed", message=problem)


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
