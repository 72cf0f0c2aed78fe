"""`ipagent sidecar` as a pod's native sidecar against the doubles."""

from __future__ import annotations

import signal

import pytest

from common.agent_settings import AgentSettings
from common.exit_codes import ExitCode
from tests.ipagent import worlds
from tests.ipagent.agent_rig import SECONDS, MakeStage, Stage, wait_for
from tests.ipagent.worlds import ENI_1, ENI_2, FULL, MAC_1, MAC_2, MAC_TWIN, NEIGHBOUR, TWIN
from tests.netns import Pod

pytestmark = pytest.mark.netns

BOTH = AgentSettings(interfaces=("net1", "net2"))
RELEASING = AgentSettings(interfaces=("net1", "net2"), release_on_exit=True)


def pod_with(stage: Stage, *addresses: str) -> Pod:
    pod = stage.node.pod()
    pod.add_interface("net1", mac=MAC_1, addresses=addresses)
    pod.add_interface("net2", mac=MAC_2)
    return pod


def test_it_starts_with_its_addresses_and_assigns_those_that_appear(stage: MakeStage) -> None:
    on = stage()
    pod = pod_with(on, "10.10.1.80/24")
    sidecar = on.sidecar(pod, BOTH)
    sidecar.wait_until_started()
    assert on.secondaries(ENI_1) == ["10.10.1.80"]
    pod.add_address("net1", "10.10.1.81/24")
    sidecar.wait_for_addresses(ENI_1, "10.10.1.80", "10.10.1.81")
    pod.add_address("net2", "10.10.2.80/24")
    sidecar.wait_for_addresses(ENI_2, "10.10.2.80")
    sidecar.wait_for_event("assigned", 2)
    ended = sidecar.end()
    assert ended.code == 0
    assert ended.events("info") == ["start", "identity", "started", "assigned", "assigned", "done"]
    assert "No address was released" in ended.message


def test_started_is_not_said_before_the_address_is_confirmed(stage: MakeStage) -> None:
    on = stage()
    on.put_faults({"action": "AssignPrivateIpAddresses", "error": "RequestLimitExceeded"})
    sidecar = on.sidecar(pod_with(on, "10.10.1.80/24"), BOTH)
    wait_for(lambda: on.calls("AssignPrivateIpAddresses"), "the first call")
    assert not sidecar.started()
    on.put_faults()
    sidecar.wait_until_started()
    assert on.secondaries(ENI_1) == ["10.10.1.80"]
    sidecar.end()


def test_an_address_that_went_to_another_eni_and_comes_back_is_taken_again(stage: MakeStage) -> None:
    on = stage()
    pod = pod_with(on, "10.10.1.80/24", "10.10.1.81/24")
    sidecar = on.sidecar(pod, BOTH)
    sidecar.wait_until_started()
    pod.delete_address("net1", "10.10.1.81/24")
    other = on.node.pod(eth0="10.10.0.33/32")
    other.add_interface("net1", mac="02:bb:00:00:00:01", addresses=["10.10.1.81/24"])
    assert on.init(other, AWS_EC2_METADATA_DISABLED="true", AWS_REGION=worlds.REGION).code == ExitCode.OK
    assert "10.10.1.81" in on.secondaries(NEIGHBOUR)
    pod.add_address("net1", "10.10.1.81/24")
    sidecar.wait_for_addresses(ENI_1, "10.10.1.80", "10.10.1.81")
    sidecar.end()


def test_an_address_that_is_removed_stays_on_the_eni(stage: MakeStage) -> None:
    on = stage()
    pod = pod_with(on, "10.10.1.80/24")
    sidecar = on.sidecar(pod, BOTH)
    sidecar.wait_until_started()
    pod.delete_address("net1", "10.10.1.80/24")
    pod.add_address("net1", "10.10.1.81/24")
    sidecar.wait_for_addresses(ENI_1, "10.10.1.80", "10.10.1.81")
    sidecar.wait_for_event("removed")
    sidecar.end()
    assert on.secondaries(ENI_1) == ["10.10.1.80", "10.10.1.81"]


def test_with_release_on_exit_an_address_that_is_removed_is_released(stage: MakeStage) -> None:
    on = stage()
    pod = pod_with(on, "10.10.1.80/24", "10.10.1.81/24")
    sidecar = on.sidecar(pod, RELEASING)
    sidecar.wait_until_started()
    pod.delete_address("net1", "10.10.1.81/24")
    sidecar.wait_for_addresses(ENI_1, "10.10.1.80")
    sidecar.wait_for_event("released")
    sidecar.end()


COUNTED = AgentSettings(interfaces=("net1",), guessed_interfaces=("net1",), release_on_exit=True)
"""What the webhook gives for one network that names no interface."""


def test_interfaces_that_are_plugged_into_a_running_pod_are_followed_both_ways(stage: MakeStage) -> None:
    on = stage()
    pod = on.node.pod()
    pod.add_interface("net1", mac=MAC_1, addresses=["10.10.1.80/24"])
    sidecar = on.sidecar(pod, COUNTED)
    sidecar.wait_until_started()
    pod.add_interface("plugged", mac=MAC_2, addresses=["10.10.2.80/24"])
    sidecar.wait_for_addresses(ENI_2, "10.10.2.80")
    pod.delete_interface("plugged")
    sidecar.wait_for_addresses(ENI_2)
    assert on.secondaries(ENI_1) == ["10.10.1.80"]
    assert sidecar.end().code == ExitCode.OK


@pytest.mark.parametrize("settings", [RELEASING, COUNTED])
def test_an_address_on_keepaliveds_own_device_is_the_interfaces_below(
    stage: MakeStage, settings: AgentSettings
) -> None:
    on = stage()
    pod = pod_with(on, "10.10.1.80/24")
    sidecar = on.sidecar(pod, settings)
    sidecar.wait_until_started()
    pod.add_above("vrrp.51", "net1", mac="00:00:5e:00:01:33")
    pod.add_address("vrrp.51", "10.10.1.90/32")
    sidecar.wait_for_addresses(ENI_1, "10.10.1.80", "10.10.1.90")
    pod.delete_address("vrrp.51", "10.10.1.90/32")
    sidecar.wait_for_addresses(ENI_1, "10.10.1.80")
    pod.add_own("tun0")
    pod.add_address("tun0", "10.45.0.1/16")
    pod.add_address("net1", "10.10.1.81/24")
    sidecar.wait_for_addresses(ENI_1, "10.10.1.80", "10.10.1.81")
    ended = sidecar.end()
    assert ended.events("error") == []


def test_an_interface_that_disappears_takes_its_addresses_with_it_and_ends_nothing(stage: MakeStage) -> None:
    on = stage()
    pod = pod_with(on, "10.10.1.80/24", "10.10.1.81/24")
    sidecar = on.sidecar(pod, RELEASING)
    sidecar.wait_until_started()
    pod.delete_interface("net1")
    sidecar.wait_for_addresses(ENI_1)
    pod.add_address("net2", "10.10.2.80/24")
    sidecar.wait_for_addresses(ENI_2, "10.10.2.80")
    assert sidecar.end().code == ExitCode.OK


def test_an_interface_that_takes_another_enis_mac_takes_its_addresses_along(stage: MakeStage) -> None:
    on = stage()
    pod = pod_with(on, "10.10.1.80/24")
    sidecar = on.sidecar(pod)
    sidecar.wait_until_started()
    # As a bond of two ENIs does when it fails over (fail_over_mac active).
    pod.set_mac("net1", MAC_TWIN)
    sidecar.wait_for_addresses(TWIN, "10.10.1.80")
    sidecar.wait_for_addresses(ENI_1)
    assert sidecar.end().events("error") == []


def test_an_interface_is_known_by_its_name(stage: MakeStage) -> None:
    on = stage()
    pod = pod_with(on, "10.10.1.80/24")
    sidecar = on.sidecar(pod, RELEASING)
    sidecar.wait_until_started()
    pod.rename("net1", "other")
    pod.add_address("other", "10.10.1.81/24")
    sidecar.wait_for_addresses(ENI_1)
    pod.rename("other", "net1")
    pod.add_address("net1", "10.10.1.82/24")
    sidecar.wait_for_addresses(ENI_1, "10.10.1.80", "10.10.1.81", "10.10.1.82")
    assert sidecar.end().code == ExitCode.OK


def test_a_burst_of_addresses_is_one_call(stage: MakeStage) -> None:
    on = stage(ipv4_per_interface=64)
    pod = pod_with(on, "10.10.1.80/24")
    sidecar = on.sidecar(pod, BOTH)
    sidecar.wait_until_started()
    burst = [f"10.10.1.{last}" for last in range(100, 150)]
    # Stopped, so that the events are there all at once, however slowly they are made.
    sidecar.process.send_signal(signal.SIGSTOP)
    for address in burst:
        pod.add_address("net1", f"{address}/24")
    sidecar.process.send_signal(signal.SIGCONT)
    sidecar.wait_for_addresses(ENI_1, "10.10.1.80", *burst)
    sidecar.end()
    assert len(on.calls("AssignPrivateIpAddresses")) == 2


def test_events_that_the_kernel_lost_are_made_good_by_a_fresh_look(stage: MakeStage) -> None:
    on = stage()
    pod = pod_with(on, "10.10.1.80/24")
    sidecar = on.sidecar(pod, BOTH)
    sidecar.wait_until_started()
    sidecar.process.send_signal(signal.SIGSTOP)
    while not _lost_events(pod):
        for _ in range(100):
            pod.add_address("net1", "10.10.1.82/24")
            pod.delete_address("net1", "10.10.1.82/24")
    pod.add_address("net1", "10.10.1.81/24")
    sidecar.process.send_signal(signal.SIGCONT)
    sidecar.wait_for_addresses(ENI_1, "10.10.1.80", "10.10.1.81")
    assert sidecar.end().code == 0


def _lost_events(pod: Pod) -> int:
    """Return "Drops", the last column but one, of all netlink sockets of the pod."""
    rows = pod.run(["cat", "/proc/self/net/netlink"], env={"PATH": "/usr/bin:/bin"}).stdout.splitlines()
    return sum(int(row.split()[-2]) for row in rows[1:])


def test_sigterm_releases_if_asked_to_with_one_call_an_eni(stage: MakeStage) -> None:
    on = stage()
    pod = pod_with(on, "10.10.1.80/24", "10.10.1.81/24")
    pod.add_address("net2", "10.10.2.80/24")
    sidecar = on.sidecar(pod, RELEASING)
    sidecar.wait_until_started()
    ended = sidecar.end()
    assert ended.code == 0
    assert on.secondaries(ENI_1) == []
    assert on.secondaries(ENI_2) == []
    assert len(on.calls("UnassignPrivateIpAddresses")) == 2
    for address in ("10.10.1.80", "10.10.1.81"):
        assert f"{address} was taken off {ENI_1}" in ended.message
    assert ended.lines[-1]["message"] == ended.message


def test_a_release_that_takes_too_long_is_said(stage: MakeStage) -> None:
    on = stage()
    sidecar = on.sidecar(pod_with(on, "10.10.1.80/24"), RELEASING)
    sidecar.wait_until_started()
    fault = {"action": "UnassignPrivateIpAddresses", "error": "InternalError", "delay_ms": 60_000}
    on.put_faults(fault)
    ended = sidecar.end()
    assert ended.code == 0
    assert f"10.10.1.80 could not be taken off {ENI_1}: no answer within 2 s" in ended.message


def test_losing_ec2_after_the_start_ends_nothing(stage: MakeStage) -> None:
    on = stage()
    pod = pod_with(on, "10.10.1.80/24")
    sidecar = on.sidecar(pod, BOTH)
    sidecar.wait_until_started()
    on.put_faults({"action": "*", "error": "Unavailable"})
    pod.add_address("net1", "10.10.1.81/24")
    wait_for(lambda: len(on.calls("AssignPrivateIpAddresses")) >= 3, "more tries")
    assert sidecar.process.poll() is None
    on.put_faults()
    sidecar.wait_for_addresses(ENI_1, "10.10.1.80", "10.10.1.81")
    ended = sidecar.end()
    assert ended.code == 0
    assert ended.events("warning") == ["assign-failed"]


def test_an_address_that_ec2_refuses_later_is_said_and_ends_nothing(stage: MakeStage) -> None:
    on = stage()
    pod = pod_with(on, "10.10.1.80/24")
    sidecar = on.sidecar(pod, BOTH)
    sidecar.wait_until_started()
    pod.add_address("net1", f"{worlds.NEIGHBOUR_PRIMARY}/24")
    pod.add_address("net1", "10.10.1.81/24")
    sidecar.wait_for_addresses(ENI_1, "10.10.1.80", "10.10.1.81")
    sidecar.wait_for_event("not-assigned")
    ended = sidecar.end()
    assert ended.code == 0
    named = {line["address"] for line in ended.lines if line["event"] == "not-assigned"}
    assert named == {worlds.NEIGHBOUR_PRIMARY}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_start_ends_it_at_once(stage: MakeStage, number: signal.Signals) -> None:
    on = stage()
    on.put_faults({"action": "AssignPrivateIpAddresses", "error": "InternalError", "delay_ms": 60_000})
    sidecar = on.sidecar(pod_with(on, "10.10.1.80/24"), BOTH)
    # The journal has a call when it is answered: the last that is seen before is IMDS's.
    wait_for(lambda: [c for c in on.calls("GET") if c["action"].endswith("document")], "the topology")
    sidecar.process.send_signal(number)
    assert sidecar.wait().code == 128 + number


def test_init_ends_at_once_by_sigterm_and_names_the_addresses(stage: MakeStage) -> None:
    on = stage()
    on.put_faults({"action": "AssignPrivateIpAddresses", "error": "RequestLimitExceeded"})
    log = on.directory / "termination-log"
    log.touch(0o666)
    process = pod_with(on, "10.10.1.80/24").popen(["ipagent", "init"], env=on.env(BOTH), termination_log=log)
    wait_for(lambda: on.calls("AssignPrivateIpAddresses"), "the first call")
    process.terminate()
    process.communicate(timeout=SECONDS)
    assert process.returncode == 143
    assert "10.10.1.80 (net1)" in log.read_text()


def test_a_file_of_the_container_before_is_not_taken_for_the_start(stage: MakeStage) -> None:
    on = stage()
    (on.directory / "started").touch()
    on.put_faults({"action": "AssignPrivateIpAddresses", "error": "RequestLimitExceeded"})
    sidecar = on.sidecar(pod_with(on, "10.10.1.80/24"), BOTH)
    wait_for(lambda: on.calls("AssignPrivateIpAddresses"), "the first call")
    assert not sidecar.started()
    on.put_faults()
    sidecar.wait_until_started()
    sidecar.end()


def test_a_sidecar_that_restarts_after_an_interface_was_unplugged_goes_on_with_the_others(
    stage: MakeStage,
) -> None:
    on = stage()
    pod = pod_with(on, "10.10.1.80/24")
    first = on.sidecar(pod, BOTH)
    first.wait_until_started()
    first.process.kill()
    first.process.wait(SECONDS)
    pod.delete_interface("net2")
    again = on.sidecar(pod, BOTH)
    # The file of the first one's start stays until the second has set it aside: its own word is waited for.
    again.wait_for_event("started")
    pod.add_address("net1", "10.10.1.81/24")
    again.wait_for_addresses(ENI_1, "10.10.1.80", "10.10.1.81")
    ended = again.end()
    assert ended.code == ExitCode.OK
    assert ended.events("warning") == ["interface-missing"]


def test_a_first_assignment_that_fails_has_its_exit_code(stage: MakeStage) -> None:
    on = stage(secondaries=FULL)
    ended = on.sidecar(pod_with(on, "10.10.1.80/24"), BOTH).wait()
    assert ended.code == ExitCode.ENI_FULL
    assert ended.lines[-1]["message"] == ended.message


def test_a_started_file_that_can_not_be_written_is_named(stage: MakeStage) -> None:
    on = stage()
    env = {"MULTUS_ENI_STARTED_FILE": "/nowhere/started"}
    ended = on.sidecar(pod_with(on, "10.10.1.80/24"), BOTH, **env).wait()
    assert ended.code == ExitCode.USAGE
    assert "/nowhere/started" in ended.message
    assert "emptyDir" in ended.message
