"""`ipagent init` as a pod's container against the doubles: every case ends right, or named."""

from __future__ import annotations

import sys

import pytest

from common.agent_settings import AgentSettings, Credentials, RestartPolicy, Takeover
from common.exit_codes import ExitCode
from tests.ipagent import worlds
from tests.ipagent.agent_rig import DEADLINE, HURRIED, MakeStage, pod_with
from tests.ipagent.aws.scripted_server import imds_of_version_1
from tests.ipagent.worlds import (
    ENI_0,
    ENI_1,
    ENI_2,
    FULL,
    MAC_0,
    MAC_2,
    MAC_TWIN,
    NEIGHBOUR,
    NEIGHBOUR_PRIMARY,
    NEIGHBOUR_SECONDARY,
    READER,
    REGION,
    TWIN,
)
from tests.netns import IMDS

pytestmark = pytest.mark.netns

FOREIGN = "5e:00:00:00:00:99"
BOTH = AgentSettings(interfaces=("net1", "net2"))


def test_the_address_is_on_the_eni_whose_mac_the_interface_has(stage: MakeStage) -> None:
    on = stage()
    ended = on.init(pod_with(on, "10.10.1.80/24"))
    assert ended.code == ExitCode.OK
    assert on.secondaries(ENI_1) == ["10.10.1.80"]
    assert ended.message == f"Assigned: 10.10.1.80 on {ENI_1}."
    assert ended.events() == ["start", "identity", "done"]
    assert {line["pod"] for line in ended.lines} == {"pod-1"}
    (call,) = on.calls("AssignPrivateIpAddresses")
    assert call["params"]["AllowReassignment"] == "false"
    assert call["caller"] == "10.10.0.21"


def test_two_enis_in_one_subnet_are_told_apart_by_the_mac(stage: MakeStage) -> None:
    on = stage()
    assert on.init(pod_with(on, "10.10.1.80/24", mac=MAC_TWIN)).code == ExitCode.OK
    assert on.secondaries(TWIN) == ["10.10.1.80"]
    assert on.secondaries(ENI_1) == []


def test_a_foreign_mac_in_a_subnet_of_one_eni_goes_by_the_subnet_with_a_warning(stage: MakeStage) -> None:
    on = stage()
    ended = on.init(pod_with(on, "10.10.2.80/32", mac=FOREIGN))
    assert ended.code == ExitCode.OK
    assert on.secondaries(ENI_2) == ["10.10.2.80"]
    assert ended.events("warning") == ["eni-by-subnet"]


def test_a_foreign_mac_in_a_subnet_of_two_enis_is_deterministic_with_a_warning(stage: MakeStage) -> None:
    on = stage()
    ended = on.init(pod_with(on, "10.10.1.80/24", mac=FOREIGN))
    assert ended.code == ExitCode.OK
    assert on.secondaries(ENI_1) == ["10.10.1.80"]
    (warning,) = (line for line in ended.lines if line["level"] == "warning")
    assert ENI_1 in warning["message"]
    assert TWIN in warning["message"]


def test_interfaces_on_two_enis_are_one_call_each(stage: MakeStage) -> None:
    on = stage()
    pod = pod_with(on, "10.10.1.80/24", "10.10.1.81/24")
    pod_with(on, "10.10.2.80/24", name="net2", pod=pod, mac=MAC_2)
    ended = on.init(pod, BOTH)
    assert ended.code == ExitCode.OK
    assert on.secondaries(ENI_1) == ["10.10.1.80", "10.10.1.81"]
    assert on.secondaries(ENI_2) == ["10.10.2.80"]
    assert len(on.calls("AssignPrivateIpAddresses")) == 2
    assert len(ended.lines) <= 5


COUNTED = AgentSettings(interfaces=("net1",), guessed_interfaces=("net1",))
"""What the webhook gives for one network that names no interface."""


@pytest.mark.parametrize("name", ["net2", "data0"])
def test_an_interface_that_multus_has_named_otherwise_is_assigned(stage: MakeStage, name: str) -> None:
    on = stage()
    assert on.init(pod_with(on, "10.10.1.80/24", name=name), COUNTED).code == ExitCode.OK
    assert on.secondaries(ENI_1) == ["10.10.1.80"]


def test_a_network_that_multus_adds_to_every_pod_is_assigned_beside_the_annotated_one(
    stage: MakeStage,
) -> None:
    on = stage()
    pod = pod_with(on, "10.10.1.80/24")
    pod_with(on, "10.10.2.80/24", name="net2", pod=pod, mac=MAC_2)
    # The VPC CNI's own, for the egress of IPv6 and for a second network card.
    pod_with(on, "fd00::ac:5/118", name="v6if0", pod=pod, mac=FOREIGN)
    pod_with(on, "10.10.0.77/32", name="mNicIf1", pod=pod, mac=FOREIGN)
    ended = on.init(pod, COUNTED)
    assert ended.message == f"Assigned: 10.10.1.80 on {ENI_1}; 10.10.2.80 on {ENI_2}."
    assert ended.code == ExitCode.OK


def test_a_pod_without_any_interface_of_multus_is_not_done(stage: MakeStage) -> None:
    on = stage()
    ended = on.init(on.node.pod(), COUNTED)
    assert ended.code == ExitCode.NO_ENI
    assert "The pod has no interface net1" in ended.message


def test_a_route_to_imds_by_a_multus_interface_is_named(stage: MakeStage) -> None:
    on = stage()
    pod = pod_with(on, "10.10.1.80/24")
    pod.add_route(f"{IMDS}/32", "net1", "10.10.1.1")
    ended = on.init(pod, AgentSettings(interfaces=("net1",), restart_policy=RestartPolicy.NEVER))
    assert ended.code == ExitCode.NO_IMDS
    assert "leaves by net1, an interface of Multus" in ended.message
    assert "it has failed for good" in ended.message


@pytest.mark.parametrize("settings", [COUNTED, AgentSettings(interfaces=("net1",))])
def test_the_way_out_for_a_network_that_is_not_the_vpcs_is_named_first(
    stage: MakeStage, settings: AgentSettings
) -> None:
    on = stage()
    ended = on.init(pod_with(on, "192.168.77.5/24", mac=FOREIGN), settings)
    assert ended.code == ExitCode.NO_ENI
    assert "annotation multus-eni.io/interfaces" in ended.message
    assert "delete the pod" not in ended.message


def test_without_names_all_but_the_default_interface_count(stage: MakeStage) -> None:
    on = stage()
    pod = pod_with(on, "10.10.1.80/24")
    assert on.init(pod, AgentSettings()).code == ExitCode.OK
    assert on.secondaries(ENI_1) == ["10.10.1.80"]
    assert on.secondaries(ENI_0) == []


def test_a_default_interface_that_is_not_eth0_is_left_out_too(stage: MakeStage) -> None:
    on = stage()
    pod = pod_with(on, "10.10.1.80/24")
    pod.rename("eth0", "primary")
    assert on.init(pod, AgentSettings()).code == ExitCode.OK
    assert on.secondaries(ENI_1) == ["10.10.1.80"]


def test_an_interface_without_addresses_needs_neither_aws_nor_its_library(stage: MakeStage) -> None:
    on = stage()
    pod = pod_with(on)
    ended = on.init(pod)
    assert ended.code == ExitCode.OK
    assert ended.message == "Nothing to assign: the pod has no addresses that count on net1."
    assert on.calls("") == []
    script = (
        "import os, sys; from ipagent import cli; code = cli.run(['init'], os.environ);"
        "print(code, 'botocore' in sys.modules)"
    )
    done = pod.run([sys.executable, "-c", script], env=on.env())
    assert done.stdout == "0 False\n"


def test_an_address_moves_from_another_eni(stage: MakeStage) -> None:
    on = stage()
    assert on.init(pod_with(on, f"{NEIGHBOUR_SECONDARY}/24")).code == ExitCode.OK
    assert on.secondaries(ENI_1) == [NEIGHBOUR_SECONDARY]
    assert on.secondaries(NEIGHBOUR) == []


def test_takeover_never_leaves_it_there_and_says_so(stage: MakeStage) -> None:
    on = stage()
    never = AgentSettings(interfaces=("net1",), takeover=Takeover.NEVER)
    ended = on.init(pod_with(on, f"{NEIGHBOUR_SECONDARY}/24"), never)
    assert ended.code == ExitCode.HELD_ELSEWHERE
    assert (
        f"it is a secondary address of {NEIGHBOUR} (device number 1 of {worlds.NEIGHBOUR_INSTANCE}, "
        'described as "pods of node b")'
    ) in ended.message
    assert "`ipagent release ADDRESS --eni ENI`" in ended.message
    assert on.secondaries(NEIGHBOUR) == [NEIGHBOUR_SECONDARY]


def test_without_the_right_to_describe_the_refusal_says_that_the_holder_is_unknown(stage: MakeStage) -> None:
    on = stage()
    on.put_faults({"action": "DescribeNetworkInterfaces", "error": "UnauthorizedOperation"})
    never = AgentSettings(interfaces=("net1",), takeover=Takeover.NEVER)
    ended = on.init(pod_with(on, f"{NEIGHBOUR_SECONDARY}/24"), never)
    assert ended.code == ExitCode.HELD_ELSEWHERE
    assert "move is not allowed; its holder is not known: DescribeNetworkInterfaces" in ended.message


def test_a_second_run_is_as_good_as_the_first(stage: MakeStage) -> None:
    on = stage()
    pod = pod_with(on, "10.10.1.80/24")
    assert [on.init(pod).code, on.init(pod).code] == [0, 0]
    assert len(on.calls("AssignPrivateIpAddresses")) == 2


def test_imds_of_version_1_alone(stage: MakeStage) -> None:
    on = stage(http_tokens="optional")
    with imds_of_version_1(on.node, "http://169.254.169.254") as endpoint:
        ended = on.init(pod_with(on, "10.10.1.80/24"), AWS_EC2_METADATA_SERVICE_ENDPOINT=endpoint)
    assert ended.code == ExitCode.OK
    assert ended.events("warning") == []
    assert on.secondaries(ENI_1) == ["10.10.1.80"]
    assert on.calls("PUT") == []
    assert on.calls("GET")


def test_an_imds_that_is_late_is_waited_for(stage: MakeStage) -> None:
    on = stage(imds_delay_ms=700)
    ended = on.init(pod_with(on, "10.10.1.80/24"))
    assert ended.code == ExitCode.OK
    # Whose the ENI is was asked before; the address is confirmed by IMDS.
    assert on.ec2_actions() == ["DescribeNetworkInterfaces", "AssignPrivateIpAddresses"]
    assert len([call for call in on.calls("GET") if call["action"].endswith("local-ipv4s")]) > 1


def test_an_imds_that_stays_behind_is_replaced_by_a_describe(stage: MakeStage) -> None:
    on = stage(imds_delay_ms=3_600_000)
    ended = on.init(pod_with(on, "10.10.1.80/24"))
    assert ended.code == ExitCode.OK
    describe = "DescribeNetworkInterfaces"
    assert on.ec2_actions() == [describe, "AssignPrivateIpAddresses", describe]


def test_an_imds_that_shows_what_is_gone_does_not_replace_the_call(stage: MakeStage) -> None:
    on = stage(imds_delay_ms=3_600_000, secondaries=["10.10.1.80"])
    thief = on.node.pod(eth0="10.10.0.33/32")
    thief.add_interface("net1", mac="02:bb:00:00:00:01", addresses=["10.10.1.80/24"])
    assert on.init(thief, AWS_EC2_METADATA_DISABLED="true", AWS_REGION=REGION).code == ExitCode.OK
    assert on.secondaries(NEIGHBOUR) == [NEIGHBOUR_SECONDARY, "10.10.1.80"]
    assert on.init(pod_with(on, "10.10.1.80/24")).code == ExitCode.OK
    assert on.secondaries(ENI_1) == ["10.10.1.80"]


def test_the_credentials_of_the_nodes_role(stage: MakeStage) -> None:
    on = stage(role="node")
    node_role = AgentSettings(interfaces=("net1",), credentials=Credentials.NODE)
    ended = on.init(pod_with(on, "10.10.1.80/24"), node_role, AWS_ACCESS_KEY_ID=READER)
    assert ended.code == ExitCode.OK
    assert ":assumed-role/node/" in on.calls("AssignPrivateIpAddresses")[0]["identity"]


def test_a_throttled_call_is_repeated(stage: MakeStage) -> None:
    on = stage()
    on.put_faults({"action": "AssignPrivateIpAddresses", "error": "RequestLimitExceeded", "times": 2})
    ended = on.init(pod_with(on, "10.10.1.80/24"))
    assert ended.code == ExitCode.OK
    assert ended.events("warning") == ["assign-failed"]


class TestNamed:
    """What can't be right is named: exit code, address, reason, remedy; and what can be right is."""

    @pytest.mark.parametrize("mac", [MAC_0, FOREIGN])
    def test_device_number_0_is_refused(self, stage: MakeStage, mac: str) -> None:
        on = stage()
        # The pod's own route to EC2 is gone with that address, so whose a foreign MAC is can't be asked.
        ended = on.init(
            pod_with(on, "10.10.0.80/24", mac=mac), AgentSettings(interfaces=("net1",), timeout=15)
        )
        assert ended.code == ExitCode.NO_ENI
        assert "10.10.0.80 (net1)" in ended.message
        assert "device number 0" in ended.message
        assert on.secondaries(ENI_0) == []

    def test_an_address_without_eni(self, stage: MakeStage) -> None:
        on = stage()
        ended = on.init(pod_with(on, "192.168.7.7/24", mac=FOREIGN))
        assert ended.code == ExitCode.NO_ENI
        assert "192.168.7.7" in ended.message

    def test_an_interface_that_is_not_there(self, stage: MakeStage) -> None:
        on = stage()
        ended = on.init(pod_with(on, "10.10.1.80/24"), BOTH)
        assert ended.code == ExitCode.NO_ENI
        assert "no interface net2" in ended.message
        assert on.secondaries(ENI_1) == []

    def test_a_full_eni_is_listed_with_what_to_do(self, stage: MakeStage) -> None:
        on = stage(secondaries=FULL)
        ended = on.init(pod_with(on, "10.10.1.80/24"))
        assert ended.code == ExitCode.ENI_FULL
        assert ", ".join(FULL) in ended.message
        assert "unassign-private-ip-addresses" in ended.message

    def test_no_permission_names_the_identity(self, stage: MakeStage) -> None:
        on = stage()
        ended = on.init(pod_with(on, "10.10.1.80/24"), AWS_ACCESS_KEY_ID=READER)
        assert ended.code == ExitCode.NO_PERMISSION
        assert "credentials used: env" in ended.message
        assert "multus-eni.io/credentials: node" in ended.message

    @pytest.mark.parametrize("timeout", [120, 2], ids=["in time", "and a deadline before IMDS is given up"])
    def test_a_hop_limit_of_1(self, stage: MakeStage, timeout: int) -> None:
        on = stage(hop_limit=1)
        settings = AgentSettings(interfaces=("net1",), timeout=timeout)
        ended = on.init(pod_with(on, "10.10.1.80/24"), settings)
        assert ended.code == ExitCode.NO_IMDS
        assert "HttpPutResponseHopLimit to 2" in ended.message
        assert "10.10.1.80" in ended.message

    def test_no_credentials(self, stage: MakeStage) -> None:
        on = stage()
        without = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
        ended = on.init(pod_with(on, "10.10.1.80/24"), **without)
        assert ended.code == ExitCode.NO_CREDENTIALS
        assert "ServiceAccount" in ended.message

    def test_ec2_can_not_be_reached(self, stage: MakeStage) -> None:
        on = stage()
        url = f"http://{on.node.address}:9"
        ended = on.init(pod_with(on, "10.10.1.80/24"), HURRIED, AWS_ENDPOINT_URL_EC2=url)
        assert ended.code == ExitCode.EC2_UNREACHABLE
        assert url in ended.message
        assert "NetworkPolicy" in ended.message

    def test_the_deadline_interrupts_an_ec2_that_is_silent(self, stage: MakeStage) -> None:
        on = stage()
        on.put_faults({"action": "AssignPrivateIpAddresses", "error": "InternalError", "delay_ms": 60_000})
        ended = on.patient_init(pod_with(on, "10.10.1.80/24"), HURRIED)
        assert ended.code == ExitCode.EC2_UNREACHABLE
        assert f"10.10.1.80 (net1) on {ENI_1}: EC2 has not answered after {DEADLINE} s" in ended.message

    def test_the_deadline_interrupts_a_name_lookup_that_hears_no_signal(self, stage: MakeStage) -> None:
        on = stage()
        url = "http://ec2.nowhere.test:8080"
        ended = on.init_with_hanging_resolver(
            pod_with(on, "10.10.1.80/24"), HURRIED, AWS_ENDPOINT_URL_EC2=url
        )
        assert ended.code == ExitCode.EC2_UNREACHABLE
        assert f"10.10.1.80 (net1): EC2 has not answered within {DEADLINE} s which ENI has" in ended.message

    def test_the_deadline_with_throttling(self, stage: MakeStage) -> None:
        on = stage()
        on.put_faults({"action": "AssignPrivateIpAddresses", "error": "RequestLimitExceeded"})
        ended = on.init(pod_with(on, "10.10.1.80/24"), HURRIED)
        assert ended.code == ExitCode.DEADLINE
        assert f"not within {DEADLINE} s" in ended.message
        assert "RequestLimitExceeded" in ended.message

    def test_anothers_primary_is_refused_and_the_good_one_of_the_batch_lands(self, stage: MakeStage) -> None:
        on = stage()
        ended = on.init(pod_with(on, f"{NEIGHBOUR_PRIMARY}/24", "10.10.1.80/24"))
        assert ended.code == ExitCode.ADDRESS_REFUSED
        refused = f"{NEIGHBOUR_PRIMARY} (net1) on {ENI_1}: it is a primary address of {NEIGHBOUR} (device"
        assert refused in ended.message
        assert f"Assigned anyway: 10.10.1.80 on {ENI_1}" in ended.message
        assert on.secondaries(ENI_1) == ["10.10.1.80"]

    def test_an_ipv6_address_in_a_subnet_without_ipv6_is_named(self, stage: MakeStage) -> None:
        on = stage()
        ended = on.init(pod_with(on, "10.10.1.80/24", "2001:db8:1::80/64"))
        assert ended.code == ExitCode.ADDRESS_REFUSED
        assert "2001:db8:1::80 (net1)" in ended.message
        assert on.secondaries(ENI_1) == ["10.10.1.80"]

    def test_an_address_outside_the_allowed_cidrs_is_never_sent(self, stage: MakeStage) -> None:
        on = stage()
        narrow = AgentSettings(interfaces=("net1",), allowed_cidrs=("10.10.1.0/26",))
        ended = on.init(pod_with(on, "10.10.1.20/24", "10.10.1.80/24"), narrow)
        assert ended.code == ExitCode.ADDRESS_REFUSED
        assert "10.10.1.80 (net1): it lies outside the allowed CIDRs" in ended.message
        sent = [call["params"] for call in on.calls("AssignPrivateIpAddresses")]
        assert not any("10.10.1.80" in params.values() for params in sent)


def test_without_imds_but_with_region_and_keys_the_mac_is_enough(stage: MakeStage) -> None:
    on = stage(hop_limit=1)
    ended = on.init(pod_with(on, "10.10.1.80/24"), AWS_REGION=REGION)
    assert ended.code == ExitCode.OK
    assert on.secondaries(ENI_1) == ["10.10.1.80"]
    assert ended.events("warning") == ["no-imds"]


def test_the_primary_address_of_an_eni_that_the_pod_owns_is_there_already(stage: MakeStage) -> None:
    on = stage()
    ended = on.init(pod_with(on, "10.10.1.10/24"))
    assert ended.code == ExitCode.OK
    assert f"10.10.1.10 on {ENI_1}" in ended.message


def test_an_app_that_waits_for_its_elastic_ip_does_not_start_without_it(stage: MakeStage) -> None:
    on = stage()
    settings = AgentSettings(interfaces=("net1",), eip_wait=("net1",), timeout=DEADLINE)
    ended = on.init(pod_with(on, "10.10.1.80/24"), settings)
    assert ended.code == ExitCode.DEADLINE
    assert ended.message.startswith(f"The Elastic IP of net1 has not come within {DEADLINE} s")
    assert on.secondaries(ENI_1) == ["10.10.1.80"]
    assert "waiting" in ended.events()
