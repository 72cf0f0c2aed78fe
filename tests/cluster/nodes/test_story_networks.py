"""The ways in which Multus attaches a pod to ENIs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.api import POD, Manifest
from tests.cluster.nodes.story import Story
from tests.cluster.nodes.story_cloud import Eni
from tests.cluster.nodes.story_pods import Running
from tests.cluster.nodes.workloads import (
    host_local,
    ipvlan,
    network,
    pod,
    static,
    template,
    whereabouts,
)

pytestmark = pytest.mark.cluster

IPAMS: dict[str, tuple[Callable[[Eni], Manifest], list[int]]] = {
    "IPv4 and IPv6": (lambda eni: whereabouts(eni.span(100, 179), eni.ipv6_span(100, 179)), [4, 6]),
    "IPv6 alone": (lambda eni: host_local(eni.ipv6_local(180, 189)), [6]),
    "host-local": (lambda eni: host_local(eni.local(180, 184)), [4]),
}


def versions(pod: Running) -> list[int]:
    """Return the address families of net1."""
    return sorted(6 if ":" in address else 4 for address in pod.networks["net1"])


@pytest.mark.parametrize(("ipam", "families"), IPAMS.values(), ids=IPAMS)
def test_addresses_of_every_family_and_ipam(
    story: Story, ipam: Callable[[Eni], Manifest], families: list[int]
) -> None:
    story.apply(ipvlan("net", "eth1", ipam(story.subnet())), pod("app", template("net", node="n1")))
    (running,) = story.wait_ready("app")
    assert versions(running) == families
    assert_assigned_first(story, running, {"net1": "eth1"})


def test_two_networks_on_two_subnets(story: Story) -> None:
    for name, master in (("one", "eth1"), ("two", "eth2")):
        story.apply(ipvlan(name, master, whereabouts(story.subnet(master).span(100, 179))))
    story.apply(pod("app", template("one,two@data", node="n2")))
    (running,) = story.wait_ready("app")
    assert_assigned_first(story, running, {"net1": "eth1", "data": "eth2"})


def test_an_eni_that_moves_into_the_pod(story: Story) -> None:
    eni = story.eni("n1", "eth2")
    address = eni.address(190)
    story.apply(network("net", "host-device", static(f"{address}/24"), device="eth2"))
    story.apply(pod("app", template("net", node="n1")))
    (running,) = story.wait_ready("app")
    assert [each["mac"] for each in running.attachments] == [eni.mac]
    assert_assigned_first(story, running, {"net1": "eth2"})
    # It is back on the node before another story looks for it there.
    story.delete(POD, "app")
    story.wait_gone("app")


def test_a_foreign_mac_is_placed_by_its_subnet(story: Story) -> None:
    story.apply(network("net", "macvlan", whereabouts(story.subnet().span(100, 179)), master="eth1"))
    story.apply(pod("app", template("net", node="n1")))
    (running,) = story.wait_ready("app")
    assert_assigned_first(story, running, {"net1": "eth1"})
    assert "eni-by-subnet" in story.logs("app")


def test_a_default_route_on_a_network_is_warned_of(story: Story) -> None:
    subnet = story.subnet()
    routed: list[dict[str, Any]] = [{"name": "net", "default-route": [subnet.address(1)]}]
    story.apply(ipvlan("net", "eth1", whereabouts(subnet.span(100, 179))))
    (warning,) = story.apply(pod("app", template(routed, node="n1")))
    assert "network net sets default-route" in warning
    # Multus 4.2 and 4.3 leave eth0's default route where it is (its pull request 1552), so EC2 is reached.
    (running,) = story.wait_ready("app")
    assert_assigned_first(story, running, {"net1": "eth1"})


def assert_assigned_first(story: Story, running: Running, masters: dict[str, str]) -> None:
    """Assert that exactly the pod's addresses were assigned, and all of them before its app was made."""
    expected = story.expected([running], masters)
    assert expected
    made = story.ledger.assignments(since=story.began)
    assert {(each.eni, each.address) for each in made} == expected
    assert story.ledger.held() >= expected
    assert max(each.at for each in made) < story.started_at(running.name)
