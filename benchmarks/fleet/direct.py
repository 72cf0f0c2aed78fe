"""The direct backend's agents, all in one process: `python -m benchmarks.fleet.direct`, the job on stdin.

For each pod a thread does what `ipagent init` does from its first look at the pod's addresses on, with its
own code: EC2, retries, exit. Made up are the kernel and IMDS, which each node has for itself; the
interpreter's start is left out; the threads of a node share a client of EC2. An agent that fails is started
again, as the kubelet does: after 10 s, then 20 s, and so on up to 5 minutes.

The job is a JSON object: `nodes` and `pods`, the fleet's numbers, and `starts`, for each pod's name when its
agent starts, in seconds from the beginning; `patience` is for how many seconds a pod is tried. The answer is
one JSON line: when it began (`begin`, on the monotonic clock), `restarts`, and `pods` that failed in the end.
"""

from __future__ import annotations

import io
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from benchmarks.fleet.layout import REGION, FleetNode, FleetPod, make_fleet, subnet_cidr, subnet_id
from benchmarks.fleet.layout import Eni as FleetEni
from common.contract import AgentSettings, Credentials, ExitCode
from ipagent.assign.addresses import IPAddress, Link, LinkAddress, Snapshot
from ipagent.assign.calls import Assign
from ipagent.assign.retry import Clock
from ipagent.assign.topology import Eni, Topology
from ipagent.aws.ec2 import Ec2Client
from ipagent.aws.pod_cloud import PodCloud
from ipagent.log import Log
from ipagent.pod import init
from ipagent.pod.agent import Agent

TIMING = Clock(time.monotonic, time.sleep, random.random)
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
    """The agent's way to AWS, with a client of EC2 that a node agents share."""

    def __init__(self, node: FleetNode, client: Ec2Client, log: Log) -> None:
        super().__init__({"AWS_REGION": REGION}, Credentials.CHAIN, log, TIMING)
        self._node = node
        self._shared = client
        self._assigned: set[IPAddress] = set()

    def topology(self, macs: Collection[str], *, fresh: bool = False) -> Topology:  # noqa: ARG002 - all of it
        """Return the node's secondary ENIs."""
        return Topology(tuple(_eni(device, eni) for device, eni in enumerate(self._node.enis, 1)))

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


def _eni(device: int, eni: FleetEni) -> Eni:
    return Eni(eni.id, eni.mac, device, subnet_id(eni.subnet), (ip_network(subnet_cidr(eni.subnet)),))


def main() -> None:
    """Run the job."""
    job = json.load(sys.stdin)
    fleet = make_fleet("direct", job["nodes"], job["pods"])
    clients = {node.name: Ec2Client(REGION, Credentials.CHAIN) for node in fleet.nodes}
    run = Run(clients, job["starts"], job["patience"])
    threads = [threading.Thread(target=run.live, args=(pod,)) for pod in fleet.pods]
    for thread in threads:
        thread.start()
    run.go()
    for thread in threads:
        thread.join()
    print(json.dumps({"begin": run.begin, **run.failures}), flush=True)
    # Connections that are left over are the system's to close.
    os._exit(0)


class Run:
    """All pods' agents; `begin` is when the first may start, on the monotonic clock."""

    def __init__(
        self, clients: Mapping[str, Ec2Client], starts: Mapping[str, float], patience: float
    ) -> None:
        self.begin = 0.0
        self.failures: Counter[str] = Counter()
        self._clients = clients
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
        pause = RESTART
        while start < end:
            time.sleep(max(0.0, start - time.monotonic()))
            if self._succeeds(pod):
                return
            self.failures["restarts"] += 1
            start, pause = time.monotonic() + pause, min(2 * pause, LONGEST_RESTART)
        self.failures["pods"] += 1

    def _succeeds(self, pod: FleetPod) -> bool:
        log = Log(stream=io.StringIO())
        cloud = OfNode(pod.node, self._clients[pod.node.name], log)
        agent = Agent(SETTINGS, Kernel(pod.eni.mac, pod.address), cloud, log, TIMING)
        report = init.run(agent, time.monotonic() + SETTINGS.timeout, TIMING)
        return report.exit_code == ExitCode.OK


if __name__ == "__main__":
    main()
