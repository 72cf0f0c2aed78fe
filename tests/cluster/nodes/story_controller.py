"""The release with the controller under the rights of examples/iam, and what it makes of nodes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.cluster.api import Kind, Manifest
from tests.cluster.nodes.cluster import Cluster
from tests.cluster.nodes.plan import CLUSTER, REGION, ROLE, SECONDARY, VPC
from tests.cluster.nodes.story_cloud import Held, pairs
from tests.cluster.nodes.story_pods import Running
from tests.cluster.nodes.workloads import NODE
from tests.cluster.waiting import wait_for
from tests.doubles.config.credentials import DEFAULT_KEY_ID, DEFAULT_SECRET

NODE_NETWORK = Kind("multus-eni.io/v1alpha1", "NodeNetwork")
NODE_ATTACHMENT = Kind("multus-eni.io/v1alpha1", "NodeAttachment")
IAM = Path(__file__).parents[3] / "examples" / "iam"
KEY = {"id": "AKIAI44QH8DHBEXAMPLE", "secret": "je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY"}
ADOPTED = {"multus": "true"}
"""The tag of ENIs to adopt, which the controller's policy has to name, too."""
SECONDS = 180.0


def policy(name: str, *more: Mapping[str, Any]) -> dict[str, Any]:
    """Return an example policy with this account's VPC and subnets in the place of the example's."""
    text = (IAM / name).read_text(encoding="utf-8")
    for example, ours in (
        ("vpc-0123456789abcdef0", VPC),
        ("subnet-0123456789abcdef0", SECONDARY[0].id),
        ("subnet-0123456789abcdef1", SECONDARY[1].id),
    ):
        text = text.replace(example, ours)
    found: dict[str, Any] = json.loads(text)
    found["Statement"] += more
    return found


def account() -> dict[str, Any]:
    """Return rights and a security group: keys of the doubles' world."""
    adopting = {
        "Effect": "Allow",
        "Action": ["ec2:AttachNetworkInterface", "ec2:DetachNetworkInterface"],
        "Resource": "arn:aws:ec2:*:*:network-interface/*",
        "Condition": {"StringEquals": {f"aws:ResourceTag/{key}": value for key, value in ADOPTED.items()}},
    }
    return {
        "access_keys": [
            {"id": DEFAULT_KEY_ID, "secret": DEFAULT_SECRET, "actions": ["*"]},
            {**KEY, "policy": policy("controller.json", adopting)},
        ],
        "roles": [{"name": ROLE, "policy": policy("node-agent.json")}],
        "security_groups": [
            {"id": "sg-0b000000000000001", "vpc": VPC, "name": "multus", "tags": {"multus": "own"}}
        ],
        "attach_delay_ms": 500,
    }


def values(cluster: Cluster) -> dict[str, Any]:
    """Return the chart's values: the controller, and pods that are served by their node agents."""
    endpoint = cluster.agent_values()["agent"]["env"]
    keys = {"AWS_ACCESS_KEY_ID": KEY["id"], "AWS_SECRET_ACCESS_KEY": KEY["secret"]}
    env = [{"name": name, "value": value} for name, value in keys.items()]
    return {
        "agent": {"backend": "node", "env": []},
        "nodeAgent": {"extraEnv": endpoint},
        "controller": {
            "enabled": True,
            "clusterName": CLUSTER,
            "region": REGION,
            "extraEnv": [*endpoint, *env],
        },
    }


def node_network(name: str, labels: Mapping[str, str], **spec: Any) -> Manifest:
    """Make a NodeNetwork of the nodes with these labels."""
    return {
        "apiVersion": NODE_NETWORK.api_version,
        "kind": NODE_NETWORK.kind,
        "metadata": {"name": name},
        "spec": {"nodeSelector": {"matchLabels": dict(labels)}, **spec},
    }


class NodeNetworks:
    """What the controller has made of a cluster's nodes; `adopted` is the ENI that they may adopt."""

    def __init__(self, cluster: Cluster, adopted: str) -> None:
        self.cluster = cluster
        self.adopted = adopted

    def attachment(self, name: str) -> Manifest:
        """Return a NodeAttachment, empty if there is none."""
        found = (each for each in self.cluster.api.list(NODE_ATTACHMENT) if each["metadata"]["name"] == name)
        return next(found, {})

    def status(self, name: str) -> Manifest:
        """Return the status of a NodeAttachment."""
        status: Manifest = self.attachment(name).get("status") or {}
        return status

    def condition(self, name: str, kind: str = "Ready") -> Manifest:
        """Return a condition of a NodeAttachment, empty if it has none."""
        found = (each for each in self.status(name).get("conditions", ()) if each["type"] == kind)
        return next(found, {})

    def wait_condition(self, name: str, reason: str, kind: str = "Ready") -> Manifest:
        """Wait until a condition has a reason, and return it."""

        def met() -> Manifest | None:
            found = self.condition(name, kind)
            return found if found.get("reason") == reason else None

        try:
            return wait_for(met, f"{kind}={reason} of {name}", SECONDS)
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{json.dumps(self.attachment(name), indent=1)}") from None

    def taints(self, node: str) -> list[str]:
        """Return the keys of a node's taints."""
        taints = self.cluster.api.get(NODE, node)["spec"].get("taints") or []
        return [each["key"] for each in taints]

    def labels(self, node: str) -> Manifest:
        """Return a node's labels."""
        labels: Manifest = self.cluster.api.get(NODE, node)["metadata"]["labels"]
        return labels

    def links(self, node: str) -> Iterator[Manifest]:
        """Yield the links of a node's network namespace, as `ip -json link` shows them."""
        yield from json.loads(self.cluster.nodes[node].machine.run("ip", "-json", "link"))

    def link(self, node: str, mac: str) -> Manifest:
        """Return the node's link with a MAC, empty if there is none."""
        return next((each for each in self.links(node) if each.get("address") == mac), {})

    def expected(self, pods: list[Running], network: str) -> Held:
        """Return where the addresses of the pods' net1 have to be: on their nodes' ENIs of a network."""
        return frozenset(
            pair
            for each in pods
            for pair in pairs(self.status(f"{each.node}.{network}")["eni"], each.networks["net1"])
        )
