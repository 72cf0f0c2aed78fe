"""Which NetworkAttachmentDefinitions are in which network."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from ipagent.controller.model.condition import TRUE
from ipagent.controller.model.net_attach_defs import Definition, read_definition
from ipagent.controller.model.node_attachment import READY, PodUsage
from ipagent.controller.model.node_network import LinkSpec
from ipagent.controller.model.prefixes import CniSpec, Family, PrefixSpec
from ipagent.controller.reconcile.net_attach_defs import MAX_BYTES, networks_of, networks_text
from tests.ipagent.controller.leader import Leader
from tests.ipagent.controller.prefix_world import OAM, PrefixWorld, settle
from tests.ipagent.controller.world import network
from webhook.networks_file import parse_networks_file

pytestmark = pytest.mark.pure


def definition(config: Any = None, **annotations: str) -> Definition:
    spec = {} if config is None else {"config": config if isinstance(config, str) else json.dumps(config)}
    noted = {"multus-eni.io/network": annotations["network"]} if annotations else {}
    return read_definition(
        {"metadata": {"namespace": "apps", "name": "net", "annotations": noted}, "spec": spec}
    )


NETWORKS = {
    "oam": network("oam"),
    "sig": network("sig", link=LinkSpec("core0")),
    "quiet": network("quiet", advertise=False),
    "twin": network("twin", link=LinkSpec("oam")),
}

CASES: dict[str, tuple[Definition, str | None]] = {
    "master is the link of a network": (definition({"type": "ipvlan", "master": "oam"}), "oam"),
    "host-device": (definition({"type": "host-device", "device": "core0"}), "sig"),
    "a list of plugins": (
        definition({"plugins": [{"type": "macvlan", "master": "core0"}, {"type": "tuning"}]}),
        "sig",
    ),
    "the annotation counts first": (definition({"type": "ipvlan", "master": "oam"}, network="sig"), "sig"),
    "an empty spec with the annotation": (definition(network="oam"), "oam"),
    "the annotation names nothing that serves": (
        definition({"type": "ipvlan", "master": "oam"}, network="none"),
        None,
    ),
    "the network's name is no link": (definition({"type": "ipvlan", "master": "sig"}), None),
    "another interface": (definition({"type": "ipvlan", "master": "eth1"}), None),
    "two networks": (definition({"plugins": [{"master": "oam"}, {"master": "core0"}]}), None),
    "nobody advertises it": (definition(network="quiet"), None),
    "its link's name is another one's": (definition(network="twin"), None),
    "not JSON": (definition("{"), None),
    "deep JSON": (definition("[" * 100_000), None),
    "no object": (definition("[1]"), None),
    "plugins of a wrong type": (definition({"plugins": [1, None, {"master": 2}]}), None),
    "no configuration": (definition(), None),
}


@pytest.mark.parametrize("case", CASES)
def test_a_definition_is_in_the_network_of_its_annotation_or_its_master(case: str) -> None:
    found, expected = CASES[case]
    assert networks_of([found], NETWORKS) == ({"apps/net": expected} if expected else {})


def test_a_network_that_is_being_deleted_has_none() -> None:
    going = {"oam": replace(NETWORKS["oam"], deleting=True)}
    assert networks_of([definition(network="oam")], going) == {}


def test_pods_request_nothing_of_a_network_of_ipv6_prefixes_alone() -> None:
    world = PrefixWorld()
    world.add_network(network("oam", prefixes=PrefixSpec(0, 1, 4, CniSpec((Family.IPV6,)))))
    world.add_node("n1")
    leader = Leader(world)
    settle(world, leader)
    found = world.attachments[OAM]
    world.attachments[OAM] = replace(found, usage=PodUsage(found.status.mac))
    settle(world, leader)
    assert world.attachments[OAM].status.conditions[READY].status == TRUE
    assert not world.nodes["n1"].advertised
    assert networks_of([definition(network="oam")], world.networks) == {}


def test_a_network_that_gives_its_prefixes_back_keeps_its_own() -> None:
    ending = {"oam": replace(NETWORKS["oam"], prefixes=PrefixSpec(0, 0))}
    assert networks_of([definition(network="oam")], ending) == {"apps/net": "oam"}


def test_a_network_that_this_release_can_not_read_keeps_its_own() -> None:
    kept = {"oam": replace(NETWORKS["oam"], unknown=("spec.source Lease",))}
    assert networks_of([definition(network="oam")], kept) == {"apps/net": "oam"}


def test_the_webhook_reads_what_is_written() -> None:
    found = {"apps/b": "oam", "apps/a": "sig"}
    assert parse_networks_file(networks_text(found).encode()) == found


def test_what_does_not_fit_into_a_configmap_is_left_out() -> None:
    found = {f"namespace-{number:06}/{'x' * 40}": "oam" for number in range(20_000)}
    text = networks_text(found)
    assert len(text) < MAX_BYTES + 100
    assert 10_000 < len(parse_networks_file(text.encode())) < 20_000
