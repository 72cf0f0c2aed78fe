"""Replicas of the webhook that end under load: `python -m tests.cluster.drain_under_load ADDRESS`.

For a network namespace in which ADDRESS, no loopback one, is the machine's. Three replicas stand behind one
Service, with an EndpointSlice each, and dry-run creates run all the time. Prints as JSON, by order of
events, what came of it.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from common.agent_container import CONTAINER_NAME
from common.pod_keys import INJECTION, MODE
from tests.cluster.api import ENDPOINT_SLICE, Api, ApiError, Manifest
from tests.cluster.configuration import Service, webhook_configuration
from tests.cluster.manifests import multus_pod
from tests.cluster.namespaces import Namespace, Namespaces, names_of
from tests.cluster.service_webhook import NAME, NAMESPACE, behind_service, injects, routing_control_plane
from tests.cluster.waiting import wait_for
from tests.cluster.webhook import WebhookServer, installed
from tests.http_client import TransportError

CLIENTS = 8
BURST = 16
"""Creates at the same time that open connections. With CLIENTS no more than the API server keeps open when
they are idle, which is 25 (client-go's transport cache)."""
PRE_STOP = 1.0
"""Seconds of the preStop hook: time for the Service's endpoints to change everywhere."""
PROPAGATION = 1.0
"""Seconds for which the API server goes on choosing an endpoint whose pod has had its SIGTERM already."""
DRAIN = 3
"""Seconds of `--drain`."""
PAUSE = 0.2
"""Seconds between two creates of a client: with all of them 100 a second, and CPU time is left for others."""


Target = tuple[Namespace, dict[str, str]]
"""Where pods are created, and their labels: what selects an entry of the configuration."""


@dataclass(slots=True)
class Report:
    """What one replica's end did: creates in all while it ended, those that it answered, and what failed."""

    creates: int = 0
    answered_by_it: int = 0
    failures: tuple[str, ...] = ()
    exit_status: int = -1
    seconds: float = 0.0


@dataclass(slots=True)
class Replica:
    """One replica, and the name of its EndpointSlice."""

    name: str
    server: WebhookServer

    def answered(self) -> int:
        """Return how many reviews it has answered."""
        return len(self.server.events("decision"))


class Load:
    """Clients that create pods (dry run) from `with` to the end of its block, and count what fails.

    The API server keeps a pool of connections for each entry of the configuration. The clients that start
    with the block use one entry; those of `open_connections` use the others, for the first time. `pause`
    is how many seconds pass between two creates of a client.
    """

    def __init__(self, namespaces: Namespaces, pause: float = PAUSE) -> None:
        self.done = 0
        self._pause = pause
        self.failures: list[str] = []
        self._first, *self._others = [
            (namespaces.make({INJECTION: "enabled", **mode}), labels)
            for mode in ({}, {MODE: "init"}, {MODE: "sidecar"})
            for labels in ({}, {INJECTION: "enabled"})
        ]
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._start([self._first] * CLIENTS)
        return self

    def open_connections(self) -> None:
        """Let the API server choose among the endpoints that it knows, many times."""
        self._start(self._others * 4)

    def _start(self, targets: list[Target]) -> None:
        added = [threading.Thread(target=self._create_for_ever, args=target) for target in targets]
        self._threads += added
        for thread in added:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def goes_on(self, count: int) -> None:
        """Wait until `count` more have been created."""
        end = self.done + count
        wait_for(lambda: self.done >= end, f"{count} more creates")

    def burst(self) -> None:
        """Create many at the same time: the API server opens connections while those that it has are busy."""
        with ThreadPoolExecutor(BURST) as pool:
            for created in [pool.submit(self._create, *self._first) for _ in range(BURST)]:
                created.result()

    def _create_for_ever(self, namespace: Namespace, labels: dict[str, str]) -> None:
        while not self._stop.is_set():
            self._create(namespace, labels)
            self._stop.wait(self._pause)

    def _create(self, namespace: Namespace, labels: dict[str, str]) -> None:
        try:
            found = namespace.create(multus_pod(labels=labels), dry_run=True).object
            if CONTAINER_NAME not in names_of(found["spec"].get("initContainers")):
                self.failures.append("created without the agent")
        except (ApiError, TransportError) as error:
            self.failures.append(str(error))
        self.done += 1


def endpoint_slice(replica: Replica, address: str) -> Manifest:
    """Make the EndpointSlice of one replica."""
    labels = {"kubernetes.io/service-name": NAME}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": replica.name, "namespace": NAMESPACE, "labels": labels},
        "addressType": "IPv4",
        "ports": [{"port": replica.server.port}],
        "endpoints": [{"addresses": [address]}],
    }


def as_kubernetes_does(api: Api, load: Load, replica: Replica) -> int:
    """Take it out of the endpoints while its preStop hook sleeps, then SIGTERM."""
    api.delete(ENDPOINT_SLICE, replica.name, NAMESPACE)
    end = time.monotonic() + PRE_STOP
    # A few clients may never use the connections to this replica, which are idle then.
    load.burst()
    time.sleep(max(0.0, end - time.monotonic()))
    return replica.server.process.terminate(grace=30)


def signalled_at_once(api: Api, load: Load, replica: Replica) -> int:
    """SIGTERM while it is in the endpoints and has pooled connections; it leaves them later.

    Meanwhile the API server opens new connections, and chooses among all endpoints that it knows.
    """
    leaving = threading.Timer(PROPAGATION, api.delete, (ENDPOINT_SLICE, replica.name, NAMESPACE))
    opening = threading.Timer(PROPAGATION / 2, load.open_connections)
    leaving.start()
    opening.start()
    try:
        return replica.server.process.terminate(grace=30)
    finally:
        leaving.join()
        opening.join()


Order = Callable[[Api, Load, Replica], int]

ORDERS: dict[str, Order] = {
    "removed from the endpoints, then SIGTERM": as_kubernetes_does,
    "SIGTERM at once": signalled_at_once,
}


def ended(api: Api, load: Load, replica: Replica, order: Order) -> Report:
    """End a replica under load."""
    before = replica.answered()

    def answers() -> bool:
        if replica.answered() >= before + 20:
            return True
        # By chance it has no connection to this replica, and a few that are enough need not become more.
        load.burst()
        return False

    # Only a replica to which the API server has connections shows anything.
    wait_for(answers, f"20 answers of {replica.name}")
    start = (time.monotonic(), load.done, len(load.failures), replica.answered())
    status = order(api, load, replica)
    seconds = time.monotonic() - start[0]
    load.goes_on(200)
    return Report(
        creates=load.done - start[1],
        answered_by_it=replica.answered() - start[3],
        failures=tuple(load.failures[start[2] :]),
        exit_status=status,
        seconds=round(seconds, 2),
    )


@contextmanager
def replicas(folder: Path, address: str, count: int) -> Iterator[list[Replica]]:
    """Start replicas; each has a CA of its own, as if certificates were being rotated."""
    with ExitStack() as stack:
        started = []
        for number in range(count):
            name = f"{NAME}-{number}"
            (folder / name).mkdir()
            server = WebhookServer(
                folder / name,
                host=address,
                names=[f"{NAME}.{NAMESPACE}.svc"],
                options=[f"--drain={DRAIN}"],
            )
            started.append(Replica(name, stack.enter_context(server)))
        yield started


def main() -> None:
    address = sys.argv[1]
    with (
        tempfile.TemporaryDirectory() as folder,
        routing_control_plane(address) as api,
        replicas(Path(folder), address, len(ORDERS) + 1) as servers,
    ):
        named = {"name": NAME, "namespace": NAMESPACE}
        api.create(
            {"apiVersion": "v1", "kind": "Service", "metadata": named, "spec": {"ports": [{"port": 443}]}}
        )
        for replica in servers:
            api.create(endpoint_slice(replica, address))
        namespaces = Namespaces(api, "service")
        probed = namespaces.make({INJECTION: "enabled"})
        trusted = Service("", b"".join(replica.server.service.ca for replica in servers))
        configuration = behind_service(webhook_configuration(trusted))
        with installed(api, configuration, lambda: injects(probed)), Load(namespaces) as load:
            reports = {
                name: dataclasses.asdict(ended(api, load, replica, order))
                for (name, order), replica in zip(ORDERS.items(), servers, strict=False)
            }
        print(json.dumps(reports))


if __name__ == "__main__":
    main()
