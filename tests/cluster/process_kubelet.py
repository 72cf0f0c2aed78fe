"""A stand-in for a node's kubelet and kube-proxy: runs the injector's own pods as processes, without rights.

Each of the injector's pods gets an address of its own in 127.0.0.0/8, its volumes as files, a token of its
ServiceAccount, and its container's own command as a process; its readiness probe decides what the pod's
status says, by which Deployments, EndpointSlices and Helm's --wait go. One thing differs from a real pod:
where the command names a mount, it is given the folder that stands for it. All other pods stay unscheduled:
there is no scheduler.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from tests.cluster.api import ENDPOINT_SLICE, POD, ApiError, Kind, Manifest
from tests.cluster.control_plane import ControlPlane
from tests.cluster.kubelet_cache import KubeletCache
from tests.cluster.mounts import Mounts, command_of, kubeconfig, value_of
from tests.cluster.node_status import Node
from tests.cluster.processes import Process, ProcessError
from tests.cluster.service_proxy import Endpoint
from tests.cluster.waiting import wait_for

OURS = "app.kubernetes.io/part-of=multus-eni-injector"
SERVICE = Kind("v1", "Service")
PAUSE = 0.2
"""Seconds between two looks at the pods where nothing changes: at the end of processes, and at probes."""
STEADY = 2.0
"""Seconds between two looks at volumes and probe of a pod that is ready."""
HEARTBEAT = 5.0
"""Seconds between two renewals of the node's lease; without them its pods are taken for lost after 50."""

_numbers = itertools.count(1)


@dataclass(slots=True)
class Running:
    """One pod's process; `address` is where it listens, `shown` what the pod's status says."""

    pod: Manifest
    address: str
    shown: str
    mounts: Mounts
    process: Process
    restarts: int = 0
    ready: bool = False
    ending: bool = False
    looked: float = 0.0
    """When its volumes and its probe were looked at, by the monotonic clock."""

    @property
    def component(self) -> str:
        """Which part of the injector it is, such as `webhook`."""
        return str(self.pod["metadata"]["labels"]["app.kubernetes.io/component"])


class ProcessKubelet:
    """Runs the injector's pods of the whole cluster from `with` to the end of its block."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self._plane = plane
        self._folder = folder
        self._api = plane.client()
        self._cache = KubeletCache(plane, folder, OURS)
        self._node = Node(plane, self._api)
        # Pods are served by certificates for their Service's name.
        self._probe = httpx.Client(verify=False, timeout=5, trust_env=False)
        self._running: dict[str, Running] = {}
        self._down: set[str] = set()
        self._stop = threading.Event()
        self._error: BaseException | None = None
        # The kernel ends the processes with the thread that started them.
        self._thread = threading.Thread(target=self._work, name="kubelet")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        for client in (self._node, self._probe, self._api):
            client.close()
        if error is None:
            self.check()

    def check(self) -> None:
        """Raise what went wrong in the background."""
        if self._error is not None:
            raise RuntimeError("the stand-in for the kubelet failed") from self._error

    def pods(self, component: str) -> list[Running]:
        """Return what runs of one component, such as `webhook`."""
        return [each for each in list(self._running.values()) if each.component == component]

    def kill_leaving(self) -> None:
        """Kill the processes of pods that are being deleted, for when nobody calls them any more.

        Until then they wait for clients to close their connections: the API server keeps its own for 90 s.
        """
        for each in list(self._running.values()):
            if each.ending:
                each.process.kill()

    @contextmanager
    def outage(self, component: str) -> Iterator[None]:
        """Kill one component's processes, and keep them dead for the length of a block, which begins then."""
        self._down.add(component)
        try:
            wait_for(
                lambda: not any(_runs(each.process) for each in self.pods(component)), f"end of {component}"
            )
            yield
        finally:
            self._down.discard(component)

    def log(self, component: str) -> str:
        """Return the ends of the logs of one component's processes."""
        return "\n".join(each.process.tail(200) for each in self.pods(component))

    def endpoints(self, address: str, port: int) -> list[Endpoint]:
        """Do as kube-proxy: tell where the ready endpoints of a Service's address and port listen."""
        for service in self._api.list(SERVICE):
            ports = [each for each in service["spec"]["ports"] if each["port"] == port]
            if ports and address in service["spec"].get("clusterIPs", []):
                return list(self._ready(service["metadata"], ports[0]["name"]))
        return []

    def _ready(self, service: Manifest, port: str) -> Iterator[Endpoint]:
        listens = {each.shown: each.address for each in list(self._running.values())}
        labels = f"kubernetes.io/service-name={service['name']}"
        for found in self._api.list(ENDPOINT_SLICE, service["namespace"], labels):
            numbers = [each["port"] for each in found["ports"] or [] if each["name"] == port]
            for endpoint, number in itertools.product(found["endpoints"] or [], numbers):
                address = listens.get(endpoint["addresses"][0])
                if endpoint["conditions"].get("ready") and address:
                    yield (address, number)

    def _work(self) -> None:
        try:
            self._cache.start()
            self._node.join()
            beat = time.monotonic()
            while not self._stop.is_set():
                self._cache.changed.wait(PAUSE)
                self._cache.changed.clear()
                self._look()
                if time.monotonic() - beat > HEARTBEAT:
                    beat = time.monotonic()
                    self._node.renew()
        except BaseException as error:  # noqa: BLE001 - shown by check()
            self._error = error
        finally:
            for each in self._running.values():
                each.process.kill()
            self._cache.stop()

    def _look(self) -> None:
        pods = self._cache.pods()
        for uid in [uid for uid in self._running if uid not in pods]:
            self._running.pop(uid).process.kill()
        for uid, pod in pods.items():
            if pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
                continue
            try:
                if uid not in self._running:
                    self._running[uid] = self._start(pod)
                self._care(self._running[uid], pod)
            except ApiError as error:
                # The pod, or what it needs, went away in between: the next look sees that.
                if not error.outdated:
                    raise

    def _start(self, pod: Manifest) -> Running:
        number = next(_numbers)
        address, shown = f"127.77.{number >> 8}.{number & 255}", f"10.77.{number >> 8}.{number & 255}"
        folder = self._folder / f"{number}-{pod['metadata']['name']}"
        # First as the API server has them: the cache may lag behind what the pod was made for.
        mounts = Mounts(self._api.get, self._node.token, self._plane.ca, pod, folder)
        mounts.sync()
        mounts.get = self._cache.get
        if "nodeName" not in pod["spec"]:
            self._node.bind(pod)
        process = self._process(pod, mounts, address, folder)
        process.__enter__()
        return Running(pod, address, shown, mounts, process)

    def _process(self, pod: Manifest, mounts: Mounts, address: str, folder: Path) -> Process:
        (container,) = pod["spec"]["containers"]
        host, _, port = self._plane.url.removeprefix("https://").rpartition(":")
        env = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
        own = {each["name"]: value_of(each, address) for each in container.get("env", [])}
        env |= own
        if config := kubeconfig(mounts, self._plane.url, folder):
            env["KUBECONFIG"] = str(config)
        return Process(pod["metadata"]["name"], command_of(pod, mounts, own), log=folder / "log", env=env)

    def _care(self, running: Running, pod: Manifest) -> None:
        """Do what the kubelet does again and again: files, probes, restarts, the pod's status, its end."""
        if "deletionTimestamp" in pod["metadata"]:
            self._end(running)
            return
        if running.component in self._down:
            running.process.kill()
        alive, now = _runs(running.process), time.monotonic()
        if alive and running.ready and now - running.looked < STEADY:
            return
        running.looked = now
        running.mounts.sync()
        if not alive:
            self._ended(running)
            return
        ready = self._is_ready(running)
        if ready != running.ready or "podIP" not in pod.get("status", {}):
            running.ready = ready
            self._show(running, "Running")

    def _end(self, running: Running) -> None:
        if _runs(running.process):
            if not running.ending:
                running.ending = True
                os.kill(running.process.pid, signal.SIGTERM)
            return
        metadata = running.pod["metadata"]
        self._api.delete(POD, metadata["name"], metadata["namespace"])

    def _ended(self, running: Running) -> None:
        status = running.process.terminate()
        if running.pod["spec"]["restartPolicy"] == "Never":
            self._show(running, "Failed" if status else "Succeeded")
            return
        if running.ready:
            running.ready = False
            self._show(running, "Running")
        if running.component not in self._down:
            running.restarts += 1
            running.process.__enter__()

    def _is_ready(self, running: Running) -> bool:
        (container,) = running.pod["spec"]["containers"]
        if "readinessProbe" not in container:
            return True
        get = container["readinessProbe"]["httpGet"]
        (port,) = [each["containerPort"] for each in container["ports"] if each["name"] == get["port"]]
        scheme = get.get("scheme", "HTTP").lower()
        try:
            answer = self._probe.get(f"{scheme}://{running.address}:{port}{get['path']}")
        except httpx.TransportError:
            return False
        return answer.is_success

    def _show(self, running: Running, phase: str) -> None:
        self._node.show(running.pod, running.shown, phase, ready=running.ready)


def _runs(process: Process) -> bool:
    try:
        process.check()
    except ProcessError:
        return False
    return True
