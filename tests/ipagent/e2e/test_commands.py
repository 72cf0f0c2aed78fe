"""The commands for the person in trouble, as processes of a pod against the doubles."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import time
from dataclasses import dataclass
from typing import Any

import pytest

from common.agent_settings import AgentSettings, Takeover
from common.exit_codes import ExitCode
from tests.ipagent import worlds
from tests.ipagent.agent_rig import SECONDS, MakeStage, Stage, pod_with
from tests.ipagent.worlds import (
    ENI_0,
    ENI_1,
    ENI_2,
    NEIGHBOUR,
    NEIGHBOUR_IPV6,
    NEIGHBOUR_SECONDARY,
    READER,
    REGION,
    TWIN,
)
from tests.netns import Pod

pytestmark = pytest.mark.netns

FOREIGN = "5e:00:00:00:00:99"
ALL = AgentSettings()
CHANGES = ("Assign", "Unassign")


@dataclass(frozen=True)
class Said:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        assert self.err == ""
        found: dict[str, Any] = json.loads(self.out)
        return found

    def address(self, text: str) -> dict[str, Any]:
        found: dict[str, Any]
        (found,) = (entry for entry in self.document["addresses"] if entry["address"] == text)
        return found


def run_command(on: Stage, pod: Pod, *arguments: str, settings: AgentSettings = ALL, **env: Any) -> Said:
    """Run `ipagent` as the webhook's container runs: uid 65534, no capabilities, a read-only root."""
    done = pod.run(["ipagent", *arguments], env=on.env(settings, **env), read_only=True)
    assert done.termination_message == ""
    return Said(done.returncode, done.stdout, done.stderr)


def changes(on: Stage) -> list[str]:
    return [call["action"] for call in on.calls("") if call["action"].startswith(CHANGES)]


def test_addresses_shows_each_with_its_verdict_its_eni_and_where_it_is(stage: MakeStage) -> None:
    on = stage(secondaries=["10.10.1.60"])
    pod = pod_with(on, "10.10.1.60/24", "10.10.1.80/24", f"{NEIGHBOUR_SECONDARY}/24")
    pod.add_interface("net2", mac=FOREIGN, addresses=["10.10.1.90/32", "192.168.7.7/24"])
    said = run_command(on, pod, "addresses", "--output", "json")
    assert said.code == ExitCode.OK
    there = said.address("10.10.1.60")
    assert (there["eni"], there["foundBy"], there["inImds"], there["inEc2"]) == (ENI_1, "mac", True, True)
    assert said.address("10.10.1.80")["inEc2"] is False
    stolen = said.address(NEIGHBOUR_SECONDARY)
    assert stolen["heldElsewhere"] == {"eni": NEIGHBOUR, "instance": "i-0b000000000000001"}
    by_subnet = said.address("10.10.1.90")
    assert (by_subnet["foundBy"], by_subnet["candidates"]) == ("subnet", [ENI_1, TWIN])
    assert said.address("192.168.7.7")["eni"] is None
    assert "named eth0" in said.address("10.10.0.21")["reason"]
    assert said.document["topology"] == {"source": "imds", "error": None}
    assert changes(on) == []


def test_addresses_as_text_is_one_table_without_colour(stage: MakeStage) -> None:
    on = stage()
    said = run_command(on, pod_with(on, "10.10.1.80/24", f"{NEIGHBOUR_SECONDARY}/24"), "addresses")
    assert (said.code, said.err) == (ExitCode.OK, "")
    lines = said.out.splitlines()
    assert lines[0].split() == ["INTERFACE", "ADDRESS", "COUNTS", "ENI", "BY", "IMDS", "EC2", "WHY"]
    (row,) = (line.split() for line in lines if "10.10.1.80" in line)
    assert row == ["net1", "10.10.1.80", "yes", ENI_1, "mac", "no", "no", "-"]
    assert f"held by {NEIGHBOUR}" in said.out
    assert "\x1b" not in said.out


def test_addresses_without_ec2_still_has_imds_and_says_what_is_hidden(stage: MakeStage) -> None:
    on = stage(secondaries=["10.10.1.60"])
    none: dict[str, Any] = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
    said = run_command(on, pod_with(on, "10.10.1.60/24"), "addresses", "-o", "json", **none)
    assert said.code == ExitCode.OK
    found = said.address("10.10.1.60")
    assert (found["inImds"], found["inEc2"]) == (True, None)
    assert said.document["ec2"]["error"]["exitCode"] == ExitCode.NO_CREDENTIALS


def test_addresses_without_any_way_to_the_enis_shows_the_pods_part_with_the_code(stage: MakeStage) -> None:
    on = stage()
    said = run_command(
        on, pod_with(on, "10.10.1.80/24"), "addresses", "-o", "json", AWS_EC2_METADATA_DISABLED="true"
    )
    assert said.code == ExitCode.NO_IMDS
    assert said.address("10.10.1.80")["counts"] is True
    assert said.document["topology"]["error"]["exitCode"] == ExitCode.NO_IMDS


def test_addresses_without_imds_finds_the_eni_by_its_mac(stage: MakeStage) -> None:
    on = stage()
    no_imds: dict[str, Any] = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": REGION}
    said = run_command(on, pod_with(on, "10.10.1.80/24"), "addresses", "-o", "json", **no_imds)
    assert said.code == ExitCode.OK
    assert said.address("10.10.1.80")["eni"] == ENI_1
    assert said.document["topology"]["source"] == "ec2"
    assert any("switched off" in text for text in said.document["warnings"])


def test_enis_shows_the_node_and_marks_what_imds_has_late(stage: MakeStage) -> None:
    on = stage(secondaries=["10.10.1.60"], imds_delay_ms=3_600_000)
    pod = pod_with(on, "10.10.1.80/24")
    assert run_command(on, pod, "release", "10.10.1.60", "--eni", ENI_1, "--yes").code == ExitCode.OK
    said = run_command(on, pod, "enis", "-o", "json")
    assert said.code == ExitCode.OK
    enis = {eni["id"]: eni for eni in said.document["enis"]}
    assert list(enis) == [ENI_0, ENI_1, ENI_2, TWIN]
    assert (enis[ENI_0]["usable"], enis[ENI_1]["usable"]) == (False, True)
    assert enis[ENI_1]["interfaces"] == ["net1"]
    assert enis[ENI_1]["onlyInImds"] == ["10.10.1.60"]
    assert enis[ENI_1]["ec2"]["primary"] == ["10.10.1.10"]
    assert enis[ENI_2]["onlyInImds"] == enis[ENI_2]["onlyInEc2"] == []
    text = run_command(on, pod, "enis").out
    assert f"{ENI_1}: 10.10.1.60: only in IMDS" in text
    assert f"{ENI_0}: device number 0 belongs to the VPC CNI" in text


def test_enis_without_imds_shows_those_of_the_pod_even_beside_a_foreign_mac(stage: MakeStage) -> None:
    on = stage()
    pod = pod_with(on, "10.10.1.80/24")
    pod.add_interface("net2", mac=FOREIGN, addresses=["10.10.1.90/24"])
    no_imds: dict[str, Any] = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": REGION}
    said = run_command(on, pod, "enis", "-o", "json", **no_imds)
    assert said.code == ExitCode.NO_IMDS
    assert [eni["id"] for eni in said.document["enis"]] == [ENI_1]
    assert FOREIGN in said.document["topology"]["error"]["message"]


@pytest.mark.parametrize("mode", ["init", "sidecar"])
def test_a_dry_run_says_what_would_be_done_and_does_nothing(stage: MakeStage, mode: str) -> None:
    on = stage(ipv6s=["2001:db8:1::60"])
    pod = pod_with(on, "10.10.1.80/24", f"{NEIGHBOUR_SECONDARY}/24", f"{NEIGHBOUR_IPV6}/64")
    (on.directory / "started").touch()
    before = on.state()
    said = run_command(on, pod, mode, "--dry-run", "--output", "json")
    assert said.code == ExitCode.OK
    assert said.document["calls"] == [
        {
            "action": "AssignPrivateIpAddresses",
            "eni": ENI_1,
            "addresses": ["10.10.1.80"],
            "allowReassignment": False,
        },
        {
            "action": "AssignPrivateIpAddresses",
            "eni": ENI_1,
            "addresses": [NEIGHBOUR_SECONDARY],
            "allowReassignment": True,
        },
        {"action": "UnassignIpv6Addresses", "eni": NEIGHBOUR, "addresses": [NEIGHBOUR_IPV6]},
        {"action": "AssignIpv6Addresses", "eni": ENI_1, "addresses": [NEIGHBOUR_IPV6]},
    ]
    assert said.address(NEIGHBOUR_SECONDARY)["would"] == "takeOver"
    assert said.address("10.10.1.80")["would"] == "assign"
    assert on.state() == before
    assert (on.directory / "started").exists()


@pytest.mark.parametrize(
    ("settings", "addresses"),
    [
        (ALL, ["10.10.1.80/24"]),
        (AgentSettings(takeover=Takeover.NEVER), [f"{NEIGHBOUR_SECONDARY}/24", "10.10.1.80/24"]),
        (AgentSettings(takeover=Takeover.NEVER), [f"{NEIGHBOUR_IPV6}/64"]),
        (AgentSettings(interfaces=("net1", "net7")), ["10.10.1.80/24"]),
        (AgentSettings(allowed_cidrs=("10.10.2.0/24",)), ["10.10.1.80/24"]),
        (ALL, ["192.168.7.7/24"]),
        (ALL, [f"{worlds.NEIGHBOUR_PRIMARY}/24"]),
        (ALL, []),
    ],
    ids=["good", "held, IPv4", "held, IPv6", "no interface", "not allowed", "no ENI", "a primary", "nothing"],
)
def test_a_dry_run_ends_as_the_run_does(
    stage: MakeStage, settings: AgentSettings, addresses: list[str]
) -> None:
    on = stage(ipv6=True)
    pod = pod_with(on, *addresses)
    foreseen = run_command(on, pod, "init", "--dry-run", "-o", "json", settings=settings)
    planned = [call["addresses"] for call in foreseen.document["calls"]]
    assert changes(on) == []
    ended = on.init(pod, settings)
    assert foreseen.code == foreseen.document["exitCode"] == ended.code
    now = {address for eni in on.state()["interfaces"] if eni["id"] == ENI_1 for address in _held(eni)}
    assert now - {"10.10.1.10"} == {address for call in planned for address in call}


def _held(eni: dict[str, Any]) -> list[str]:
    return [*eni["secondaries"], *eni["ipv6s"]]


def test_release_frees_an_address_for_a_pod_that_must_not_take_it(stage: MakeStage) -> None:
    on = stage()
    pod = pod_with(on, f"{NEIGHBOUR_SECONDARY}/24")
    never = AgentSettings(interfaces=("net1",), takeover=Takeover.NEVER)
    refused = on.init(pod, never)
    assert refused.code == ExitCode.HELD_ELSEWHERE
    # The refusal names all that the command needs.
    assert "ipagent release ADDRESS --eni ENI" in refused.message
    assert NEIGHBOUR in refused.message
    said = run_command(on, pod, "release", NEIGHBOUR_SECONDARY, "--eni", NEIGHBOUR, "--yes")
    assert said.code == ExitCode.OK
    assert f"Done: EC2 no longer has {NEIGHBOUR_SECONDARY} on {NEIGHBOUR}" in said.out
    assert on.init(pod, never).code == ExitCode.OK
    assert on.secondaries(ENI_1) == [NEIGHBOUR_SECONDARY]


def test_release_without_terminal_and_without_yes_refuses(stage: MakeStage) -> None:
    on = stage(secondaries=["10.10.1.60"])
    said = run_command(on, on.node.pod(), "release", "10.10.1.60", "--eni", ENI_1, "-o", "json")
    assert said.code == ExitCode.USAGE
    assert said.document["addresses"][0]["state"] == "held"
    assert "--yes" in said.document["error"]["remedy"]
    assert on.secondaries(ENI_1) == ["10.10.1.60"]


@pytest.mark.parametrize(
    ("answer", "code", "left"),
    [("y", ExitCode.OK, []), ("n", ExitCode.USAGE, ["10.10.1.60"]), ("", ExitCode.USAGE, ["10.10.1.60"])],
)
def test_release_asks_on_a_terminal_after_it_has_said_whose_it_is(
    stage: MakeStage, answer: str, code: ExitCode, left: list[str]
) -> None:
    on = stage(secondaries=["10.10.1.60"])
    ours, theirs = pty.openpty()
    try:
        pod = pod_with(on, "10.10.1.60/24")
        process = pod.popen(
            ["ipagent", "release", "10.10.1.60", "--eni", ENI_1],
            env=on.env(ALL, TERM="xterm"),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        asked = _read_until(ours, "[y/N] ")
        assert "i-0a000000000000001" in asked
        assert "This pod itself holds 10.10.1.60" in asked
        assert on.secondaries(ENI_1) == ["10.10.1.60"]
        os.write(ours, f"{answer}\n".encode())
        _drain(ours)
        assert process.wait(SECONDS) == code
    finally:
        os.close(ours)
    assert on.secondaries(ENI_1) == left


def _read_until(terminal: int, end: str) -> str:
    found, until = "", time.monotonic() + SECONDS
    while end not in found:
        ready, _, _ = select.select([terminal], [], [], max(0.0, until - time.monotonic()))
        assert ready, f"waited {SECONDS} s for {end!r} after {found!r}"
        found += os.read(terminal, 1 << 16).decode()
    return found


def _drain(terminal: int) -> None:
    """Read until the last process has closed the terminal, which reading tells by an error."""
    while True:
        ready, _, _ = select.select([terminal], [], [], SECONDS)
        assert ready
        try:
            if not os.read(terminal, 1 << 16):
                return
        except OSError:
            return


def test_colour_is_for_a_terminal(stage: MakeStage) -> None:
    on = stage()
    pod = pod_with(on, "10.10.1.80/24")
    ours, theirs = pty.openpty()
    try:
        process = pod.popen(
            ["ipagent", "addresses"], env=on.env(ALL, TERM="xterm"), stdout=theirs, stderr=subprocess.DEVNULL
        )
        os.close(theirs)
        assert "\x1b[" in _read_until(ours, "10.10.1.80")
        _drain(ours)
        assert process.wait(SECONDS) == ExitCode.OK
    finally:
        os.close(ours)


def test_rights_that_are_missing_are_named(stage: MakeStage) -> None:
    on = stage(secondaries=["10.10.1.60"])
    said = run_command(
        on, on.node.pod(), "release", "10.10.1.60", "--eni", ENI_1, "--yes", AWS_ACCESS_KEY_ID=READER
    )
    assert said.code == ExitCode.NO_PERMISSION
    assert "ec2:UnassignPrivateIpAddresses" in said.out


@pytest.mark.parametrize("command", [["addresses"], ["enis"], ["init", "--dry-run"]])
@pytest.mark.parametrize("form", ["text", "json"])
def test_wrong_settings_are_named_in_either_form(stage: MakeStage, command: list[str], form: str) -> None:
    on = stage()
    said = run_command(on, on.node.pod(), *command, "-o", form, MULTUS_ENI_ALLOWED_CIDRS="banana")
    assert said.code == ExitCode.USAGE
    if form == "json":
        assert "MULTUS_ENI_ALLOWED_CIDRS" in said.document["error"]["message"]
    else:
        assert said.out == ""
        assert f"ipagent {command[0]}: MULTUS_ENI_ALLOWED_CIDRS" in said.err
