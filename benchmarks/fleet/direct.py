"""The direct backend's agents, all in one process: `python -m benchmarks.fleet.direct`, the job on stdin.

For each pod a thread does what `ipagent init` does from its first look at the pod's addresses on, with its
own code: EC2, retries, exit. Made up is the kernel; the interpreter's start is left out; the threads of a
node share a client of EC2, and what IMDS, which each node has for itself, says of its ENIs before they begin.
An agent that fails is started again, as the kubelet does: after 10 s, then 20 s, and so on up to 5 minutes.

The job is a line with a JSON object: `nodes`, `pods` and `delegated`, the fleet's; `imds_port`, that of each
node's IMDS; `starts`, for each pod's name when its agent starts, in seconds from the beginning; `patience` is
for how many seconds a pod is tried. The answer is one JSON line: when it began (`begin`, on the monotonic
clock), `ended`, a list of lists of a pod's name, its last exit code and monotonic seconds, `restarts`, and
`cpu_ms`, the CPU milliseconds of all agents.
"""

from __future__ import annotations

import io
import json
import os
import random
import sys
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from benchmarks.fleet.layout import REGION, FleetNode, FleetPod, make_fleet
from common.agent_settings import AgentSettings, Credentials
from common.exit_codes import ExitCode
from ipagent.assign.address_calls import Assign
from ipagent.assign.addresses import IPAddress, Link, LinkAddress, Snapshot
from ipagent.assign.retry import Timing
from ipagent.assign.topology import Eni, Topology
from ipagent.aws.botocore_connection import BotocoreConnection
from ipagent.aws.ec2_client import Ec2Client
from ipagent.aws.imds import Imds
from ipagent.aws.pod_cloud import PodCloud
from ipagent.direct import init
from ipagent.direct.agent import Agent
from ipagent.log import Log

TIMING = Timing(time.monotonic, time.sleep, random.random)
RESTART, LONGEST_RESTART = 10.0, 300.0
"""Seconds of the kubelet's back-off for containers (Kubernetes, "Pod Lifecycle", container restarts)."""
SETTINGS = AgentSettings(interfaces=("net1",))


@dataclass(frozen=True, slots=True)
class Kernel:
    """A pod's network namespace with one Multus interface."""

    mac: str
    address: str

    def snapshot(self, *, routes: bool) -> Snapshot:  # noqa: ARG002 - the interfaces are named
        """Return what the pod holds."""
        eth0, net1 = Link(2, "eth0", "0a:00:00:00:00:02"), Link(3, "net1", self.mac)
        return Snapshot((eth0, net1), (LinkAddress(3, ip_address(self.address)),))


class OfNode(PodCloud):
    """The agent's way to AWS, with a client of EC2 and a topology that a node's agents share."""

    def __init__(self, node: FleetNode, client: Ec2Client, topology: Topology, log: Log) -> None:
        super().__init__({"AWS_REGION": REGION}, Credentials.CHAIN, log, TIMING)
        self._node = node
        self._shared = client
        self._shown = topology
        self._assigned: set[IPAddress] = set()

    def topology(self, macs: Collection[str], *, fresh: bool = False) -> Topology:  # noqa: ARG002 - all of it
        """Return the node's ENIs."""
        return self._shown

    def metadata(self, eni: Eni, versions: Collection[int] = (4, 6)) -> frozenset[IPAddress]:  # noqa: ARG002 - IPv4
        """Return the ENI's primary address, and what was assigned since."""
        (primary,) = [each.primary for each in self._node.enis if each.id == eni.id]
        return frozenset({ip_address(primary), *self._assigned})

    def assign(self, call: Assign) -> frozenset[IPAddress]:
        """Assign addresses, which IMDS shows from then on."""
        answer = super().assign(call)
        self._assigned |= answer
        return answer

    def close(self) -> None:
        """Leave the connections to the others."""

    def _connect(self) -> Ec2Client:
        return self._shared


def main() -> None:
    """Run the job."""
    job = json.loads(sys.stdin.readline())
    fleet = make_fleet("direct", job["nodes"], job["pods"], delegated=job["delegated"])
    shared = {
        node.name: (
            Ec2Client(BotocoreConnection(REGION, Credentials.CHAIN)),
            _topology(node, job["imds_port"]),
        )
        for node in fleet.nodes
    }
    run = Run(shared, job["starts"], job["patience"])
    threads = [threading.Thread(target=run.live, args=(pod,)) for pod in fleet.pods]
    for thread in threads:
        thread.start()
    used = time.process_time()
    run.go()
    for thread in threads:
        thread.join()
    found = {
        "begin": run.begin,
        "ended": run.ended,
        "restarts": run.restarts,
        "cpu_ms": (time.process_time() - used) * 1000,
    }
    print(json.dumps(found), flush=True)
    # Connections that are left over are the system's to close.
    os._exit(0)


def _topology(node: FleetNode, port: int) -> Topology:
    imds = Imds(f"http://{node.host}:{port}", TIMING)
    try:
        return imds.topology()
    finally:
        imds.close()


class Run:
    """All pods' agents; `shared` is what those of a node share, by its name.

    `begin` is when the first may start, on the monotonic clock.
    """

    def __init__(
        self,
        shared: Mapping[str, tuple[Ec2Client, Topology]],
        starts: Mapping[str, float],
        patience: float,
    ) -> None:
        self.begin = 0.0
        self.restarts = 0
        self.ended: list[tuple[str, int, float]] = []
        self._lock = threading.Lock()
        self._shared = shared
        self._starts = starts
        self._patience = patience
        self._begun = threading.Event()

    def go(self) -> None:
        """Begin, now that all threads are there."""
        self.begin = time.monotonic()
        self._begun.set()

    def live(self, pod: FleetPod) -> None:
        """Start the agent of a pod when it is time, and again after each failure."""
        self._begun.wait()
        start = self.begin + self._starts[pod.name]
        end = start + self._patience
        pause, code = RESTART, int(ExitCode.DEADLINE)
        while start < end:
            time.sleep(max(0.0, start - time.monotonic()))
            code = self._run(pod)
            if code == ExitCode.OK:
                break
            with self._lock:
                self.restarts += 1
            start, pause = time.monotonic() + pause, min(2 * pause, LONGEST_RESTART)
        with self._lock:
            self.ended.append((pod.name, code, time.monotonic()))

    def _run(self, pod: FleetPod) -> int:
        log = Log(stream=io.StringIO())
        client, topology = self._shared[pod.node.name]
        cloud = OfNode(pod.node, client, topology, log)
        agent = Agent(SETTINGS, Kernel(pod.eni.mac, pod.address), cloud, log, TIMING)
        return init.run(agent, time.monotonic() + SETTINGS.timeout, TIMING).exit_code


if __name__ == "__main__":
    main()
