"""`ipagent controller` as a process beside a VPC CNI that takes device indexes while it attaches ENIs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from ipagent.controller.model.node_attachment import ATTACHED
from tests import programs
from tests.cluster.api import Api, Kind
from tests.cluster.control_plane import ControlPlane
from tests.cluster.namespaces import Namespaces
from tests.cluster.node_agents import NODE
from tests.cluster.nodes.cloud import CloudControl
from tests.cluster.processes import Process
from tests.cluster.waiting import wait_for
from tests.doubles import Doubles
from tests.doubles.vpc_cni import FakeVpcCni
from tests.ipagent.worlds import KEY, NODE_CIDR, OTHER_CIDR, POD_CIDR, REGION, SECRET, SUBNETS, VPC

pytestmark = pytest.mark.cluster

CRDS = Path(__file__).parents[2] / "charts" / "multus-eni-injector" / "files" / "crds"
NODE_NETWORK = Kind("multus-eni.io/v1alpha1", "NodeNetwork")
NODE_ATTACHMENT = Kind("multus-eni.io/v1alpha1", "NodeAttachment")
ATTACH = "AttachNetworkInterface"
GROUP = "sg-0b000000000000001"
INSTANCES = {name: f"i-0a00000000000000{number}" for number, name in enumerate(("grabbed-1", "grabbed-2"), 1)}
TYPE = "m5.24xlarge"
"""With 15 interfaces: there is room for two networks, however fast the VPC CNI is."""


def account() -> dict[str, Any]:
    """Return two instances with their primary interfaces, and subnets for networks."""
    return {
        "region": REGION,
        "account": "123456789012",
        "access_keys": [{"id": KEY, "secret": SECRET}],
        "roles": [],
        "attach_delay_ms": 100,
        "subnets": [
            {"id": identifier, "vpc": VPC, "cidr": cidr, "az": "eu-central-1a"}
            for cidr, identifier in SUBNETS.items()
        ],
        "security_groups": [{"id": GROUP, "vpc": VPC, "name": "multus"}],
        "instances": [
            {
                "id": instance,
                "type": TYPE,
                "sources": [f"10.10.0.{16 * number}/28"],
                "interfaces": [
                    {
                        "id": f"eni-0a00000000000000{number}",
                        "mac": f"02:aa:00:00:00:0{number}",
                        "device": 0,
                        "subnet": SUBNETS[NODE_CIDR],
                        "primary": f"10.10.0.{9 + number}",
                    }
                ],
            }
            for number, instance in enumerate(INSTANCES.values(), 1)
        ],
    }


@dataclass(frozen=True)
class Stage:
    """The nodes of the account on an API server, and the controller that leads."""

    api: Api
    cloud: CloudControl
    controller: Process
    cni: FakeVpcCni

    def add_network(self, name: str, cidr: str) -> None:
        """Create a NodeNetwork of both nodes in a subnet."""
        spec = {
            "nodeSelector": {"matchLabels": {"grabbed": "true"}},
            "subnetSelectorTerms": [{"id": SUBNETS[cidr]}],
            "securityGroupSelectorTerms": [{"id": GROUP}],
        }
        network = {"apiVersion": NODE_NETWORK.api_version, "kind": NODE_NETWORK.kind}
        self.api.create({**network, "metadata": {"name": name}, "spec": spec})

    def attached(self, network: str) -> dict[str, dict[str, Any]] | None:
        """Return the interface that each node has of a network; None as long as one lacks it."""
        found = {}
        for each in self.api.list(NODE_ATTACHMENT):
            status = each.get("status") or {}
            states = {one["type"]: one["status"] for one in status.get("conditions", ())}
            if each["spec"]["network"] == network and states.get(ATTACHED) == "True":
                found[each["spec"]["node"]] = self.cloud.interface(status["eni"])
        return found if found.keys() == INSTANCES.keys() else None

    def wait_attached(self, network: str) -> dict[str, dict[str, Any]]:
        """Wait until each node has its interface of a network."""
        return wait_for(lambda: self.attached(network), f"the interfaces of {network}", 60)


@pytest.fixture
def stage(control_plane: ControlPlane, api: Api, tmp_path: Path) -> Iterator[Stage]:
    namespace = Namespaces(api, "none", "controller").make().name
    for file in sorted(CRDS.glob("*.yaml")):
        crd = yaml.safe_load(file.read_text(encoding="utf-8"))
        api.apply(crd)
        wait_for(partial(established, api, crd["metadata"]["name"]), "the resource to be served", 60)
    for name, instance in INSTANCES.items():
        spec = {"providerID": f"aws:///eu-central-1a/{instance}"}
        labels = {"grabbed": "true", "node.kubernetes.io/instance-type": TYPE}
        api.create(
            {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
            | {"spec": spec}
        )
    with Doubles(account()) as doubles, CloudControl(doubles.ec2_url) as cloud:
        env = {
            "AWS_ENDPOINT_URL_EC2": doubles.ec2_url,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "KUBECONFIG": str(control_plane.kubeconfig(control_plane.admin)),
        }
        argv = [
            programs.IPAGENT,
            "controller",
            "--cluster=grabbed",
            f"--namespace={namespace}",
            "--log-format=json",
        ]
        with (
            Process("controller", argv, log=tmp_path / "log", env=env) as controller,
            closing(cloud.ec2(KEY, SECRET)) as ec2,
        ):
            controller.wait_until(lambda: controller.events("leading"), "line that it leads", 60)
            cni = FakeVpcCni(ec2, dict.fromkeys(INSTANCES.values(), SUBNETS[NODE_CIDR]), pause=(0.1, 0.5))
            yield Stage(api, cloud, controller, cni)
    for name in INSTANCES:
        api.delete(NODE, name)


def established(api: Api, name: str) -> bool:
    """Return whether the API server serves a custom resource."""
    found = api.get(Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition"), name)
    conditions = found.get("status", {}).get("conditions") or ()
    return any((each["type"], each["status"]) == ("Established", "True") for each in conditions)


def test_an_index_that_the_vpc_cni_takes_in_between_is_left_to_it(stage: Stage) -> None:
    # The call is on its way, and the VPC CNI takes the index that it names.
    stage.cloud.put_faults({"action": ATTACH, "effect_delay_ms": 1500, "effect": True, "times": 1})
    stage.add_network("oam", POD_CIDR)
    wait_for(lambda: not stage.cloud.faults(), "the call that attaches", 60)
    grabbed = [stage.cni.grab(instance) for instance in INSTANCES.values()]
    found = stage.wait_attached("oam")
    refused = [call for call in stage.cloud.journal(ATTACH) if call["result"] == "InvalidParameterValue"]
    assert refused
    assert None not in grabbed
    # Meanwhile and at random: whoever is faster has the index, and neither takes it from the other.
    with stage.cni:
        stage.add_network("sig", OTHER_CIDR)
        found |= {f"{node} sig": eni for node, eni in stage.wait_attached("sig").items()}
    assert stage.cni.lost() == []
    mine = {eni["id"] for eni in found.values()}
    assert len(mine) == 2 * len(INSTANCES)
    # Nothing is left that is attached nowhere: each refusal is followed by another index of the same ENI.
    enis = stage.cloud.state()["interfaces"]
    assert {eni["id"] for eni in enis if eni["attachment"] is None} == set()
    assert len(enis) == len(INSTANCES) + len(mine) + len(stage.cni.held)
    # The networks go with their interfaces, and with nothing of the VPC CNI's.
    for network in ("oam", "sig"):
        stage.api.delete(NODE_NETWORK, network)
    wait_for(lambda: not stage.api.list(NODE_ATTACHMENT), "the end of the NodeAttachments", 60)
    left = {eni["id"] for eni in stage.cloud.state()["interfaces"]}
    assert len(left) == len(INSTANCES) + len(stage.cni.held)
    assert left.isdisjoint(mine)
    assert stage.cni.lost() == []
    assert not stage.controller.ended
