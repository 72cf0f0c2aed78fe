"""What is written to the API server, which Events it makes, and which pods use an ENI."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ipagent.controller.kube import bodies
from ipagent.controller.kube.eni_users import read_pod
from ipagent.controller.kube.events import news
from ipagent.controller.model.condition import Condition, no, unknown, yes
from ipagent.controller.model.node import Taint
from ipagent.controller.model.node_attachment import AttachmentStatus, read_attachment, read_status
from ipagent.controller.model.node_network import LinkSpec
from ipagent.controller.model.prefixes import CniSpec, Family, PrefixState, PrefixStatus, Route
from ipagent.controller.model.writes import ApplyAttachment, PatchNode
from ipagent.network_status_origin import MERGED, NETWORK_STATUS
from ipagent.node_network_api import STANDING_BY

pytestmark = pytest.mark.pure

NOW = "2026-01-02T03:04:05Z"


@pytest.mark.parametrize(
    "cni", [None, CniSpec((Family.IPV4,)), CniSpec((Family.IPV6,), "None", (Route("::/0", "fe80::1"),))]
)
def test_an_attachment_reads_as_it_was_written(cni: CniSpec | None) -> None:
    write = ApplyAttachment(
        "n1.oam", "n1", "uid", "oam", "i-0123456789abcdef0", LinkSpec("oam", "Name", 1500), cni
    )
    body = bodies.attachment(write)
    body["metadata"]["uid"] = "u"
    found = read_attachment(body)
    assert (found.node, found.node_uid, found.network, found.instance) == ("n1", "uid", "oam", write.instance)
    assert (found.link, found.cni, found.held) == (write.link, cni, True)


def test_a_status_reads_as_it_was_written_and_keeps_the_time_of_what_has_not_changed() -> None:
    before = {"Ready": Condition("True", "Ready", "", "2025-01-01T00:00:00Z"), "Created": no("Lost", "m")}
    status = AttachmentStatus(
        {"Ready": yes("Ready", "still"), "Created": yes("Created", "eni-1")},
        2,
        "eni-1",
        "eni-attach-1",
        "02:00:00:00:00:01",
        "subnet-1",
        0,
        3,
        15,
        4,
        ("10.10.1.0/24",),
        (PrefixStatus("10.10.1.16/28"), PrefixStatus("10.10.1.32/28", PrefixState.LEAVING)),
        "IPv4",
        11,
    )
    body = bodies.attachment_status("n1.oam", status, before, NOW)["status"]
    assert read_status(body) == status
    times = {each["type"]: each["lastTransitionTime"] for each in body["conditions"]}
    assert times == {"Ready": "2025-01-01T00:00:00Z", "Created": NOW}
    assert body["slots"]["free"] == 11
    assert "link" not in body


@pytest.mark.parametrize(
    "status",
    [
        AttachmentStatus(limit=15, assigned=1, pool_free=64),
        AttachmentStatus(limit=15, assigned=2, prefixes=(PrefixStatus("2001:db8::/80"),)),
        AttachmentStatus(prefixes=(PrefixStatus("10.10.1.16/28"),)),
    ],
    ids=["no prefix yet", "IPv6 alone", "a type without limits"],
)
def test_a_status_of_a_network_of_prefixes_is_not_written_again_and_again(status: AttachmentStatus) -> None:
    assert read_status(bodies.attachment_status("n1.oam", status, {}, NOW)["status"]) == status


def test_a_status_of_nothing_has_no_empty_fields() -> None:
    body = bodies.attachment_status("n1.oam", AttachmentStatus(), {}, NOW)["status"]
    assert body == {"attempt": 0, "conditions": []}


def test_a_node_is_changed_only_as_it_was_read() -> None:
    taints = (Taint("other", "NoExecute", (("value", "x"),)),)
    assert bodies.node_patch(PatchNode("n1", "7", {"a": "b", "c": None}, taints)) == {
        "metadata": {"resourceVersion": "7", "labels": {"a": "b", "c": None}},
        "spec": {"taints": [{"key": "other", "effect": "NoExecute", "value": "x"}]},
    }
    assert "spec" not in bodies.node_patch(PatchNode("n1", "7", {"a": "b"}))


READY, WAITING = yes("Ready"), no("Attaching", "m")
DENIED = no("NotPermitted", "m")
SPARE = no(STANDING_BY, "m")


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ({}, {"Ready": READY}, ("Normal", READY)),
        ({"Ready": WAITING}, {"Ready": READY}, ("Normal", READY)),
        ({"Ready": READY}, {"Ready": READY}, None),
        ({}, {"Ready": WAITING, "Attached": unknown("Attaching", "m")}, None),
        ({"Ready": WAITING}, {"Ready": DENIED, "Created": DENIED}, ("Warning", DENIED)),
        ({"Ready": DENIED, "Created": DENIED}, {"Ready": DENIED, "Created": DENIED}, None),
        ({}, {}, None),
        ({}, {"Ready": SPARE, "Created": SPARE}, None),
        ({"Ready": SPARE, "Created": SPARE}, {"Ready": DENIED, "Created": DENIED}, ("Warning", DENIED)),
    ],
)
def test_events_say_what_is_ready_and_what_is_refused(
    before: dict[str, Condition], now: dict[str, Condition], expected: tuple[str, Condition] | None
) -> None:
    assert news(before, now) == expected


@pytest.mark.parametrize(
    ("status", "phase", "macs"),
    [
        (json.dumps([{"mac": "02:AA:00:00:00:01"}, {"name": "x"}, 7]), "Running", {"02:aa:00:00:00:01"}),
        ("[" * 100_000, "Running", set()),
        ('[{"mac":' + "[" * 200 + "]" * 200 + "}]", "Running", set()),
        ('[{"mac":' + "1" * 5000 + "}]", "Running", set()),
        ('[{"mac":"\\ud800"}]', "Running", {"\ud800"}),
        ("not JSON", "Running", set()),
        ("{}", "Running", set()),
        (json.dumps([{"mac": "02:aa:00:00:00:01"}]), "Succeeded", set()),
    ],
)
def test_a_pods_macs(status: str, phase: str, macs: set[str]) -> None:
    pod = pod_of(status, {"manager": "multus", "subresource": "status"})
    pod["status"]["phase"] = phase
    assert read_pod(pod) == ("ns/p", frozenset(macs))
    assert read_pod({"metadata": {"namespace": "ns", "name": "p"}}) == ("ns/p", frozenset())


def pod_of(status: str, *writers: dict[str, str]) -> dict[str, Any]:
    owned: dict[str, Any] = {"f:metadata": {"f:annotations": {f"f:{NETWORK_STATUS}": {}}}}
    return {
        "metadata": {
            "namespace": "ns",
            "name": "p",
            "creationTimestamp": CREATED_AT,
            "annotations": {NETWORK_STATUS: status},
            "managedFields": [{"fieldsV1": owned, **each} for each in writers],
        },
        "status": {"phase": "Running"},
    }


CREATED_AT, LATER = "2026-01-02T03:04:05Z", "2026-01-02T03:04:06Z"


@pytest.mark.parametrize(
    ("writers", "counts"),
    [
        ([{"manager": "multus", "subresource": "status"}], True),
        ([{"manager": "kubectl-create", "time": CREATED_AT}], False),
        ([{"manager": "kubectl-edit", "time": LATER}], False),
        ([], False),
        ([{"manager": "kubectl-edit", "subresource": "ephemeralcontainers", "time": LATER}], False),
        ([{"manager": MERGED, "time": LATER}], True),
        ([{"manager": MERGED, "time": CREATED_AT}], False),
        ([{"manager": MERGED}], False),
    ],
    ids=[
        "by Multus",
        "it came with the pod",
        "by somebody with rights to pods alone",
        "nobody's",
        "through another subresource",
        "its writer was merged with others",
        "it came with the pod, by one who calls himself so",
        "without a time",
    ],
)
def test_an_eni_waits_only_for_pods_whose_interfaces_multus_has_made(
    writers: list[dict[str, str]], counts: bool
) -> None:
    status = json.dumps([{"mac": "02:aa:00:00:00:01"}])
    assert read_pod(pod_of(status, *writers)) == ("ns/p", frozenset({"02:aa:00:00:00:01"} if counts else ()))
