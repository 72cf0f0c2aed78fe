"""Which ENIs an IPv4 address is taken from: those of ours, and never the VPC CNI's or another owner's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from common.agent_settings import AgentSettings
from common.exit_codes import ExitCode
from tests.ipagent import worlds
from tests.ipagent.agent_rig import MakeStage, Stage, pod_with
from tests.ipagent.worlds import ENI_1, NEIGHBOUR, NEIGHBOUR_0, NEIGHBOUR_SECONDARY
from tests.netns import Node

pytestmark = pytest.mark.netns

NET1 = AgentSettings(interfaces=("net1",))
ASSIGN, DESCRIBE = "AssignPrivateIpAddresses", "DescribeNetworkInterfaces"

OWNERS: dict[str, dict[str, Any]] = {
    "described as the VPC CNI's": {"description": "aws-K8S-i-0b000000000000001"},
    "tagged as the VPC CNI's": {"tags": {"node.k8s.amazonaws.com/instance_id": "i-0b000000000000001"}},
    "device 0": {"device": 0},
}


@pytest.fixture
def stage(node: Node, tmp_path: Path) -> MakeStage:
    def make(**neighbour: Any) -> Stage:
        world = worlds.world()
        enis = {eni["id"]: eni for eni in world["instances"][1]["interfaces"]}
        enis[NEIGHBOUR] |= neighbour
        enis[NEIGHBOUR_0]["device"] = 1 - enis[NEIGHBOUR]["device"]
        return Stage(node, world, tmp_path)

    return make


@pytest.mark.parametrize("owner", OWNERS.values(), ids=OWNERS)
def test_init_takes_nothing_from_them(stage: MakeStage, owner: dict[str, Any]) -> None:
    on = stage(**owner)
    ended = on.init(pod_with(on, f"{NEIGHBOUR_SECONDARY}/24", "10.10.1.80/24"), NET1)
    assert ended.code == ExitCode.HELD_ELSEWHERE
    assert f"it is a secondary address of {NEIGHBOUR}" in ended.message
    assert on.secondaries(NEIGHBOUR) == [NEIGHBOUR_SECONDARY]
    assert on.secondaries(ENI_1) == ["10.10.1.80"]


@pytest.mark.parametrize("owner", OWNERS.values(), ids=OWNERS)
def test_a_sidecar_takes_nothing_from_them(stage: MakeStage, owner: dict[str, Any]) -> None:
    on = stage(**owner)
    pod = pod_with(on, "10.10.1.80/24")
    sidecar = on.sidecar(pod, NET1)
    sidecar.wait_until_started()
    pod.add_address("net1", f"{NEIGHBOUR_SECONDARY}/24")
    sidecar.wait_for_event("not-assigned")
    assert on.secondaries(NEIGHBOUR) == [NEIGHBOUR_SECONDARY]
    assert sidecar.end().code == ExitCode.OK
    assert on.secondaries(ENI_1) == ["10.10.1.80"]


def test_init_takes_it_from_an_eni_of_ours_by_three_calls_once_its_own_is_known(stage: MakeStage) -> None:
    on = stage()
    assert on.init(pod_with(on, f"{NEIGHBOUR_SECONDARY}/24"), NET1).code == ExitCode.OK
    assert (on.secondaries(ENI_1), on.secondaries(NEIGHBOUR)) == ([NEIGHBOUR_SECONDARY], [])
    assert on.ec2_actions() == [DESCRIBE, ASSIGN, DESCRIBE, ASSIGN]


def test_a_floating_address_that_flaps_is_taken_back_by_one_call(stage: MakeStage) -> None:
    on = stage()
    pod = pod_with(on, "10.10.1.80/24")
    sidecar = on.sidecar(pod, NET1)
    sidecar.wait_until_started()
    floating = f"{NEIGHBOUR_SECONDARY}/24"
    pod.add_address("net1", floating)
    sidecar.wait_for_addresses(ENI_1, "10.10.1.80", NEIGHBOUR_SECONDARY)
    assert on.ec2_actions() == [DESCRIBE, ASSIGN, ASSIGN, DESCRIBE, ASSIGN]
    on.external_write("assign", NEIGHBOUR, NEIGHBOUR_SECONDARY)
    pod.delete_address("net1", floating)
    pod.add_address("net1", floating)
    sidecar.wait_for_addresses(ENI_1, "10.10.1.80", NEIGHBOUR_SECONDARY)
    assert sidecar.end().code == ExitCode.OK
    assert on.ec2_actions() == [DESCRIBE, ASSIGN, ASSIGN, DESCRIBE, ASSIGN, ASSIGN, ASSIGN]
