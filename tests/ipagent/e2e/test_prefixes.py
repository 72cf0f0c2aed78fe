"""Pods whose addresses lie in prefixes that are delegated to ENIs: /28 and /80."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from common.agent_settings import AgentSettings
from common.exit_codes import ExitCode
from tests.ipagent import worlds
from tests.ipagent.agent_rig import MakeStage, Stage, pod_with
from tests.ipagent.worlds import ENI_1, NEIGHBOUR
from tests.netns import Node

pytestmark = pytest.mark.netns

PREFIX, PREFIX6 = "10.10.1.96/28", "2001:db8:1:0:1::/80"
INSIDE, INSIDE6 = "10.10.1.100", "2001:db8:1:0:1::100"
BESIDE, BESIDE6 = "10.10.1.80", "2001:db8:1::80"
RELEASING = AgentSettings(interfaces=("net1",), release_on_exit=True)


@pytest.fixture
def stage(node: Node, tmp_path: Path) -> MakeStage:
    def make(holder: str = ENI_1, *, hidden: bool = False, **more: Any) -> Stage:
        world = worlds.world(ipv6=True, **more)
        for instance in world["instances"]:
            for eni in instance["interfaces"]:
                if eni["id"] == holder:
                    eni |= {"ipv4_prefixes": [PREFIX], "ipv6_prefixes": [PREFIX6]}
        if hidden:
            world["imds"] = {holder: {"hidden": ["ipv4-prefix", "ipv6-prefix"]}}
        return Stage(node, world, tmp_path)

    return make


def test_init_ends_without_any_call(stage: MakeStage) -> None:
    on = stage()
    ended = on.init(pod_with(on, f"{INSIDE}/24", f"{INSIDE6}/64"))
    assert (ended.code, ended.message) == (ExitCode.OK, f"Assigned: {INSIDE}, {INSIDE6} on {ENI_1}.")
    assert on.calls("Assign") == on.calls("Describe") == []


def test_init_needs_no_ec2_for_it(stage: MakeStage) -> None:
    on = stage()
    on.put_faults({"action": "*", "connection": "hang"})
    assert on.init(pod_with(on, f"{INSIDE}/24", f"{INSIDE6}/64")).code == ExitCode.OK


def test_what_lies_beside_the_prefix_is_assigned(stage: MakeStage) -> None:
    on = stage()
    ended = on.init(pod_with(on, f"{INSIDE}/24", f"{INSIDE6}/64", f"{BESIDE}/24", f"{BESIDE6}/64"))
    assert ended.code == ExitCode.OK
    assert (on.secondaries(ENI_1), on.ipv6s(ENI_1)) == ([BESIDE], [BESIDE6])


def test_a_prefix_that_imds_does_not_show_yet_is_found_by_asking_ec2(stage: MakeStage) -> None:
    on = stage(hidden=True)
    ended = on.init(pod_with(on, f"{INSIDE}/24", f"{INSIDE6}/64", f"{BESIDE}/24"))
    assert ended.code == ExitCode.OK, ended.message
    assert (on.secondaries(ENI_1), on.ipv6s(ENI_1)) == ([BESIDE], [])


@pytest.mark.parametrize(
    ("address", "prefix"), [(f"{INSIDE}/24", PREFIX), (f"{INSIDE6}/64", PREFIX6)], ids=["IPv4", "IPv6"]
)
def test_in_the_prefix_of_another_eni_it_is_refused_and_both_are_named(
    stage: MakeStage, address: str, prefix: str
) -> None:
    on = stage(NEIGHBOUR)
    ended = on.init(pod_with(on, address))
    assert ended.code == ExitCode.ADDRESS_REFUSED
    assert f"it lies in the prefix {prefix}, which is delegated to {NEIGHBOUR}" in ended.message
    assert "exclude the prefix from the network's range" in ended.message
    assert len(on.calls("Assign")) == 1


def test_a_sidecar_follows_such_addresses_and_never_takes_them_off(stage: MakeStage) -> None:
    on = stage()
    pod = pod_with(on, f"{INSIDE}/24")
    sidecar = on.sidecar(pod, RELEASING)
    sidecar.wait_until_started()
    pod.add_address("net1", f"{INSIDE6}/64")
    pod.add_address("net1", f"{BESIDE}/24")
    sidecar.wait_for_addresses(ENI_1, BESIDE)
    pod.delete_address("net1", f"{INSIDE}/24")
    sidecar.wait_for_event("removed")
    ended = sidecar.end()
    assert ended.code == ExitCode.OK
    assert ended.events("error") == ended.events("warning") == []
    assert [call["params"]["PrivateIpAddress.1"] for call in on.calls("Unassign")] == [BESIDE]
