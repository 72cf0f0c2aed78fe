"""Faults over the wire: what befalls a call, what it still does, and what real clients see of it."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError, ReadTimeoutError
from botocore.utils import InstanceMetadataFetcher

from tests.doubles import Call, Connection, Doubles, Fault, ManualClock
from tests.doubles_tests import worlds
from tests.doubles_tests.conftest import CONFIG
from tests.doubles_tests.imds_client import MACS, TOKEN, ask, token, value

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

    Client = Callable[..., EC2Client]

ASSIGN = "AssignPrivateIpAddresses"
ADDRESS = "10.0.1.100"
TWICE = Config(retries={"total_max_attempts": 2, "mode": "standard"})
HASTY = Config(read_timeout=0.2)
INSTANCE_ID = "/latest/meta-data/instance-id"


def assign(client: EC2Client) -> None:
    client.assign_private_ip_addresses(NetworkInterfaceId=worlds.A1, PrivateIpAddresses=[ADDRESS])


def the_call(doubles: Doubles, action: str) -> Call:
    """Wait for the first call of an action: a client that gave up may be ahead of the double."""
    deadline = time.monotonic() + 20
    while not doubles.journal(action):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return doubles.journal(action)[0]


@contextmanager
def client_with(session: boto3.Session, doubles: Doubles, config: Config) -> Iterator[EC2Client]:
    client = session.client(
        "ec2",
        endpoint_url=doubles.ec2_url,
        region_name=worlds.REGION,
        aws_access_key_id=worlds.ADMIN,
        aws_secret_access_key=worlds.SECRET,
        config=CONFIG.merge(config),
    )
    try:
        yield client
    finally:
        client.close()


def test_an_error_comes_in_place_of_the_effect_as_often_as_told(doubles: Doubles, ec2: EC2Client) -> None:
    doubles.put_faults(Fault(ASSIGN, error="RequestLimitExceeded", times=2))

    for _ in range(2):
        with pytest.raises(ClientError, match="RequestLimitExceeded") as refused:
            assign(ec2)
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
        assert doubles.secondaries(worlds.A1) == ()
    assign(ec2)

    assert doubles.secondaries(worlds.A1) == (ADDRESS,)
    results = [call.result for call in doubles.journal(ASSIGN)]
    assert results == ["RequestLimitExceeded", "RequestLimitExceeded", "ok"]


def test_an_error_may_come_after_the_effect(doubles: Doubles, ec2: EC2Client) -> None:
    doubles.put_faults(Fault(ASSIGN, error="InternalError", effect=True))

    with pytest.raises(ClientError, match="InternalError"):
        assign(ec2)

    assert doubles.secondaries(worlds.A1) == (ADDRESS,)
    (call,) = doubles.journal(ASSIGN)
    assert (call.result, call.fault) == ("ok", "InternalError, after the effect")


def test_a_fault_befalls_its_action_alone(doubles: Doubles, ec2: EC2Client) -> None:
    doubles.put_faults(Fault("DescribeSubnets", error="InternalError", message="Out of order.", status=502))

    ec2.describe_instances()
    with pytest.raises(ClientError, match=r"InternalError.*Out of order\.") as refused:
        ec2.describe_subnets()

    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 502


def test_faults_end_when_they_are_replaced_by_none(doubles: Doubles, ec2: EC2Client) -> None:
    doubles.put_faults(Fault(error="Unavailable"))
    with pytest.raises(ClientError, match="Unavailable"):
        ec2.describe_subnets()

    doubles.put_faults()

    assert ec2.describe_subnets()["Subnets"]


def test_the_first_calls_may_pass(doubles: Doubles, ec2: EC2Client) -> None:
    doubles.put_faults(Fault(ASSIGN, error="Unavailable", skip=2, times=1))
    outcomes = []
    for _ in range(4):
        try:
            assign(ec2)
            outcomes.append("ok")
        except ClientError as error:
            outcomes.append(error.response["Error"]["Code"])

    assert outcomes == ["ok", "ok", "Unavailable", "ok"]


def test_faults_follow_each_other(doubles: Doubles, ec2: EC2Client) -> None:
    doubles.put_faults(
        Fault(ASSIGN, error="Unavailable", times=1),
        Fault(caller="127.0.0.9", error="InternalError"),
        Fault(error="RequestLimitExceeded", times=1),
    )

    with pytest.raises(ClientError, match="Unavailable"):
        assign(ec2)
    with pytest.raises(ClientError, match="RequestLimitExceeded"):
        assign(ec2)
    assign(ec2)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize("effect", [False, True])
def test_an_http_error_carries_no_ec2_document(
    status: int, effect: bool, doubles: Doubles, ec2: EC2Client
) -> None:
    doubles.put_faults(Fault(ASSIGN, status=status, effect=effect))

    with pytest.raises((ClientError, BotoCoreError)) as refused:
        assign(ec2)

    if isinstance(refused.value, ClientError):
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert doubles.secondaries(worlds.A1) == ((ADDRESS,) if effect else ())
    assert doubles.journal(ASSIGN)[0].result == ("ok" if effect else f"HTTP {status}")


@pytest.mark.parametrize(
    ("connection", "seen", "config"),
    [
        (Connection.RESET, ConnectionClosedError, Config()),
        (Connection.HANG, ReadTimeoutError, HASTY),
    ],
    ids=["reset", "hang"],
)
@pytest.mark.parametrize("effect", [False, True])
def test_a_lost_connection_leaves_the_effect_open(
    connection: Connection,
    seen: type[Exception],
    config: Config,
    effect: bool,
    doubles: Doubles,
    ec2: EC2Client,
    session: boto3.Session,
) -> None:
    doubles.put_faults(Fault(ASSIGN, connection=connection, effect=effect, times=1))

    with client_with(session, doubles, config) as client, pytest.raises(seen):
        assign(client)
    first = the_call(doubles, ASSIGN)
    assert doubles.secondaries(worlds.A1) == ((ADDRESS,) if effect else ())
    assign(ec2)

    assert doubles.secondaries(worlds.A1) == (ADDRESS,)
    assert first.result == ("ok" if effect else "no answer")
    assert (first.fault or "").startswith(connection)
    assert (doubles.journal(ASSIGN)[1].result, doubles.journal(ASSIGN)[1].fault) == ("ok", None)


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """Start a process that would go on, in place of the one that calls."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("effect", [False, True])
def test_the_caller_is_killed_before_the_effect_or_after_it(
    effect: bool, doubles: Doubles, session: boto3.Session, process: subprocess.Popen[bytes]
) -> None:
    doubles.put_faults(Fault("mutating", kill_pid=process.pid, effect=effect, skip=1, times=1))

    with client_with(session, doubles, HASTY) as client:
        client.create_tags(Resources=[worlds.A1], Tags=[{"Key": "a", "Value": "b"}])
        client.describe_subnets()
        assert process.poll() is None
        with pytest.raises(ReadTimeoutError):
            assign(client)

    assert process.wait(10) == -signal.SIGKILL
    assert doubles.secondaries(worlds.A1) == ((ADDRESS,) if effect else ())
    call = the_call(doubles, ASSIGN)
    assert call.result == ("ok" if effect else "no answer")
    assert (call.fault or "").startswith(f"killed process {process.pid}")


def test_a_caller_that_has_ended_by_itself_is_not_missed(
    doubles: Doubles, ec2: EC2Client, session: boto3.Session, process: subprocess.Popen[bytes]
) -> None:
    process.kill()
    process.wait(10)
    doubles.put_faults(Fault(kill_pid=process.pid, times=1))

    with client_with(session, doubles, HASTY) as client, pytest.raises(ReadTimeoutError):
        client.describe_subnets()
    assert ec2.describe_subnets()["Subnets"]


def test_boto3_survives_a_reset_by_a_second_attempt(doubles: Doubles, session: boto3.Session) -> None:
    doubles.put_faults(Fault(ASSIGN, connection=Connection.RESET, effect=True, times=1))

    with client_with(session, doubles, TWICE) as client:
        assign(client)

    assert [call.result for call in doubles.journal(ASSIGN)] == ["ok", "ok"]


def test_boto3_retries_a_throttled_call(doubles: Doubles, session: boto3.Session) -> None:
    doubles.put_faults(Fault(error="RequestLimitExceeded", times=1))

    with client_with(session, doubles, TWICE) as client:
        client.describe_subnets()

    assert [call.result for call in doubles.journal()] == ["RequestLimitExceeded", "ok"]


def test_a_slow_answer_comes_after_the_effect(doubles: Doubles, session: boto3.Session) -> None:
    doubles.put_faults(Fault(ASSIGN, delay_ms=60_000, times=1))

    with client_with(session, doubles, HASTY) as client, pytest.raises(ReadTimeoutError):
        assign(client)

    assert the_call(doubles, ASSIGN).result == "ok"
    assert doubles.secondaries(worlds.A1) == (ADDRESS,)


def test_an_effect_may_come_after_the_caller_has_given_up(doubles: Doubles, session: boto3.Session) -> None:
    doubles.put_faults(Fault(ASSIGN, effect_delay_ms=1500, times=1))

    with client_with(session, doubles, HASTY) as client, pytest.raises(ReadTimeoutError):
        assign(client)

    assert the_call(doubles, ASSIGN).fault == "effect delayed 1500 ms"
    assert doubles.secondaries(worlds.A1) == (ADDRESS,)


def test_a_slow_answer_does_arrive(doubles: Doubles, ec2: EC2Client) -> None:
    doubles.put_faults(Fault("DescribeSubnets", delay_ms=1))

    assert ec2.describe_subnets()["Subnets"]


def test_a_hanging_call_does_not_keep_the_double_from_ending(
    clock: ManualClock, session: boto3.Session
) -> None:
    with Doubles(worlds.world(), clock=clock) as doubles:
        doubles.put_faults(Fault(connection=Connection.HANG))
        with client_with(session, doubles, HASTY) as client, pytest.raises(ReadTimeoutError):
            client.describe_subnets()


def test_a_hanging_token_request_is_never_answered(doubles: Doubles) -> None:
    doubles.put_faults(Fault("imds:token", connection=Connection.HANG))

    headers = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    with pytest.raises(TimeoutError):
        ask(doubles, "PUT", TOKEN, worlds.HOST_A, headers, seconds=0.3)

    assert ask(doubles, "GET", INSTANCE_ID, worlds.POD_B) == (200, worlds.NODE_B)
    assert the_call(doubles, f"PUT {TOKEN}").fault == "hang"


def test_imds_resets_connections(doubles: Doubles) -> None:
    doubles.put_faults(Fault("imds", connection=Connection.RESET, times=1))

    with pytest.raises(ConnectionResetError):
        ask(doubles, "GET", INSTANCE_ID, worlds.POD_B)

    assert ask(doubles, "GET", INSTANCE_ID, worlds.POD_B)[0] == 200


@pytest.mark.parametrize("status", [401, 500, 503])
def test_imds_answers_with_a_status(status: int, doubles: Doubles) -> None:
    header = token(doubles, worlds.HOST_A)
    doubles.put_faults(Fault("imds:metadata", status=status, times=1))

    assert ask(doubles, "GET", INSTANCE_ID, worlds.HOST_A, header)[0] == status
    assert ask(doubles, "GET", INSTANCE_ID, worlds.HOST_A, header)[0] == 200


def test_a_fault_of_imds_may_be_for_some_paths(doubles: Doubles) -> None:
    doubles.put_faults(Fault("imds:metadata", status=500, path="*/local-ipv4s"))

    assert value(doubles, INSTANCE_ID) == worlds.NODE_A
    path = f"{MACS}{worlds.A1_MAC}/local-ipv4s"
    assert ask(doubles, "GET", path, worlds.HOST_A, token(doubles, worlds.HOST_A))[0] == 500


def test_faults_of_ec2_leave_imds_alone(doubles: Doubles, ec2: EC2Client) -> None:
    doubles.put_faults(Fault(error="Unavailable"))
    assert value(doubles, INSTANCE_ID) == worlds.NODE_A

    doubles.put_faults(Fault("imds", status=500))
    assert ec2.describe_subnets()["Subnets"]


def test_a_stale_imds_shows_an_earlier_state(doubles: Doubles, ec2: EC2Client, clock: ManualClock) -> None:
    path = f"{MACS}{worlds.A1_MAC}/local-ipv4s"
    clock.advance(10)
    assign(ec2)
    clock.advance(2)
    doubles.put_faults(Fault("imds:metadata", stale_ms=3000))

    assert value(doubles, path) == "10.0.1.10"
    clock.advance(1)
    assert value(doubles, path) == f"10.0.1.10\n{ADDRESS}"


def test_botocore_gets_no_credentials_from_an_imds_that_is_out_of_order(doubles: Doubles) -> None:
    doubles.put_faults(Fault("imds", status=503))
    fetcher = InstanceMetadataFetcher(base_url=doubles.imds_url, timeout=5, num_attempts=1)

    assert fetcher.retrieve_iam_role_credentials() == {}


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ({}, "needs an error, a status"),
        ({"action": "RunInstances", "error": "X"}, "'RunInstances' is no action of this double"),
        ({"connection": Connection.HANG, "error": "X"}, "carries no error and no status"),
        ({"action": "imds", "status": 500, "effect": True}, "no effect"),
        ({"error": "X", "effect_delay_ms": 5}, "none to delay"),
        ({"kill_pid": 1}, "above 1"),
        ({"kill_pid": 99, "error": "X"}, "gets no answer"),
        ({"action": "imds", "kill_pid": 99}, "no effect"),
        ({"action": "imds", "effect_delay_ms": 5}, "no effect"),
        ({"error": "X", "path": "/latest/*"}, "are for IMDS"),
    ],
)
def test_a_contradictory_fault_is_refused(fault: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Fault(**fault)  # type: ignore[arg-type] # wrong on purpose
