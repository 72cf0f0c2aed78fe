"""When pods are made and when Multus is done with them. Chance is seeded: each backend has the same times."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random

from benchmarks.fleet.figures import Written
from benchmarks.fleet.layout import FleetPod
from tests.cluster.api import Manifest
from tests.cluster.node_agents import Script, networked, status_entry

WRITERS = 8
SANDBOX = (0.5, 1.5)
"""Seconds from a pod's binding to its network-status: the kubelet makes a sandbox and calls Multus."""


@dataclass(frozen=True, slots=True)
class Timed:
    """A pod: when it is made, and when its network-status is written (seconds from the beginning)."""

    pod: FleetPod
    made: float
    status: float


def at_once(pods: Sequence[FleetPod]) -> list[Timed]:
    """Have every network-status written in one instant, all pods having been made before."""
    return [Timed(pod, 0.0, 0.0) for pod in pods]


def spread(pods: Sequence[FleetPod], seconds: float, chance: Random) -> list[Timed]:
    """Spread the pods over some seconds."""
    made = [chance.uniform(0, seconds) for _ in pods]
    timed = (Timed(pod, when, when + chance.uniform(*SANDBOX)) for pod, when in zip(pods, made, strict=True))
    return sorted(timed, key=lambda each: each.status)


class Player:
    """Plays scheduler, kubelet and Multus on the API server."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._written: list[Written] = []
        self._lock = threading.Lock()

    def make(self, pod: FleetPod) -> Manifest:
        """Create a pod on its node; returns the object."""
        return self._script.make_pod(manifest(pod), pod.node.name)

    def give_status(self, pod: FleetPod) -> None:
        """Write the pod's network-status."""
        entries = [
            status_entry(f"10.10.0.{pod.node.number}", interface="eth0", name="aws-cni", default=True),
            status_entry(pod.address, mac=pod.eni.mac),
        ]
        sent = time.monotonic()
        self._script.multus(pod.name, entries)
        answered = time.monotonic()
        with self._lock:
            self._written.append(Written(pod.address, sent, answered))

    def make_all(self, pods: Sequence[FleetPod]) -> list[Manifest]:
        """Create pods as fast as the API server takes them; returns the objects."""
        with ThreadPoolExecutor(WRITERS) as pool:
            return list(pool.map(self.make, pods))

    def tokens(self, made: Sequence[Manifest]) -> list[str]:
        """Request the token of each pod's injected container."""
        with ThreadPoolExecutor(WRITERS) as pool:
            return list(pool.map(self._script.token, made))

    def play(self, timed: Sequence[Timed], *, made: bool) -> list[Written]:
        """Create the pods, unless they were `made` before, and write each network-status when it is due."""
        begin = time.monotonic()
        steps: list[tuple[float, Callable[[FleetPod], object], FleetPod]] = []
        for each in timed:
            if not made:
                steps.append((each.made, self.make, each.pod))
            steps.append((each.status, self.give_status, each.pod))
        steps.sort(key=lambda step: step[0])
        self._written = []
        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(lambda step: _at(begin + step[0], step[1], step[2]), steps))
        return list(self._written)


def _at(when: float, do: Callable[[FleetPod], object], pod: FleetPod) -> None:
    time.sleep(max(0.0, when - time.monotonic()))
    do(pod)


def manifest(pod: FleetPod) -> Manifest:
    """Make a pod's manifest of the size that real ones have."""
    labels = {"app": "busybox", "pod-template-hash": "5d9cd9bd5c", "app.kubernetes.io/part-of": "fleet"}
    made = networked(pod.name, labels=labels)
    env = [{"name": f"SETTING_{number}", "value": "x" * 40} for number in range(20)]
    made["spec"]["containers"][0]["env"] = env
    return made
