"""Pods that claim Elastic IPs and the grants of the values, as they are read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from common.elastic_ips import EipClaim
from common.pod_keys import EIP_CONDITION
from ipagent.controller.model.condition import Condition
from ipagent.controller.model.eips import read_grants, read_pod
from ipagent.network_status_origin import NETWORK_STATUS
from ipagent.node.model.network_status import read_status

pytestmark = pytest.mark.pure

STATUS = [
    {"name": "aws-cni", "interface": "eth0", "ips": ["10.10.0.77"], "default": True},
    {"name": "voice/oam", "interface": "net1", "ips": ["2001:db8::5", "10.10.1.5", "10.10.1.6"]},
    {"name": "voice/bare", "interface": "net2"},
    "junk",
]


def pod(**changes: Any) -> dict[str, Any]:
    written: dict[str, Any] = {"f:metadata": {"f:annotations": {f"f:{NETWORK_STATUS}": {}}}}
    found: dict[str, Any] = {
        "metadata": {
            "namespace": "voice",
            "name": "sip-0",
            "uid": "uid-1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"multus-eni.io/eip": "true"},
            "annotations": {"multus-eni.io/eip": "net1=pool/sip", NETWORK_STATUS: json.dumps(STATUS)},
            "ownerReferences": [{"kind": "StatefulSet", "name": "sip", "controller": True}],
            "managedFields": [{"manager": "multus", "subresource": "status", "fieldsV1": written}],
        },
        "spec": {"nodeName": "n1"},
        "status": {"phase": "Running"},
    }
    found["metadata"] |= changes.pop("metadata", {})
    return found | changes


def test_a_pod() -> None:
    found = read_pod(pod())
    assert (found.key, found.node, found.kept, found.proven, found.ended) == (
        "voice/sip-0",
        "n1",
        True,
        True,
        False,
    )
    assert found.claims == (EipClaim("net1", pool="sip"),)
    assert found.addresses == {"net1": "10.10.1.5"}
    assert found.condition is None


@pytest.mark.parametrize(
    ("ips", "address"),
    [
        (["10.10.1.5/24"], "10.10.1.5"),
        ([" 10.10.1.5\r\n"], "10.10.1.5"),
        (["::ffff:10.10.1.5"], "10.10.1.5"),
        (["fe80::1%eth0", "2001:db8::5/64", "10.10.1.5"], "10.10.1.5"),
        ([None, 7, {}, "x" * 5000, "10.10.1.300", "10.10.1.5"], "10.10.1.5"),
        (["2001:db8::5"], None),
        ("10.10.1.5", None),
        ({"0": "10.10.1.5"}, None),
    ],
)
def test_addresses_are_read_as_the_node_agent_reads_them(ips: Any, address: str | None) -> None:
    status = [{"name": "voice/oam", "interface": "net1", "ips": ips}]
    text = json.dumps(status, indent=1).replace("\n", "\r\n")
    found = read_pod(pod(metadata={"annotations": {NETWORK_STATUS: text}}))
    assert found.addresses.get("net1") == address
    assert [str(each.address) for each in read_status(text).holdings if "." in str(each.address)] == (
        [address] if address else []
    )


def test_what_multus_has_not_written_is_not_proven() -> None:
    assert read_pod(pod(metadata={"managedFields": []})).proven is False


@pytest.mark.parametrize("depth", [1, 300, 100_000])
def test_nested_lists_where_texts_belong_are_left_out(depth: int) -> None:
    deep = "[" * depth + "]" * depth
    status = f'[{{"interface":{deep},"ips":[{deep},1,"10.10.1.5"]}}]'
    found = read_pod(pod(metadata={"annotations": {NETWORK_STATUS: status}}))
    assert found.addresses == ({} if depth > 1000 else {"": "10.10.1.5"})


def test_a_broken_annotation_is_a_problem_of_the_pod() -> None:
    found = read_pod(pod(metadata={"annotations": {"multus-eni.io/eip": "net1=sip", NETWORK_STATUS: "{"}}))
    assert found.claims == ()
    assert "'sip' is neither pool/NAME" in found.problem
    assert found.addresses == {}


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_has_ended_claims_nothing(phase: str) -> None:
    assert read_pod(pod(status={"phase": phase})).ended


def test_only_a_statefulset_makes_it_again() -> None:
    owner = {"kind": "ReplicaSet", "name": "sip", "controller": True}
    assert read_pod(pod(metadata={"ownerReferences": [owner]})).kept is False


def test_its_condition() -> None:
    listed = [
        {"type": "Ready", "status": "True"},
        {"type": EIP_CONDITION, "status": "False", "reason": "PoolEmpty"},
    ]
    found = read_pod(pod(status={"conditions": listed}))
    assert found.condition == Condition("False", "PoolEmpty")


def test_grants() -> None:
    found = read_grants(
        '{"a": {"pools": {"sip": {"tags": {"b": "2", "a": "1"}}}}, "b": {"cidrs": ["10.0.0.0/30"]}}'
    )
    assert found["a"].pools == {"sip": (("a", "1"), ("b", "2"))}
    assert found["b"].allows("10.0.0.1")
    assert not found["a"].allows("10.0.0.1")
    assert read_grants("{}") == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "not of the form"),
        ("{", "Expecting"),
        ('{"a": {"pools": {"sip": {"tags": {}}}}}', "pool sip has no tags"),
        ('{"a": {"pools": {"sip": {}}}}', "not of the form"),
        ('{"a": {"cidrs": ["10.0.0.1/8"]}}', "host bits"),
    ],
)
def test_grants_that_cannot_be_read(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_grants(text)
