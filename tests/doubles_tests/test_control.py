"""Journal, faults, settings, clock and state: from Python, over HTTP, and from the command line."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import yaml
from botocore.exceptions import ClientError

from tests.doubles import DocumentError, Doubles, ManualClock
from tests.doubles_tests import worlds
from tests.doubles_tests.conftest import CONFIG

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

    from tests.doubles_tests.conftest import Connect


def fetch(url: str, method: str = "GET", body: bytes | None = None) -> tuple[int, Any]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, body, method=method), timeout=5) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_the_journal_tells_who_called_when_with_what(
    doubles: Doubles, ec2: EC2Client, clock: ManualClock
) -> None:
    clock.advance(7)
    ec2.assign_private_ip_addresses(NetworkInterfaceId=worlds.A1, PrivateIpAddresses=["10.0.1.100"])

    (call,) = doubles.journal("AssignPrivateIpAddresses")
    assert call.monotonic == 7
    assert call.wall == clock.wall()
    assert call.service == "ec2"
    assert call.caller == "127.0.0.1"
    assert call.identity == f"arn:aws:iam::{worlds.ACCOUNT}:user/{worlds.ADMIN}"
    assert call.params == {"NetworkInterfaceId": worlds.A1, "PrivateIpAddress.1": "10.0.1.100"}
    assert call.result == "ok"


def test_the_journal_keeps_the_order_and_the_refusals(doubles: Doubles, ec2: EC2Client) -> None:
    ec2.describe_subnets()
    with pytest.raises(ClientError):
        ec2.describe_network_interfaces(NetworkInterfaceIds=["eni-xyz"])

    assert [(call.action, call.result) for call in doubles.journal()] == [
        ("DescribeSubnets", "ok"),
        ("DescribeNetworkInterfaces", "InvalidNetworkInterfaceId.Malformed"),
    ]


def test_an_unauthenticated_caller_has_no_identity_in_the_journal(doubles: Doubles, connect: Connect) -> None:
    with pytest.raises(ClientError):
        connect(doubles, "AKIAUNKNOWNUNKNOWN").describe_subnets()

    assert doubles.journal()[-1].identity is None


def test_the_journal_tells_programs_apart(doubles: Doubles, ec2: EC2Client, connect: Connect) -> None:
    ec2.describe_subnets()
    connect(doubles, worlds.READER).describe_subnets()

    assert [call.access_key for call in doubles.journal()] == [worlds.ADMIN, worlds.READER]
    assert all("Boto3" in call.user_agent for call in doubles.journal())
    assert worlds.SECRET not in repr(doubles.journal())


def test_state_is_readable_over_http(doubles: Doubles, ec2: EC2Client) -> None:
    ec2.assign_private_ip_addresses(NetworkInterfaceId=worlds.A1, PrivateIpAddresses=["10.0.1.100"])

    status, state = fetch(f"{doubles.ec2_url}/_double/state")

    assert status == 200
    assert state == doubles.state()
    assert next(interface for interface in state["interfaces"] if interface["id"] == worlds.A1) == {
        "id": worlds.A1,
        "mac": worlds.A1_MAC,
        "instance": worlds.NODE_A,
        "device": 1,
        "network_card": 0,
        "attachment": "eni-attach-0a000000000000001",
        "delete_on_termination": False,
        "source_dest_check": True,
        "groups": ["sg-0a000000000000001"],
        "status": "attached",
        "subnet": worlds.POD_SUBNET,
        "vpc": worlds.VPC,
        "primary": "10.0.1.10",
        "secondaries": ["10.0.1.100"],
        "ipv6s": [],
        "ipv4_prefixes": [],
        "ipv6_prefixes": [],
        "imds": ["10.0.1.10", "10.0.1.100"],
        "imds_ipv6s": [],
        "tags": {"node.k8s.amazonaws.com/no_manage": "true"},
    }
    assert state["instances"][0]["interfaces"] == [worlds.A0, worlds.A1, worlds.A_FULL]
    assert worlds.SECRET not in json.dumps(state)


def test_the_journal_is_readable_over_http(doubles: Doubles, ec2: EC2Client) -> None:
    ec2.describe_subnets()

    status, journal = fetch(f"{doubles.ec2_url}/_double/journal")

    assert status == 200
    assert [(call["action"], call["result"], call["caller"]) for call in journal] == [
        ("DescribeSubnets", "ok", "127.0.0.1")
    ]


def test_the_journal_may_be_narrowed_and_forgotten(doubles: Doubles, ec2: EC2Client) -> None:
    ec2.describe_subnets()
    ec2.describe_instances()
    url = f"{doubles.ec2_url}/_double/journal"

    assert [call["action"] for call in fetch(f"{url}?action=DescribeInstances")[1]] == ["DescribeInstances"]
    assert fetch(url, "DELETE") == (200, [])
    assert doubles.journal() == ()


def test_settings_are_changed_while_it_runs(doubles: Doubles) -> None:
    url = f"{doubles.ec2_url}/_double/settings"
    limits = {"CreateTags": {"size": 3, "refill": 1}}

    assert fetch(url) == (
        200,
        {
            "imds_delay_ms": 0,
            "imds": {},
            "attach_delay_ms": 0,
            "describe_delay_ms": 0,
            "throttling": "off",
            "limits": {},
            "elastic_ip_quota": 5,
            "internet_gateways": [worlds.VPC],
        },
    )
    body = json.dumps({"imds_delay_ms": 1500, "throttling": "ec2", "limits": limits}).encode()
    changed = {
        "imds_delay_ms": 1500,
        "imds": {},
        "attach_delay_ms": 0,
        "describe_delay_ms": 0,
        "throttling": "ec2",
        "limits": limits,
        "elastic_ip_quota": 5,
        "internet_gateways": [worlds.VPC],
    }

    assert fetch(url, "PATCH", body) == (200, changed)
    assert fetch(url, "PATCH", b'{"attach_delay_ms": 7}') == (200, changed | {"attach_delay_ms": 7})
    doubles.change_settings(imds_delay_ms=0, throttling="off", internet_gateways=[], elastic_ip_quota=7)
    assert (doubles.world.elastic_ip_quota, doubles.world.has_internet_gateway(worlds.VPC)) == (7, False)
    assert (doubles.world.imds_delay, doubles.world.throttling.enabled) == (0.0, False)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"colour": 1}', "settings: unknown key 'colour'"),
        (b'{"imds_delay_ms": -1}', "settings.imds_delay_ms: must be a whole number"),
        (b'{"throttling": "on"}', "settings.throttling: must be one of off, ec2"),
        (b'{"limits": {"RunInstances": {}}}', "settings.limits: unknown key 'RunInstances'"),
        (b'{"limits": {"CreateTags": {"size": 0, "refill": 1}}}', "settings.limits.CreateTags.size"),
    ],
)
def test_wrong_settings_are_refused(body: bytes, message: str, shared: Doubles) -> None:
    status, document = fetch(f"{shared.ec2_url}/_double/settings", "PATCH", body)

    assert status == 400
    assert document["error"].startswith(message)


def test_a_manual_clock_is_advanced_over_http(doubles: Doubles, clock: ManualClock) -> None:
    url = f"{doubles.ec2_url}/_double/clock"

    status, after = fetch(url, "POST", b'{"advance_ms": 2500}')

    assert (status, after["monotonic"]) == (200, 2.5)
    assert clock.monotonic() == 2.5
    assert fetch(url) == (200, after)


def test_the_system_s_clock_is_not_advanced() -> None:
    with Doubles(worlds.world()) as doubles:
        status, answer = fetch(f"{doubles.ec2_url}/_double/clock", "POST", b'{"advance_ms": 2500}')

    assert status == 409
    assert "--manual-clock" in answer["error"]


def test_faults_are_put_over_http(doubles: Doubles, ec2: EC2Client) -> None:
    url = f"{doubles.ec2_url}/_double/faults"
    fault = {"action": "*", "error": "Unavailable", "message": "Later.", "status": 503, "times": 2}

    assert fetch(url, "PUT", json.dumps({"faults": [fault]}).encode()) == (200, {"faults": [fault]})
    with pytest.raises(ClientError, match="Unavailable"):
        ec2.describe_subnets()
    assert fetch(url) == (200, {"faults": [fault | {"times": 1}]})
    assert fetch(url, "PUT", b'{"faults": []}') == (200, {"faults": []})


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"banana", 400, "Expecting value"),
        (b"\xff", 400, "decode"),
        (b"[" * 100_000, 400, "recursion"),
        (b"[]", 400, "faults: must be a mapping"),
        (b'{"faults": [{}]}', 400, "faults.faults[0]: the key 'action' is missing"),
        (b'{"faults": [{"action": "RunInstances"}]}', 400, "faults.faults[0].action: must be one of *, "),
        (
            b'{"faults": [{"action": "*"}]}',
            400,
            "needs an error, a status, a connection, a kill_pid",
        ),
        (b'{"faults": [{"action": "*", "delay_ms": -1}]}', 400, "faults.faults[0].delay_ms"),
        (b'{"faults": [{"action": "*", "error": "X", "times": 0}]}', 400, "faults.faults[0].times"),
        (b'{"faults": [{"action": "*", "error": "X", "status": 200}]}', 400, "faults.faults[0].status"),
        (b'{"faults": [{"action": "imds", "error": "X"}]}', 400, "IMDS knows no EC2 error"),
        (b'{"faults": [{"action": "*", "stale_ms": 5}]}', 400, "stale_ms and path are for IMDS"),
        (b'{"faults": [{"action": "*", "connection": "banana"}]}', 400, "must be one of reset, hang"),
        (b'{"faults": [{"action": "*", "connection": "reset", "status": 500}]}', 400, "carries no error"),
        (b'{"faults": [{"action": "*", "connection": "reset", "effect": 1}]}', 400, "must be true or false"),
        (b" " * ((1 << 20) + 1), 413, "larger than"),
    ],
)
def test_wrong_faults_are_refused_and_change_nothing(
    body: bytes, status: int, message: str, shared: Doubles
) -> None:
    url = f"{shared.ec2_url}/_double/faults"

    answered, document = fetch(url, "PUT", body)

    assert answered == status
    assert message in document["error"]
    assert fetch(url) == (200, {"faults": []})


def test_an_address_in_use_is_reported_and_nothing_is_left_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        doubles = Doubles(worlds.world(), imds_address=taken.getsockname())
        with pytest.raises(OSError, match="in use"), doubles:
            pytest.fail("started on an address in use")


def test_a_wrong_world_is_reported_before_anything_starts() -> None:
    with pytest.raises(DocumentError, match=r"world\.region"):
        Doubles(worlds.world(region=7))


@contextmanager
def program(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.doubles", *arguments]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command,
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_the_program_says_where_it_listens_and_ends_on_a_signal(
    ending: signal.Signals, tmp_path: Path, session: boto3.Session
) -> None:
    file = tmp_path / "world.yaml"
    file.write_text(yaml.safe_dump(worlds.world()))
    with program("--world", str(file), "--ec2", "127.0.0.1:0", "--imds", "127.0.0.1:0") as process:
        assert process.stdout is not None
        urls = json.loads(process.stdout.readline())
        client = session.client(
            "ec2",
            endpoint_url=urls["ec2"],
            region_name=worlds.REGION,
            aws_access_key_id=worlds.ADMIN,
            aws_secret_access_key=worlds.SECRET,
            config=CONFIG,
        )
        with closing(client):
            assert len(client.describe_network_interfaces()["NetworkInterfaces"]) == 6
            process.send_signal(ending)
            rest, log = process.communicate(timeout=20)

    assert set(urls) == {"ec2", "imds"}
    assert rest == ""
    assert process.returncode == 0
    assert "DescribeNetworkInterfaces" in log
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--world", "no-such-file.yaml"], 2, "no-such-file.yaml: can't be read: No such file"),
        (["--world", "x", "--ec2", "banana"], 2, "is no HOST:PORT"),
        ([], 2, "--world"),
    ],
)
def test_the_program_says_what_is_wrong(arguments: list[str], code: int, message: str) -> None:
    with program(*arguments) as process:
        out, log = process.communicate(timeout=20)

    assert process.returncode == code
    assert out == ""
    assert message in log
    assert "Traceback" not in log


def test_the_program_says_which_address_is_in_use(tmp_path: Path) -> None:
    file = tmp_path / "world.yaml"
    file.write_text(yaml.safe_dump(worlds.world()))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with program("--world", str(file), "--ec2", f"127.0.0.1:{port}") as process:
            _, log = process.communicate(timeout=20)

    assert process.returncode == 1
    assert port in log
    assert "in use" in log


def test_the_program_has_help() -> None:
    with program("--help") as process:
        out, _ = process.communicate(timeout=20)

    assert process.returncode == 0
    endpoints = ("state", "journal", "faults", "settings", "clock")
    for word in ("--world", "AWS_ENDPOINT_URL_EC2", *(f"/_double/{name}" for name in endpoints)):
        assert word in out
