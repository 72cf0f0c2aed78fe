"""Two replicas at the default terms of their Lease, nodes that are ready, and nothing to do.

Then kubelets reset their nodes' resources, as one that starts may do, and the leader writes them again.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common.command import progress
from benchmarks.common.machine import this_machine
from benchmarks.common.memory import memory_of
from benchmarks.controller.table import NETWORKS, Replica, Results
from common.kube.client import Client
from common.kube.kubeconfig import load_kubeconfig
from common.kube.timestamps import timestamp
from ipagent.node.reconcile.usage import PodUsage, usage_body
from ipagent.node_network_api import ATTACHMENTS, NODE_MANAGER, RESOURCE_PREFIX
from tests.chart.network_rig import ATTACHMENT, NODE, report_link
from tests.chart.values import REQUIRED
from tests.cluster.api import Api, Kind, Manifest
from tests.cluster.control_plane import ControlPlane
from tests.cluster.helm import Helm, merged
from tests.cluster.processes import Process
from tests.cluster.tools import Missing, find_binaries
from tests.cluster.waiting import wait_for
from tests.doubles import Doubles

REGION, ZONE = "eu-central-1", "eu-central-1a"
VPC, GROUP = "vpc-0123456789abcdef0", "sg-0a000000000000001"
RESOURCES = tuple(RESOURCE_PREFIX + name for name in NETWORKS)
TYPE = "m5.xlarge"
LIBRARIES = ("botocore",)
PROGRAM = Path(sys.executable).with_name("ipagent")
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "helm4")
SECONDS = 180.0
REPORT = 300.0
"""Seconds between two reports of a kubelet of which only the times differ (nodeStatusReportFrequency)."""
NO_LIFECYCLE = ("--controllers=*,-node-lifecycle-controller",)
"""No kubelet runs here: that controller would go on marking and tainting the nodes."""
_CRD = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition")


class BenchError(Exception):
    """Something did not run; the text says what."""


def run(*, nodes: int, seconds: float, resets: int) -> Results:
    """Make nodes ready, and measure for so many seconds, then so many resets. Raises BenchError."""
    binaries = find_binaries(PROGRAMS)
    if isinstance(binaries, Missing):
        raise BenchError(str(binaries))
    report = progress("controller")
    machine = this_machine(LIBRARIES, report)
    with (
        tempfile.TemporaryDirectory(prefix="bench-controller-") as made,
        Doubles(_world(nodes)) as doubles,
        ControlPlane(binaries, controller_flags=NO_LIFECYCLE) as plane,
        plane.client() as api,
    ):
        folder = Path(made)
        _install(api, Helm(binaries["helm4"], folder))
        kubeconfig = plane.kubeconfig(plane.admin)
        env = {
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "AWS_ENDPOINT_URL_EC2": doubles.ec2_url,
            "KUBECONFIG": str(kubeconfig),
        }
        argv = [str(PROGRAM), "controller", "--cluster=prod", f"--region={REGION}", "--namespace=default"]
        with (
            Process("one", argv, log=folder / "one.log", env=env) as one,
            Process("two", argv, log=folder / "two.log", env=env) as two,
        ):
            report(f"{nodes} nodes with {len(NETWORKS)} networks are made ready")
            _make_ready(api, Client(load_kubeconfig([kubeconfig]), "bench"), nodes)
            report(f"rest for {seconds:.0f} s")
            calls, replicas = _rest(api, doubles, {"leads": one, "waits": two}, nodes, seconds)
            report(f"{resets} kubelets reset their nodes' resources")
            found = tuple(_reset(api, f"n{number % nodes}") for number in range(resets))
            return Results(machine, nodes, seconds, calls, replicas, found)


def _rest(
    api: Api, doubles: Doubles, replicas: dict[str, Process], nodes: int, seconds: float
) -> tuple[int, tuple[Replica, ...]]:
    """Return the calls to EC2, and what each replica took."""
    if not replicas["leads"].events("leading"):
        replicas = {"leads": replicas["waits"], "waits": replicas["leads"]}

    def quiet() -> bool:
        before = len(doubles.journal())
        time.sleep(5)
        return len(doubles.journal()) == before

    wait_for(quiet, "end of calls to EC2", SECONDS)
    calls = len(doubles.journal())
    before = {role: _used(process.pid) for role, process in replicas.items()}
    _report_as_kubelets(api, nodes, seconds)
    found = []
    for role, process in replicas.items():
        cpu, switches = (now - then for now, then in zip(_used(process.pid), before[role], strict=True))
        rss = memory_of(process.pid).rss
        found.append(Replica(role, cpu * 1000 / seconds, switches / seconds, rss))
    return len(doubles.journal()) - calls, tuple(found)


def _reset(api: Api, node: str) -> float:
    """Reset a node's resources as kubernetes#73948 has it; returns when they are back, in milliseconds."""
    before = _advertised(api, node)
    nothing = dict.fromkeys(RESOURCES, "0")
    # At another moment of the leader's pauses each time.
    time.sleep(random.uniform(0, 1))  # noqa: S311 - no secret
    began = time.monotonic()
    api.patch_status(NODE, node, {"capacity": nothing, "allocatable": nothing})
    while _advertised(api, node) != before:
        if time.monotonic() - began > SECONDS:
            raise BenchError(f"the resources of node {node} did not come back within {SECONDS:g} s")
        time.sleep(0.005)
    return (time.monotonic() - began) * 1000


def _advertised(api: Api, node: str) -> dict[tuple[str, str], str]:
    status = api.get(NODE, node)["status"]
    kinds = ("capacity", "allocatable")
    return {(kind, name): status.get(kind, {}).get(name, "") for kind in kinds for name in RESOURCES}


def _report_as_kubelets(api: Api, nodes: int, seconds: float) -> None:
    """Have the nodes' kubelets report in turn, for so many seconds."""
    end, number = time.monotonic() + seconds, 0
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, REPORT / nodes))
        ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": timestamp()}
        api.patch_status(NODE, f"n{number % nodes}", {"conditions": [ready]})
        number += 1


def _used(pid: int) -> tuple[float, float]:
    """Return the CPU seconds and context switches of all threads (proc(5), task/*/schedstat and status)."""
    cpu = switches = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        cpu += int((task / "schedstat").read_text(encoding="ascii").split()[0]) / 1e9
        for line in (task / "status").read_text(encoding="ascii").splitlines():
            if "ctxt_switches" in line:
                switches += int(line.split()[1])
    return cpu, switches


def _install(api: Api, helm: Helm) -> None:
    for each in helm.render(merged(REQUIRED, {"controller": {"enabled": True, "clusterName": "prod"}})):
        if each["kind"] == "CustomResourceDefinition":
            api.apply(each)

    def served() -> bool:
        names = [each["metadata"]["name"] for each in api.list(_CRD) if _established(each)]
        return {"nodenetworks.multus-eni.io", "nodeattachments.multus-eni.io"} <= set(names)

    wait_for(served, "service of the CRDs", SECONDS)


def _established(crd: Manifest) -> bool:
    conditions = crd.get("status", {}).get("conditions") or []
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


def _make_ready(api: Api, client: Client, nodes: int) -> None:
    for number in range(nodes):
        labels = {
            "node-group": "multus",
            "topology.kubernetes.io/zone": ZONE,
            "node.kubernetes.io/instance-type": TYPE,
        }
        api.create(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": f"n{number}", "labels": labels},
                "spec": {"providerID": f"aws:///{ZONE}/{_instance_id(number)}"},
            }
        )
    for name in NETWORKS:
        api.create(
            {
                "apiVersion": "multus-eni.io/v1alpha1",
                "kind": "NodeNetwork",
                "metadata": {"name": name},
                "spec": {
                    "nodeSelector": {"matchLabels": {"node-group": "multus"}},
                    "subnetSelectorTerms": [{"tags": {"multus": name}}],
                    "securityGroupSelectorTerms": [{"tags": {"multus": "own"}}],
                },
            }
        )

    def ready() -> bool:
        for each in api.list(ATTACHMENT):
            status = each.get("status") or {}
            if status.get("attachment") and (status.get("link") or {}).get("mac") != status.get("mac"):
                report_link(client, each["metadata"]["name"], status["mac"])
            if status.get("mac") and (status.get("pods") or {}).get("mac") != status["mac"]:
                _report_no_pods(client, each["metadata"]["name"], status["mac"])
        labels = [each["metadata"]["labels"] for each in api.list(NODE)]
        advertised = [count for number in range(nodes) for count in _advertised(api, f"n{number}").values()]
        return all(f"network.multus-eni.io/{name}" in each for each in labels for name in NETWORKS) and all(
            advertised
        )

    wait_for(ready, "nodes with their networks", SECONDS)


def _report_no_pods(client: Client, name: str, mac: str) -> None:
    path = f"{ATTACHMENTS}/{name}/status"
    client.apply(path, "report pods", usage_body(name, PodUsage(mac)), manager=NODE_MANAGER, force=True)


def _world(nodes: int) -> dict[str, Any]:
    names = ("nodes", *NETWORKS)
    return {
        "region": REGION,
        "account": "111122223333",
        "subnets": [
            {
                "id": f"subnet-{number + 1:017x}",
                "vpc": VPC,
                "cidr": f"10.10.{number}.0/24",
                "az": ZONE,
                "tags": {"multus": name},
            }
            for number, name in enumerate(names)
        ],
        "security_groups": [{"id": GROUP, "vpc": VPC, "name": "own", "tags": {"multus": "own"}}],
        "instances": [_instance(number) for number in range(nodes)],
    }


def _instance(number: int) -> dict[str, Any]:
    primary = {
        "id": f"eni-{number + 1:017x}",
        "mac": f"02:aa:00:00:00:{number:02x}",
        "device": 0,
        "subnet": f"subnet-{1:017x}",
        "primary": f"10.10.0.{10 + number}",
    }
    return {
        "id": _instance_id(number),
        "type": TYPE,
        "sources": [f"127.0.{number + 1}.1/32"],
        "interfaces": [primary],
    }


def _instance_id(number: int) -> str:
    return f"i-{number + 1:017x}"
