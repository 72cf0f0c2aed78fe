"""Nodes that boot with one interface, and get those of their networks from the controller."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

import pytest

from ipagent.node_network_api import READY_PREFIX, STARTUP_TAINT
from tests.cluster.api import DEPLOYMENT, POD, Kind, Manifest
from tests.cluster.helm import merged
from tests.cluster.nodes.cluster import Cluster
from tests.cluster.nodes.parts import Parts
from tests.cluster.nodes.plan import NO_MANAGE, SECONDARY, ZONE
from tests.cluster.nodes.story import Story
from tests.cluster.nodes.story_controller import (
    ADOPTED,
    NODE_NETWORK,
    SECONDS,
    NodeNetworks,
    account,
    node_network,
    values,
)
from tests.cluster.nodes.story_fixtures import helm4, opted_in
from tests.cluster.nodes.story_pods import Running
from tests.cluster.nodes.story_release import released
from tests.cluster.nodes.test_story_deployment import NAMESPACE, sample
from tests.cluster.nodes.workloads import (
    deployment,
    ipvlan,
    network,
    pod,
    spread,
    static,
    template,
    whereabouts,
)
from tests.cluster.waiting import wait_for

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import TagTypeDef

pytestmark = pytest.mark.cluster

ROUNDS = int(os.environ.get("MULTUS_ENI_PROXY_ROUNDS", "4"))
ATTACHED = "cluster.custom.tags/multus-attached"
"""The label by which the public DaemonSet says that a node has its ENI."""
PROXY = "proxy"
WHEREABOUTS = "kube-system"
"""The namespace in which whereabouts has its objects."""
NODE_SLICE_POOL = Kind("whereabouts.cni.cncf.io/v1alpha1", "NodeSlicePool")


@pytest.fixture(scope="module")
def networks(parts: Parts) -> Iterator[NodeNetworks]:
    """Two nodes with one interface each, of which n2 has joined with the startup taint, and the release."""
    with Cluster(parts, primary_only=True, tainted=["n2"], account=account()) as cluster:
        eni = create_eni(cluster, {**ADOPTED, **NO_MANAGE, "Zone": ZONE})
        given = merged(values(cluster), {"controller": {"whereabouts": {"namespace": WHEREABOUTS}}})
        with cluster.plugger(link_delay=0.5), released(cluster, helm4(), given, uninstall=False):
            yield NodeNetworks(cluster, eni)
            cluster.check()


def create_eni(cluster: Cluster, tags: Mapping[str, str]) -> str:
    """Create an ENI as an administrator does; returns its id."""
    named: list[TagTypeDef] = [{"Key": key, "Value": value} for key, value in tags.items()]
    with closing(cluster.cloud.ec2()) as ec2:
        made = ec2.create_network_interface(
            SubnetId=SECONDARY[1].id,
            TagSpecifications=[{"ResourceType": "network-interface", "Tags": named}],
        )
        return made["NetworkInterface"]["NetworkInterfaceId"]


def subnets(number: int) -> dict[str, object]:
    """Return the terms that find one of the secondary subnets, and the security group."""
    return {
        "subnetSelectorTerms": [{"tags": {"multus": SECONDARY[number].bridge}}],
        "securityGroupSelectorTerms": [{"tags": {"multus": "own"}}],
    }


def test_pods_of_the_samples_run_on_a_node_that_joined_with_one_interface(networks: NodeNetworks) -> None:
    cluster = networks.cluster
    cluster.kubectl("label", "node", "n2", "node-group=multus")
    cluster.kubectl("cordon", "n1")
    with opted_in(cluster, NAMESPACE) as story:
        # The interface of `oam` is found by the name that the sample's network has.
        deployment = sample("busybox-deployment.yaml", "busybox-deployment.yaml")
        story.apply(sample("multus-nad-wb.yaml", "nad-ipvlan.yaml"), deployment)
        story.wait(lambda: any(unschedulable(each) for each in story.pods_of(deployment)), "pods that wait")
        assert STARTUP_TAINT in networks.taints("n2")

        chosen = {"node-group": "multus"}
        for manifest in (
            node_network(
                "oam", chosen, link={"name": "eth1"}, nodes={"labels": {ATTACHED: "true"}}, **subnets(0)
            ),
            node_network("sig", chosen, sourceDestCheck=False, link={"mtu": 1400}, **subnets(1)),
        ):
            cluster.api.apply(manifest)
        pods = story.wait_rolled_out(DEPLOYMENT, deployment["metadata"]["name"])
        assert {each.node for each in pods} == {"n2"}
        expected = networks.expected(pods, "oam")
        assert len(expected) == 3
        assert story.ledger.held() == expected
        for each in pods:
            started = story.started_at(each.name, "busybox")
            for eni, address in networks.expected([each], "oam"):
                assert story.ledger.assigned(eni, address).at < started
    for name in ("n2.oam", "n2.sig"):
        networks.wait_condition(name, "Ready")
    assert networks.taints("n2") == []
    labels = networks.labels("n2")
    assert [labels[key] for key in (ATTACHED, f"{READY_PREFIX}oam", f"{READY_PREFIX}sig")] == ["true"] * 3
    assert networks.attachment("n1.oam") == {}

    oam, sig = (networks.link("n2", networks.status(f"n2.{name}")["mac"]) for name in ("oam", "sig"))
    assert (oam["altnames"], sig["altnames"], sig["mtu"]) == (["eth1"], ["sig"], 1400)
    assert all("UP" in each["flags"] for each in (oam, sig))
    found = cluster.cloud.interface(networks.status("n2.sig")["eni"])
    assert (found["source_dest_check"], found["subnet"]) == (False, SECONDARY[1].id)
    # The only refusals are those of device indexes; there is none.
    refused = [call for call in cluster.cloud.journal() if call["result"] not in ("ok", "200")]
    assert [call for call in refused if call["service"] == "ec2"] == []
    cluster.kubectl("uncordon", "n1")


def unschedulable(found: Running) -> bool:
    """Return whether the scheduler has found no node for a pod."""
    conditions = found.object["status"].get("conditions", ())
    return any(each.get("reason") == "Unschedulable" for each in conditions)


def test_two_nodes_adopt_one_eni_in_turns_for_the_outbound_proxy(networks: NodeNetworks) -> None:
    cluster, adopted = networks.cluster, networks.adopted
    cluster.kubectl("label", "node", "n1", "n2", f"{PROXY}=true")
    selector = {"tags": {**ADOPTED, "Zone": "${zone}"}}
    cluster.api.apply(
        node_network(
            "multus",
            {PROXY: "true"},
            source="Adopt",
            interfaceSelector=selector,
            nodes={"labels": {f"{PROXY}-attached": "true"}},
        )
    )
    winner = winner_of(networks)
    loser = "n2" if winner == "n1" else "n1"
    says = networks.wait_condition(f"{loser}.multus", "StandingBy")["message"]
    assert f"{adopted} ({winner})" in says
    # Who stands by takes pods without that network.
    assert networks.taints(loser) == []

    with opted_in(cluster, "outbound") as story:
        address = f"{SECONDARY[1].cidr.rpartition('.')[0]}.190"
        story.apply(network("proxy", "host-device", static(f"{address}/24"), device="multus"))
        for _ in range(ROUNDS):
            assert run_proxy(story, networks, adopted) == winner
            story.wait_held(address, story.ledger.enis()[adopted])
            assert networks.link(winner, mac(networks, winner)) == {}
            networks.wait_condition(f"{winner}.multus", "InPod", "LinkReady")
            end_proxy(story)
            wait_up(story, networks, winner)

        # The node is taken from the network, which waits for the pod, and the other one takes over.
        run_proxy(story, networks, adopted)
        cluster.kubectl("label", "node", winner, f"{PROXY}-")
        says = networks.wait_condition(f"{winner}.multus", "InUse")["message"]
        assert "outbound/squid" in says
        end_proxy(story)
        networks.wait_condition(f"{loser}.multus", "Ready")
        assert run_proxy(story, networks, adopted) == loser
        story.wait_held(address, story.ledger.enis()[adopted])
        end_proxy(story)
        wait_up(story, networks, loser)
    cluster.api.delete(NODE_NETWORK, "multus")
    story.wait(lambda: cluster.cloud.interface(adopted)["status"] == "available", "end of the attachment")


def test_whereabouts_hands_out_of_each_nodes_prefix(networks: NodeNetworks) -> None:
    cluster = networks.cluster
    cluster.kubectl("label", "node", "n1", "n2", "lent=true")
    prefixes = {"mode": "Prefixes", "prefixes": {"ipv4": 1, "ipam": "Whereabouts"}}
    cluster.api.apply(node_network("lent", {"lent": "true"}, addresses=prefixes, **subnets(0)))
    for name in cluster.nodes:
        networks.wait_condition(f"{name}.lent", "Sliced", "PrefixesReady")
        networks.wait_condition(f"{name}.lent", "Ready")
    slices = {name: ip_network(networks.status(f"{name}.lent")["slice"]) for name in cluster.nodes}
    (pool,) = cluster.api.list(NODE_SLICE_POOL, WHEREABOUTS)
    written = {each["nodeName"]: ip_network(each["sliceRange"]) for each in pool["status"]["allocations"]}
    assert written == slices
    with opted_in(cluster, "lent") as story:
        # Only a `range` is divided among nodes.
        ipam = whereabouts(range=SECONDARY[0].cidr, node_slice_size="/28", network_name="lent")
        story.apply(ipvlan("lent", "lent", ipam))
        story.apply(deployment("web", 4, template("lent", topologySpreadConstraints=spread("web"))))
        pods = story.wait_rolled_out(DEPLOYMENT, "web")
        assert {each.node for each in pods} == set(cluster.nodes)
        given = {each.name: [ip_address(address) for address in each.networks["net1"]] for each in pods}
        assert all(address in slices[each.node] for each in pods for address in given[each.name])
        assert len({address for addresses in given.values() for address in addresses}) == 4
        # The prefixes were there before: no pod's start named any address.
        assert story.ledger.assignments(story.began) == []
        story.delete(DEPLOYMENT, "web")
        story.wait_gone(*given)
    cluster.api.delete(NODE_NETWORK, "lent")
    story.wait(lambda: not cluster.api.list(NODE_SLICE_POOL, WHEREABOUTS), "the pool's end")


def winner_of(networks: NodeNetworks) -> str:
    """Wait until a node has the ENI, and return its name."""

    def ready() -> str:
        names = ("n1", "n2")
        return next(
            (each for each in names if networks.condition(f"{each}.multus").get("status") == "True"), ""
        )

    return wait_for(ready, "a node with the ENI", SECONDS)


def mac(networks: NodeNetworks, node: str) -> str:
    return str(networks.status(f"{node}.multus")["mac"])


def run_proxy(story: Story, networks: NodeNetworks, eni: str) -> str:
    """Run the proxy's pod on the node that has the ENI; returns that node."""
    story.apply(pod("squid", template("proxy", nodeSelector={f"{PROXY}-attached": "true"})))
    (running,) = story.wait_ready("squid")
    assert networks.status(f"{running.node}.multus")["eni"] == eni
    return running.node


def end_proxy(story: Story) -> None:
    story.delete(POD, "squid")
    story.wait_gone("squid")


def wait_up(story: Story, networks: NodeNetworks, node: str) -> None:
    """Wait until the link is back on the node, and up."""

    def up() -> bool:
        link: Manifest = networks.link(node, mac(networks, node))
        return "UP" in link.get("flags", ()) and "multus" in link.get("altnames", ())

    story.wait(up, f"the link of {node}")
    networks.wait_condition(f"{node}.multus", "Ready")
