"""Elastic IPs: `ipagent controller` as processes on a real API server, with the chart's rights there and the
shipped policy's in EC2. Leaders are killed; pods die while nobody leads; addresses move."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from common.pod_keys import EIP, EIP_CONDITION, EIP_LABEL
from ipagent.network_status_origin import NETWORK_STATUS
from tests.chart.conftest import Cluster
from tests.chart.network_rig import EVENT, NODE, OWN, token_of
from tests.chart.test_controller_process import KEYS, REGION, VPC, ZONE, Replicas, identifier
from tests.chart.test_networks import api  # noqa: F401 - a fixture
from tests.chart.values import CONTROLLER, REQUIRED
from tests.cluster.api import Api, Kind
from tests.cluster.helm import Helm, merged, only
from tests.cluster.kubeconfig import write_kubeconfig
from tests.cluster.namespaces import ready_namespace
from tests.cluster.waiting import wait_for
from tests.doubles import Doubles

pytestmark = pytest.mark.cluster

POD = Kind("v1", "Pod")
VOICE, MEDIA = "voice", "media"
GRANTS = {
    VOICE: {"pools": {"sip": {"tags": {"pool": "sip"}}}, "cidrs": ["10.10.1.192/26"]},
    MEDIA: {"pools": {"rtp": {"tags": {"pool": "rtp"}}}},
}
POLICY = Path(__file__).parents[2] / "examples" / "iam" / "controller-eips.json"
ADMIN = {"id": "AKIAADMINADMIN000001", "secret": "an-administrators-secret"}
NODES = ("e0", "e1")
FLOATING = "10.10.1.200"
_numbers = itertools.count(20)


def world() -> dict[str, Any]:
    """Return two nodes with an ENI for pods each, and Elastic IPs of three pools."""
    policy = json.loads(POLICY.read_text(encoding="utf-8"))
    key = {"id": KEYS["AWS_ACCESS_KEY_ID"], "secret": KEYS["AWS_SECRET_ACCESS_KEY"], "policy": policy}
    subnets = [
        {"id": identifier("subnet", number), "vpc": VPC, "cidr": f"10.10.{number}.0/24", "az": ZONE}
        for number in range(2)
    ]
    pools = ["sip"] * 3 + ["rtp"] + ["oam"]
    return {
        "region": REGION,
        "account": "111122223333",
        "throttling": "ec2",
        "access_keys": [key, ADMIN],
        "subnets": subnets,
        "instances": [instance(number) for number in range(len(NODES))],
        "elastic_ips": [
            {
                "id": identifier("eipalloc", number),
                "public_ip": f"198.51.100.{number}",
                "tags": {"pool": pool},
            }
            for number, pool in enumerate(pools)
        ],
    }


def instance(number: int) -> dict[str, Any]:
    return {
        "id": identifier("i", number),
        "type": "m5.4xlarge",
        "sources": [f"127.0.{number + 1}.1/32"],
        "interfaces": [
            {
                "id": identifier("eni", 10 * device + number),
                "mac": f"02:aa:00:00:0{device}:0{number}",
                "device": device,
                "subnet": identifier("subnet", device),
                "primary": f"10.10.{device}.{10 + number}",
                "tags": {"node.k8s.amazonaws.com/no_manage": "true"} if device else {},
            }
            for device in range(2)
        ],
    }


class Stage:
    """Pods as kubelet, Multus and the agent leave them, and what becomes of them."""

    def __init__(self, api: Api, double: Doubles) -> None:  # noqa: F811 - the fixture's value
        self.api = api
        self.double = double
        self.ec2 = boto3.client(
            "ec2",
            endpoint_url=double.ec2_url,
            region_name=REGION,
            aws_access_key_id=ADMIN["id"],
            aws_secret_access_key=ADMIN["secret"],
        )

    def assign(self, private: str, node: str) -> None:
        """Assign an address to the node's ENI for pods, as an agent does."""
        self.ec2.assign_private_ip_addresses(
            NetworkInterfaceId=identifier("eni", 10 + NODES.index(node)),
            PrivateIpAddresses=[private],
            AllowReassignment=True,
        )

    def run_pod(
        self, name: str, claims: str, node: str = NODES[0], namespace: str = VOICE, *, kept: bool = False
    ) -> str:
        """Run a pod with an address on net1; returns the address."""
        private = f"10.10.1.{next(_numbers)}"
        owner = {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "name": "sip",
            "uid": "uid",
            "controller": True,
        }
        self.api.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": name,
                    "labels": {EIP_LABEL: "true"},
                    "annotations": {EIP: claims},
                    "ownerReferences": [owner] if kept else [],
                },
                "spec": {"nodeName": node, "containers": [{"name": "app", "image": "busybox"}]},
            },
            namespace,
        )
        status = json.dumps([{"name": "voice/oam", "interface": "net1", "ips": [private]}])
        self.api.annotate_pod(name, namespace, {NETWORK_STATUS: status})
        self.assign(private, node)
        return private

    def condition(self, name: str, namespace: str = VOICE) -> dict[str, str]:
        """Return our condition of a pod; empty if it has none."""
        status = self.api.get(POD, name, namespace).get("status") or {}
        found = [each for each in status.get("conditions", ()) if each["type"] == EIP_CONDITION]
        return found[0] if found else {}

    def wait_until(self, reason: str, name: str, namespace: str = VOICE) -> dict[str, str]:
        """Wait for a reason of the condition; returns the condition."""

        def reached() -> dict[str, str] | None:
            found = self.condition(name, namespace)
            return found if found.get("reason") == reason else None

        return wait_for(reached, f"{reason} of {name}", 60)

    def event(self, reason: str) -> dict[str, Any]:
        """Wait for an Event: it is written after the condition."""

        def written() -> dict[str, Any] | None:
            return next((each for each in self.api.list(EVENT, VOICE) if each["reason"] == reason), None)

        return wait_for(written, f"the Event {reason}", 60)


@pytest.fixture
def stage(api: Api, cluster: Cluster, helm: Helm) -> Iterator[Stage]:  # noqa: F811 - the fixture
    granted = helm.render(merged(REQUIRED, merged(CONTROLLER, {"controller": {"eips": GRANTS}})))
    cluster.api.apply(only(granted, "ClusterRole", OWN))
    for name in (VOICE, MEDIA):
        api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        ready_namespace(api, name)
    for number, name in enumerate(NODES):
        provider = f"aws:///{ZONE}/{identifier('i', number)}"
        api.create(
            {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"providerID": provider}}
        )
    with Doubles(world()) as double:
        yield Stage(api, double)
    for namespace in (VOICE, MEDIA):
        for pod in api.list(POD, namespace):
            api.delete(POD, pod["metadata"]["name"], namespace)
    for name in NODES:
        api.delete(NODE, name)


@pytest.fixture
def replicas(cluster: Cluster, stage: Stage, tmp_path: Path) -> Iterator[Replicas]:
    kubeconfig = tmp_path / "kubeconfig"
    write_kubeconfig(kubeconfig, cluster.plane.url, cluster.plane.ca.read_bytes(), token_of(cluster, OWN))
    arguments = (f"--eips={json.dumps(GRANTS)}",)
    found = Replicas(tmp_path, kubeconfig, stage.double.ec2_url, more=arguments)
    yield found
    found.close()


def test_pods_have_elastic_ips_whoever_leads(stage: Stage, replicas: Replicas) -> None:
    double = stage.double
    replicas.start()
    replicas.start()
    wait_for(replicas.leader, "a leader")
    # Leaders are killed before and after the effect of their calls.
    first = stage.run_pod("sip-0", "net1=pool/sip", kept=True)
    for effect in (True, False, True):
        replicas.kill_leader_at_its_next_call(double, effect=effect)
    said = stage.wait_until("Associated", "sip-0")
    (mine,) = double.elastic_ip(first)
    public = double.world.elastic_ips[mine].public_ip
    assert said["status"] == "True"
    assert f"{public} ({mine}) is associated with {first}" in said["message"]
    # A StatefulSet makes it again on another node, with another address.
    stage.api.delete(POD, "sip-0", VOICE)
    second = stage.run_pod("sip-0", "net1=pool/sip", NODES[1], kept=True)
    stage.wait_until("Associated", "sip-0")
    assert (double.elastic_ip(first), double.elastic_ip(second)) == ((), (mine,))
    # An address that moves, of two pods: its Elastic IP follows without a call.
    for node in NODES:
        stage.run_pod(f"keepalived-{node}", f"{FLOATING}=pool/sip", node)
    stage.assign(FLOATING, NODES[0])
    stage.wait_until("Associated", "keepalived-e0")
    (shared,) = double.elastic_ip(FLOATING)
    calls = len(double.journal("AssociateAddress"))
    for node in (NODES[1], NODES[0], NODES[1]):
        stage.assign(FLOATING, node)
        assert double.elastic_ip(FLOATING) == (shared,)
    # Another namespace's pool, and two pods for one Elastic IP.
    stage.run_pod("thief", "net1=pool/sip", namespace=MEDIA)
    assert "controller.eips.media.pools.sip" in stage.wait_until("NotGranted", "thief", MEDIA)["message"]
    stage.run_pod("second", f"net1={mine}")
    assert "voice/sip-0" in stage.wait_until("HeldByPod", "second")["message"]
    assert len(double.journal("AssociateAddress")) == calls
    assert stage.event("ElasticIPHeldByPod")["type"] == "Warning"
    assert stage.event("ElasticIPAssociated")["involvedObject"]["namespace"] == VOICE
    # The pods die while nobody leads.
    replicas.close()
    replicas.running.clear()
    for name in ("sip-0", "second", *(f"keepalived-{node}" for node in NODES)):
        stage.api.delete(POD, name, VOICE)
    replicas.start()
    wait_for(lambda: not double.elastic_ip(second) and not double.elastic_ip(FLOATING), "their end", 60)
    assert double.world.elastic_ips[mine].tags["multus-eni.io/pod"] == "voice/sip-0"
    untouched = [each for each in double.world.elastic_ips.values() if each.tags["pool"] != "sip"]
    assert [set(each.tags) for each in untouched] == [{"pool"}, {"pool"}]
    third = stage.run_pod("sip-0", "net1=pool/sip", kept=True)
    stage.wait_until("Associated", "sip-0")
    assert double.elastic_ip(third) == (mine,)


def test_a_refusal_of_ec2_is_on_the_pod_and_ends_by_itself(stage: Stage, replicas: Replicas) -> None:
    stage.double.change_settings(internet_gateways=[])
    replicas.start()
    private = stage.run_pod("sip-1", "net1=pool/sip", kept=True)

    said = stage.wait_until("NoInternetGateway", "sip-1")
    assert said["status"] == "False"
    assert "Gateway.NotAttached" in said["message"]
    assert "attach an internet gateway to the VPC" in said["message"]
    stage.double.change_settings(internet_gateways=[VPC])
    stage.wait_until("Associated", "sip-1")
    assert len(stage.double.elastic_ip(private)) == 1
