"""Capacity: the scheduler knows how many addresses a node has left, and pods that find none wait."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from common.agent_container import CONTAINER_NAME
from common.pod_keys import MODE, RELEASE_ON_EXIT, UNITS
from tests.cluster.api import POD, RESOURCE_QUOTA, ApiError, Kind, Manifest
from tests.cluster.helm import NAMESPACE
from tests.cluster.nodes.cluster import CRD, Cluster
from tests.cluster.nodes.node import RealNode
from tests.cluster.nodes.plan import EC2_PORT, GATEWAY, REGION
from tests.cluster.nodes.story import Running, Story
from tests.cluster.nodes.story_backend import GRANTS_AND_GC, node_values
from tests.cluster.nodes.story_fixtures import opted_in
from tests.cluster.nodes.story_pods import restarts
from tests.cluster.nodes.story_release import Release
from tests.cluster.nodes.workloads import NODE, deployment, ipvlan, pod, template, whereabouts
from tests.cluster.waiting import wait_for

pytestmark = pytest.mark.cluster

RESOURCE = "multus-eni.io/oam"
NODE_NETWORK = Kind("multus-eni.io/v1alpha1", "NodeNetwork")
NODE_ATTACHMENT = Kind("multus-eni.io/v1alpha1", "NodeAttachment")
FOREIGN = 15
"""Addresses of each ENI that belong to no pod: of thirty, the primary included, fourteen are left."""
SLOTS = 14
PODS = 40
"""Twelve more than both nodes have addresses for."""
KILLS = int(os.environ.get("MULTUS_ENI_KUBELET_KILLS", "20"))
"""How often the kubelet is killed, two to four seconds each; `make soak` does so more often."""
SIDECAR = {MODE: "sidecar", RELEASE_ON_EXIT: "true"}
FULL = "PrivateIpAddressLimitExceeded"
DEVICE_PLUGINS = "var/lib/kubelet/device-plugins"


@pytest.fixture(scope="module")
def capacity(cluster: Cluster, installed: Release) -> Iterator[Story]:
    """Nodes with a network of fourteen addresses each, and a namespace whose pods request them."""
    with closing(cluster.cloud.ec2()) as ec2:
        foreign = {}
        for node in cluster.nodes.values():
            eni = node.enis["eth1"]
            ec2.create_tags(Resources=[eni], Tags=[{"Key": "multus", "Value": "oam"}])
            made = ec2.assign_private_ip_addresses(
                NetworkInterfaceId=eni, SecondaryPrivateIpAddressCount=FOREIGN
            )
            foreign[eni] = [each["PrivateIpAddress"] for each in made["AssignedPrivateIpAddresses"]]
        endpoint = {"name": "AWS_ENDPOINT_URL_EC2", "value": f"http://{GATEWAY}:{EC2_PORT}"}
        # What is adopted here belongs to the cluster of all stories: nothing may be detached.
        controller = {
            "enabled": True,
            "clusterName": "prod",
            "region": REGION,
            "releases": "off",
            "replicas": 1,
            "extraEnv": [endpoint],
        }
        values = {**node_values(installed), "controller": controller, "capacity": {"enabled": True}}
        installed.upgrade(values)
        with opted_in(cluster, "capacity") as story:
            cluster.api.create(network())
            subnet = story.subnet()
            counted = ipvlan("oam", "eth1", whereabouts(subnet.span(100, 179)))
            counted["metadata"]["annotations"] = {"multus-eni.io/network": "oam"}
            story.apply(counted, ipvlan("plain", "eth1", whereabouts(subnet.span(180, 199))))
            story.wait(lambda: all(slots(story, name) == SLOTS for name in cluster.nodes), "capacity")
            story.wait(lambda: webhooks_know(story), "the webhook's knowledge of the network")
            yield story
            # Other stories find the ENIs as they were.
            cluster.kubectl("delete", "deployment,pod", "--all", "-n", story.namespace, "--wait=false")
            story.wait(lambda: hold_exactly(story, []), "release of the pods' addresses")
        # What the stories that come next want, and the controller is not in it.
        installed.upgrade(node_values(installed, **GRANTS_AND_GC))
        for kind in (NODE_ATTACHMENT, NODE_NETWORK):
            for each in cluster.api.list(kind):
                free = {"metadata": {"finalizers": None}}
                name = each["metadata"]["name"]
                cluster.kubectl("patch", kind.kind, name, "--type=merge", "-p", json.dumps(free))
        for name in ("nodeattachments", "nodenetworks"):
            cluster.api.delete(CRD, f"{name}.multus-eni.io")
        for name in cluster.nodes:
            gone: dict[str, object] = {kind: {RESOURCE: None} for kind in ("capacity", "allocatable")}
            cluster.api.patch_status(NODE, name, gone)
        for eni, addresses in foreign.items():
            ec2.unassign_private_ip_addresses(NetworkInterfaceId=eni, PrivateIpAddresses=addresses)


def network() -> Manifest:
    return {
        "apiVersion": NODE_NETWORK.api_version,
        "kind": NODE_NETWORK.kind,
        "metadata": {"name": "oam"},
        "spec": {
            "nodeSelector": {},
            "source": "Adopt",
            "interfaceSelector": {"tags": {"multus": "oam"}},
            "nodes": {"startupTaint": False},
        },
    }


def slots(story: Story, node: str) -> int | None:
    """Return the node's capacity, if its allocatable says the same."""
    status = story.api.get(NODE, node)["status"]
    found = {status[kind].get(RESOURCE) for kind in ("capacity", "allocatable")}
    return int(found.pop() or 0) if len(found) == 1 else None


def webhooks_know(story: Story) -> bool:
    """Return whether every replica of the webhook has loaded a definition's network."""
    labels = "app.kubernetes.io/component=webhook"
    names = [each["metadata"]["name"] for each in story.api.list(POD, NAMESPACE, labels)]
    logs = [story.api.logs(name, NAMESPACE) for name in names]
    return bool(logs) and all('"definitions":1' in log for log in logs)


def waiting(story: Story) -> list[str]:
    """Return why pods of the deployment are not scheduled."""
    found = []
    for each in story.api.list(POD, story.namespace, "app=web"):
        conditions = each["status"].get("conditions", [])
        found += [
            condition.get("message", "")
            for condition in conditions
            if (condition["type"], condition["status"]) == ("PodScheduled", "False")
        ]
    return found


def running(story: Story) -> list[Running]:
    found = [Running(each) for each in story.api.list(POD, story.namespace, "app=web")]
    return [each for each in found if each.ready]


def refused(story: Story) -> list[object]:
    """Return the calls that EC2 has refused since the ENI was full."""
    return [call["result"] for call in story.ledger.calls("Assign", story.began) if call["result"] == FULL]


def settled(story: Story) -> bool:
    """Return whether all slots are in use, and the other pods wait for one."""
    messages = waiting(story)
    return (
        len(running(story)) == 2 * SLOTS
        and len(messages) == PODS - 2 * SLOTS
        and all(f"Insufficient {RESOURCE}" in message for message in messages)
    )


@pytest.fixture(scope="module")
def full(capacity: Story) -> Story:
    """Pods, of which as many run as the nodes have addresses."""
    capacity.apply(deployment("web", PODS, template("oam", annotations=SIDECAR)))
    capacity.wait(lambda: settled(capacity), f"{2 * SLOTS} pods that run, and others that wait")
    return capacity


def test_pods_of_before_which_request_nothing_are_counted(capacity: Story) -> None:
    story = capacity
    nodes = list(story.cluster.nodes)
    story.apply(pod("old", template("plain", annotations=SIDECAR, node=nodes[0])))
    (old,) = story.wait_ready("old")
    assert requests_of(old) == {}
    story.wait(lambda: slots(story, nodes[0]) == SLOTS - 1, "the node's capacity without an old pod")
    story.delete(POD, "old")
    story.wait(lambda: slots(story, nodes[0]) == SLOTS, "its slot")


def test_a_quota_counts_the_addresses_that_pods_request(capacity: Story) -> None:
    story, counted = capacity, f"requests.{RESOURCE}"
    # More than all pods of this module request together.
    quota = {"metadata": {"name": "addresses"}, "spec": {"hard": {counted: "60"}}}
    story.apply({"apiVersion": "v1", "kind": "ResourceQuota", **quota})
    story.wait(lambda: story.get(RESOURCE_QUOTA, "addresses").get("status", {}).get("used"), "the quota")
    one, many = template("oam"), template("oam", annotations={UNITS: "60"})
    story.api.create(pod("one", one), story.namespace, dry_run=True)
    with pytest.raises(ApiError, match=rf"exceeded quota.* requested: {counted}=61"):
        story.api.create(pod("many", many), story.namespace, dry_run=True)
    story.api.delete(RESOURCE_QUOTA, "addresses", story.namespace)


def test_pods_that_find_no_address_wait_and_take_what_becomes_free(
    full: Story, capsys: pytest.CaptureFixture[str]
) -> None:
    story = full
    nodes = list(story.cluster.nodes)
    assert {node: sum(each.node == node for each in running(story)) for node in nodes} == dict.fromkeys(
        nodes, SLOTS
    )
    assert {requests_of(each).get(RESOURCE) for each in running(story)} == {"1"}
    free = story.cluster.kubectl("get", "nodenetwork", "oam", "-o", "jsonpath={.status.free}")
    story.wait(lambda: story.api.get(NODE_NETWORK, "oam")["status"]["free"] == 0, f"no free address: {free}")

    before = {each.name for each in running(story)}
    gone = sorted(before)[:3]
    for name in gone:
        story.delete(POD, name)
    story.wait_gone(*gone)
    freed = time.monotonic()
    story.wait(lambda: settled(story), "the use of slots that have become free")
    with capsys.disabled():
        print(f"\nslots that became free were in use {time.monotonic() - freed:.1f} s later")
    after = running(story)
    assert len({each.name for each in after} - before) == len(gone)
    story.wait(lambda: hold_exactly(story, after), "ENIs that have these pods' addresses, and are full")
    assert restarts(after) == 0
    assert refused(story) == []


def hold_exactly(story: Story, pods: list[Running]) -> bool:
    """Return whether each node's ENI has the addresses of these pods, and no others but the foreign ones."""
    expected = story.expected(pods)
    enis = [story.eni(node) for node in story.cluster.nodes]
    held = {(eni.id, address) for eni in enis for address in eni.addresses}
    return expected <= held and len(held) == len(expected) + FOREIGN * len(enis)


def test_a_pod_that_requests_nothing_finds_the_eni_full_and_crash_loops(full: Story) -> None:
    story = full
    story.apply(pod("unasked", template("plain", annotations=SIDECAR, node=next(iter(story.cluster.nodes)))))
    story.wait(lambda: refused(story), "EC2's refusal")
    story.wait(lambda: crash_loops(story.pod("unasked")), "a crash loop")
    story.delete(POD, "unasked")
    story.wait_gone("unasked")


def crash_loops(found: Running) -> bool:
    """Return whether the kubelet waits before it starts the agent again."""
    waits: Manifest = found.agent.get("state", {}).get("waiting", {})
    return bool(waits.get("reason") == "CrashLoopBackOff")


def test_a_kubelet_that_starts_again_loses_neither_pods_nor_capacity(
    full: Story, capsys: pytest.CaptureFixture[str]
) -> None:
    story = full
    node = story.cluster.nodes[next(iter(story.cluster.nodes))]
    before = {each.uid for each in running(story) if each.node == node.name}
    assert len(before) == SLOTS
    for number in range(KILLS):
        node.stop_kubelet()
        last = heartbeat(story, node.name)
        # Once as it is, once without what it knows of devices, and once so that containerd comes later, too.
        if number % 3:
            shutil.rmtree(node.disk / DEVICE_PLUGINS)
        if number % 3 == 2:
            start_without_containerd(node)
        started = time.monotonic()
        node.start_kubelet()
        wait_for_report(story, node, last)
        story.wait(lambda: slots(story, node.name) == SLOTS, "the node's capacity")
        with capsys.disabled():
            print(f"\ncapacity is there {time.monotonic() - started:.1f} s after the kubelet's start", end="")
    after = [Running(each) for each in story.api.list(POD, story.namespace, "app=web")]
    assert {each.uid for each in after if each.node == node.name} == before
    assert {each.object["status"]["phase"] for each in after} == {"Running", "Pending"}
    story.wait(lambda: settled(story), "the same pods")
    here = [each for each in running(story) if each.node == node.name]
    assert {each.uid for each in here} == before
    assert restarts(here) == 0


def start_without_containerd(node: RealNode) -> None:
    """Start the kubelet while containerd is down; it has ended over that when containerd begins to start."""
    node.stop_containerd()
    node.start_kubelet()
    wait_for(lambda: node.kubelet_ended, "end of a kubelet without containerd")
    node.start_containerd()


def wait_for_report(story: Story, node: RealNode, last: str) -> None:
    """Wait until the kubelet has written the node's status again; one that ends is started again."""

    def reported() -> bool:
        if node.kubelet_ended:
            node.start_kubelet()
        return heartbeat(story, node.name) > last

    story.wait(reported, "the kubelet's word")


def heartbeat(story: Story, node: str) -> str:
    """Return when the kubelet has last written the node's status (RFC 3339: it sorts as text)."""
    conditions = story.api.get(NODE, node)["status"]["conditions"]
    return max(str(each["lastHeartbeatTime"]) for each in conditions)


def requests_of(found: Running) -> dict[str, str]:
    """Return what the injected container requests of networks."""
    (agent,) = (each for each in found.object["spec"]["initContainers"] if each["name"] == CONTAINER_NAME)
    requests: dict[str, str] = agent.get("resources", {}).get("requests", {})
    return {key: value for key, value in requests.items() if "/" in key}
