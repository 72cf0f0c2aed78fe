"""Objects of the API server become data."""

from __future__ import annotations

from typing import Any

import pytest

from ipagent.call_relay import Action, RelayAnswers, RelayRequests
from ipagent.controller.model.condition import Condition
from ipagent.controller.model.node import Taint, read_node
from ipagent.controller.model.node_attachment import AttachmentStatus, LinkStatus, PodUsage, read_attachment
from ipagent.controller.model.node_network import (
    DeletionPolicy,
    LinkSpec,
    NodeNetwork,
    Requirement,
    Selector,
    Source,
    Term,
    read_network,
)
from ipagent.controller.model.prefixes import CniSpec, Family, PrefixSpec, Route
from ipagent.node_network_api import label_value

pytestmark = pytest.mark.pure

READY = {"type": "Ready", "status": "True", "reason": "AllReady", "message": "m", "lastTransitionTime": "t"}


def test_the_shortest_network_has_the_defaults() -> None:
    found = read_network({"metadata": {"name": "oam", "uid": "u"}, "spec": {"nodeSelector": {}}})
    assert found == NodeNetwork("oam", "u", LinkSpec("oam"))


def test_which_of_two_networks_is_older_is_read() -> None:
    metadata = {"name": "oam", "uid": "u", "creationTimestamp": "2026-01-02T03:04:05Z"}
    assert (
        read_network({"metadata": metadata, "spec": {"nodeSelector": {}}}).created == "2026-01-02T03:04:05Z"
    )


def test_every_field_of_a_network_counts() -> None:
    spec: dict[str, Any] = {
        "nodeSelector": {
            "matchLabels": {"a": "b"},
            "matchExpressions": [{"key": "c", "operator": "In", "values": ["d"]}],
        },
        "source": "Adopt",
        "subnetSelectorTerms": [{"id": "subnet-1"}, {"tags": {"multus": "oam"}}],
        "securityGroupSelectorTerms": [{"tags": {"x": "y"}}],
        "interfaceSelector": {"tags": {"Zone": "${zone}"}},
        "link": {"name": "out", "rename": "Name", "mtu": 1500},
        "placement": {"networkCard": 1, "deviceIndex": 3},
        "ipv6": {"addresses": 2},
        "addresses": {
            "mode": "Prefixes",
            "prefixes": {
                "ipv4": 2,
                "ipv6": 1,
                "maxIPv4": 6,
                "gateway": "None",
                "routes": [{"dst": "10.0.0.0/8", "gw": "10.10.1.1"}],
            },
        },
        "sourceDestCheck": False,
        "deletionPolicy": "Force",
        "deleteOnTermination": False,
        "tags": {"team": "core"},
        "nodes": {"labels": {"l": "m"}, "startupTaint": False},
    }
    metadata = {
        "name": "oam",
        "uid": "u",
        "generation": 7,
        "deletionTimestamp": "t",
        "finalizers": ["multus-eni.io/attachments"],
    }
    found = read_network({"metadata": metadata, "spec": spec, "status": {"conditions": [READY]}})
    assert found == NodeNetwork(
        name="oam",
        uid="u",
        link=LinkSpec("out", "Name", 1500),
        selector=Selector((("a", "b"),), (Requirement("c", "In", ("d",)),)),
        source=Source.ADOPT,
        subnets=(Term("subnet-1"), Term(tags=(("multus", "oam"),))),
        groups=(Term(tags=(("x", "y"),)),),
        interface_tags=(("Zone", "${zone}"),),
        network_card=1,
        device_index=3,
        ipv6_addresses=2,
        prefixes=PrefixSpec(
            2,
            1,
            6,
            CniSpec((Family.IPV4, Family.IPV6), "None", (Route("10.0.0.0/8", "10.10.1.1"),)),
        ),
        source_dest_check=False,
        deletion_policy=DeletionPolicy.FORCE,
        delete_on_termination=False,
        tags=(("team", "core"),),
        node_labels=(("l", "m"),),
        startup_taint=False,
        generation=7,
        deleting=True,
        held=True,
    )
    assert found.status == {"Ready": Condition("True", "AllReady", "m")}
    assert found.tags_of_interface("eu-central-1a") == {"Zone": "eu-central-1a"}


@pytest.mark.parametrize(
    ("spec", "unknown"),
    [
        ({"source": "Lease"}, ("spec.source Lease",)),
        ({"deletionPolicy": "Never"}, ("spec.deletionPolicy Never",)),
        ({"addresses": {"mode": "Overlay"}}, ("spec.addresses.mode Overlay",)),
        (
            {"addresses": {"mode": "Prefixes", "prefixes": {"ipam": "Dhcp"}}, "source": "Lease"},
            ("spec.source Lease", "spec.addresses.prefixes.ipam Dhcp"),
        ),
        ({"addresses": {"mode": "Prefixes", "prefixes": None}, "source": "Adopt"}, ()),
        ({"addresses": None}, ()),
    ],
)
def test_a_value_of_a_later_release_is_told_and_has_the_default(
    spec: dict[str, Any], unknown: tuple[str, ...]
) -> None:
    found = read_network({"metadata": {"name": "oam", "uid": "u"}, "spec": {"nodeSelector": {}, **spec}})
    assert found.unknown == unknown
    if unknown:
        assert (found.source, found.deletion_policy) == (Source.CREATE, DeletionPolicy.WAIT_FOR_PODS)
        assert found.prefixes in (None, PrefixSpec())


@pytest.mark.parametrize(
    ("operator", "values", "labels", "matches"),
    [
        ("In", ["a", "b"], {"k": "b"}, True),
        ("In", ["a"], {}, False),
        ("NotIn", ["a"], {"k": "b"}, True),
        ("NotIn", ["a"], {}, True),
        ("NotIn", ["a"], {"k": "a"}, False),
        ("Exists", [], {"k": ""}, True),
        ("Exists", [], {}, False),
        ("DoesNotExist", [], {}, True),
        ("DoesNotExist", [], {"k": "x"}, False),
    ],
)
def test_selectors(operator: str, values: list[str], labels: dict[str, str], matches: bool) -> None:
    expressions = [{"key": "k", "operator": operator, "values": values}]
    spec = {"nodeSelector": {"matchExpressions": expressions}}
    found = read_network({"metadata": {"name": "oam", "uid": "u"}, "spec": spec})
    assert found.selector.matches(labels) is matches


def test_an_attachment_with_what_the_node_reports() -> None:
    found = read_attachment(
        {
            "metadata": {"name": "n1.oam", "uid": "u", "finalizers": ["multus-eni.io/eni"]},
            "spec": {
                "node": "n1",
                "nodeUID": "nu",
                "network": "oam",
                "instanceID": "i-1",
                "link": {"mtu": 9},
            },
            "status": {
                "eni": "eni-1",
                "attachment": "eni-attach-1",
                "mac": "02:00:00:00:00:01",
                "ipv6Addresses": ["2001:db8::5"],
                "subnet": "subnet-1",
                "card": 0,
                "device": 2,
                "attempt": 3,
                "slots": {"limit": 15, "assigned": 4},
                "link": {"mac": "02:00:00:00:00:01", "name": "oam", "up": True, "mtu": 9001, "message": "m"},
                "conditions": [READY],
            },
        }
    )
    assert found.link == LinkSpec("oam", "Altname", 9)
    assert (found.held, found.deleting) == (True, False)
    assert found.reported == LinkStatus("02:00:00:00:00:01", "oam", up=True, mtu=9001, message="m")
    assert found.status == AttachmentStatus(
        conditions={"Ready": Condition("True", "AllReady", "m")},
        attempt=3,
        eni="eni-1",
        attachment="eni-attach-1",
        mac="02:00:00:00:00:01",
        ipv6_addresses=("2001:db8::5",),
        subnet="subnet-1",
        card=0,
        device=2,
        limit=15,
        assigned=4,
    )
    assert found.status.free == 11


def test_of_what_a_node_reports_only_addresses_count() -> None:
    """The schema takes any text, and one node must not end the controller."""
    reported = ["10.0.0.5", "2001:db8::5", "x", "10.0.0.5/28", "10.0.0.", "", "1e9", "٣.0.0.1"]
    found = read_attachment(
        {
            "metadata": {"name": "n1.oam", "uid": "u"},
            "spec": {"node": "n1", "nodeUID": "nu", "network": "oam", "instanceID": "i-1"},
            "status": {
                "pods": {"mac": "02:00:00:00:00:01", "requested": 1, "addresses": reported, "others": ["y"]}
            },
        }
    )
    assert found.usage == PodUsage("02:00:00:00:00:01", 1, frozenset({"10.0.0.5", "2001:db8::5"}))


def test_a_node_and_its_taints_as_they_are() -> None:
    taints = [{"key": "a", "effect": "NoExecute", "timeAdded": "t"}]
    found = read_node(
        {
            "metadata": {
                "name": "n1",
                "uid": "u",
                "resourceVersion": "5",
                "labels": {"node.kubernetes.io/instance-type": "m5.large"},
            },
            "spec": {"providerID": "aws:///eu-central-1b/i-0123456789abcdef0", "taints": taints},
        }
    )
    assert (found.instance, found.zone, found.type) == ("i-0123456789abcdef0", "eu-central-1b", "m5.large")
    assert [taint.to_object() for taint in found.taints] == taints
    assert not found.tainted
    assert found.taints == (Taint("a", "NoExecute", (("timeAdded", "t"),)),)


@pytest.mark.parametrize(
    ("amount", "read"),
    [("1k", "1000"), ("2Ki", "2048"), ("1e3", "1000"), ("14", "14"), (14, "14"), ("x", "x")],
)
def test_a_resource_is_compared_by_its_number_however_the_api_server_writes_it(
    amount: str | int, read: str
) -> None:
    status = {"capacity": {"multus-eni.io/oam": amount, "cpu": "4"}, "allocatable": {}}
    found = read_node({"metadata": {"name": "n", "uid": "u"}, "status": status})
    assert found.advertised == {"multus-eni.io/oam": (read, "")}


@pytest.mark.parametrize("provider", ["", "gce://p/z/n", "aws:///eu-central-1b/fargate-ip-10-0-0-1"])
def test_a_node_that_is_not_an_instance(provider: str) -> None:
    assert not read_node({"metadata": {"name": "n", "uid": "u"}, "spec": {"providerID": provider}}).instance


def test_a_long_name_is_still_a_label() -> None:
    assert (
        label_value("ip-10-0-0-1.eu-central-1.compute.internal")
        == "ip-10-0-0-1.eu-central-1.compute.internal"
    )
    assert len(label_value("n" * 200)) == 63
    assert label_value("n" * 200) != label_value("n" * 201)


def test_what_a_node_agent_asks_for_and_was_answered_is_read() -> None:
    found: dict[str, Any] = {
        "metadata": {"name": "n1.oam", "uid": "u"},
        "spec": {"node": "n1", "nodeUID": "nu", "network": "oam", "instanceID": "i-1"},
    }
    assert (read_attachment(found).requests, read_attachment(found).responses) == (None, RelayAnswers())
    calls = [{"id": 7, "action": "DescribeNetworkInterfaces", "eni": "eni-1"}, {"id": 8, "action": "Reboot"}]
    found["status"] = {
        "requests": {"session": "s", "time": "2026-11-29T13:00:00Z", "calls": calls},
        "responses": {"session": "s", "calls": [{"id": 6, "addresses": ["10.10.1.5"]}]},
    }
    read = read_attachment(found)
    assert isinstance(read.requests, RelayRequests)
    assert [(call.id, call.action) for call in read.requests.calls] == [(7, Action.DESCRIBE)]
    assert set(read.requests.unreadable) == {8}
    assert [str(each) for each in read.responses.of("s")[6].addresses] == ["10.10.1.5"]
