"""IMDS that is late, stale, half there: no address lands on an ENI that does not carry it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest

from common.contract import AgentSettings, ExitCode
from tests.ipagent import worlds
from tests.ipagent.agent_rig import Stage, wait_for
from tests.ipagent.worlds import ENI_1, ENI_2, KEY, MAC_1, MAC_2, MAC_TWIN, SECRET, TWIN
from tests.netns import Node, Pod
from tests.netns_fixtures import node  # noqa: F401 - a fixture

pytestmark = pytest.mark.netns

FOREIGN = "5e:00:00:00:00:99"
SOON = AgentSettings(interfaces=("net1",), timeout=15)
WHOLE_ENTRY = ["*"]
CHANGES_ONLY = ["Assign*", "Unassign*"]

MakeStage = Callable[..., Stage]


@pytest.fixture
def stage(node: Node, tmp_path: Path) -> MakeStage:  # noqa: F811 - the fixture
    def make(
        *, hidden: dict[str, list[str]] | None = None, rights: Collection[str] = "*", **more: Any
    ) -> Stage:
        world = worlds.world(**more)
        world["imds"] = {eni: {"hidden": names} for eni, names in (hidden or {}).items()}
        world["access_keys"] = [{"id": KEY, "secret": SECRET, "actions": list(rights)}]
        return Stage(node, world, tmp_path)

    return make


def pod_with(stage: Stage, mac: str, *addresses: str) -> Pod:
    pod = stage.node.pod()
    pod.add_interface("net1", mac=mac, addresses=addresses)
    return pod


class TestLate:
    def test_an_eni_of_the_same_subnet_is_not_taken_for_one_that_imds_does_not_show_yet(
        self, stage: MakeStage
    ) -> None:
        on = stage(hidden={TWIN: WHOLE_ENTRY})
        ended = on.init(pod_with(on, MAC_TWIN, "10.10.1.80/24"))
        assert (ended.code, ended.message) == (ExitCode.OK, f"Assigned: 10.10.1.80 on {TWIN}.")
        assert on.secondaries(TWIN) == ["10.10.1.80"]
        assert on.secondaries(ENI_1) == []

    def test_the_only_eni_of_the_subnet_is_found_by_its_mac(self, stage: MakeStage) -> None:
        on = stage(hidden={ENI_2: WHOLE_ENTRY})
        assert on.init(pod_with(on, MAC_2, "10.10.2.80/24")).code == ExitCode.OK
        assert on.secondaries(ENI_2) == ["10.10.2.80"]

    def test_a_foreign_mac_waits_for_the_range_of_an_eni_that_imds_shows_later(
        self, stage: MakeStage
    ) -> None:
        on = stage(hidden={ENI_2: WHOLE_ENTRY})
        sidecar = on.sidecar(pod_with(on, FOREIGN, "10.10.2.80/24"))
        wait_for(lambda: on.calls("DescribeNetworkInterfaces"), "EC2 to be asked")
        assert sidecar.process.poll() is None
        on.change_settings(imds={})
        sidecar.wait_until_started()
        assert on.secondaries(ENI_2) == ["10.10.2.80"]
        assert sidecar.end().code == 0

    def test_without_the_right_to_ask_ec2_it_waits_for_imds(self, stage: MakeStage) -> None:
        on = stage(hidden={TWIN: WHOLE_ENTRY}, rights=CHANGES_ONLY)
        sidecar = on.sidecar(pod_with(on, MAC_TWIN, "10.10.1.80/24"))
        wait_for(lambda: on.calls("DescribeNetworkInterfaces"), "EC2 to be asked")
        assert sidecar.process.poll() is None
        on.change_settings(imds={})
        sidecar.wait_until_started()
        assert on.secondaries(TWIN) == ["10.10.1.80"]
        assert on.secondaries(ENI_1) == []
        assert sidecar.end().code == 0

    @pytest.mark.parametrize("mac", [MAC_TWIN, FOREIGN])
    def test_what_can_not_be_known_fails_at_the_deadline(self, stage: MakeStage, mac: str) -> None:
        on = stage(hidden={TWIN: WHOLE_ENTRY}, rights=CHANGES_ONLY)
        ended = on.init(pod_with(on, mac, "10.10.1.80/24"), SOON)
        assert ended.code == ExitCode.NO_PERMISSION
        assert f"not within 15 s: IMDS shows no ENI with the MAC {mac}; EC2 can't be asked" in ended.message
        assert "ec2:DescribeNetworkInterfaces" in ended.message
        assert on.calls("AssignPrivateIpAddresses") == []


class TestStale:
    def test_an_eni_that_ec2_has_detached_gets_no_address(self, stage: MakeStage) -> None:
        on = stage(imds_delay_ms=3_600_000)
        on.external_write("detach", ENI_2)
        ended = on.init(pod_with(on, FOREIGN, "10.10.2.80/24"), SOON)
        assert ended.code == ExitCode.NO_ENI
        assert on.calls("AssignPrivateIpAddresses") == []

    def test_the_mac_of_a_detached_eni_leaves_nothing_to_the_subnet(self, stage: MakeStage) -> None:
        on = stage()
        on.external_write("detach", TWIN)
        ended = on.init(pod_with(on, MAC_TWIN, "10.10.1.80/24"), SOON)
        assert ended.code == ExitCode.NO_ENI
        assert f"its interface has the MAC of {TWIN} (not attached)" in ended.message
        assert on.calls("AssignPrivateIpAddresses") == []


class TestHalf:
    @pytest.mark.parametrize("names", [["device-number"], ["interface-id"], ["subnet-id", "interface-id"]])
    def test_ec2_says_what_the_entry_lacks(self, stage: MakeStage, names: list[str]) -> None:
        on = stage(hidden={ENI_1: names})
        assert on.init(pod_with(on, MAC_1, "10.10.1.80/24")).code == ExitCode.OK
        assert on.secondaries(ENI_1) == ["10.10.1.80"]

    def test_without_the_right_to_ask_the_hop_limit_is_not_blamed(self, stage: MakeStage) -> None:
        on = stage(hidden={ENI_1: ["device-number"]}, rights=CHANGES_ONLY)
        ended = on.init(pod_with(on, MAC_1, "10.10.1.80/24"), SOON)
        assert ended.code == ExitCode.NO_PERMISSION
        assert f"IMDS shows the interface {MAC_1} without its device-number" in ended.message
        assert "HttpPutResponseHopLimit" not in ended.message

    def test_another_enis_broken_entry_concerns_nobody_else(self, stage: MakeStage) -> None:
        on = stage(hidden={ENI_1: ["device-number"], TWIN: ["interface-id"]}, rights=CHANGES_ONLY)
        assert on.init(pod_with(on, MAC_2, "10.10.2.80/24")).code == ExitCode.OK
        assert on.secondaries(ENI_2) == ["10.10.2.80"]
