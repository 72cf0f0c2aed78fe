"""Every kind of workload, and pods that want no agent."""

from __future__ import annotations

import re

import pytest

from common.agent_settings import Mode
from common.pod_keys import INJECTION, MODE, RELEASE_ON_EXIT, STATUS
from tests.cluster.api import POD
from tests.cluster.nodes.story import Story
from tests.cluster.nodes.story_pods import Running
from tests.cluster.nodes.workloads import (
    DAEMON_SET,
    JOB,
    STATEFUL_SET,
    app,
    daemon_set,
    ipvlan,
    job,
    pod,
    stateful_set,
    template,
    whereabouts,
)

pytestmark = pytest.mark.cluster

SIDECAR = {MODE: Mode.SIDECAR.value}


@pytest.fixture
def story(story: Story) -> Story:
    """A namespace with a network."""
    story.apply(ipvlan("net", "eth1", whereabouts(story.subnet().span(100, 179))))
    return story


def assert_assigned(story: Story, pods: list[Running]) -> None:
    """Assert that the pods' addresses are on the ENIs of their nodes."""
    assert pods
    assert story.ledger.held() >= story.expected(pods)
    assert {each.mode for each in pods} == {Mode.INIT}


def test_pods_that_want_no_agent_get_none(story: Story) -> None:
    story.apply(
        pod("plain", template()),
        pod("opted-out", template("net", labels={INJECTION: "disabled"})),
    )
    plain, opted_out = story.wait_ready("plain", "opted-out")
    for each in (plain, opted_out):
        assert "initContainers" not in each.object["spec"]
        assert STATUS not in each.object["metadata"].get("annotations", {})
    assert opted_out.networks["net1"]
    assert story.ledger.assignments(since=story.began) == []


def test_a_job_beside_a_sidecar_completes(story: Story) -> None:
    described = template(
        "net",
        annotations={**SIDECAR, RELEASE_ON_EXIT: "true"},
        containers=[app(command=["true"])],
    )
    story.apply(job("once", described))
    story.wait(lambda: story.get(JOB, "once").get("status", {}).get("succeeded"), "end of the Job")
    (made,) = story.pods_of(story.get(JOB, "once"))
    assert made.mode == Mode.SIDECAR
    ended = made.agent["state"]["terminated"]
    assert (ended["exitCode"], made.object["status"]["phase"]) == (0, "Succeeded")
    expected = story.expected([made])
    assert {(each.eni, each.address) for each in story.ledger.assignments(story.began)} == expected
    assert not expected & story.ledger.held()


def test_a_daemon_set_has_its_addresses_on_every_node(story: Story) -> None:
    story.apply(daemon_set("each", template("net")))
    pods = story.wait_rolled_out(DAEMON_SET, "each")
    assert {each.node for each in pods} == set(story.cluster.nodes)
    assert_assigned(story, pods)


def test_a_stateful_set_that_is_rolled_keeps_its_addresses_assigned(story: Story) -> None:
    story.apply(stateful_set("db", 2, template("net")))
    first = story.wait_rolled_out(STATEFUL_SET, "db")
    assert_assigned(story, first)
    story.apply(stateful_set("db", 2, template("net", annotations={"example.com/restarted": "once"})))
    second = story.wait_rolled_out(STATEFUL_SET, "db")
    assert {each.name for each in second} == {"db-0", "db-1"}
    assert not {each.uid for each in first} & {each.uid for each in second}
    assert_assigned(story, second)


@pytest.mark.parametrize("mode", Mode)
def test_guaranteed_pods_stay_guaranteed_and_keep_their_cpus(story: Story, mode: Mode) -> None:
    whole = {"cpu": "1", "memory": "32Mi"}
    node = "n2"
    guaranteed = template(
        "net",
        annotations={MODE: mode.value},
        node=node,
        containers=[app(resources={"requests": whole, "limits": whole})],
    )
    story.apply(pod("neighbour", template(node=node)), pod("exclusive", guaranteed))
    running, _ = story.wait_ready("exclusive", "neighbour")
    assert (running.mode, running.qos) == (mode, "Guaranteed")
    assert story.ledger.held() >= story.expected([running])
    own = cpus(story, "exclusive")
    assert len(own) == 1
    # The kubelet takes the CPU away from those that run already when it next looks after them.
    story.wait(lambda: not own & cpus(story, "neighbour"), "end of sharing")
    # The next pod that wants a CPU finds it free.
    story.delete(POD, "exclusive")
    story.wait_gone("exclusive")


@pytest.mark.parametrize("mode", Mode)
def test_guaranteed_pods_stay_guaranteed(story: Story, mode: Mode) -> None:
    amounts = {"cpu": "100m", "memory": "32Mi"}
    described = template(
        "net",
        annotations={MODE: mode.value},
        node="n1",
        containers=[app(resources={"requests": amounts, "limits": amounts})],
    )
    story.apply(pod("app", described))
    (running,) = story.wait_ready("app")
    assert (running.mode, running.qos) == (mode, "Guaranteed")
    assert story.ledger.held() >= story.expected([running])


def cpus(story: Story, name: str) -> set[int]:
    """Return the CPUs that a pod's app may run on: `Cpus_allowed_list` of proc_pid_status(5)."""
    found = re.search(r"Cpus_allowed_list:\s*(\S+)", story.exec(name, "cat", "/proc/1/status"))
    assert found
    numbers: set[int] = set()
    for part in found[1].split(","):
        first, _, last = part.partition("-")
        numbers |= set(range(int(first), int(last or first) + 1))
    return numbers
