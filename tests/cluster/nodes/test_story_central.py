"""The backend `central` on nodes whose role has no right to EC2; the way to it and back while pods run.

Stories of the backend `node` run here, too: those in which the controller could do something else than a node
agent with rights.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from common.agent_settings import Mode
from common.pod_keys import MODE, TIMEOUT
from ipagent.node_network_api import LEASE as LEASE_NAME
from tests.cluster.api import DEPLOYMENT, POD
from tests.cluster.helm import NAMESPACE
from tests.cluster.node_status import LEASE
from tests.cluster.nodes import test_story_node as stories
from tests.cluster.nodes.cluster import Cluster
from tests.cluster.nodes.parts import Parts
from tests.cluster.nodes.plan import ROLE
from tests.cluster.nodes.story import Running, Story
from tests.cluster.nodes.story_backend import GRANTED, GRANTS_AND_GC, Callers, NodeAgents
from tests.cluster.nodes.story_controller import ADOPTED, KEY, NodeNetworks, node_network, policy
from tests.cluster.nodes.story_controller import values as controller_values
from tests.cluster.nodes.story_fixtures import helm4, opted_in
from tests.cluster.nodes.story_pods import restarts
from tests.cluster.nodes.story_release import Release, released
from tests.cluster.nodes.workloads import deployment, ipvlan, template, whereabouts
from tests.doubles.config.credentials import DEFAULT_KEY_ID, DEFAULT_SECRET

pytestmark = pytest.mark.cluster

NODES_KEY = {"id": "AKIAJ77QH8DHBEXAMPLE", "secret": "n0dEtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY"}
"""That of the node agents, with the backend `node` alone."""
NETWORKS = {"oam": "eth1", "sig": "eth2"}


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
            {**NODES_KEY, "actions": ["*"]},
        ],
        "roles": [{"name": ROLE, "actions": []}],
    }


def backend(cluster: Cluster, name: str) -> dict[str, Any]:
    """Return the chart's values; node agents have credentials with the backend `node` alone."""
    found = controller_values(cluster)
    keys = {"AWS_ACCESS_KEY_ID": NODES_KEY["id"], "AWS_SECRET_ACCESS_KEY": NODES_KEY["secret"]}
    credentials = [{"name": key, "value": value} for key, value in keys.items()] if name == "node" else []
    found["agent"]["backend"] = name
    found["nodeAgent"] = {
        "extraEnv": [*found["nodeAgent"]["extraEnv"], *credentials],
        "logFormat": "json",
        **GRANTS_AND_GC,
    }
    # What is adopted here is the nodes' from the beginning: nothing may be detached.
    found["controller"] |= {"releases": "off"}
    return found


@pytest.fixture(scope="module")
def cluster(parts: Parts) -> Iterator[Cluster]:
    """Two nodes whose ENIs are there to be adopted."""
    with Cluster(parts, account=account()) as cluster, closing(cluster.cloud.ec2()) as ec2:
        for node in cluster.nodes.values():
            for network, master in NETWORKS.items():
                tags = {**ADOPTED, "network": network}
                named: Any = [{"Key": key, "Value": value} for key, value in tags.items()]
                ec2.create_tags(Resources=[node.enis[master]], Tags=named)
        yield cluster
        cluster.check()


@pytest.fixture(scope="module")
def installed(cluster: Cluster) -> Iterator[Release]:
    """The release with the backend `node`, whose networks have adopted the ENIs."""
    with released(cluster, helm4(), backend(cluster, "node"), uninstall=False) as release:
        networks = NodeNetworks(cluster, "")
        for network in NETWORKS:
            tags = {**ADOPTED, "network": network}
            adopting = {"source": "Adopt", "interfaceSelector": {"tags": tags}}
            cluster.api.apply(node_network(network, {}, nodes={"startupTaint": False}, **adopting))
        for name in (f"{node}.{network}" for node in cluster.nodes for network in NETWORKS):
            networks.wait_condition(name, "Ready")
        yield release


@pytest.fixture(scope="module")
def before(cluster: Cluster, installed: Release) -> Iterator[tuple[Story, list[Running]]]:
    """Pods that were served by nodes with rights, before the release had the backend `central`."""
    with opted_in(cluster, "before") as story:
        story.apply(ipvlan("net", "eth1", whereabouts(story.subnet().span(150, 169))))
        story.apply(deployment("web", 4, template("net", annotations={MODE: Mode.SIDECAR.value})))
        pods = story.wait_rolled_out(DEPLOYMENT, "web")
        assert {call["access_key"] for call in story.ledger.calls("Assign")} == {NODES_KEY["id"]}
        installed.upgrade(backend(cluster, "central"))
        cluster.cloud.forget()
        yield story, pods


@pytest.fixture(scope="module")
def values(cluster: Cluster) -> dict[str, Any]:
    """The values that are in force while the stories are told."""
    return backend(cluster, "central")


@pytest.fixture(scope="module")
def agents(installed: Release, before: tuple[Story, list[Running]]) -> NodeAgents:  # noqa: ARG001 - moved first
    return NodeAgents(installed.story)


@pytest.fixture(scope="module")
def callers() -> Callers:
    """The controller calls EC2, and nobody else."""
    return Callers("access_key", frozenset({KEY["id"]}))


@pytest.fixture(scope="module")
def granted(cluster: Cluster, agents: NodeAgents) -> Iterator[Story]:  # noqa: ARG001 - installed first
    with opted_in(cluster, GRANTED) as story:
        yield story


@pytest.fixture(scope="module")
def in_order() -> frozenset[str]:
    """The checks that find nothing: the controller leads, and its networks have their ENIs."""
    agents = {"cluster-multus", "nodes-agents", "nodes-watch", "pods-addresses"}
    return frozenset({*agents, "installation-controller", "nodes-networks"})


# In the order in which they are told there: some compare all that the ENIs have.
test_pods_without_rights = stories.test_pods_without_rights_get_their_addresses_before_their_apps_start
test_the_events_of_a_pod = stories.test_the_events_of_a_pod_say_what_was_assigned
test_a_check = stories.test_a_check_asks_the_node_agents_what_they_know
test_a_floating_address = stories.test_a_floating_address_follows_the_pod_that_holds_it
test_an_address_of_another_living_pod = (
    stories.test_an_address_of_another_living_pod_is_never_taken_by_a_claim
)
test_without_a_grant = stories.test_without_a_grant_a_pod_gets_only_the_addresses_of_multus
test_tokens = stories.test_a_pods_own_token_is_accepted_and_all_others_are_refused
test_agents_are_killed = stories.test_agents_are_killed_and_upgraded_while_pods_are_rolled
test_only_leaked_addresses = stories.test_only_addresses_leaked_by_gone_pods_are_reclaimed
test_a_missing_master = stories.test_a_check_finds_the_master_that_a_node_lacks


def test_a_burst_outlasts_the_leader_that_is_killed_meanwhile(
    cluster: Cluster, granted: Story, capsys: pytest.CaptureFixture[str]
) -> None:
    story = granted
    story.apply(ipvlan("burst", "eth2", whereabouts(story.subnet("eth2").span(215, 245))))
    patient = template("burst", annotations={TIMEOUT: "15m"})
    since = time.monotonic()
    story.apply(deployment("burst", 4, patient))
    story.wait(lambda: story.ledger.calls("Assign", since), "the burst's first call")
    leader = holder(story)
    node = story.api.get(POD, leader.partition("_")[0], NAMESPACE)["spec"]["nodeName"]
    cluster.nodes[node].machine.run("pkill", "-KILL", "-f", "ipagent controller")
    killed = time.monotonic()
    # The nodes ask for theirs while nobody leads.
    story.cluster.kubectl("scale", "deployment", "burst", "-n", story.namespace, "--replicas=12")
    pods = story.wait_rolled_out(DEPLOYMENT, "burst")
    assert holder(story) != leader
    expected = story.expected(pods, {"net1": "eth2"})
    assert len(expected) == 12
    assert story.ledger.held() >= expected
    assert restarts(pods) == 0
    last = max(story.ledger.assigned(*each, since=since).at for each in expected)
    with capsys.disabled():
        print(f"\nEC2 had the burst's last address {last - killed:.1f} s after the leader was killed")


def holder(story: Story) -> str:
    """Return who leads: a pod's name and a number of its process."""
    found: str = story.api.get(LEASE, LEASE_NAME, NAMESPACE)["spec"].get("holderIdentity") or ""
    return found


def test_nodes_without_rights_never_called_and_the_way_back_loses_nothing(
    cluster: Cluster, installed: Release, agents: NodeAgents, before: tuple[Story, list[Running]]
) -> None:
    story, pods = before
    for node in cluster.nodes:
        expected = story.expected(each for each in pods if each.node == node)
        story.wait(
            lambda: agents.addresses(node, story.namespace) == expected,  # noqa: B023 - called at once
            f"{expected} in the status of {node}",
        )
    # The administrator of a story calls, too, and the controller: nobody with a role or the nodes' key.
    calls = story.ledger.calls("")
    assert {call["access_key"] for call in calls} <= {KEY["id"], DEFAULT_KEY_ID}

    installed.upgrade(backend(cluster, "node"))
    back = time.monotonic()
    story.apply(deployment("again", 2, template("net")))
    again = story.wait_rolled_out(DEPLOYMENT, "again")
    assert {call["access_key"] for call in story.ledger.calls("Assign", back)} == {NODES_KEY["id"]}
    kept = [story.pod(each.name) for each in pods]
    assert [each.uid for each in kept] == [each.uid for each in pods]
    assert restarts(kept) == 0
    assert story.ledger.held() >= story.expected([*kept, *again])


@pytest.fixture
def watchers(cluster: Cluster, installed: Release) -> NodeAgents:
    """The release that only watches."""
    values = backend(cluster, "central")
    values["nodeAgent"] |= {"watchOnly": True, "gc": {"mode": "off"}}
    installed.upgrade(values)
    return NodeAgents(installed.story)


test_watching_alone = stories.test_watching_alone_serves_unchanged_pods
