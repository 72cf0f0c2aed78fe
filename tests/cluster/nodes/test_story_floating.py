"""A floating address: it goes from pod to pod, and the VPC follows."""

from __future__ import annotations

import re

import pytest

from common.agent_settings import Mode
from common.pod_keys import MODE
from tests.cluster.nodes.story import Story
from tests.cluster.nodes.workloads import administrator, ipvlan, pod, template, whereabouts

pytestmark = pytest.mark.cluster

SIDECAR = {MODE: Mode.SIDECAR.value}
NOW = "adjtimex | grep -E 'status|time.tv_'"
"""Busybox's date has no fractions of a second."""
NANOSECONDS = 0x2000
"""STA_NANO of adjtimex(2): the kernel counts nanoseconds where others count microseconds."""


def seconds(told: str) -> float:
    """Read the wall-clock time that busybox's adjtimex tells."""
    found = {name: int(value) for name, value in re.findall(r"(status|tv_sec|tv_usec):\s*(\d+)", told)}
    unit = 1e-9 if found["status"] & NANOSECONDS else 1e-6
    return found["tv_sec"] + found["tv_usec"] * unit


def test_a_floating_address_follows_the_pod_that_holds_it(
    story: Story, capsys: pytest.CaptureFixture[str]
) -> None:
    subnet = story.subnet()
    floating = subnet.address(90)
    story.apply(ipvlan("net", "eth1", whereabouts(subnet.span(100, 179))))
    nodes = list(story.cluster.nodes)
    for name, node in zip("ab", nodes, strict=True):
        described = template("net", annotations=SIDECAR, node=node, containers=[administrator()])
        story.apply(pod(name, described))
    pods = story.wait_ready("a", "b")
    assert {each.mode for each in pods} == {Mode.SIDECAR}
    before = story.ledger.held()
    assert before >= story.expected(pods)

    former = ""
    took = []
    for holder, node in zip("aba", (*nodes, nodes[0]), strict=True):
        if former:
            story.shell(former, f"ip address del {floating}/24 dev net1")
        asked = seconds(story.shell(holder, f"{NOW}; ip address add {floating}/24 dev net1"))
        eni = story.eni(node)
        story.wait_held(floating, eni)
        made = [each for each in story.ledger.assignments(story.began) if each.address == floating]
        took.append(made[-1].wall - asked)
        former = holder
    assert story.ledger.held() == before | {(story.eni(nodes[0]).id, floating)}
    with capsys.disabled():
        figures = ", ".join(f"{each * 1000:.0f} ms" for each in took)
        print(f"\nfloating address added to a, then to b, then to a again; EC2 was asked after {figures}")
