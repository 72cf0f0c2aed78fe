"""The backend `node`: pods without rights of AWS, served by the agents of their nodes.

What the controller could do differently is told once more with the backend `central`: test_story_central.py
runs some of these stories with fixtures of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from common.agent_container import CONTAINER_NAME, TOKEN_AUDIENCE
from common.agent_settings import DEFAULT_NODE_PORT, Backend, Mode, Takeover
from common.pod_keys import MODE, TAKEOVER
from ipagent.node_protocol import chunk, request
from tests.cluster.api import DEPLOYMENT, POD, Manifest
from tests.cluster.helm import merged
from tests.cluster.nodes.cluster import Cluster
from tests.cluster.nodes.story import Story
from tests.cluster.nodes.story_backend import GRANTED, GRANTS_AND_GC, Callers, NodeAgents, node_values
from tests.cluster.nodes.story_fixtures import opted_in
from tests.cluster.nodes.story_release import Release
from tests.cluster.nodes.test_story_floating import NOW, seconds
from tests.cluster.nodes.workloads import (
    STATEFUL_SET,
    administrator,
    deployment,
    host_local,
    ipvlan,
    pod,
    spread,
    stateful_set,
    template,
    whereabouts,
)

pytestmark = pytest.mark.cluster

PROGRAM = str(Path(sys.executable).with_name("multus-eni"))
OTHER = "without-a-grant"


@pytest.fixture(scope="module")
def values(installed: Release) -> dict[str, Any]:
    """The values of the backend `node`, with a grant for one namespace."""
    return node_values(installed, **GRANTS_AND_GC)


@pytest.fixture(scope="module")
def agents(installed: Release, values: dict[str, Any]) -> NodeAgents:
    """The release with these values."""
    installed.upgrade(values)
    return NodeAgents(installed.story)


@pytest.fixture(scope="module")
def callers(cluster: Cluster) -> Callers:
    """The nodes call EC2, and nobody else."""
    return Callers("caller", frozenset(node.address for node in cluster.nodes.values()))


@pytest.fixture(scope="module")
def granted(cluster: Cluster, agents: NodeAgents) -> Iterator[Story]:  # noqa: ARG001 - installed first
    with opted_in(cluster, GRANTED) as story:
        yield story


def test_pods_without_rights_get_their_addresses_before_their_apps_start(
    cluster: Cluster, agents: NodeAgents, granted: Story, callers: Callers
) -> None:
    story, began = granted, time.monotonic()
    subnet = story.subnet()
    story.apply(ipvlan("net", "eth1", whereabouts(subnet.span(100, 119))))
    story.apply(deployment("web", 4, template("net", topologySpreadConstraints=spread("web"))))
    pods = story.wait_rolled_out(DEPLOYMENT, "web")
    assert {each.node for each in pods} == set(cluster.nodes)
    for each in pods:
        (agent,) = [c for c in each.object["spec"]["initContainers"] if c["name"] == CONTAINER_NAME]
        env = {variable["name"]: variable.get("value") for variable in agent["env"]}
        assert env["MULTUS_ENI_BACKEND"] == Backend.NODE
        assert not any(name.startswith("AWS_") for name in env)
        for eni, address in story.expected([each]):
            assert story.ledger.assigned(eni, address, since=began).at < story.started_at(each.name)
    assert callers.of(story.ledger.calls("Assign", began)) == callers.expected
    for node in cluster.nodes:
        expected = story.expected(each for each in pods if each.node == node)
        story.wait(
            lambda: agents.addresses(node, story.namespace) == expected,  # noqa: B023 - called at once
            f"{expected} in the status of {node}",
        )


def test_the_events_of_a_pod_say_what_was_assigned(granted: Story) -> None:
    story = granted
    story.apply(ipvlan("told", "eth1", whereabouts(story.subnet().span(120, 124))))
    story.apply(pod("told", template("told")))
    (told,) = story.wait_ready("told")
    ((eni, address),) = story.expected([told])
    story.wait(lambda: any(f"assigned {address} to {eni}" in each for each in story.events("told")), "Event")


@pytest.fixture(scope="module")
def in_order() -> frozenset[str]:
    """The checks that find nothing."""
    # Multus is in the nodes' configuration here, and no DaemonSet's: the pods tell.
    return frozenset({"cluster-multus", "nodes-agents", "nodes-watch", "pods-addresses"})


def test_a_check_asks_the_node_agents_what_they_know(granted: Story, in_order: frozenset[str]) -> None:
    story = granted
    story.apply(ipvlan("checked", "eth1", whereabouts(story.subnet().span(136, 139))))
    story.apply(pod("checked", template("checked")))
    story.wait_ready("checked")
    found = checked(story)
    passed = {key for key, each in found.items() if each["verdict"] == "ok"}
    assert passed >= in_order, found
    # Stories before this one may have left addresses: that they are looked for is what counts.
    assert found["nodes-leaks"]["verdict"] in ("ok", "warning"), found["nodes-leaks"]
    assert passed >= {"installation-injects", "installation-trust", "pods-agent", "pods-duplicates"}, found


def checked(story: Story) -> dict[str, Manifest]:
    """Return what `multus-eni check` finds, by check; it takes a second of CPU time."""
    options = [f"--kubeconfig={story.cluster.kubeconfig}", "--output=json", f"--namespace={story.namespace}"]
    argv = [PROGRAM, "check", *options]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    return {each["id"]: each for each in json.loads(done.stdout)}


def test_a_floating_address_follows_the_pod_that_holds_it(
    granted: Story, capsys: pytest.CaptureFixture[str]
) -> None:
    story = granted
    floating = story.subnet().address(97)
    story.apply(ipvlan("shared", "eth1", whereabouts(story.subnet().span(125, 134))))
    nodes = list(story.cluster.nodes)
    for name, node in zip("ab", nodes, strict=True):
        described = template(
            "shared", annotations={MODE: Mode.SIDECAR.value}, node=node, containers=[administrator()]
        )
        story.apply(pod(name, described))
    story.wait_ready("a", "b")
    former, took = "", []
    for holder, node in zip("aba", (*nodes, nodes[0]), strict=True):
        if former:
            story.shell(former, f"ip address del {floating}/24 dev net1")
        asked = seconds(story.shell(holder, f"{NOW}; ip address add {floating}/24 dev net1"))
        story.wait_held(floating, story.eni(node))
        made = [each for each in story.ledger.assignments(story.began) if each.address == floating]
        took.append(f"{(made[-1].wall - asked) * 1000:.0f} ms")
        former = holder
    with capsys.disabled():
        print(f"\nfloating address added, and taken over twice; EC2 was asked after {', '.join(took)}")


def sidecar(network: str, node: str) -> Manifest:
    """Make a pod with a sidecar, whose app may change its interfaces."""
    return template(network, annotations={MODE: Mode.SIDECAR.value}, node=node, containers=[administrator()])


def test_an_address_of_another_living_pod_is_never_taken_by_a_claim(granted: Story) -> None:
    story = granted
    subnet, node = story.subnet(), next(iter(story.cluster.nodes))
    story.apply(
        ipvlan("victims", "eth1", whereabouts(subnet.span(98, 98))),
        ipvlan("thieves", "eth1", whereabouts(subnet.span(135, 136))),
    )
    story.apply(pod("victim", template("victims", node=node)), pod("thief", sidecar("thieves", node)))
    story.wait_ready("victim", "thief")
    before = story.ledger.held()
    claimed = subnet.address(98)
    story.shell("thief", f"ip address add {claimed}/24 dev net1")
    story.wait(lambda: "belongs to the pod" in story.logs("thief"), "the word of the agent")
    # An address that it may have comes through anyway.
    floating = subnet.address(99)
    story.shell("thief", f"ip address add {floating}/24 dev net1")
    story.wait_held(floating, story.eni(node))
    # What pods of before have leaked may be reclaimed meanwhile.
    held = story.ledger.held()
    assert held - before == {(story.eni(node).id, floating)}
    assert (story.eni(node).id, claimed) in held


def test_without_a_grant_a_pod_gets_only_the_addresses_of_multus(
    cluster: Cluster,
    agents: NodeAgents,  # noqa: ARG001 - installed first
) -> None:
    with opted_in(cluster, OTHER) as story:
        subnet, node = story.subnet(), next(iter(cluster.nodes))
        story.apply(ipvlan("net", "eth1", whereabouts(subnet.span(137, 138))))
        story.apply(pod("claimant", sidecar("net", node)))
        (claimant,) = story.wait_ready("claimant")
        before = story.ledger.held()
        assert before >= story.expected([claimant])
        story.shell("claimant", f"ip address add {subnet.address(100)}/24 dev net1")
        story.wait(lambda: "grant" in story.logs("claimant"), "the word of the agent")
        assert story.ledger.held() - before == frozenset()


def test_a_pods_own_token_is_accepted_and_all_others_are_refused(granted: Story) -> None:
    story = granted
    here, there = story.cluster.nodes
    for name, node in (("asking", here), ("gone", here), ("elsewhere", there)):
        story.apply(pod(name, template("", node=node)))
    asking, gone, elsewhere = story.wait_ready("asking", "gone", "elsewhere")

    def token_of(name: str, *options: str) -> str:
        bound = ("--bound-object-kind=Pod", f"--bound-object-name={name}")
        command = ("create", "token", "default", "-n", story.namespace)
        return story.cluster.kubectl(*command, *bound, *options).strip()

    audience = f"--audience={TOKEN_AUDIENCE}"
    tokens = {name: token_of(name, audience) for name in ("asking", "gone", "elsewhere")}
    story.delete(POD, "gone")
    story.wait_gone("gone")
    agent = story.cluster.nodes[here].address

    def answer(token: str, as_pod: str, uid: str) -> str:
        stated = {"contract": 1, "pod": {"namespace": story.namespace, "name": as_pod, "uid": uid}}
        # The last chunk is an empty one: the server has not to wait for more.
        body = chunk(stated) + b"0\r\n\r\n"
        sent = (request(f"{agent}:{DEFAULT_NODE_PORT}", token, "test") + body).decode()
        said = story.cluster.kubectl(
            *("exec", "-i", "asking", "-c", "app", "-n", story.namespace, "--"),
            # A session of which more may come stays open, and nc ends by its timeout.
            *("sh", "-c", f"nc -w 10 {agent} {DEFAULT_NODE_PORT} || true"),
            input=sent,
        )
        return said.partition("\r\n")[0]

    assert answer(tokens["gone"], gone.name, gone.uid).split()[1] in ("401", "403")
    assert answer(tokens["elsewhere"], elsewhere.name, elsewhere.uid).split()[1] == "403"
    # A living pod's token does not speak for another pod.
    assert answer(tokens["asking"], elsewhere.name, elsewhere.uid).split()[1] == "403"
    assert answer("no-token-at-all", asking.name, asking.uid).split()[1] == "401"
    # Nor does one that is meant for the API server, such as its containers have.
    assert answer(token_of("asking"), asking.name, asking.uid).split()[1] == "401"
    assert answer(tokens["asking"], asking.name, asking.uid).split()[1] == "200"


def test_agents_are_killed_and_upgraded_while_pods_are_rolled(
    cluster: Cluster, installed: Release, values: dict[str, Any], agents: NodeAgents, granted: Story
) -> None:
    story, subnet = granted, granted.subnet("eth2")
    names = [f"many-{node}" for node in cluster.nodes]
    for name, where, first in zip(names, cluster.nodes, (100, 150), strict=True):
        # Each node hands out its own, and no pod waits for another: whereabouts serves one at a time.
        story.apply(ipvlan(name, "eth2", host_local(subnet.local(first, first + 49))))
        story.apply(deployment(name, 5, template(name, node=where)))
    for name in names:
        story.wait_rolled_out(DEPLOYMENT, name)
    restarted = [f"deployment/{name}" for name in names]
    story.cluster.kubectl("rollout", "restart", *restarted, "-n", story.namespace)
    for node in cluster.nodes.values():
        node.machine.run("pkill", "-KILL", "-f", "ipagent node --config")
    installed.upgrade(merged(values, {"nodeAgent": {"podAnnotations": {"upgraded": "yes"}}}))
    pods = [each for name in names for each in story.wait_rolled_out(DEPLOYMENT, name)]
    assert len(pods) == 10
    assert story.ledger.held() >= story.expected(pods, {"net1": "eth2"})
    # Helm may return while the last node agent is being replaced.
    replaced = agents.wait_rolled_out()
    assert {each.object["metadata"]["annotations"].get("upgraded") for each in replaced} == {"yes"}


def test_only_addresses_leaked_by_gone_pods_are_reclaimed(cluster: Cluster, granted: Story) -> None:
    story = granted
    here, there = cluster.nodes
    eni, other = story.eni(here, "eth2"), story.eni(there, "eth2")
    # Somebody else's: no pod ever had it.
    foreign = story.subnet("eth2").address(250)
    with closing(cluster.cloud.ec2()) as ec2:
        ec2.assign_private_ip_addresses(NetworkInterfaceId=eni.id, PrivateIpAddresses=[foreign])
    story.apply(ipvlan("moving", "eth2", whereabouts(story.subnet("eth2").span(210, 210))))
    described = template("moving", annotations={TAKEOVER: Takeover.NEVER.value}, node=here)
    story.apply(stateful_set("db", 1, described))
    (first,) = story.wait_rolled_out(STATEFUL_SET, "db")
    ((_, address),) = story.expected([first], {"net1": "eth2"})
    assert story.ledger.holder(address) == eni.id

    moved = template("moving", annotations={TAKEOVER: Takeover.NEVER.value}, node=there)
    story.apply(stateful_set("db", 1, moved))
    story.delete(POD, first.name)
    (second,) = story.wait_rolled_out(STATEFUL_SET, "db")
    assert second.node == there
    assert story.expected([second], {"net1": "eth2"}) == {(other.id, address)}
    assert story.ledger.holder(address) == other.id
    assert story.ledger.holder(foreign) == eni.id
    assert {each.primary for each in story.ledger.enis().values()} >= {eni.primary, other.primary}


def test_a_check_finds_the_master_that_a_node_lacks(granted: Story) -> None:
    story = granted
    story.apply(ipvlan("no-master", "eth9", whereabouts(story.subnet().span(140, 143))))
    story.apply(pod("no-master", template("no-master")))
    said = 'master "eth9"'
    story.wait(lambda: any(said in each for each in story.events("no-master")), "the kubelet's Event")

    def found() -> list[str]:
        # Nodes that have joined less than two minutes ago are excused.
        master = checked(story)["cluster-master"]
        return [str(each) for each in master["details"]] if master["verdict"] == "error" else []

    assert "no interface 'eth9'" in story.wait(found, "finding of the missing master")[0]
    story.api.delete(POD, "no-master", story.namespace)


@pytest.fixture
def watchers(installed: Release) -> NodeAgents:
    """The release that only watches."""
    values = node_values(installed, watchOnly=True)
    values["agent"]["backend"] = Backend.DIRECT.value
    installed.upgrade(values)
    return NodeAgents(installed.story)


def test_watching_alone_serves_unchanged_pods(
    cluster: Cluster, watchers: NodeAgents, callers: Callers
) -> None:
    with opted_in(cluster, "watched") as story:
        story.apply(ipvlan("net", "eth1", whereabouts(story.subnet().span(140, 149))))
        story.apply(deployment("web", 4, template("net")))
        pods = story.wait_rolled_out(DEPLOYMENT, "web")
        assert {each.mode for each in pods} == {None}
        expected = story.expected(pods)
        assert len(expected) == 4
        story.wait(lambda: story.ledger.held() >= expected, "all addresses")
        assert frozenset() < callers.of(story.ledger.calls("Assign", story.began)) <= callers.expected
        # EC2 has them before the agent has read EC2's answer.
        node = pods[0].node
        story.wait(
            lambda: expected & watchers.addresses(node, story.namespace), f"addresses in the status of {node}"
        )
