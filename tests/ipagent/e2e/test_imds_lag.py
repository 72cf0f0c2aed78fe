"""IMDS that is late, stale, half there: no address lands on an ENI that does not carry it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from common.exit_codes import ExitCode
from tests.ipagent import worlds
from tests.ipagent.agent_rig import DEADLINE, HURRIED, MakeStage, Stage, pod_with, wait_for
from tests.ipagent.worlds import (
    ENI_1,
    ENI_2,
    KEY,
    MAC_1,
    MAC_2,
    MAC_TWIN,
    NEIGHBOUR_INSTANCE,
    NEIGHBOUR_SECONDARY,
    POD_CIDR,
    SECRET,
    SUBNETS,
    TWIN,
)
from tests.netns import Node

pytestmark = pytest.mark.netns

FOREIGN = "5e:00:00:00:00:99"
WHOLE_ENTRY = ["*"]
CHANGES_ONLY = ["Assign*", "Unassign*"]


@pytest.fixture
def stage(node: Node, tmp_path: Path) -> MakeStage:
    def make(
        *,
        hidden: dict[str, list[str]] | None = None,
        rights: Collection[str] = "*",
        traits: dict[str, dict[str, Any]] | None = None,
        **more: Any,
    ) -> Stage:
        world = worlds.world(**more)
        for interface in world["instances"][0]["interfaces"]:
            interface.update((traits or {}).get(interface["id"], {}))
        world["imds"] = {eni: {"hidden": names} for eni, names in (hidden or {}).items()}
        world["access_keys"] = [{"id": KEY, "secret": SECRET, "actions": list(rights)}]
        return Stage(node, world, tmp_path)

    return make


class TestLate:
    def test_an_eni_of_the_same_subnet_is_not_taken_for_one_that_imds_does_not_show_yet(
        self, stage: MakeStage
    ) -> None:
        on = stage(hidden={TWIN: WHOLE_ENTRY})
        ended = on.init(pod_with(on, "10.10.1.80/24", mac=MAC_TWIN))
        assert (ended.code, ended.message) == (ExitCode.OK, f"Assigned: 10.10.1.80 on {TWIN}.")
        assert on.secondaries(TWIN) == ["10.10.1.80"]
        assert on.secondaries(ENI_1) == []

    def test_the_only_eni_of_the_subnet_is_found_by_its_mac(self, stage: MakeStage) -> None:
        on = stage(hidden={ENI_2: WHOLE_ENTRY})
        assert on.init(pod_with(on, "10.10.2.80/24", mac=MAC_2)).code == ExitCode.OK
        assert on.secondaries(ENI_2) == ["10.10.2.80"]

    def test_a_foreign_mac_waits_for_the_range_of_an_eni_that_imds_shows_later(
        self, stage: MakeStage
    ) -> None:
        on = stage(hidden={ENI_2: WHOLE_ENTRY})
        sidecar = on.sidecar(pod_with(on, "10.10.2.80/24", mac=FOREIGN))
        wait_for(lambda: on.calls("DescribeNetworkInterfaces"), "EC2 to be asked")
        assert sidecar.process.poll() is None
        on.change_settings(imds={})
        sidecar.wait_until_started()
        assert on.secondaries(ENI_2) == ["10.10.2.80"]
        assert sidecar.end().code == 0

    def test_without_the_right_to_ask_ec2_it_waits_for_imds(self, stage: MakeStage) -> None:
        on = stage(hidden={TWIN: WHOLE_ENTRY}, rights=CHANGES_ONLY)
        sidecar = on.sidecar(pod_with(on, "10.10.1.80/24", mac=MAC_TWIN))
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
        ended = on.init(pod_with(on, "10.10.1.80/24", mac=mac), HURRIED)
        assert ended.code == ExitCode.NO_PERMISSION
        assert (
            f"not within {DEADLINE} s: IMDS shows no ENI with the MAC {mac}; EC2 can't be asked"
            in ended.message
        )
        assert "ec2:DescribeNetworkInterfaces" in ended.message
        assert on.calls("AssignPrivateIpAddresses") == []

    @pytest.mark.parametrize(
        ("fault", "code", "says"),
        [
            ({"error": "RequestLimitExceeded"}, ExitCode.DEADLINE, "All callers of the account"),
            ({"error": "RequestExpired"}, ExitCode.NO_CREDENTIALS, "Temporary credentials have expired"),
            ({"error": "SomethingNew"}, ExitCode.ADDRESS_REFUSED, "EC2's own message says why"),
            ({"status": 403}, ExitCode.EC2_UNREACHABLE, "answers in EC2's place"),
        ],
        ids=["throttled", "expired", "an unknown code", "the page of a proxy"],
    )
    def test_why_ec2_can_not_be_asked_is_told_with_the_remedy_for_that(
        self, stage: MakeStage, fault: dict[str, Any], code: ExitCode, says: str
    ) -> None:
        on = stage(hidden={TWIN: WHOLE_ENTRY})
        on.put_faults({"action": "DescribeNetworkInterfaces", **fault})
        ended = on.init(pod_with(on, "10.10.1.80/24", mac=MAC_TWIN), HURRIED)
        assert (ended.code, on.secondaries(ENI_1), on.secondaries(TWIN)) == (code, [], []), ended.message
        assert says in ended.message

    def test_throttling_of_every_call_is_outlasted(self, stage: MakeStage) -> None:
        on = stage(hidden={TWIN: WHOLE_ENTRY})
        on.put_faults({"action": "*", "error": "RequestLimitExceeded", "times": 3})
        assert on.init(pod_with(on, "10.10.1.80/24", mac=MAC_TWIN)).code == ExitCode.OK
        assert on.secondaries(TWIN) == ["10.10.1.80"]


class TestStale:
    def test_an_eni_that_ec2_has_detached_gets_no_address(self, stage: MakeStage) -> None:
        on = stage(imds_delay_ms=3_600_000)
        on.external_write("detach", ENI_2)
        ended = on.init(pod_with(on, "10.10.2.80/24", mac=FOREIGN), HURRIED)
        assert ended.code == ExitCode.NO_ENI
        assert on.calls("AssignPrivateIpAddresses") == []

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (("detach", TWIN), "is attached to no instance"),
            (
                ("move", TWIN, NEIGHBOUR_INSTANCE, "2"),
                f"is attached to another instance, {NEIGHBOUR_INSTANCE}",
            ),
        ],
        ids=["detached", "attached to another node"],
    )
    def test_what_imds_still_shows_of_the_interfaces_own_eni_is_not_believed(
        self, stage: MakeStage, change: tuple[str, ...], says: str
    ) -> None:
        on = stage(imds_delay_ms=3_600_000)
        on.external_write(*change)
        ended = on.init(pod_with(on, "10.10.1.80/24", mac=MAC_TWIN), HURRIED)
        assert ended.code == ExitCode.NO_ENI
        assert f"its interface has the MAC of {TWIN}, which {says}" in ended.message
        assert on.secondaries(ENI_1) == on.secondaries(TWIN) == []
        assert on.calls("AssignPrivateIpAddresses") == []

    def test_the_mac_of_a_detached_eni_leaves_nothing_to_the_subnet(self, stage: MakeStage) -> None:
        on = stage()
        on.external_write("detach", TWIN)
        ended = on.init(pod_with(on, "10.10.1.80/24", mac=MAC_TWIN), HURRIED)
        assert ended.code == ExitCode.NO_ENI
        assert f"its interface has the MAC of {TWIN} (not attached)" in ended.message
        assert on.calls("AssignPrivateIpAddresses") == []


class TestNotOurs:
    """IMDS shows ENIs as a whole, and knows neither their types nor their owners."""

    @pytest.mark.parametrize(
        ("eni", "says"),
        [
            ({"type": "trunk"}, "which is of the type trunk"),
            ({"type": "efa"}, "which is of the type efa"),
            ({"tags": {"eks:eni:owner": "amazon-vpc-cni"}}, "which belongs to the VPC CNI"),
            ({"tags": {"vpcresources.k8s.aws/trunk-eni-id": "eni-1"}}, "the VPC resource controller"),
            ({"description": "aws-K8S-i-0a000000000000001"}, "which was made by the VPC CNI"),
            ({"managed": True}, "which belongs to an AWS service"),
        ],
        ids=["trunk", "EFA", "tagged by EKS", "branch", "described", "a service's"],
    )
    def test_they_get_no_address_whoever_has_their_mac(
        self, stage: MakeStage, eni: dict[str, Any], says: str
    ) -> None:
        on = stage(traits={ENI_2: eni})
        ended = on.init(pod_with(on, "10.10.2.80/24", mac=MAC_2))
        assert ended.code == ExitCode.NO_ENI
        assert says in ended.message
        assert on.secondaries(ENI_2) == []
        assert on.calls("AssignPrivateIpAddresses") == []

    def test_without_the_right_to_ask_imds_has_to_do(self, stage: MakeStage) -> None:
        on = stage(rights=CHANGES_ONLY)
        ended = on.init(pod_with(on, "10.10.2.80/24", mac=MAC_2))
        assert (ended.code, on.secondaries(ENI_2)) == (ExitCode.OK, ["10.10.2.80"]), ended.message
        assert ended.events("warning") == ["eni-unverified"]

    def test_ec2_is_asked_once_for_a_sidecars_life(self, stage: MakeStage) -> None:
        on = stage()
        pod = pod_with(on, "10.10.2.80/24", mac=MAC_2)
        sidecar = on.sidecar(pod)
        sidecar.wait_until_started()
        pod.add_address("net1", "10.10.2.81/24")
        sidecar.wait_for_addresses(ENI_2, "10.10.2.80", "10.10.2.81")
        assert sidecar.end().code == ExitCode.OK
        assert len(on.calls("DescribeNetworkInterfaces")) == 1


class TestHalf:
    @pytest.mark.parametrize("names", [["device-number"], ["interface-id"], ["subnet-id", "interface-id"]])
    def test_ec2_says_what_the_entry_lacks(self, stage: MakeStage, names: list[str]) -> None:
        on = stage(hidden={ENI_1: names})
        assert on.init(pod_with(on, "10.10.1.80/24")).code == ExitCode.OK
        assert on.secondaries(ENI_1) == ["10.10.1.80"]

    def test_without_the_right_to_ask_the_hop_limit_is_not_blamed(self, stage: MakeStage) -> None:
        on = stage(hidden={ENI_1: ["device-number"]}, rights=CHANGES_ONLY)
        ended = on.init(pod_with(on, "10.10.1.80/24"), HURRIED)
        assert ended.code == ExitCode.NO_PERMISSION
        assert f"IMDS shows the interface {MAC_1} without its device-number" in ended.message
        assert "HttpPutResponseHopLimit" not in ended.message

    def test_another_enis_broken_entry_concerns_nobody_else(self, stage: MakeStage) -> None:
        on = stage(hidden={ENI_1: ["device-number"], TWIN: ["interface-id"]}, rights=CHANGES_ONLY)
        assert on.init(pod_with(on, "10.10.2.80/24", mac=MAC_2)).code == ExitCode.OK
        assert on.secondaries(ENI_2) == ["10.10.2.80"]

    @pytest.mark.parametrize("mac", [MAC_1, MAC_2, FOREIGN])
    @pytest.mark.parametrize(
        "names",
        [
            ["subnet-id"],
            ["subnet-ipv4-cidr-block"],
            ["vpc-id", "owner-id", "security-groups"],
            ["network-card"],
        ],
        ids=lambda names: names[0],
    )
    def test_whatever_else_the_entry_lacks_the_address_lands_where_it_belongs(
        self, stage: MakeStage, names: list[str], mac: str
    ) -> None:
        on = stage(hidden={ENI_1: names})
        address, eni = ("10.10.2.80", ENI_2) if mac == MAC_2 else ("10.10.1.80", ENI_1)
        assert on.init(pod_with(on, f"{address}/24", mac=mac)).code == ExitCode.OK
        assert on.secondaries(eni) == [address]

    def test_an_address_is_taken_over_within_the_subnet_that_the_entry_lacks(self, stage: MakeStage) -> None:
        on = stage(hidden={ENI_1: ["subnet-id"]})
        ended = on.init(pod_with(on, f"{NEIGHBOUR_SECONDARY}/24"))
        assert (ended.code, on.secondaries(ENI_1)) == (ExitCode.OK, [NEIGHBOUR_SECONDARY]), ended.message
        params = [call["params"] for call in on.calls("DescribeNetworkInterfaces")]
        holders = [each for each in params if NEIGHBOUR_SECONDARY in each.values()]
        assert holders
        assert all(SUBNETS[POD_CIDR] in each.values() for each in holders)

    def test_the_range_of_the_only_eni_of_a_subnet_counts_without_the_subnets_id(
        self, stage: MakeStage
    ) -> None:
        on = stage(hidden={ENI_2: ["subnet-id"]})
        ended = on.init(pod_with(on, "10.10.2.80/24", mac=FOREIGN), HURRIED)
        assert (ended.code, on.secondaries(ENI_2)) == (ExitCode.OK, ["10.10.2.80"]), ended.message

    @pytest.mark.parametrize("mac", [MAC_1, FOREIGN])
    @pytest.mark.parametrize("name", ["device-number", "subnet-id", "subnet-ipv4-cidr-block"])
    @pytest.mark.parametrize("fault", [{"status": 503}, {"connection": "reset"}], ids=["HTTP 503", "reset"])
    def test_a_name_that_imds_never_answers_is_asked_of_ec2(
        self, stage: MakeStage, fault: dict[str, Any], name: str, mac: str
    ) -> None:
        on = stage()
        on.put_faults({"action": "imds:metadata", "path": f"*/macs/{MAC_1}/{name}", **fault})
        ended = on.init(pod_with(on, "10.10.1.80/24", mac=mac))
        assert (ended.code, on.secondaries(ENI_1)) == (ExitCode.OK, ["10.10.1.80"]), ended.message

    def test_a_name_at_which_imds_hangs_is_asked_of_ec2(self, stage: MakeStage) -> None:
        on = stage()
        on.put_faults({"action": "imds:metadata", "path": f"*/macs/{MAC_1}/subnet-id", "connection": "hang"})
        ended = on.init(pod_with(on, "10.10.1.80/24"))
        assert (ended.code, on.secondaries(ENI_1)) == (ExitCode.OK, ["10.10.1.80"]), ended.message

    def test_without_the_right_to_ask_a_hanging_name_does_not_blame_the_hop_limit(
        self, stage: MakeStage
    ) -> None:
        on = stage(rights=CHANGES_ONLY)
        on.put_faults({"action": "imds:metadata", "path": f"*/macs/{MAC_1}/*", "connection": "reset"})
        ended = on.init(pod_with(on, "10.10.1.80/24"), HURRIED)
        assert ended.code == ExitCode.NO_PERMISSION
        assert "it has answered others" in ended.message
        assert "HttpPutResponseHopLimit" not in ended.message


class TestGone:
    def test_an_imds_that_comes_seconds_after_the_pod_is_waited_for(self, stage: MakeStage) -> None:
        on = stage()
        on.put_faults({"action": "imds:token", "connection": "reset", "times": 9})
        ended = on.init(pod_with(on, "10.10.1.80/24"), HURRIED)
        assert (ended.code, on.secondaries(ENI_1)) == (ExitCode.OK, ["10.10.1.80"]), ended.message
        assert "lookup-failed" in ended.events("warning")

    @pytest.mark.parametrize("fault", [{"status": 404}, {"status": 500}], ids=["HTTP 404", "HTTP 500"])
    def test_region_and_instance_are_also_found_without_the_identity_document(
        self, stage: MakeStage, fault: dict[str, Any]
    ) -> None:
        on = stage(hidden={TWIN: WHOLE_ENTRY})
        on.put_faults({"action": "imds:metadata", "path": "*/instance-identity/document", **fault})
        ended = on.init(pod_with(on, "10.10.1.80/24", mac=MAC_TWIN))
        assert (ended.code, on.secondaries(TWIN)) == (ExitCode.OK, ["10.10.1.80"]), ended.message
