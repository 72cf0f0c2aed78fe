"""One run: all variants in turns on one cluster, so that whatever else the machine does befalls them all."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cluster import prefixes
from benchmarks.cluster.figures import (
    BESIDE_ONE_CPU,
    GUARANTEED,
    INIT,
    INIT_MORE_CPU,
    LITTLE_CPU,
    MORE_CPU,
    NO_OP,
    NO_OP_SIDECAR,
    ON_PREFIXES,
    ONE_CPU,
    SIDECAR,
    SIDECAR_MORE_CPU,
    VARIANTS,
    WITHOUT,
    Results,
)
from benchmarks.cluster.prefixes import RESTRICTED, new_name
from benchmarks.cluster.readiness import Readiness
from benchmarks.common.command import progress
from benchmarks.common.machine import this_machine
from benchmarks.common.order import in_turn
from benchmarks.common.settling import settle
from common.agent_settings import Mode
from common.pod_keys import AGENT_CPU, INJECTION, MODE
from tests.cluster.api import Manifest
from tests.cluster.nodes.cluster import Cluster
from tests.cluster.nodes.images import BUSYBOX
from tests.cluster.nodes.parts import find_parts
from tests.cluster.nodes.story import Story
from tests.cluster.nodes.story_fixtures import opted_in
from tests.cluster.nodes.story_release import released
from tests.cluster.nodes.workloads import app, ipvlan, pod, template, whereabouts
from tests.cluster.tools import Missing, find_binaries

report = progress("cluster")

LIBRARIES = ("botocore",)
ALONE_ON = "n1"
"""One at a time they start on the node that keeps no CPUs apart."""
RELIST = 1.0
"""The kubelet looks for containers that have ended once in so many seconds (genericPlegRelistPeriod).

Each round starts its pods at another point of that time, the same for all variants, or what takes a little
longer could seem to take no longer, or a second more.
"""
SEEN_BY_RELIST = (NO_OP, INIT)
"""Variants that are Ready at the same time after the kubelet's look: it found their init container ended."""
CPU_BESIDE_A_CORE = {NO_OP: "900m"}
"""What the agent has beside an app with a core (docs/contract.md), and so the no-op. Others: LITTLE_CPU."""


class ProgramMissing(Exception):
    """Helm is not there; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured of each variant: single pods, bursts of `size` pods, single Guaranteed ones.

    There are as many Guaranteed ones with little CPU as with a core. `prefixes` are single pods on a network
    of prefixes, more of them: the time looked for is shorter. `first` are single pods of each variant that do
    not count: programs are not in memory yet. `patience` are the seconds that a start may wait at most for
    what the pods before it have left to do. With `leave` pods stay once they are Ready, save those
    with a core: their end takes longer than their start, and would be under way during the next.
    """

    first: int
    alone: int
    together: int
    size: int
    guaranteed: int
    prefixes: int
    patience: float
    leave: bool


FULL = Plan(first=1, alone=16, together=5, size=20, guaranteed=6, prefixes=32, patience=20, leave=False)
QUICK = Plan(first=0, alone=2, together=1, size=5, guaranteed=1, prefixes=2, patience=0, leave=True)


def run(plan: Plan) -> Results:
    """Measure; raises PartsMissing, ProgramMissing, Late, OSError, or RuntimeError of what was started."""
    machine = this_machine(LIBRARIES, report)
    helm = find_binaries(["helm4"])
    if isinstance(helm, Missing):
        raise ProgramMissing(str(helm))
    with tempfile.TemporaryDirectory(prefix="bench-cluster-") as folder:
        parts = find_parts(Path(folder))
        report("starting the cluster")
        with (
            Cluster(parts, account=prefixes.rights()) as cluster,
            released(cluster, helm["helm4"]) as release,
            opted_in(cluster, "bench") as story,
        ):
            network(story)
            with Readiness(cluster.plane) as readiness:
                bench = Bench(cluster, story.namespace, readiness, plan)
                bench.alone(plan.first)
                report(f"{plan.alone} pods of each kind, one at a time")
                alone = bench.alone(plan.alone)
                report(f"{plan.size} pods at once, {plan.together} times each kind")
                together = bench.together(plan.together, plan.size)
                report(f"{plan.guaranteed} Guaranteed pods of each kind, one at a time")
                guaranteed = bench.guaranteed(plan.guaranteed)
                report(f"{plan.guaranteed} Guaranteed pods of each kind whose app has a core, one at a time")
                one_cpu = bench.one_cpu(plan.guaranteed)
                report("the controller and a network of prefixes")
                prefixes.set_up(release, story, ALONE_ON)
                bench.in_prefixes(plan.first)
                report(f"{plan.prefixes} pods of each kind with addresses in prefixes, one at a time")
                in_prefixes = bench.in_prefixes(plan.prefixes)
            version: str = json.loads(cluster.api.raw("/version"))["gitVersion"]
    return Results(machine, version, plan.size, alone, together, guaranteed, one_cpu, in_prefixes)


def network(story: Story) -> None:
    """Make the network of all pods here."""
    story.apply(ipvlan("net", "eth1", whereabouts(story.subnet().span(100, 179))))


class Bench:
    """Makes pods in a namespace that is opted in, and takes their times."""

    def __init__(self, cluster: Cluster, namespace: str, readiness: Readiness, plan: Plan) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._readiness = readiness
        self._plan = plan
        self._ready_at = 0.0
        """When a pod became Ready that tells when the kubelet looks."""

    def alone(self, rounds: int) -> dict[str, list[float]]:
        """Start one pod after the other."""
        return self._in_turns(rounds, lambda variant: [described(variant, ALONE_ON)])

    def guaranteed(self, rounds: int) -> dict[str, list[float]]:
        """Start one pod with little CPU after the other."""
        size = limited(LITTLE_CPU)
        return self._in_turns(rounds, lambda variant: [described(variant, ALONE_ON, size, size)], GUARANTEED)

    def one_cpu(self, rounds: int) -> dict[str, list[float]]:
        """Start one pod whose app has a core after the other."""
        return self._in_turns(
            rounds,
            lambda variant: [
                described(
                    variant, ALONE_ON, limited(ONE_CPU), limited(CPU_BESIDE_A_CORE.get(variant, LITTLE_CPU))
                )
            ],
            BESIDE_ONE_CPU,
            # A node has not as many cores.
            leave=False,
        )

    def together(self, rounds: int, size: int) -> dict[str, list[float]]:
        """Start many pods at once, again and again."""
        return self._in_turns(rounds, lambda variant: [described(variant) for _ in range(size)])

    def in_prefixes(self, rounds: int) -> dict[str, list[float]]:
        """Start one pod on the network of prefixes after the other."""
        return self._in_turns(rounds, lambda variant: [prefixes.described(variant, ALONE_ON)], ON_PREFIXES)

    def _in_turns(
        self,
        rounds: int,
        make: Callable[[str], Sequence[Manifest]],
        variants: Sequence[str] = VARIANTS,
        *,
        leave: bool = True,
    ) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {variant: [] for variant in variants}
        for turn in range(rounds):
            for variant in in_turn(turn, variants):
                # Nodes take gone pods apart for seconds after the API server has forgotten them.
                settle(self._plan.patience)
                time.sleep((self._ready_at + turn / rounds * RELIST - time.monotonic()) % RELIST)
                seconds, ready = self._start(make(variant), leave=leave and self._plan.leave)
                found[variant].append(seconds)
                if variant in SEEN_BY_RELIST:
                    self._ready_at = ready
        return found

    def _start(self, pods: Sequence[Manifest], *, leave: bool) -> tuple[float, float]:
        """Return how long pods take to be Ready, and when they were."""
        names = [each["metadata"]["name"] for each in pods]
        began = time.monotonic()
        for each in pods:
            self._cluster.api.create(each, self._namespace)
        ready = self._readiness.ready(*names)
        if not leave:
            self._cluster.kubectl("delete", "pod", f"--namespace={self._namespace}", "--wait=false", *names)
            self._readiness.gone(*names)
        return ready - began, ready


def limited(cpu: str) -> Manifest:
    """Return the fields of a container whose requests are its limits."""
    return {"resources": {kind: {"cpu": cpu, "memory": "64Mi"} for kind in ("requests", "limits")}}


def described(
    variant: str, node: str = "", app_size: Manifest | None = None, no_op_size: Manifest | None = None
) -> Manifest:
    """Make a pod of a variant; it has one Multus interface whatever it is. Sizes are fields of containers."""
    spec: dict[str, Any] = {"containers": [app(**(app_size or {}))], "node": node}
    out = {INJECTION: "disabled"}
    sidecar = {MODE: Mode.SIDECAR.value}
    no_op = {"name": "no-op", "image": BUSYBOX, **RESTRICTED, **(no_op_size or {})}
    ends = {**no_op, "command": ["true"]}
    stays = {
        **no_op,
        "command": ["sleep", "3600"],
        "restartPolicy": "Always",
        "startupProbe": {"exec": {"command": ["true"]}, "periodSeconds": 1},
    }
    made = {
        WITHOUT: lambda: template("net", labels=out, **spec),
        NO_OP: lambda: template("net", labels=out, initContainers=[ends], **spec),
        INIT: lambda: template("net", **spec),
        NO_OP_SIDECAR: lambda: template("net", labels=out, initContainers=[stays], **spec),
        INIT_MORE_CPU: lambda: template("net", annotations={AGENT_CPU: MORE_CPU}, **spec),
        SIDECAR: lambda: template("net", annotations=sidecar, **spec),
        SIDECAR_MORE_CPU: lambda: template("net", annotations={**sidecar, AGENT_CPU: MORE_CPU}, **spec),
    }
    return pod(new_name(), made[variant]())
