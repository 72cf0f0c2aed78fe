"""A node dies, with its pods and with a replica of the webhook."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.api import DEPLOYMENT
from tests.cluster.nodes.cluster import Cluster
from tests.cluster.nodes.story import SECONDS, Story
from tests.cluster.nodes.story_release import WEBHOOK, Release
from tests.cluster.nodes.workloads import (
    HOSTNAME,
    deployment,
    ipvlan,
    static,
    template,
    whereabouts,
)

pytestmark = pytest.mark.cluster

AT_ONCE = [
    {
        "key": f"node.kubernetes.io/{trouble}",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 0,
    }
    for trouble in ("not-ready", "unreachable")
]
"""Away from a dead node at once, not after five minutes."""


def test_pods_of_a_dead_node_come_back_elsewhere_with_their_addresses(story: Story, release: Release) -> None:
    cluster = story.cluster
    victim, survivor = "n2", "n1"
    subnet = story.subnet()
    fixed = [subnet.address(190), subnet.ipv6(190)]
    wanted: list[dict[str, Any]] = [{"name": "fixed", "ips": [f"{fixed[0]}/24", f"{fixed[1]}/64"]}]
    story.apply(
        ipvlan("net", "eth1", whereabouts(subnet.span(100, 179))),
        ipvlan("fixed", "eth1", static(), capabilities={"ips": True}),
        deployment("fixed", 1, template(wanted, tolerations=AT_ONCE, affinity=preferring(victim))),
        deployment("growing", 2, template("net", tolerations=AT_ONCE)),
    )
    (first,) = story.wait_rolled_out(DEPLOYMENT, "fixed")
    story.wait_rolled_out(DEPLOYMENT, "growing")
    assert first.node == victim
    webhook = release.story.wait_rolled_out(DEPLOYMENT, WEBHOOK)
    assert {each.node for each in webhook} == {victim, survivor}
    for address in fixed:
        assert story.ledger.holder(address) == story.eni(victim).id

    cluster.nodes[victim].kill()
    try:
        story.apply(deployment("growing", 6, template("net", tolerations=AT_ONCE)))
        (second,) = story.wait(
            lambda: [each for each in on(story, "fixed", survivor) if each.ready],
            f"the pod with {fixed} on {survivor}",
        )
        grown = story.wait_rolled_out(DEPLOYMENT, "growing")
    finally:
        cluster.nodes[victim].start()
        restored(cluster, release, victim)
    assert {each.node for each in grown} == {survivor}
    assert {each.mode for each in (second, *grown)} == {release.mode}
    for address in fixed:
        assert story.ledger.holder(address) == story.eni(survivor).id
    assert story.ledger.held() >= story.expected([second, *grown])


def preferring(node: str) -> dict[str, Any]:
    """Make an affinity: this node if there is one."""
    term = {"matchExpressions": [{"key": HOSTNAME, "operator": "In", "values": [node]}]}
    rule = [{"weight": 100, "preference": term}]
    return {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": rule}}


def on(story: Story, owner: str, node: str) -> list[Any]:
    """Return the pods of a Deployment on a node."""
    return [each for each in story.pods_of(story.get(DEPLOYMENT, owner)) if each.node == node]


def restored(cluster: Cluster, release: Release, node: str) -> None:
    """Wait until the node and the webhook are as before."""
    cluster.wait_ready(node, timeout=SECONDS)
    release.story.wait_rolled_out(DEPLOYMENT, WEBHOOK)
