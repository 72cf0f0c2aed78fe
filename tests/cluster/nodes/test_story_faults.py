"""What AWS does to pods, and what their owners see of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from common.agent_settings import Mode
from common.exit_codes import ExitCode
from common.pod_keys import MODE, TIMEOUT
from tests.cluster.api import DEPLOYMENT, POD
from tests.cluster.nodes.external_caller import THROTTLED, ExternalCaller, external_caller_in
from tests.cluster.nodes.plan import GATEWAY
from tests.cluster.nodes.story import Story
from tests.cluster.nodes.story_pods import Running
from tests.cluster.nodes.workloads import (
    administrator,
    deployment,
    host_local,
    ipvlan,
    pod,
    template,
    whereabouts,
)

pytestmark = pytest.mark.cluster

PATIENT = {TIMEOUT: "15m"}
"""Longer than any test waits: what has not failed by itself has not failed."""


@pytest.fixture
def story(story: Story) -> Iterator[Story]:
    """A namespace with a network on either subnet; EC2 is itself again afterwards."""
    for name, master in (("net", "eth1"), ("second", "eth2")):
        story.apply(ipvlan(name, master, whereabouts(story.subnet(master).span(100, 179))))
    yield story
    story.cluster.cloud.put_faults()
    story.cluster.cloud.change_settings(throttling="off", limits={})


@pytest.fixture
def operator(story: Story) -> Iterator[ExternalCaller]:
    """An operator, who takes off the ENIs what pods have left there, before and after."""
    # They would take their addresses back.
    story.wait(lambda: not story.strangers(), "end of other stories' sidecars")
    with external_caller_in(story.cluster.cloud) as found:
        sweep(story, found)
        yield found
        story.cluster.cloud.change_settings(throttling="off", limits={})
        sweep(story, found)


def sweep(story: Story, operator: ExternalCaller) -> None:
    for node in story.cluster.nodes.values():
        for identifier in node.enis.values():
            addresses = story.ledger.enis()[identifier].addresses
            if left := [each for each in addresses if ":" not in each]:
                operator.unassign(identifier, left)


def test_twenty_pods_start_while_the_account_is_throttled(story: Story, operator: ExternalCaller) -> None:
    eni, spare = story.eni("n1"), story.subnet().address(200)
    operator.assign(eni.id, [spare])
    # Other callers of the account leave nothing in the bucket that all of them share.
    empty = {"AssignPrivateIpAddresses": {"size": 1, "refill": 0}}
    story.cluster.cloud.change_settings(throttling="ec2", limits=empty)
    operator.use_up(eni.id, spare)
    for node, first in zip(story.cluster.nodes, (180, 190), strict=True):
        # Each node hands out its own, and no pod waits for another: whereabouts serves one at a time.
        story.apply(ipvlan(f"of-{node}", "eth1", host_local(story.subnet().local(first, first + 9))))
        story.apply(deployment(f"on-{node}", 10, template(f"of-{node}", annotations=PATIENT, node=node)))
    story.wait(lambda: len(throttled(story)) >= 10, "ten pods that are throttled")
    # From now on it fills at EC2's rate.
    story.cluster.cloud.change_settings(limits={})
    pods = [
        each
        for node in story.cluster.nodes
        for each in story.wait_rolled_out(DEPLOYMENT, f"on-{node}", timeout=600)
    ]
    expected = story.expected(pods)
    assert len(expected) == 20
    assert story.ledger.held() >= expected
    assert {each.agent["restartCount"] for each in pods} == {0}


def throttled(story: Story) -> set[str]:
    """Return the addresses of the pods that EC2 has refused to serve for now."""
    calls = story.ledger.calls("Assign", story.began)
    return {call["caller"] for call in calls if call["result"] == THROTTLED and call["caller"] != GATEWAY}


def test_pods_outlast_an_outage_of_ec2(story: Story) -> None:
    sidecar = template(
        "net",
        annotations={MODE: Mode.SIDECAR.value, **PATIENT},
        node="n1",
        containers=[administrator()],
    )
    story.apply(pod("before", sidecar))
    story.wait_ready("before")
    story.cluster.cloud.put_faults({"action": "*", "connection": "reset"})
    floating, eni = story.subnet().address(91), story.eni("n1")
    story.shell("before", f"ip address add {floating}/24 dev net1")
    for mode in Mode:
        described = template("net", annotations={MODE: mode.value, **PATIENT}, node="n2")
        story.apply(pod(f"during-{mode}", described))
    names = ["before", *(f"during-{mode}" for mode in Mode)]
    story.wait(lambda: all(tried(story, name) >= 3 for name in names), "three tries of each agent")
    for name in names[1:]:
        assert not story.pod(name).app_started
    assert story.ledger.holder(floating) is None
    story.cluster.cloud.put_faults()
    pods = story.wait_ready(*names)
    story.wait_held(floating, eni)
    assert story.ledger.held() >= story.expected(pods)
    assert {each.agent["restartCount"] for each in pods} == {0}


@pytest.mark.parametrize("shared", [False, True], ids=["own-processes", "shared-processes"])
def test_a_pod_is_deleted_at_once_while_its_addresses_are_pending(story: Story, shared: bool) -> None:
    story.cluster.cloud.put_faults({"action": "*", "connection": "reset"})
    described = template(
        "net",
        annotations={MODE: Mode.SIDECAR.value, **PATIENT},
        node="n2",
        # Longer than any test waits: a pod that only its end kills would not be gone in time.
        terminationGracePeriodSeconds=3600,
        shareProcessNamespace=shared,
    )
    story.apply(pod("deleted", described))
    story.wait(lambda: tried(story, "deleted") >= 3, "three tries, while a probe waits")
    story.delete(POD, "deleted")
    story.wait_gone("deleted")


def tried(story: Story, name: str) -> int:
    """Count the EC2 calls of a pod since the story began that nobody answered."""
    address, calls = story.pod(name).address, story.ledger.calls("", story.began)
    return len([call for call in calls if call["caller"] == address and call["fault"]])


def test_the_remedy_for_a_full_eni_works(story: Story, operator: ExternalCaller) -> None:
    eni = story.eni("n2", "eth2")
    fill = [eni.address(number) for number in range(200, 200 + slots(story, "n2") - 1)]
    operator.assign(eni.id, fill)
    story.apply(pod("app", template("second", node="n2")))
    story.wait(lambda: failed(story.pod("app")), "end of the agent")
    told = story.describe("app")
    assert failed(story.pod("app")) == ExitCode.ENI_FULL
    assert f"Exit Code:    {ExitCode.ENI_FULL:d}" in told
    for part in (eni.id, fill[0], "ipagent release"):
        assert part in told
    assert not story.pod("app").app_started
    operator.unassign(eni.id, fill[:1])
    (running,) = story.wait_ready("app")
    assert story.ledger.held() >= story.expected([running], {"net1": "eth2"})


def slots(story: Story, node: str) -> int:
    """Return how many IPv4 addresses an ENI of the node takes, the primary one included."""
    identifier = story.cluster.nodes[node].instance_id
    (instance,) = [each for each in story.cluster.cloud.state()["instances"] if each["id"] == identifier]
    return int(instance["ipv4_per_interface"])


def test_the_remedy_for_an_unreachable_imds_works(story: Story) -> None:
    # As with HttpPutResponseHopLimit 1: the token is sent, and dies on its way into the pod.
    story.cluster.cloud.put_faults({"action": "imds:token", "connection": "hang"})
    story.apply(pod("app", template("net", node="n1", annotations={TIMEOUT: "5s"})))
    story.wait(lambda: failed(story.pod("app")), "end of the agent")
    assert failed(story.pod("app")) == ExitCode.NO_IMDS
    assert "HttpPutResponseHopLimit" in story.describe("app")
    assert not story.pod("app").app_started
    story.cluster.cloud.put_faults()
    (running,) = story.wait_ready("app")
    assert story.ledger.held() >= story.expected([running])


def failed(found: Running) -> int | None:
    """Return the exit code of an agent that has ended without success, also of the try before."""
    for state in ("state", "lastState"):
        if code := found.agent.get(state, {}).get("terminated", {}).get("exitCode"):
            return int(code)
    return None
