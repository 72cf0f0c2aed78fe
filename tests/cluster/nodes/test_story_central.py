"""The backend `central` on nodes whose role has no right to EC2; the way to it and back while pods run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from common.agent_settings import Mode
from common.pod_keys import MODE
from tests.cluster.api import DEPLOYMENT, POD
from tests.cluster.nodes.cluster import Cluster
from tests.cluster.nodes.parts import Parts
from tests.cluster.nodes.plan import ROLE, ZONE
from tests.cluster.nodes.story import Running, Story
from tests.cluster.nodes.story_backend import NodeAgents
from tests.cluster.nodes.story_controller import ADOPTED, KEY, NodeNetworks, node_network, policy, values
from tests.cluster.nodes.story_fixtures import helm4, opted_in
from tests.cluster.nodes.story_release import Release, released
from tests.cluster.nodes.workloads import NODE, administrator, deployment, ipvlan, pod, template, whereabouts
from tests.doubles.config.credentials import DEFAULT_KEY_ID, DEFAULT_SECRET

pytestmark = pytest.mark.cluster

NAMESPACE = "central"
FLOATING = 97
KEYS = {"AWS_ACCESS_KEY_ID": DEFAULT_KEY_ID, "AWS_SECRET_ACCESS_KEY": DEFAULT_SECRET}
"""Of the node agents, with the backend `node` alone."""


def account() -> dict[str, Any]:
    """Return rights: the controller's own policy and what adopted ENIs need, and a role without any."""
    adopting = {
        "Effect": "Allow",
        "Action": [
            "ec2:AttachNetworkInterface",
            "ec2:DetachNetworkInterface",
            "ec2:AssignPrivateIpAddresses",
            "ec2:UnassignPrivateIpAddresses",
        ],
        "Resource": "arn:aws:ec2:*:*:network-interface/*",
        "Condition": {"StringEquals": {f"aws:ResourceTag/{key}": value for key, value in ADOPTED.items()}},
    }
    return {
        "access_keys": [
            {"id": DEFAULT_KEY_ID, "secret": DEFAULT_SECRET, "actions": ["*"]},
            {**KEY, "policy": policy("controller.json", adopting)},
        ],
        "roles": [{"name": ROLE, "actions": []}],
    }


def backend(cluster: Cluster, name: str) -> dict[str, Any]:
    """Return the chart's values; node agents have credentials with the backend `node` alone."""
    found = values(cluster)
    keys = [{"name": key, "value": value} for key, value in KEYS.items()] if name == "node" else []
    found["agent"]["backend"] = name
    found["nodeAgent"] = {
        "extraEnv": [*found["nodeAgent"]["extraEnv"], *keys],
        "logFormat": "json",
        "gc": {"mode": "on", "cooldown": "30s", "interval": "10s"},
        "grants": {NAMESPACE: {"cidrs": ["10.10.1.96/29"], "takeover": True}},
    }
    # What is adopted here is the nodes' from the beginning: nothing may be detached.
    found["controller"] |= {"releases": "off"}
    return found


@pytest.fixture(scope="module")
def networks(parts: Parts) -> Iterator[tuple[NodeNetworks, Release]]:
    """Two nodes whose ENIs on eth1 a network adopts, and the release with the backend `node`."""
    with Cluster(parts, account=account()) as cluster, closing(cluster.cloud.ec2()) as ec2:
        for node in cluster.nodes.values():
            tags = [{"Key": key, "Value": value} for key, value in ADOPTED.items()]
            ec2.create_tags(Resources=[node.enis["eth1"]], Tags=tags)  # type: ignore[arg-type] # by name
            identity = {"spec": {"providerID": f"aws:///{ZONE}/{node.instance_id}"}}
            cluster.kubectl("patch", "node", node.name, "-p", json.dumps(identity))
            cluster.api.label(NODE, node.name, {"node.kubernetes.io/instance-type": node.plan.instance_type})
        with released(cluster, helm4(), backend(cluster, "node")) as release:
            cluster.api.apply(
                node_network(
                    "oam",
                    {},
                    source="Adopt",
                    interfaceSelector={"tags": ADOPTED},
                    nodes={"startupTaint": False},
                )
            )
            found = NodeNetworks(cluster, "")
            for name in cluster.nodes:
                found.wait_condition(f"{name}.oam", "Ready")
            yield found, release
            cluster.check()


def callers(story: Story, since: float) -> set[str | None]:
    """Return whose credentials have called EC2 to change addresses."""
    calls = [*story.ledger.calls("Assign", since), *story.ledger.calls("Unassign", since)]
    return {call["access_key"] for call in calls}


def now(story: Story) -> float:
    """Return the time of the newest call."""
    return max(float(call["monotonic"]) for call in story.cluster.cloud.journal())


def restarts(pods: list[Running]) -> int:
    """Return how often containers of these pods were started again."""
    statuses = [
        status
        for each in pods
        for kind in ("initContainerStatuses", "containerStatuses")
        for status in each.object["status"].get(kind, ())
    ]
    return sum(status["restartCount"] for status in statuses)


def test_nodes_without_rights_serve_their_pods_and_the_way_there_and_back_loses_nothing(
    networks: tuple[NodeNetworks, Release],
) -> None:
    found, release = networks
    cluster = found.cluster
    here, there = cluster.nodes
    sidecar = {MODE: Mode.SIDECAR.value}
    with opted_in(cluster, NAMESPACE) as story:
        subnet = story.subnet()
        story.apply(ipvlan("net", "eth1", whereabouts(subnet.span(100, 129))))
        story.apply(deployment("before", 4, template("net", annotations=sidecar)))
        before = story.wait_rolled_out(DEPLOYMENT, "before")
        assert callers(story, story.began) == {DEFAULT_KEY_ID}

        release.upgrade(backend(cluster, "central"))
        moved = now(story)
        story.apply(deployment("after", 6, template("net")))
        after = story.wait_rolled_out(DEPLOYMENT, "after")
        assert {each.node for each in after} == set(cluster.nodes)
        for each in after:
            for eni, address in story.expected([each]):
                assert story.ledger.assigned(eni, address, moved).at < story.started_at(each.name)
        assert story.ledger.held() >= story.expected([*before, *after])

        # A floating address follows the pod that holds it, from node to node.
        floating = subnet.address(FLOATING)
        for name, node in (("a", here), ("b", there)):
            described = template("net", annotations=sidecar, node=node, containers=[administrator()])
            story.apply(pod(name, described))
        story.wait_ready("a", "b")
        former = ""
        for holder, node in (("a", here), ("b", there), ("a", here)):
            if former:
                story.shell(former, f"ip address del {floating}/24 dev net1")
            story.shell(holder, f"ip address add {floating}/24 dev net1")
            story.wait_held(floating, story.eni(node))
            former = holder

        # What pods leave behind is found by the node, and taken off by the controller.
        gone = story.expected(after)
        story.delete(DEPLOYMENT, "after")
        story.wait(lambda: not gone & story.ledger.held(), "the release of what is leaked")
        assert callers(story, moved) == {KEY["id"]}
        agents = NodeAgents(release.story)
        for node in cluster.nodes:
            expected = story.expected(each for each in before if each.node == node)
            assert agents.addresses(node) >= expected

        release.upgrade(backend(cluster, "node"))
        story.apply(deployment("again", 2, template("net")))
        again = story.wait_rolled_out(DEPLOYMENT, "again")
        kept = [story.pod(each.name) for each in before]
        assert [each.uid for each in kept] == [each.uid for each in before]
        assert restarts(kept) == 0
        assert story.ledger.held() >= story.expected([*kept, *again])
        story.delete(POD, "a")
