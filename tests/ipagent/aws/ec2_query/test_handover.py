"""When botocore takes over from the client without it: once, for good, and with no request sent twice."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

import pytest
from mypy_boto3_ec2.client import EC2Client

from common.agent_settings import Credentials
from ipagent.assign.ec2_error_codes import Fault
from ipagent.assign.errors import Ec2Error, SilentImds
from ipagent.aws.botocore_fallback import PodConnection, UsualAccess
from ipagent.aws.ec2_query.connection_pool import ConnectionPool, NotSentError
from ipagent.aws.ec2_query.credentials import Credentials as QueryCredentials
from ipagent.aws.ec2_query.environment import Source
from ipagent.aws.imds import Imds
from tests.cluster.certificates import Authority
from tests.ipagent.aws.ec2_query.raw_server import RawServer, Sent, answer, raw_server
from tests.ipagent.aws.scripted_server import scripted_server

Answer = TypeVar("Answer")

REGION = "eu-central-1"
SUBNETS = b"<DescribeSubnetsResponse><nextToken>by query</nextToken></DescribeSubnetsResponse>"
ENDPOINT = "AWS_ENDPOINT_URL_EC2"
NOW, HOUR = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp(), 3600


class Botocore:
    """Stands for a connection by botocore, and for its client: which calls it was given."""

    identity = "botocores"

    def __init__(self) -> None:
        self.made = 0
        self.calls: list[tuple[str, Mapping[str, object]]] = []
        self.closed = 0

    def __call__(self) -> Botocore:
        self.made += 1
        return self

    def call(self, what: str, call: Callable[[EC2Client], Answer]) -> Answer:
        assert what == "DescribeSubnets"
        return call(cast("EC2Client", self))

    def describe_subnets(self, **parameters: object) -> dict[str, object]:
        self.calls.append(("DescribeSubnets", parameters))
        return {"NextToken": "by botocore"}

    def abandon(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def botocore() -> Botocore:
    return Botocore()


@pytest.fixture
def served() -> Iterator[RawServer]:
    with raw_server(lambda _: Sent(answer(SUBNETS))) as server:
        yield server


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def silent_imds() -> NoReturn:
    raise SilentImds("IMDS has not answered")


def connection_of(
    env: Mapping[str, str],
    botocore: Botocore,
    region: str,
) -> PodConnection:
    usual = UsualAccess.find(region, Credentials.CHAIN, env, silent_imds)
    return PodConnection(region, usual, botocore)


@contextmanager
def connected(env: Mapping[str, str], botocore: Botocore, region: str = REGION) -> Iterator[PodConnection]:
    with closing(connection_of(env, botocore, region)) as made:
        yield made


def asked(connection: PodConnection) -> str:
    answer = connection.call("DescribeSubnets", lambda ec2: ec2.describe_subnets(MaxResults=5))
    return str(answer["NextToken"])


def usual(url: str) -> dict[str, str]:
    return {
        "AWS_REGION": REGION,
        ENDPOINT: url,
        "AWS_ACCESS_KEY_ID": "AKID",
        "AWS_SECRET_ACCESS_KEY": "s",
    }


def test_the_usual_case_is_without_botocore(served: RawServer, botocore: Botocore) -> None:
    with connected(usual(served.url), botocore) as connection:
        assert connection.identity == "env"
        assert [asked(connection), asked(connection)] == ["by query", "by query"]
    assert (botocore.made, served.connections) == (0, 1)


LEFT: dict[str, dict[str, str]] = {
    "a foreign variable": {"AWS_PROFILE": "a"},
    "an empty one": {"AWS_PROFILE": ""},
    "a proxy": {"HTTPS_PROXY": "http://proxy:3128"},
    "a CA bundle for all": {"REQUESTS_CA_BUNDLE": "/ca.pem"},
    "a part of the keys": {"AWS_SECRET_ACCESS_KEY": ""},
    "a token with a line break": {"AWS_SESSION_TOKEN": "t\n"},
    "a part of a role": {"AWS_SECRET_ACCESS_KEY": "", "AWS_ACCESS_KEY_ID": "", "AWS_ROLE_ARN": "arn"},
    "a role whose token is not there": {
        "AWS_SECRET_ACCESS_KEY": "",
        "AWS_ACCESS_KEY_ID": "",
        "AWS_ROLE_ARN": "arn",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/missing/token",
    },
    "STS elsewhere": {
        "AWS_SECRET_ACCESS_KEY": "",
        "AWS_ACCESS_KEY_ID": "",
        "AWS_ROLE_ARN": "arn",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/missing/token",
        "AWS_STS_REGIONAL_ENDPOINTS": "legacy",
    },
    "no IMDS": {"AWS_SECRET_ACCESS_KEY": "", "AWS_ACCESS_KEY_ID": ""},
    "a URL with a path": {ENDPOINT: "http://127.0.0.1/path"},
    "a CA bundle that is not there": {ENDPOINT: "https://127.0.0.1:9", "AWS_CA_BUNDLE": "/missing/ca.pem"},
}


@pytest.mark.parametrize("more", LEFT.values(), ids=LEFT)
def test_what_is_not_usual_is_botocores(more: dict[str, str], served: RawServer, botocore: Botocore) -> None:
    with connected({**usual(served.url), **more}, botocore) as connection:
        assert [asked(connection), asked(connection)] == ["by botocore", "by botocore"]
        assert connection.identity == "botocores"
    assert botocore.calls == [("DescribeSubnets", {"MaxResults": 5})] * 2
    assert (botocore.made, botocore.closed, served.requests) == (1, 1, [])


def test_a_port_that_is_closed_is_botocores_to_name(botocore: Botocore) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with connected(usual(url), botocore) as connection:
        assert [asked(connection), asked(connection)] == ["by botocore", "by botocore"]
    assert botocore.made == 1


@pytest.mark.parametrize("region", ["cn-north-1", "us-iso-east-1", "nowhere"])
def test_other_partitions_are_botocores(region: str, botocore: Botocore) -> None:
    env = {name: value for name, value in usual("").items() if name != ENDPOINT}
    with connected(env, botocore, region) as connection:
        assert asked(connection) == "by botocore"
    assert botocore.made == 1


@pytest.mark.parametrize("file", [".aws/config", ".aws/credentials", ".boto"])
def test_files_are_botocores_to_read(file: str, served: RawServer, botocore: Botocore, home: Path) -> None:
    path = home / file
    path.parent.mkdir(exist_ok=True)
    path.touch()
    with connected(usual(served.url), botocore) as connection:
        assert asked(connection) == "by botocore"
    assert served.requests == []


@pytest.mark.parametrize("named", ["~/other", "$HOME/other", "${HOME}/other"])
@pytest.mark.parametrize("variable", ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"])
def test_so_are_files_that_a_variable_names(
    variable: str, named: str, served: RawServer, botocore: Botocore, home: Path
) -> None:
    env = {**usual(served.url), variable: named}
    with connected(env, botocore) as connection:
        assert asked(connection) == "by query"
    (home / "other").touch()
    with connected(env, botocore) as connection:
        assert asked(connection) == "by botocore"


def test_a_server_of_another_ca_gets_one_request_by_botocore(
    botocore: Botocore, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, another = Authority("theirs"), Authority("another")
    pair = authority.issue(["127.0.0.1"], home)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.public, pair.private)
    roots = home / "roots.pem"
    roots.write_bytes(another.pem)
    monkeypatch.setattr("ipagent.aws.botocore_fallback.AWS_ROOTS", str(roots))
    with raw_server(lambda _: Sent(answer(SUBNETS)), context) as served:
        with connected(usual(served.url), botocore) as connection:
            assert asked(connection) == "by botocore"
            # For good, though it is trusted from now on.
            roots.write_bytes(authority.pem)
            assert asked(connection) == "by botocore"
        assert served.requests == []
        with connected(usual(served.url), botocore) as connection:
            assert asked(connection) == "by query"
    assert (len(botocore.calls), botocore.made) == (2, 1)


def test_a_failing_agent_of_pod_identity_is_botocores_to_ask(
    served: RawServer, botocore: Botocore, home: Path
) -> None:
    (home / "token").write_text("t")
    document = {
        "AccessKeyId": "a",
        "SecretAccessKey": "s",
        "Token": "t",
        "Expiration": "2999-01-01T00:00:00Z",
    }
    answers = [(500, ""), (200, json.dumps(document))]
    with scripted_server(lambda *_: answers.pop(0)) as agent:
        env = {
            ENDPOINT: served.url,
            "AWS_STS_REGIONAL_ENDPOINTS": "regional",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": agent.url,
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(home / "token"),
        }
        with connected(env, botocore) as connection:
            assert (asked(connection), connection.identity) == ("by botocore", "botocores")
        assert served.requests == []
        with connected(env, botocore) as connection:
            assert (asked(connection), connection.identity) == ("by query", "container-role")


class Role:
    """The node's role, whose credentials expire soon."""

    def __init__(self) -> None:
        self.gone = False

    def role_document(self) -> Mapping[str, Any]:
        if self.gone:
            raise SilentImds("IMDS does not answer")
        return {
            "AccessKeyId": "a",
            "SecretAccessKey": "s",
            "Token": "t",
            "Expiration": "2026-01-02T04:04:05Z",
        }


def test_credentials_that_are_not_renewed_are_botocores_to_renew(
    served: RawServer, botocore: Botocore
) -> None:
    role, now = Role(), [NOW]
    credentials = QueryCredentials(
        Source.NODE, {}, imds=lambda: cast("Imds", role), sts=silent_imds, now=lambda: now[0]
    )
    usual = UsualAccess(credentials, lambda: ConnectionPool(served.url, ""))
    with closing(PodConnection(REGION, usual, botocore)) as connection:
        assert (asked(connection), connection.identity) == ("by query", "iam-role")
        role.gone = True
        now[0] += HOUR - 61
        assert asked(connection) == "by query"
        now[0] += 60
        assert (asked(connection), connection.identity) == ("by botocore", "botocores")
        role.gone, now[0] = False, NOW
        assert asked(connection) == "by botocore"
    assert (len(served.requests), botocore.made) == (2, 1)


@pytest.mark.parametrize(
    ("sent", "fault"),
    [
        (Sent(b"", hang_up=True), Fault.UNREACHABLE),
        (Sent(answer(SUBNETS)[:-9], hang_up=True), Fault.UNREACHABLE),
        (Sent(answer(b"<html/>")), Fault.TRANSIENT),
        (Sent(answer(b"down", "HTTP/1.1 503 Service Unavailable")), Fault.TRANSIENT),
        (
            Sent(
                answer(
                    b"<Response><Errors><Error><Code>RequestLimitExceeded</Code></Error></Errors></Response>",
                    "HTTP/1.1 503 Service Unavailable",
                )
            ),
            Fault.THROTTLED,
        ),
    ],
    ids=["nothing", "half an answer", "a page", "down", "throttled"],
)
def test_a_request_that_was_sent_is_nobody_elses(sent: Sent, fault: Fault, botocore: Botocore) -> None:
    with (
        raw_server(lambda number: Sent(answer(SUBNETS)) if number else sent) as served,
        connected(usual(served.url), botocore) as connection,
    ):
        with pytest.raises(Ec2Error) as caught:
            asked(connection)
        assert caught.value.failure.fault is fault
        assert len(served.requests) == 1
        assert asked(connection) == "by query"
    assert (botocore.made, len(served.requests)) == (0, 2)


def test_a_thread_that_is_stuck_keeps_its_connection_and_the_next_call_is_botocores(
    served: RawServer, botocore: Botocore
) -> None:
    stuck, over = threading.Event(), threading.Event()
    errors: list[Exception] = []

    def hang(_: EC2Client) -> NoReturn:
        stuck.set()
        assert over.wait(30)
        raise NotSentError("the name was looked up for a minute")

    with connected(usual(served.url), botocore) as connection:

        def work() -> None:
            try:
                connection.call("DescribeSubnets", hang)
            except Ec2Error as error:
                errors.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        assert stuck.wait(30)
        connection.abandon()
        assert asked(connection) == "by botocore"
        over.set()
        thread.join()
        assert [str(error) for error in errors] == ["DescribeSubnets: given up"]
        assert asked(connection) == "by botocore"
    assert (botocore.made, len(botocore.calls), served.requests) == (1, 2, [])


def test_calls_that_fail_at_once_are_all_botocores(served: RawServer, botocore: Botocore) -> None:
    both = threading.Barrier(2, timeout=30)
    found: list[str] = []

    def fail_without_botocore(ec2: EC2Client) -> dict[str, object]:
        if cast("object", ec2) is not botocore:
            both.wait()
            raise NotSentError("no connection")
        return dict(ec2.describe_subnets(MaxResults=5))

    with connected(usual(served.url), botocore) as connection:

        def work() -> None:
            found.append(str(connection.call("DescribeSubnets", fail_without_botocore)["NextToken"]))

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == ["by botocore", "by botocore"]
    assert (botocore.made, len(botocore.calls)) == (1, 2)
