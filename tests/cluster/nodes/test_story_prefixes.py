"""A network of prefixes on two nodes in two zones, with one NetworkAttachmentDefinition."""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from ipagent.node_interfaces.cni_files import DATA
from tests.cluster.api import DEPLOYMENT, POD
from tests.cluster.helm import NAMESPACE as RELEASE_NAMESPACE
from tests.cluster.helm import merged
from tests.cluster.nodes.cluster import Cluster
from tests.cluster.nodes.parts import Parts
from tests.cluster.nodes.plan import PRIMARY, SECONDARY, VPC, ZONE, NodePlan, world
from tests.cluster.nodes.story import Story
from tests.cluster.nodes.story_controller import NodeNetworks, account, node_network, values
from tests.cluster.nodes.story_fixtures import helm4, opted_in
from tests.cluster.nodes.story_pods import Running
from tests.cluster.nodes.story_release import released
from tests.cluster.nodes.workloads import NETWORK, deployment, pod, template

pytestmark = pytest.mark.cluster

OTHER_ZONE = "eu-central-1b"
CONTROLLER = "multus-eni-injector-controller"
CROWD = int(os.environ.get("MULTUS_ENI_PREFIX_PODS", "7"))
"""Pods that are created at once while prefixes come; `make soak` has more of them."""
LOW_WATER = 8
"""Free addresses at which docs/prefixes.md says that another prefix comes."""
MULTUS = {"multus": "oam"}


def two_zones() -> dict[str, Any]:
    """Return the doubles' world with n2 and the second subnet in another zone."""
    found: Any = world([NodePlan(1, primary_only=True), NodePlan(2, primary_only=True)])
    zones = {SECONDARY[0].id: ZONE, SECONDARY[1].id: OTHER_ZONE}
    subnets = [
        each | ({"az": zones[each["id"]], "tags": MULTUS} if each["id"] in zones else {})
        for each in found["subnets"]
    ]
    nodes = {**PRIMARY_B, "vpc": VPC, "az": OTHER_ZONE}
    primary = found["instances"][1]["interfaces"][0]
    primary |= {"subnet": nodes["id"], "primary": "10.60.9.12"}
    return {**account(), "subnets": [*subnets, nodes], "instances": found["instances"]}


PRIMARY_B = {"id": PRIMARY.id[:-1] + "9", "cidr": "10.60.9.0/24"}


@pytest.fixture(scope="module")
def networks(parts: Parts) -> Iterator[NodeNetworks]:
    """The release on two nodes with one interface each."""
    quiet = {"nodeAgent": {"prefixes": {"enabled": True}, "gc": {"mode": "off"}}}
    with Cluster(parts, primary_only=True, account=two_zones()) as cluster:
        cluster.kubectl("label", "node", "n2", f"topology.kubernetes.io/zone={OTHER_ZONE}", "--overwrite")
        given = merged(values(cluster), quiet)
        with cluster.plugger(link_delay=0.2), released(cluster, helm4(), given):
            yield NodeNetworks(cluster, "")
            cluster.check()


def test_pods_of_two_zones_start_while_ec2_and_the_controller_are_away(networks: NodeNetworks) -> None:
    cluster = networks.cluster
    for name in cluster.nodes:
        cluster.kubectl("label", "node", name, "node-group=multus")
    terms = [{"tags": MULTUS}]
    cluster.api.apply(
        node_network(
            "oam",
            {"node-group": "multus"},
            subnetSelectorTerms=terms,
            securityGroupSelectorTerms=[{"tags": {"multus": "own"}}],
            addresses={"mode": "Prefixes", "prefixes": {"ipv4": 1, "ipv6": 1, "maxIPv4": 8}},
        )
    )
    for name in cluster.nodes:
        networks.wait_condition(f"{name}.oam", "Ready")
    with opted_in(cluster, "prefixes") as story:
        story.apply(
            {
                "apiVersion": NETWORK.api_version,
                "kind": NETWORK.kind,
                "metadata": {"name": "oam", "annotations": {"multus-eni.io/network": "oam"}},
                "spec": {},
            }
        )
        pods = start_without_ec2(story, networks)
        grow(story, networks, pods)
        grow_under_a_crowd(story, networks)
        cut_the_power(story, networks)


def prefixes(networks: NodeNetworks, node: str, version: int) -> list[Any]:
    """Return the prefixes of a node's ENI."""
    found = map(ip_network, (each["prefix"] for each in networks.status(f"{node}.oam")["prefixes"]))
    return [each for each in found if each.version == version]


def addresses(pods: list[Running], version: int) -> list[Any]:
    """Return the addresses of a family on the pods' net1."""
    found = (ip_address(each) for found in pods for each in found.networks["net1"])
    return [each for each in found if each.version == version]


def start_without_ec2(story: Story, networks: NodeNetworks) -> list[Running]:
    """Start pods on both nodes, as many as n1's prefix has addresses, while EC2 refuses connections."""
    cluster = networks.cluster
    cluster.kubectl("scale", "deployment", CONTROLLER, "-n", RELEASE_NAMESPACE, "--replicas=0")
    story.wait(lambda: not controllers(networks), "the controller's end")
    cluster.cloud.put_faults({"action": "*", "connection": "reset"})
    cluster.cloud.forget()
    many, few = (
        deployment("many", 16, template("oam", node="n1")),
        deployment("few", 2, template("oam", node="n2")),
    )
    story.apply(many, few)
    here = story.wait_rolled_out(DEPLOYMENT, "many")
    there = story.wait_rolled_out(DEPLOYMENT, "few")
    assert [call for call in cluster.cloud.journal() if call["service"] == "ec2"] == []
    for node, pods in (("n1", here), ("n2", there)):
        (ipv4,), (ipv6,) = prefixes(networks, node, 4), prefixes(networks, node, 6)
        assert all(each in ipv4 for each in addresses(pods, 4))
        assert all(each in ipv6 for each in addresses(pods, 6))
        assert len(set(addresses(pods, 6))) == len(pods)
        eni = networks.status(f"{node}.oam")["eni"]
        assert cluster.cloud.interface(eni)["secondaries"] == []
    # None of a prefix is lost to a network's or a broadcast address.
    assert set(addresses(here, 4)) == set(prefixes(networks, "n1", 4)[0])
    return here


def grow(story: Story, networks: NodeNetworks, running: list[Running]) -> None:
    """Start one pod more; it waits until EC2 is there again, and the others run on."""
    story.apply(pod("more", template("oam", node="n1")))
    story.wait(lambda: any("no IP addresses" in each for each in story.events("more")), "a pod that waits")
    networks.cluster.cloud.put_faults()
    networks.cluster.kubectl("scale", "deployment", CONTROLLER, "-n", RELEASE_NAMESPACE, "--replicas=2")
    (more,) = story.wait_ready("more")
    (address,) = addresses([more], 4)
    assert address in prefixes(networks, "n1", 4)[1]
    still = {each.name: each for each in story.pods_of(story.get(DEPLOYMENT, "many"))}
    for each in running:
        assert (still[each.name].uid, still[each.name].networks) == (each.uid, each.networks)
        assert all(
            status["restartCount"] == 0 for status in still[each.name].object["status"]["containerStatuses"]
        )
    assigned = networks.cluster.cloud.journal("AssignPrivateIpAddresses")
    assert [call["params"].get("Ipv4PrefixCount") for call in assigned] == ["1"]


def grow_under_a_crowd(story: Story, networks: NodeNetworks) -> None:
    """Create many pods at once: prefixes come before the last address is gone."""
    networks.cluster.cloud.forget()
    story.apply(deployment("crowd", CROWD, template("oam", node="n1")))
    crowd = story.wait_rolled_out(DEPLOYMENT, "crowd")
    # 17 pods were there before.
    expected = (17 + CROWD + LOW_WATER) // 16 + 1
    story.wait(lambda: len(prefixes(networks, "n1", 4)) == expected, f"{expected} prefixes of n1")
    assigned = networks.cluster.cloud.journal("AssignPrivateIpAddresses")
    assert [call["params"].get("Ipv4PrefixCount") for call in assigned] == ["1"] * (expected - 2)
    held = addresses(crowd, 4)
    assert len(set(held)) == CROWD
    assert all(any(each in prefix for prefix in prefixes(networks, "n1", 4)) for each in held)
    # The kubelet makes a sandbox again after ten seconds: by then there is another prefix.
    refusals = [sum("no IP addresses" in said for said in story.events(each.name)) for each in crowd]
    assert max(refusals) <= (1 if CROWD > 15 else 0)


def cut_the_power(story: Story, networks: NodeNetworks) -> None:
    """Cut n2's power: afterwards no address is reserved but those of the pods that are there again."""
    node = networks.cluster.nodes["n2"]
    assert len(reservations(networks, "n2")) == 2
    node.kill()
    node.start()

    def back() -> bool:
        pods = [each for each in story.pods_of(story.get(DEPLOYMENT, "few")) if each.ready]
        reserved = reservations(networks, "n2")
        return len(pods) == 2 and sorted(reserved) == sorted(addresses(pods, 4))

    story.wait(back, "the pods' addresses, and no others")


def reservations(networks: NodeNetworks, node: str) -> list[Any]:
    """Return the IPv4 addresses that host-local has given to pods of a node."""
    script = f"ls {DATA / 'oam'} 2>/dev/null || true"
    names = networks.cluster.nodes[node].machine.run("sh", "-c", script).split()
    found = [ip_address(each) for each in names if each[0].isdigit()]
    return [each for each in found if each.version == 4]


def controllers(networks: NodeNetworks) -> list[Running]:
    """Return the controller's pods."""
    labels = "app.kubernetes.io/component=controller"
    return [Running(each) for each in networks.cluster.api.list(POD, RELEASE_NAMESPACE, labels)]
