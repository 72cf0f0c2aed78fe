"""The demo's own judgement: its IPAM, its kubelet, and what it accepts as success."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, ip_interface
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from demo import ipam, manifests, pod, review, show
from demo.cloud import Eni, check, enis
from demo.failure import DemoError
from demo.screen import Screen

pytestmark = pytest.mark.pure

ROOT = Path(__file__).resolve().parents[1]
PLACEMENT = pod.Placement("ip-10-10-0-10", "10.10.0.10", "10.10.0.21")


@pytest.mark.parametrize(
    ("configuration", "addresses"),
    [
        ({"range": "10.10.1.80-10.10.1.82/24"}, ["10.10.1.80/24", "10.10.1.81/24", "10.10.1.82/24"]),
        ({"range": "10.10.1.0/30"}, ["10.10.1.1/30", "10.10.1.2/30"]),
        ({"range": "10.10.1.9/30"}, ["10.10.1.9/30", "10.10.1.10/30"]),
        ({"range": "10.10.1.7/32"}, ["10.10.1.7/32"]),
        (
            {"range": "10.10.1.0/24", "range_start": "10.10.1.6", "range_end": "10.10.1.7"},
            ["10.10.1.6/24", "10.10.1.7/24"],
        ),
        (
            {"range": "10.10.1.80-10.10.1.83/24", "exclude": ["10.10.1.80/31", "10.10.1.83"]},
            ["10.10.1.82/24"],
        ),
        (
            {"range": "10.10.1.0/29", "range_start": "10.9.9.9"},
            [f"10.10.1.{last}/29" for last in range(1, 7)],
        ),
        ({"range": "2001:db8::a-2001:db8::b/64"}, ["2001:db8::a/64", "2001:db8::b/64"]),
    ],
)
def test_a_pool_gives_its_addresses_in_order(configuration: dict[str, Any], addresses: list[str]) -> None:
    pool = ipam.pool({"type": "whereabouts", **configuration})
    taken: list[ipam.Address] = []
    for expected in addresses:
        found = pool.first_free(taken)
        assert found == ip_interface(expected)
        taken.append(found.ip)
    with pytest.raises(DemoError, match="is free"):
        pool.first_free(taken)


@pytest.mark.parametrize(
    "configuration",
    [
        {"type": "host-local", "range": "10.10.1.0/24"},
        {"type": "whereabouts"},
        {"type": "whereabouts", "range": "10.10.1.82-10.10.1.80/24"},
        {"type": "whereabouts", "range": "10.10.1.80-10.10.1.82"},
        {"type": "whereabouts", "range": "banana"},
        {"type": "whereabouts", "range": "10.10.1.x-10.10.1.82/24"},
        {"type": "whereabouts", "range": "10.10.1.0/24", "exclude": ["x"]},
        {"type": "whereabouts", "range": "10.10.1.0/24", "range_start": 5},
    ],
)
def test_a_range_that_can_not_be_read_is_an_error(configuration: dict[str, Any]) -> None:
    with pytest.raises(DemoError, match=r"IPAM range can't be read|by whereabouts only"):
        ipam.pool(configuration)


@given(
    network=st.builds(
        lambda number, prefix: IPv4Network((number, prefix), strict=False),
        st.integers(0, 2**32 - 1),
        st.integers(24, 32),
    ),
    taken=st.sets(st.integers(0, 255), max_size=40),
)
def test_the_first_free_address_is_the_lowest_that_may_be_given(
    network: IPv4Network, taken: set[int]
) -> None:
    held = {IPv4Address((int(network.network_address) + offset) % 2**32) for offset in taken}
    free = [address for address in network.hosts() if address not in held]
    pool = ipam.pool({"type": "whereabouts", "range": str(network)})
    if free:
        assert pool.first_free(held).ip == min(free)
    elif network.prefixlen != 31:
        with pytest.raises(DemoError):
            pool.first_free(held)


def states() -> tuple[dict[str, Any], dict[str, Any], Eni]:
    interfaces: list[dict[str, Any]] = [
        {"id": "eni-0", "device": 0, "subnet": "s0", "primary": "10.0.0.4", "secondaries": ["10.0.0.5"]},
        {"id": "eni-1", "device": 1, "subnet": "s1", "primary": "10.0.1.4", "secondaries": []},
        {"id": "eni-9", "device": 0, "subnet": "s1", "primary": "10.0.1.5", "secondaries": []},
    ]
    before: dict[str, Any] = {
        "instances": [
            {"id": "i-0", "interfaces": ["eni-0", "eni-1"]},
            {"id": "i-9", "interfaces": ["eni-9"]},
        ],
        "subnets": [
            {"id": f"s{number}", "cidr": f"10.0.{number}.0/24", "free_addresses": 200} for number in (0, 1)
        ],
        "interfaces": [{**eni, "mac": "02:" + eni["id"], "imds": [eni["primary"]]} for eni in interfaces],
    }
    after = copy.deepcopy(before)
    after["interfaces"][1]["secondaries"] = ["10.0.1.80"]
    after["interfaces"][1]["imds"] = ["10.0.1.4", "10.0.1.80"]
    after["subnets"][1]["free_addresses"] = 199
    return before, after, enis(before)[1]


def test_the_enis_are_those_of_the_first_instance_by_device() -> None:
    before, _, eni = states()
    assert [found.id for found in enis(before)] == ["eni-0", "eni-1"]
    assert (eni.interface, eni.cidr) == ("eth1", "10.0.1.0/24")


def test_success_is_the_address_on_its_eni_and_nothing_else() -> None:
    before, after, eni = states()
    check(before, after, eni, "10.0.1.80")


def not_assigned(after: dict[str, Any]) -> None:
    after["interfaces"][1]["secondaries"] = []


def on_another(after: dict[str, Any]) -> None:
    after["interfaces"][1]["secondaries"] = []
    after["interfaces"][2]["secondaries"] = ["10.0.1.80"]


def on_two(after: dict[str, Any]) -> None:
    after["interfaces"][2]["secondaries"] = ["10.0.1.80"]


def one_more(after: dict[str, Any]) -> None:
    after["interfaces"][1]["secondaries"].append("10.0.1.81")


def one_lost(after: dict[str, Any]) -> None:
    after["interfaces"][0]["secondaries"] = []


def other_primary(after: dict[str, Any]) -> None:
    after["interfaces"][2]["primary"] = "10.0.1.6"


def other_tag(after: dict[str, Any]) -> None:
    after["interfaces"][2]["tags"] = {"x": "y"}


def eni_gone(after: dict[str, Any]) -> None:
    del after["interfaces"][2]


@pytest.mark.parametrize(
    "change", [not_assigned, on_another, on_two, one_more, one_lost, other_primary, other_tag, eni_gone]
)
def test_anything_else_is_no_success(change: Callable[[dict[str, Any]], None]) -> None:
    before, after, eni = states()
    change(after)
    with pytest.raises(DemoError, match="EC2"):
        check(before, after, eni, "10.0.1.80")


def test_an_address_outside_the_enis_subnet_is_no_success() -> None:
    before, after, eni = states()
    after["interfaces"][1]["secondaries"] = ["10.0.2.80"]
    with pytest.raises(DemoError, match="outside"):
        check(before, after, eni, "10.0.2.80")


def admitted(**container: Any) -> dict[str, Any]:
    agent = {"name": "multus-eni-agent", "command": ["ipagent", "init"], **container}
    return {
        "metadata": {"name": "busybox-x", "namespace": "multus", "uid": "u-1"},
        "spec": {"initContainers": [agent], "containers": [{"name": "busybox", "image": "busybox"}]},
    }


def test_the_environment_is_resolved_as_the_kubelet_does() -> None:
    manifest = admitted(
        args=["--pod=$(POD)", "$$(POD)", "$(UNKNOWN)"],
        env=[
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "WHERE", "value": "$(POD) on $(NODE)"},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
            {"name": "EMPTY"},
        ],
    )
    command = pod.command(pod.agent_container(manifest), manifest, PLACEMENT)
    assert command.argv == ("ipagent", "init", "--pod=busybox-x", "$(POD)", "$(UNKNOWN)")
    assert command.env == {
        "PATH": pod.IMAGE_PATH,
        "POD": "busybox-x",
        "WHERE": "busybox-x on $(NODE)",
        "NODE": "ip-10-10-0-10",
        "HOST": "10.10.0.10",
        "EMPTY": "",
    }


@pytest.mark.parametrize(
    "source",
    [
        {"fieldRef": {"fieldPath": "metadata.labels['x']"}},
        {"secretKeyRef": {"name": "x", "key": "y"}},
    ],
)
def test_what_can_not_be_resolved_is_an_error(source: dict[str, Any]) -> None:
    manifest = admitted(env=[{"name": "X", "valueFrom": source}])
    with pytest.raises(DemoError, match="X"):
        pod.command(pod.agent_container(manifest), manifest, PLACEMENT)


@pytest.mark.parametrize("others", [[], [{"name": "istio-init"}]])
def test_a_pod_without_the_agent_in_first_place_is_an_error(others: list[dict[str, str]]) -> None:
    manifest = admitted()
    manifest["spec"]["initContainers"] = [*others, *(manifest["spec"]["initContainers"] if others else [])]
    with pytest.raises(DemoError, match="without multus-eni-agent as its first"):
        pod.agent_container(manifest)


def test_a_pod_that_the_webhook_leaves_alone_is_admitted_without_the_agent() -> None:
    class Webhook:
        url = "https://127.0.0.1"

        def review(self, _path: str, request: dict[str, Any]) -> dict[str, Any]:
            return {"response": {"uid": request["request"]["uid"], "allowed": True}}

    webhook: Any = Webhook()
    admitted_pod = review.create(manifests.load(), webhook).pod
    with pytest.raises(DemoError, match="without multus-eni-agent as its first"):
        pod.agent_container(admitted_pod)


def test_the_review_is_what_an_api_server_sends_for_the_deployments_pod() -> None:
    found = manifests.load()
    assert review.path_for(found.namespace) == "/mutate/namespace/default"
    request = review.review_of(review.with_defaults(manifests.pod_of(found.deployment)))["request"]
    assert (request["operation"], request["namespace"]) == ("CREATE", "multus")
    sent = request["object"]
    assert "name" not in sent["metadata"]
    assert sent["metadata"]["annotations"] == {"k8s.v1.cni.cncf.io/networks": "ipvlan-multus"}
    template = found.deployment["spec"]["template"]["spec"]["containers"][0]
    assert template.items() <= sent["spec"]["containers"][0].items()


def test_the_mode_label_chooses_the_path() -> None:
    labels = {"multus-eni.io/injection": "enabled", "multus-eni.io/mode": "sidecar"}
    assert review.path_for({"metadata": {"labels": labels}}) == "/mutate/namespace/sidecar"


@pytest.mark.parametrize("labels", [{}, {"multus-eni.io/injection": "disabled"}])
def test_a_namespace_without_the_label_is_an_error(labels: dict[str, str]) -> None:
    with pytest.raises(DemoError, match=r"lacks the label multus-eni\.io/injection=enabled"):
        review.path_for({"metadata": {"labels": labels}})


def test_the_demos_node_has_the_rights_of_the_example_policy() -> None:
    policy = json.loads((ROOT / "examples/iam/agent-ipv4.json").read_text(encoding="utf-8"))
    world = yaml.safe_load((ROOT / "demo/world.yaml").read_text(encoding="utf-8"))
    allowed = [
        action.removeprefix("ec2:") for statement in policy["Statement"] for action in statement["Action"]
    ]
    assert sorted(allowed) == sorted(world["roles"][0]["actions"])


def test_the_diff_shows_the_container_alone() -> None:
    after = admitted(env=[{"name": "A", "value": "b"}])
    before = copy.deepcopy(after)
    del before["spec"]["initContainers"]
    lines = show.diff(before, after)
    assert "+  - name: multus-eni-agent" in lines
    assert "+    - {name: A, value: b}" in lines
    assert not [line for line in lines if line.startswith("-")]


def test_the_table_marks_what_is_new() -> None:
    before, after, _ = states()
    table = show.table(before, after).splitlines()
    assert len(table) == 3
    assert table[2].split() == ["eni-1", "1", "10.0.1.0/24", "10.0.1.4", "+10.0.1.80"]


def test_output_that_is_not_a_terminal_has_no_colours_and_times_each_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr("demo.screen.time", SimpleNamespace(monotonic=lambda: now[0]))
    # The sign of life comes by the machine's clock.
    monkeypatch.setattr("demo.screen.PATIENCE", 3600.0)
    stream = io.StringIO()
    screen = Screen(stream)
    with screen.step("node", "A node"):
        screen.detail("one\ntwo", "green")
        now[0] += 1.5
    assert stream.getvalue().splitlines() == ["", "1. A node", "   one", "   two", "   (1.5 s)"]
    with screen.step("pod", "A pod"):
        now[0] += 2.0
    assert screen.summary() == "node 1.5 s, pod 2.0 s; 3.5 s in all"


def test_a_step_that_fails_is_counted_too() -> None:
    screen = Screen(None)
    with pytest.raises(ValueError, match="x"), screen.step("node", "A node"):
        raise ValueError("x")
    assert [step.name for step in screen.steps] == ["node"]
