"""What the stories have in common: things are applied, and what becomes of them is waited for."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from common.agent_container import CONTAINER_NAME
from common.agent_settings import Mode
from tests.cluster.api import POD, ApiError, Kind, Manifest
from tests.cluster.nodes.cluster import Cluster
from tests.cluster.nodes.story_cloud import Eni, Held, Ledger, pairs
from tests.cluster.nodes.story_pods import Running, rolled_out, wanted
from tests.cluster.nodes.workloads import EVENT
from tests.cluster.waiting import wait_for

__all__ = ["SECONDS", "Running", "Story"]

SECONDS = 300.0
"""How long anything is waited for: machines are shared."""
Found = TypeVar("Found")


class Story:
    """One namespace of a user on the real cluster, and the cloud behind it."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.api = cluster.api
        self.namespace = namespace
        self.ledger = Ledger(cluster.cloud)
        self.began = time.monotonic()

    def apply(self, *manifests: Manifest) -> tuple[str, ...]:
        """Create or change objects; returns the API server's warnings."""
        return tuple(
            warning for manifest in manifests for warning in self.api.apply(manifest, self.namespace).warnings
        )

    def get(self, kind: Kind, name: str) -> Manifest:
        """Return an object."""
        return self.api.get(kind, name, self.namespace)

    def has(self, kind: Kind, name: str) -> bool:
        """Return whether there is such an object."""
        return any(each["metadata"]["name"] == name for each in self.api.list(kind, self.namespace))

    def pod(self, name: str) -> Running:
        """Return a pod."""
        return Running(self.api.get(POD, name, self.namespace))

    def strangers(self) -> list[Running]:
        """Return the pods with a sidecar in other namespaces, such as those of a story that has ended."""
        found = [Running(each) for each in self.api.list(POD)]
        return [
            each
            for each in found
            if each.mode == Mode.SIDECAR and each.object["metadata"]["namespace"] != self.namespace
        ]

    def pods_of(self, owner: Manifest) -> list[Running]:
        """Return the pods that an owner selects, those on their way out included."""
        labels = owner["spec"]["selector"]["matchLabels"]
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        return [Running(each) for each in self.api.list(POD, self.namespace, selector)]

    def eni(self, node: str, master: str = "eth1") -> Eni:
        """Return the ENI that a node has under a name."""
        return self.ledger.enis()[self.cluster.nodes[node].enis[master]]

    def subnet(self, master: str = "eth1") -> Eni:
        """Return any node's ENI under a name: all of one name lie in one subnet."""
        return self.eni(next(iter(self.cluster.nodes)), master)

    def wait(self, condition: Callable[[], Found | None], what: str, timeout: float = SECONDS) -> Found:
        """Wait until the condition answers something true; a failure tells all about the namespace's pods."""
        try:
            return wait_for(condition, what, timeout)
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.account()}") from None

    def wait_ready(self, *names: str) -> list[Running]:
        """Wait until pods of these names are Ready."""

        def ready() -> list[Running] | None:
            found = [self._find(name) for name in names]
            there = [each for each in found if each and each.ready]
            return there if len(there) == len(names) else None

        return self.wait(ready, f"Ready of {', '.join(names)}")

    def wait_rolled_out(self, kind: Kind, name: str, timeout: float = SECONDS) -> list[Running]:
        """Wait as `kubectl rollout status` does; returns the pods that stay, all of them Ready."""

        def done() -> list[Running] | None:
            owner = self.get(kind, name)
            staying = [each for each in self.pods_of(owner) if not each.leaving]
            complete = rolled_out(owner) and len(staying) == wanted(owner)
            return staying if complete and all(each.ready for each in staying) else None

        return self.wait(done, f"rollout of {kind.kind} {name}", timeout)

    def wait_gone(self, *names: str) -> None:
        """Wait until pods of these names are gone."""
        self.wait(lambda: not any(self._find(name) for name in names), f"end of {', '.join(names)}")

    def wait_held(self, address: str, eni: Eni) -> None:
        """Wait until an ENI has the address."""
        self.wait(lambda: self.ledger.holder(address) == eni.id, f"{address} on {eni.id}")

    def expected(self, pods: Iterable[Running], masters: Mapping[str, str] | None = None) -> Held:
        """Return where the pods' addresses have to be: on their nodes' ENIs that carry the interfaces."""
        carried = masters or {"net1": "eth1"}
        return frozenset(
            pair
            for each in pods
            for interface, master in carried.items()
            for pair in pairs(self.cluster.nodes[each.node].enis[master], each.networks[interface])
        )

    def delete(self, kind: Kind, name: str) -> None:
        """Delete an object, as `kubectl delete --wait=false` does."""
        self.api.delete(kind, name, self.namespace, gracefully=True)

    def logs(self, pod: str, container: str = CONTAINER_NAME) -> str:
        """Return a container's log."""
        return self.api.logs(pod, self.namespace, container)

    def exec(self, pod: str, *argv: str, container: str = "app") -> str:
        """Run a program in a container; returns what it says."""
        return self.cluster.exec(self.namespace, pod, container, *argv)

    def shell(self, pod: str, script: str, container: str = "app") -> str:
        """Run a shell's script in a container."""
        return self.exec(pod, "sh", "-c", script, container=container)

    def started_at(self, pod: str, container: str = "app") -> float:
        """Return when the container's first process was made, in seconds of the monotonic clock.

        That is exact to 10 ms: `starttime` of proc_pid_stat(5) counts clock ticks since the machine's boot.
        It is the process that the app runs in, and older than the app.
        """
        _, _, fields = self.exec(pod, "cat", "/proc/1/stat", container=container).rpartition(")")
        since_boot = int(fields.split()[19]) / os.sysconf("SC_CLK_TCK")
        slept = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
        return since_boot - slept

    def events(self, name: str) -> list[str]:
        """Return what the events of an object say."""
        return [
            f"{each.get('reason')}: {each.get('message')}"
            for each in self.api.list(EVENT, self.namespace)
            if each["involvedObject"].get("name") == name
        ]

    def describe(self, pod: str) -> str:
        """Return what `kubectl describe pod` shows."""
        return self.cluster.kubectl("describe", "pod", pod, "-n", self.namespace)

    def account(self) -> str:
        """Tell all about the pods that are not Ready, for the message of a failure."""
        parts = [self.cluster.kubectl("get", "pods", "-n", self.namespace, "-o", "wide")]
        late = [Running(each) for each in self.api.list(POD, self.namespace)]
        for each in [each for each in late if not each.ready][:5]:
            parts += [self.describe(each.name), *self._logs(each)]
        return "\n".join(parts)

    def _logs(self, pod: Running) -> Sequence[str]:
        if not pod.agent.get("containerID"):
            return []
        try:
            return [self.logs(pod.name)]
        except ApiError as error:
            return [str(error)]

    def _find(self, name: str) -> Running | None:
        try:
            return self.pod(name)
        except ApiError as error:
            if not error.not_found:
                raise
            return None
