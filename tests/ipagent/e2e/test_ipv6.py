"""IPv6 addresses of real pods against the doubles, in both modes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from common.agent_settings import AgentSettings, Takeover
from common.exit_codes import ExitCode
from tests.ipagent import worlds
from tests.ipagent.agent_rig import MakeStage, Stage, pod_with, wait_for
from tests.ipagent.worlds import (
    ENI_1,
    ENI_2,
    FULL_IPV6,
    MAC_1,
    MAC_2,
    NEIGHBOUR,
    NEIGHBOUR_IPV6,
    READER,
    REGION,
)
from tests.netns import Node, Pod

pytestmark = pytest.mark.netns

V6 = "2001:db8:1::80"
FOREIGN = "5e:00:00:00:00:99"
NEVER = AgentSettings(interfaces=("net1",), takeover=Takeover.NEVER)
BOTH = AgentSettings(interfaces=("net1", "net2"))


@pytest.fixture
def stage(node: Node, tmp_path: Path) -> MakeStage:
    def make(**world: Any) -> Stage:
        return Stage(node, worlds.world(ipv6=True, **world), tmp_path)

    return make


class TestInit:
    def test_both_families_are_assigned_with_one_call_each(self, stage: MakeStage) -> None:
        on = stage()
        ended = on.init(pod_with(on, "10.10.1.80/24", f"{V6}/64", "2001:db8:1::81/64"))
        assert ended.code == ExitCode.OK
        assert ended.message == f"Assigned: 10.10.1.80, {V6}, 2001:db8:1::81 on {ENI_1}."
        assert on.secondaries(ENI_1) == ["10.10.1.80"]
        assert on.ipv6s(ENI_1) == [V6, "2001:db8:1::81"]
        # One look at the pod's ENI, and one for whoever holds the IPv6 addresses.
        describe = "DescribeNetworkInterfaces"
        expected = [describe, "AssignPrivateIpAddresses", describe, "AssignIpv6Addresses"]
        assert on.ec2_actions() == expected
        assert ended.events() == ["start", "identity", "done"]

    def test_a_foreign_mac_goes_by_the_ipv6_range(self, stage: MakeStage) -> None:
        on = stage()
        ended = on.init(pod_with(on, "2001:db8:2::80/64", mac=FOREIGN))
        assert ended.code == ExitCode.OK
        assert on.ipv6s(ENI_2) == ["2001:db8:2::80"]
        assert ended.events("warning") == ["eni-by-subnet"]

    def test_an_address_moves_from_another_eni(self, stage: MakeStage) -> None:
        on = stage()
        assert on.init(pod_with(on, f"{NEIGHBOUR_IPV6}/64")).code == ExitCode.OK
        assert on.ipv6s(ENI_1) == [NEIGHBOUR_IPV6]
        assert on.ipv6s(NEIGHBOUR) == []

    def test_takeover_never_names_the_holder_and_what_to_do(self, stage: MakeStage) -> None:
        on = stage()
        ended = on.init(pod_with(on, f"{NEIGHBOUR_IPV6}/64", f"{V6}/64"), NEVER)
        assert ended.code == ExitCode.HELD_ELSEWHERE
        assert (
            f"{NEIGHBOUR_IPV6} (net1) on {ENI_1}: it is a secondary address of {NEIGHBOUR} " in ended.message
        )
        assert worlds.NEIGHBOUR_INSTANCE in ended.message
        assert "`ipagent release ADDRESS --eni ENI`" in ended.message
        assert on.ipv6s(NEIGHBOUR) == [NEIGHBOUR_IPV6]
        assert on.ipv6s(ENI_1) == [V6]

    def test_a_second_run_is_as_good_as_the_first(self, stage: MakeStage) -> None:
        on = stage()
        pod = pod_with(on, f"{V6}/64")
        assert [on.init(pod).code, on.init(pod).code] == [0, 0]

    def test_a_full_eni_is_listed(self, stage: MakeStage) -> None:
        on = stage(ipv6s=FULL_IPV6)
        ended = on.init(pod_with(on, "10.10.1.80/24", f"{V6}/64"))
        assert ended.code == ExitCode.ENI_FULL
        assert f"its secondary addresses are {', '.join(FULL_IPV6)}. " in ended.message
        assert on.secondaries(ENI_1) == ["10.10.1.80"]

    def test_a_full_eni_gives_back_what_it_can_not_take_over(self, stage: MakeStage) -> None:
        on = stage(ipv6s=FULL_IPV6)
        ended = on.init(pod_with(on, f"{NEIGHBOUR_IPV6}/64"))
        assert ended.code == ExitCode.ENI_FULL
        assert f"took {NEIGHBOUR_IPV6} off {NEIGHBOUR} before, and gave {NEIGHBOUR_IPV6}" in ended.message
        assert on.ipv6s(NEIGHBOUR) == [NEIGHBOUR_IPV6]

    def test_a_conflict_is_looked_at_again(self, stage: MakeStage) -> None:
        on = stage()
        fault = {"action": "AssignIpv6Addresses", "error": "InvalidIPAddress.InUse", "times": 2}
        on.put_faults(fault)
        ended = on.init(pod_with(on, f"{V6}/64"))
        assert ended.code == ExitCode.OK
        assert ended.events("warning") == ["assign-failed"]
        assert on.ipv6s(ENI_1) == [V6]

    def test_no_permission_is_named(self, stage: MakeStage) -> None:
        on = stage()
        ended = on.init(pod_with(on, f"{V6}/64"), AWS_ACCESS_KEY_ID=READER)
        assert ended.code == ExitCode.NO_PERMISSION
        assert "ec2:AssignIpv6Addresses" in ended.message

    def test_an_imds_that_stays_behind_is_replaced_by_a_describe(self, stage: MakeStage) -> None:
        on = stage(imds_delay_ms=3_600_000)
        assert on.init(pod_with(on, f"{V6}/64")).code == ExitCode.OK

    def test_without_imds_the_mac_is_enough(self, stage: MakeStage) -> None:
        on = stage(hop_limit=1)
        assert on.init(pod_with(on, f"{V6}/64"), AWS_REGION=REGION).code == ExitCode.OK
        assert on.ipv6s(ENI_1) == [V6]

    @pytest.mark.parametrize("address", ["2001:db8:f::80/64", "2001:db8:2::80/64"])
    def test_an_address_of_no_subnet_or_of_another_one_is_named(self, stage: MakeStage, address: str) -> None:
        on = stage()
        ended = on.init(pod_with(on, "10.10.1.80/24", address))
        assert ended.code == ExitCode.NO_ENI
        assert address.split("/", maxsplit=1)[0] in ended.message
        assert on.secondaries(ENI_1) == ["10.10.1.80"]
        assert on.calls("AssignIpv6Addresses") == []

    def test_an_address_outside_the_allowed_cidrs_is_never_sent(self, stage: MakeStage) -> None:
        on = stage()
        narrow = AgentSettings(interfaces=("net1",), allowed_cidrs=("10.10.1.0/24", "2001:db8:1::/121"))
        ended = on.init(pod_with(on, "10.10.1.80/24", f"{V6}/64", "2001:db8:1::7/64"), narrow)
        assert ended.code == ExitCode.ADDRESS_REFUSED
        assert f"{V6} (net1): it lies outside the allowed CIDRs" in ended.message
        assert on.ipv6s(ENI_1) == ["2001:db8:1::7"]


class TestDetection:
    def test_an_address_that_is_tentative_at_the_start_is_waited_for(self, stage: MakeStage) -> None:
        on = stage()
        pod = pod_with(on)
        pod.add_address("net1", f"{V6}/64", detect=True)
        ended = on.init(pod)
        assert ended.code == ExitCode.OK
        assert ended.events("warning") == []
        assert on.ipv6s(ENI_1) == [V6]

    def test_an_address_that_another_host_has_is_refused_by_name(self, stage: MakeStage) -> None:
        on = stage()
        pod = pod_with(on, "10.10.1.80/24")
        # The other end of net1: eth0 came first.
        on.node.add_address("veth2", f"{V6}/64")
        pod.add_address("net1", f"{V6}/64", detect=True)
        ended = on.init(pod)
        assert ended.code == ExitCode.ADDRESS_REFUSED
        assert f"{V6} (net1): duplicate address detection has failed (dadfailed)" in ended.message
        assert on.secondaries(ENI_1) == ["10.10.1.80"]
        assert on.ipv6s(ENI_1) == []

    def test_an_interface_without_carrier_is_not_waited_for_for_ever(self, stage: MakeStage) -> None:
        on = stage()
        pod = stage_pod_without_carrier(on)
        ended = on.init(pod)
        assert ended.code == ExitCode.OK
        assert ended.events("warning") == ["tentative"]
        assert on.ipv6s(ENI_1) == [V6]

    def test_a_sidecar_waits_for_the_kernels_word(self, stage: MakeStage) -> None:
        on = stage()
        pod = pod_with(on, "10.10.1.80/24")
        sidecar = on.sidecar(pod, AgentSettings(interfaces=("net1",)))
        sidecar.wait_until_started()
        pod.add_address("net1", f"{V6}/64", detect=True)
        sidecar.wait_for_addresses(ENI_1, "10.10.1.80", V6)
        on.node.add_address("veth2", "2001:db8:1::81/64")
        pod.add_address("net1", "2001:db8:1::81/64", detect=True)
        sidecar.wait_for_event("not-assigned")
        ended = sidecar.end()
        (line,) = (line for line in ended.lines if line["event"] == "not-assigned")
        assert line["address"] == "2001:db8:1::81"
        assert "dadfailed" in line["message"]
        assert on.ipv6s(ENI_1) == [V6]


def stage_pod_without_carrier(on: Stage) -> Pod:
    pod = on.node.pod()
    pod.add_interface("net1", mac=MAC_1, up=False)
    pod.add_address("net1", f"{V6}/64", detect=True)
    return pod


class TestSidecar:
    def test_addresses_that_appear_and_leave_with_release_on_exit(self, stage: MakeStage) -> None:
        on = stage()
        pod = pod_with(on, "10.10.1.80/24")
        pod.add_interface("net2", mac=MAC_2)
        releasing = AgentSettings(interfaces=("net1", "net2"), release_on_exit=True)
        sidecar = on.sidecar(pod, releasing)
        sidecar.wait_until_started()
        pod.add_address("net1", f"{V6}/64")
        pod.add_address("net1", "2001:db8:1::81/64")
        sidecar.wait_for_addresses(ENI_1, "10.10.1.80", V6, "2001:db8:1::81")
        sidecar.wait_for_event("assigned", 2)
        pod.delete_address("net1", "2001:db8:1::81/64")
        sidecar.wait_for_addresses(ENI_1, "10.10.1.80", V6)
        sidecar.wait_for_event("released")
        ended = sidecar.end()
        assert ended.code == 0
        assert on.secondaries(ENI_1) == on.ipv6s(ENI_1) == []
        assert f"{V6} was taken off {ENI_1}" in ended.message
        assert len(on.calls("UnassignPrivateIpAddresses")) == 1
        assert len(on.calls("UnassignIpv6Addresses")) == 2

    def test_an_address_that_was_taken_away_is_assigned_again(self, stage: MakeStage) -> None:
        on = stage()
        sidecar = on.fast_checking_sidecar(pod_with(on, "10.10.1.80/24", f"{V6}/64"))
        sidecar.wait_until_started()
        on.external_write("unassign", ENI_1, V6)
        on.external_write("unassign", ENI_1, "10.10.1.80")
        sidecar.wait_for_event("lost", 2)
        sidecar.wait_for_addresses(ENI_1, "10.10.1.80", V6)
        assert sidecar.end().code == 0

    def test_an_address_that_another_eni_took_is_a_conflict_until_it_is_added_anew(
        self, stage: MakeStage
    ) -> None:
        on = stage()
        pod = pod_with(on, "10.10.1.80/24", f"{V6}/64")
        sidecar = on.fast_checking_sidecar(pod)
        sidecar.wait_until_started()
        on.external_write("assign", NEIGHBOUR, "10.10.1.80")
        on.external_write("unassign", ENI_1, V6)
        wait_for(lambda: V6 in on.ipv6s(ENI_1), "the address that nobody holds")
        sidecar.wait_for_event("conflict")
        assert "10.10.1.80" in on.secondaries(NEIGHBOUR)
        pod.delete_address("net1", "10.10.1.80/24")
        pod.add_address("net1", "10.10.1.80/24")
        sidecar.wait_for_addresses(ENI_1, "10.10.1.80", V6)
        ended = sidecar.end()
        (conflict,) = (line for line in ended.lines if line["event"] == "conflict")
        assert (conflict["address"], conflict["level"]) == ("10.10.1.80", "error")
        assert NEIGHBOUR in conflict["message"]

    def test_an_outage_of_ec2_while_an_address_is_taken_away_ends_right(self, stage: MakeStage) -> None:
        on = stage()
        sidecar = on.fast_checking_sidecar(pod_with(on, f"{V6}/64"))
        sidecar.wait_until_started()
        on.external_write("unassign", ENI_1, V6)
        on.put_faults({"action": "*", "error": "Unavailable"})
        looked = len(on.calls("DescribeNetworkInterfaces"))
        wait_for(lambda: len(on.calls("DescribeNetworkInterfaces")) > looked, "a look that fails")
        on.put_faults()
        sidecar.wait_for_addresses(ENI_1, V6)
        assert sidecar.end().code == 0
