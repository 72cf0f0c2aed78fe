"""Networks of prefixes on two nodes in two zones, each with one NetworkAttachmentDefinition."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from ipaddress import IPv4Network, ip_address, ip_network
from typing import Any

import pytest

from ipagent.links.cni_files import DATA
from tests.cluster.api import DEPLOYMENT, POD, Manifest
from tests.cluster.helm import NAMESPACE as RELEASE_NAMESPACE
from tests.cluster.helm import merged
from tests.cluster.nodes.cluster import Cluster
from tests.cluster.nodes.parts import Parts
from tests.cluster.nodes.plan import PRIMARY, SECONDARY, VPC, ZONE, NodePlan, Subnet, world
from tests.cluster.nodes.story import Story
from tests.cluster.nodes.story_controller import NODE_NETWORK, NodeNetworks, account, node_network, values
from tests.cluster.nodes.story_fixtures import helm4, opted_in
from tests.cluster.nodes.story_pods import Running, restarts
from tests.cluster.nodes.story_release import released
from tests.cluster.nodes.workloads import NETWORK, deployment, ipvlan, pod, template, whereabouts
from tests.cluster.waiting import wait_for

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
    with Cluster(parts, primary_only=True, zones={"n2": OTHER_ZONE}, account=two_zones()) as cluster:
        given = merged(values(cluster), quiet)
        with cluster.plugger(link_delay=0.2), released(cluster, helm4(), given, uninstall=False):
            yield NodeNetworks(cluster, "")
            cluster.check()


def test_pods_of_two_zones_start_while_ec2_and_the_controller_are_away(networks: NodeNetworks) -> None:
    cluster = networks.cluster
    for name in cluster.nodes:
        cluster.kubectl("label", "node", name, "node-group=multus")
    oam = {"mode": "Prefixes", "prefixes": {"ipv4": 1, "ipv6": 1, "maxIPv4": 8}}
    cluster.api.apply(of_prefixes("oam", {"node-group": "multus"}, addresses=oam))
    for name in cluster.nodes:
        networks.wait_condition(f"{name}.oam", "Ready")
    with opted_in(cluster, "prefixes") as story:
        story.apply(definition("oam"))
        story.wait(lambda: not others(story), "end of other stories' pods")
        with without_ec2(story, networks):
            pods = start_without_ec2(story, networks)
            story.apply(pod("more", template("oam", node="n1")))
            refused = "no IP addresses"
            story.wait(lambda: any(refused in each for each in story.events("more")), "a pod that waits")
        grow(story, networks, pods)
        grow_under_a_crowd(story, networks)
        cut_the_power(story, networks)


def of_prefixes(name: str, labels: Mapping[str, str], **spec: Any) -> Manifest:
    """Make a NodeNetwork whose ENIs lie in the subnet of their zone."""
    terms = {
        "subnetSelectorTerms": [{"tags": MULTUS}],
        "securityGroupSelectorTerms": [{"tags": {"multus": "own"}}],
    }
    return node_network(name, labels, **terms, **spec)


def definition(name: str) -> Manifest:
    """Make the NetworkAttachmentDefinition of a network of prefixes."""
    return {
        "apiVersion": NETWORK.api_version,
        "kind": NETWORK.kind,
        "metadata": {"name": name, "annotations": {"multus-eni.io/network": name}},
        "spec": {},
    }


def prefixes(networks: NodeNetworks, node: str, version: int, network: str = "oam") -> list[Any]:
    """Return the prefixes of a node's ENI."""
    found = map(ip_network, (each["prefix"] for each in networks.status(f"{node}.{network}")["prefixes"]))
    return [each for each in found if each.version == version]


def addresses(pods: list[Running], version: int) -> list[Any]:
    """Return the addresses of a family on the pods' net1."""
    found = (ip_address(each) for found in pods for each in found.networks["net1"])
    return [each for each in found if each.version == version]


def others(story: Story) -> list[str]:
    """Return the pods of other namespaces that have networks: those of a story that has ended."""
    elsewhere = (each for each in story.api.list(POD) if each["metadata"]["namespace"] != story.namespace)
    return [each.name for each in map(Running, elsewhere) if each.networks]


@contextmanager
def without_ec2(story: Story, networks: NodeNetworks) -> Iterator[None]:
    """Have EC2 refuse connections, without a controller, for the length of a block."""
    cluster = networks.cluster
    scale = ("scale", "deployment", CONTROLLER, "-n", RELEASE_NAMESPACE)
    cluster.kubectl(*scale, "--replicas=0")
    try:
        story.wait(lambda: not controllers(networks), "the controller's end")
        cluster.cloud.put_faults({"action": "*", "connection": "reset"})
        cluster.cloud.forget()
        yield
    finally:
        cluster.cloud.put_faults()
        cluster.kubectl(*scale, "--replicas=2")


def start_without_ec2(story: Story, networks: NodeNetworks) -> list[Running]:
    """Start pods on both nodes, as many as n1's prefix has addresses."""
    cluster = networks.cluster
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
    """Wait for the pod that had to wait until EC2 is there again; the others run on."""
    (more,) = story.wait_ready("more")
    (address,) = addresses([more], 4)
    assert address in prefixes(networks, "n1", 4)[1]
    still = {each.name: each for each in story.pods_of(story.get(DEPLOYMENT, "many"))}
    for each in running:
        assert (still[each.name].uid, still[each.name].networks) == (each.uid, each.networks)
        assert all(
            status["restartCount"] == 0 for status in still[each.name].object["status"]["containerStatuses"]
        )
    assert grown(networks) == ["1"]


def grown(networks: NodeNetworks) -> list[Any]:
    """Return how many prefixes each call has asked for, for n1's ENI; None for a call of another kind."""
    eni = networks.status("n1.oam")["eni"]
    assigned = networks.cluster.cloud.journal("AssignPrivateIpAddresses")
    calls = [call["params"] for call in assigned if call["params"]["NetworkInterfaceId"] == eni]
    return [each.get("Ipv4PrefixCount") for each in calls]


def grow_under_a_crowd(story: Story, networks: NodeNetworks) -> None:
    """Create many pods at once: prefixes come before the last address is gone."""
    networks.cluster.cloud.forget()
    story.apply(deployment("crowd", CROWD, template("oam", node="n1")))
    crowd = story.wait_rolled_out(DEPLOYMENT, "crowd")
    # 17 pods were there before.
    expected = (17 + CROWD + LOW_WATER) // 16 + 1
    story.wait(lambda: len(prefixes(networks, "n1", 4)) == expected, f"{expected} prefixes of n1")
    assert grown(networks) == ["1"] * (expected - 2)
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


def test_a_network_moves_to_prefixes_and_its_pods_run_on(networks: NodeNetworks) -> None:
    cluster = networks.cluster
    cluster.kubectl("label", "node", "n2", "moving=true")
    cluster.api.apply(of_prefixes("sig", {"moving": "true"}))
    networks.wait_condition("n2.sig", "Ready")
    with opted_in(cluster, "moving") as story:
        define(story, ipvlan("sig", "sig", whereabouts("10.10.2.200-10.10.2.207/24")))
        story.apply(deployment("web", 2, template("sig", node="n2")))
        before = story.wait_rolled_out(DEPLOYMENT, "web")
        held = networks.expected(before, "sig")
        assert len(held) == 2
        assert story.ledger.held() >= held

        prefixed = {"mode": "Prefixes", "prefixes": {"ipv4": 1}}
        cluster.api.apply(of_prefixes("sig", {"moving": "true"}, addresses=prefixed))
        define(story, definition("sig"))
        networks.wait_condition("n2.sig", "Offered", "PrefixesReady")
        cluster.kubectl("scale", "deployment", "web", "-n", story.namespace, "--replicas=4")
        after = {each.name: each for each in story.wait_rolled_out(DEPLOYMENT, "web")}
        old = [after.pop(each.name) for each in before]
        assert [(each.uid, each.networks) for each in old] == [(each.uid, each.networks) for each in before]
        assert restarts(old) == 0
        # They keep their addresses, and the others need none of their own.
        assert {pair for pair in story.ledger.held() if pair[0] == networks.status("n2.sig")["eni"]} == held
        (prefix,) = prefixes(networks, "n2", 4, "sig")
        assert len(set(addresses(list(after.values()), 4))) == 2
        assert all(each in prefix for each in addresses(list(after.values()), 4))

        # One of before ends as it was made, and its successor is one of now.
        story.delete(POD, before[0].name)
        story.wait_gone(before[0].name)
        pods = story.wait_rolled_out(DEPLOYMENT, "web")
        assert sum(each in prefix for each in addresses(pods, 4)) == 3


def define(story: Story, manifest: Manifest) -> None:
    """Apply a definition as a user does; server-side apply can't take the last field out of its spec."""
    command = ("apply", f"--namespace={story.namespace}", "--filename=-")
    story.cluster.kubectl(*command, input=json.dumps(manifest))


@pytest.fixture
def fragmented(networks: NodeNetworks) -> Iterator[Subnet]:
    """n2's subnet, of which an administrator's ENI has an address of each block that is still whole."""
    subnet, cloud = SECONDARY[1], networks.cluster.cloud
    taken = {ip_network(prefix) for each in cloud.state()["interfaces"] for prefix in each["ipv4_prefixes"]}
    # EC2 gives no prefix of the first block and the last one.
    blocks = list(IPv4Network(subnet.cidr).subnets(new_prefix=28))[1:-1]
    chosen: Any = [
        {"PrivateIpAddress": str(block[-1]), "Primary": not number}
        for number, block in enumerate(each for each in blocks if each not in taken)
    ]
    with closing(cloud.ec2()) as ec2:
        made = ec2.create_network_interface(SubnetId=subnet.id, PrivateIpAddresses=chosen)
        yield subnet
        ec2.delete_network_interface(NetworkInterfaceId=made["NetworkInterface"]["NetworkInterfaceId"])


def test_pods_get_single_addresses_where_the_subnet_has_no_whole_prefix(
    networks: NodeNetworks, fragmented: Subnet
) -> None:
    cluster = networks.cluster
    cluster.kubectl("label", "node", "n2", "fragmented=true")
    prefixed = {"mode": "Prefixes", "prefixes": {"ipv4": 1}}
    cluster.api.apply(of_prefixes("pieces", {"fragmented": "true"}, addresses=prefixed))
    networks.wait_condition("n2.pieces", "SubnetFragmented", "PrefixesReady")
    networks.wait_condition("n2.pieces", "Ready")
    wait_for(lambda: reason(cluster.api.get(NODE_NETWORK, "pieces")) == "SubnetFragmented", "the condition")
    with opted_in(cluster, "fragmented") as story:
        story.apply(definition("pieces"))
        story.apply(deployment("web", 2, template("pieces", node="n2")))
        pods = story.wait_rolled_out(DEPLOYMENT, "web")
        given = prefixes(networks, "n2", 4, "pieces")
        assert {each.prefixlen for each in given} == {32}
        assert all(each.subnet_of(IPv4Network(fragmented.cidr)) for each in given)
        held = set(addresses(pods, 4))
        assert len(held) == 2
        assert held <= {each.network_address for each in given}
        assert story.ledger.held() >= networks.expected(pods, "pieces")
        # EC2 has chosen them: no pod's start named any.
        assert story.ledger.assignments(story.began) == []


def reason(found: Manifest) -> str:
    """Return why an object is ready, or not."""
    conditions = found.get("status", {}).get("conditions", ())
    return next((str(each["reason"]) for each in conditions if each["type"] == "Ready"), "")
