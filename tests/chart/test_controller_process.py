"""`ipagent controller` as processes on a real API server, against the strict EC2: leaders are killed."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ipagent.node_network_api import READY_PREFIX, STARTUP_TAINT
from tests.chart.conftest import Cluster
from tests.chart.network_rig import ATTACHMENT, NETWORK, NODE, OWN, client_with, report_link, token_of
from tests.chart.test_networks import api, manifest  # noqa: F401 - api is a fixture
from tests.cluster.api import Api
from tests.cluster.helm import NAMESPACE
from tests.cluster.kubeconfig import write_kubeconfig
from tests.cluster.processes import Process
from tests.cluster.waiting import wait_for
from tests.doubles import Doubles, Fault
from tests.doubles.state.resources import NetworkInterface

pytestmark = pytest.mark.cluster

REGION = "eu-central-1"
PROGRAM = Path(sys.executable).with_name("ipagent")
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-tests"}
NAMES = ("oam", "sig")
KILLS = 6
NODES = 3


VPC = "vpc-0123456789abcdef0"
GROUP = "sg-0a000000000000001"
ZONE = "eu-central-1a"
POLICY = Path(__file__).parents[2] / "examples" / "iam" / "controller.json"


def identifier(prefix: str, number: int) -> str:
    return f"{prefix}-{number + 1:017x}"


def world() -> dict[str, Any]:
    """Return nodes with one ENI, and a subnet for each network; rights are those of the shipped policy."""
    policy = json.loads(POLICY.read_text(encoding="utf-8"))
    key = {"id": KEYS["AWS_ACCESS_KEY_ID"], "secret": KEYS["AWS_SECRET_ACCESS_KEY"], "policy": policy}
    return {
        "region": REGION,
        "account": "111122223333",
        "throttling": "ec2",
        "attach_delay_ms": 300,
        "describe_delay_ms": 300,
        "access_keys": [key],
        "subnets": [
            {
                "id": identifier("subnet", number),
                "vpc": VPC,
                "cidr": f"10.10.{number}.0/24",
                "az": ZONE,
                "tags": {"multus": name},
            }
            for number, name in enumerate(("nodes", *NAMES))
        ],
        "security_groups": [{"id": GROUP, "vpc": VPC, "name": "own", "tags": {"multus": "oam"}}],
        "instances": [instance(number) for number in range(NODES)],
    }


def instance(number: int) -> dict[str, Any]:
    primary = {
        "id": identifier("eni", number),
        "mac": f"02:aa:00:00:00:0{number}",
        "device": 0,
        "subnet": identifier("subnet", 0),
        "primary": f"10.10.0.{10 + number}",
    }
    return {
        "id": identifier("i", number),
        "type": "m5.xlarge",
        "sources": [f"127.0.{number + 1}.1/32"],
        "tags": {"kubernetes.io/cluster/prod": "owned"},
        "interfaces": [primary],
    }


def ours(doubles: Doubles) -> list[NetworkInterface]:
    """Return the ENIs with the cluster's tag."""
    found = doubles.world.interfaces.values()
    return [each for each in found if each.tags.get("multus-eni.io/cluster") == "prod"]


@pytest.fixture
def account() -> Iterator[Doubles]:
    with Doubles(world()) as doubles:
        yield doubles


@dataclass
class Replicas:
    """Processes of the controller; the Lease says which one leads."""

    folder: Path
    kubeconfig: Path
    url: str
    running: list[Process] = field(default_factory=list)
    more: tuple[str, ...] = ()
    """Further arguments."""

    def start(self) -> None:
        """Start one more."""
        argv: list[str | Path] = [PROGRAM, "controller", "--cluster=prod", f"--region={REGION}"]
        env = {**KEYS, "AWS_ENDPOINT_URL_EC2": self.url, "KUBECONFIG": str(self.kubeconfig)}
        log = self.folder / f"controller-{time.monotonic_ns()}.log"
        process = Process(
            "controller",
            [*argv, f"--namespace={NAMESPACE}", "--lease-duration=2", *self.more],
            log=log,
            env=env,
        )
        self.running.append(process.__enter__())

    def leader(self) -> Process | None:
        """Return the process that leads, by its log."""
        for process in self.running:
            if process.events("leading") and not process.events("stopped"):
                return process
        return None

    def kill_leader(self) -> None:
        """Kill -9 the leader, and start another replica."""
        leader = wait_for(self.leader, "a leader")
        leader.kill()
        self.replace(leader)

    def kill_leader_at_its_next_call(self, doubles: Doubles, *, effect: bool) -> None:
        """Have EC2 kill the leader before or after the effect of its next call that changes something."""
        leader = wait_for(self.leader, "a leader")
        doubles.put_faults(Fault("mutating", kill_pid=leader.pid, effect=effect, times=1))
        self.replace(leader)

    def replace(self, leader: Process) -> None:
        """Wait for the end of a leader, and start another replica."""
        wait_for(lambda: leader.ended, "a call by the leader that ends it", 60)
        self.running.remove(leader)
        self.start()

    def close(self) -> None:
        """End all of them."""
        for process in self.running:
            process.kill()


@pytest.fixture
def replicas(cluster: Cluster, api: Api, account: Doubles, tmp_path: Path) -> Iterator[Replicas]:  # noqa: ARG001, F811 - CRDs
    kubeconfig = tmp_path / "kubeconfig"
    write_kubeconfig(kubeconfig, cluster.plane.url, cluster.plane.ca.read_bytes(), token_of(cluster, OWN))
    found = Replicas(tmp_path, kubeconfig, account.ec2_url)
    yield found
    found.close()


@pytest.fixture
def links(cluster: Cluster, api: Api, tmp_path: Path) -> Iterator[None]:  # noqa: F811 - the fixture
    """Report each link as soon as its NodeAttachment has a MAC, as `ipagent links` does on every node."""
    stop = threading.Event()
    client = client_with(cluster, token_of(cluster, OWN), tmp_path)

    def work() -> None:
        while not stop.wait(0.2):
            for each in api.list(ATTACHMENT):
                status = each.get("status") or {}
                if status.get("attachment") and (status.get("link") or {}).get("mac") != status.get("mac"):
                    report_link(client, each["metadata"]["name"], status["mac"])

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield
    stop.set()
    thread.join(10)
    client.close()


@pytest.mark.usefixtures("links")
def test_leaders_that_are_killed_leave_one_eni_for_each_node_and_network(
    api: Api,  # noqa: F811 - the fixture
    account: Doubles,
    replicas: Replicas,
) -> None:
    nodes = {f"k{number}": identifier("i", number) for number in range(NODES)}
    for name, identity in nodes.items():
        labels = {"node-group": "multus", "topology.kubernetes.io/zone": ZONE}
        api.create(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": name, "labels": labels},
                "spec": {"providerID": f"aws:///{ZONE}/{identity}"},
            }
        )
    for name in NAMES:
        spec = {"subnetSelectorTerms": [{"tags": {"multus": name}}], "sourceDestCheck": False}
        api.create(manifest(name, **spec))
    replicas.start()
    replicas.start()
    for number in range(KILLS):
        replicas.kill_leader_at_its_next_call(account, effect=number % 3 != 2)

    def ready() -> bool:
        labels = [api.get(NODE, name)["metadata"]["labels"] for name in nodes]
        return all(each.get(READY_PREFIX + name) == "true" for each in labels for name in NAMES)

    wait_for(ready, "nodes with both networks", 120)
    made: Counter[tuple[str, str]] = Counter()
    for eni in ours(account):
        made[eni.tags["multus-eni.io/node"], eni.tags["multus-eni.io/network"]] += 1
        assert eni.instance == nodes[eni.tags["multus-eni.io/node"]]
        assert eni.source_dest_check is False
    assert made == {(node, name): 1 for node in nodes for name in NAMES}
    wait_for(
        lambda: not any(STARTUP_TAINT in str(api.get(NODE, name)["spec"]) for name in nodes),
        "the taints' end",
    )
    wait_for(
        lambda: all(eni.attachment and eni.attachment.ends_with_instance for eni in ours(account)),
        "DeleteOnTermination, which comes last",
    )
    # A node goes while leaders die.
    api.delete(NODE, "k0")
    replicas.kill_leader()
    wait_for(lambda: len(ours(account)) == 4, "the end of the node's ENIs", 120)
    for name in NAMES:
        api.delete(NETWORK, name)
    replicas.kill_leader()
    wait_for(lambda: not api.list(NETWORK), "the end of the networks", 180)
    assert ours(account) == []
    assert api.list(ATTACHMENT) == []
    left = ("k1", "k2")
    wait_for(
        lambda: not any(READY_PREFIX + "oam" in api.get(NODE, name)["metadata"]["labels"] for name in left),
        "the labels' end",
    )
    for name in left:
        api.delete(NODE, name)
