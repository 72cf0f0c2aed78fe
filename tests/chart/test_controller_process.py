"""`ipagent controller` as processes on a real API server, with moto as EC2: leaders are killed."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from ipagent.networkapi import READY_PREFIX, STARTUP_TAINT
from tests.chart.conftest import Cluster
from tests.chart.network_rig import ATTACHMENT, NETWORK, NODE, OWN, client_with, report_link, token_of
from tests.chart.test_networks import api, manifest  # noqa: F401 - api is a fixture
from tests.cluster.api import Api
from tests.cluster.helm import NAMESPACE
from tests.cluster.kubeconfig import write_kubeconfig
from tests.cluster.processes import Process
from tests.cluster.waiting import wait_for

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

pytestmark = pytest.mark.cluster

REGION = "eu-central-1"
PROGRAM = Path(sys.executable).with_name("ipagent")
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-tests"}
NAMES = ("oam", "sig")
KILLS = 4


@dataclass
class Account:
    """What people have made in EC2: a subnet for each network, a group, and instances."""

    ec2: EC2Client
    url: str
    subnet: str = ""
    zone: str = ""

    def prepare(self) -> None:
        """Make VPC, subnets and group."""
        vpc = self.ec2.create_vpc(CidrBlock="10.10.0.0/16")["Vpc"]["VpcId"]
        for number, name in enumerate(("nodes", *NAMES)):
            made = self.ec2.create_subnet(
                VpcId=vpc,
                CidrBlock=f"10.10.{number}.0/24",
                AvailabilityZone="eu-central-1a",
                TagSpecifications=tagged("subnet", name),
            )["Subnet"]
            self.subnet, self.zone = self.subnet or made["SubnetId"], made["AvailabilityZone"]
        self.ec2.create_security_group(
            GroupName="own", Description="own", VpcId=vpc, TagSpecifications=tagged("security-group", "oam")
        )

    def launch(self) -> str:
        """Start an instance; returns its id."""
        image = self.ec2.describe_images()["Images"][0]["ImageId"]
        started = self.ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, SubnetId=self.subnet)
        return started["Instances"][0]["InstanceId"]

    def ours(self) -> list[dict[str, Any]]:
        """Return the ENIs with the cluster's tag."""
        filters = [{"Name": "tag:multus-eni.io/cluster", "Values": ["prod"]}]
        found: Any = self.ec2.describe_network_interfaces(Filters=filters)["NetworkInterfaces"]  # type: ignore[arg-type] # by name
        return list(found)


def tagged(kind: str, name: str) -> Any:
    return [{"ResourceType": kind, "Tags": [{"Key": "multus", "Value": name}]}]


@pytest.fixture
def account() -> Iterator[Account]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    ec2 = boto3.client(
        "ec2",
        region_name=REGION,
        endpoint_url=url,
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
    )
    made = Account(ec2, url)
    made.prepare()
    yield made
    ec2.close()
    server.stop()


@dataclass
class Replicas:
    """Processes of the controller; the Lease says which one leads."""

    folder: Path
    kubeconfig: Path
    url: str
    running: list[Process] = field(default_factory=list)

    def start(self) -> None:
        """Start one more."""
        argv: list[str | Path] = [PROGRAM, "controller", "--cluster=prod", f"--region={REGION}"]
        env = {**KEYS, "AWS_ENDPOINT_URL_EC2": self.url, "KUBECONFIG": str(self.kubeconfig)}
        log = self.folder / f"controller-{time.monotonic_ns()}.log"
        process = Process(
            "controller", [*argv, f"--namespace={NAMESPACE}", "--lease-duration=2"], log=log, env=env
        )
        self.running.append(process.__enter__())

    def leader(self) -> Process | None:
        """Return the process that leads, by its log."""
        for process in self.running:
            if process.events("leading") and not process.events("stopped"):
                return process
        return None

    def kill_leader(self) -> None:
        """Kill -9 the leader some milliseconds after there is one; start another replica."""
        leader = wait_for(self.leader, "a leader")
        time.sleep(random.uniform(0.0, 0.6))
        leader.kill()
        self.running.remove(leader)
        self.start()

    def close(self) -> None:
        """End all of them."""
        for process in self.running:
            process.kill()


@pytest.fixture
def replicas(cluster: Cluster, api: Api, account: Account, tmp_path: Path) -> Iterator[Replicas]:  # noqa: ARG001, F811 - CRDs
    kubeconfig = tmp_path / "kubeconfig"
    write_kubeconfig(kubeconfig, cluster.plane.url, cluster.plane.ca.read_bytes(), token_of(cluster, OWN))
    found = Replicas(tmp_path, kubeconfig, account.url)
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
    account: Account,
    replicas: Replicas,
) -> None:
    nodes = {f"k{number}": account.launch() for number in range(3)}
    for name, instance in nodes.items():
        labels = {"node-group": "multus", "topology.kubernetes.io/zone": account.zone}
        provider = {"providerID": f"aws:///{account.zone}/{instance}"}
        api.create(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": name, "labels": labels},
                "spec": provider,
            }
        )
    for name in NAMES:
        # moto does not keep DeleteOnTermination.
        spec = {"subnetSelectorTerms": [{"tags": {"multus": name}}], "sourceDestCheck": False}
        api.create(manifest(name, **spec, deleteOnTermination=False))
    replicas.start()
    replicas.start()
    for _ in range(KILLS):
        replicas.kill_leader()

    def ready() -> bool:
        labels = [api.get(NODE, name)["metadata"]["labels"] for name in nodes]
        return all(each.get(READY_PREFIX + name) == "true" for each in labels for name in NAMES)

    wait_for(ready, "nodes with both networks", 120)
    made: Counter[tuple[str, str]] = Counter()
    for eni in account.ours():
        tags = {tag["Key"]: tag["Value"] for tag in eni["TagSet"]}
        made[tags["multus-eni.io/node"], tags["multus-eni.io/network"]] += 1
        assert eni["Attachment"]["InstanceId"] == nodes[tags["multus-eni.io/node"]]
        assert eni["SourceDestCheck"] is False
    assert made == {(node, name): 1 for node in nodes for name in NAMES}
    wait_for(
        lambda: not any(STARTUP_TAINT in str(api.get(NODE, name)["spec"]) for name in nodes),
        "the taints' end",
    )
    # A node goes while leaders die.
    api.delete(NODE, "k0")
    replicas.kill_leader()
    wait_for(lambda: len(account.ours()) == 4, "the end of the node's ENIs", 120)
    for name in NAMES:
        api.delete(NETWORK, name)
    replicas.kill_leader()
    wait_for(lambda: not api.list(NETWORK), "the end of the networks", 180)
    assert account.ours() == []
    assert api.list(ATTACHMENT) == []
    for name in ("k1", "k2"):
        assert READY_PREFIX + "oam" not in api.get(NODE, name)["metadata"]["labels"]
        api.delete(NODE, name)
