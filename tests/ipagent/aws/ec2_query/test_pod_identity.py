"""The agent of EKS Pod Identity, as a server gives its answers."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from ipagent.aws.ec2_query.credentials import Credentials, NoKeysError
from ipagent.aws.ec2_query.environment import Source
from ipagent.aws.ec2_query.signature import Keys
from tests.ipagent.aws.scripted_server import ScriptedServer, scripted_server

DOCUMENT = {"AccessKeyId": "ASIA", "SecretAccessKey": "s", "Token": "t", "Expiration": "2026-01-02T04:04:05Z"}
NOW = 1767323045.0
HOUR = 3600


class Agent:
    """What it answers, and the headers that it was sent."""

    def __init__(self) -> None:
        self.answer = (200, json.dumps(DOCUMENT))
        self.headers: list[dict[str, str]] = []

    def __call__(self, _method: str, _path: str, headers: dict[str, str]) -> tuple[int, str]:
        self.headers.append(headers)
        return self.answer


@pytest.fixture
def agent() -> Agent:
    return Agent()


@pytest.fixture
def served(agent: Agent) -> Iterator[ScriptedServer]:
    with scripted_server(agent) as server:
        yield server


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("first")
    return path


def unused() -> NoReturn:
    raise AssertionError("nobody asks for it")


class Pod:
    """A pod's credentials, and its clock."""

    def __init__(self, url: str, token: Path) -> None:
        env = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{url}/v1/credentials?a=b",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token),
        }
        self.now = NOW
        self.credentials = Credentials(
            Source.POD_IDENTITY, env, imds=unused, sts=unused, now=lambda: self.now
        )


def test_it_is_asked_with_the_token_that_the_file_has_then(
    agent: Agent, served: ScriptedServer, token: Path
) -> None:
    pod = Pod(served.url, token)
    assert pod.credentials.current() == Keys("ASIA", "s", "t", NOW + HOUR)
    token.write_text("second")
    agent.answer = (
        200,
        json.dumps({**DOCUMENT, "AccessKeyId": "NEXT", "Expiration": "2026-01-02T09:04:05Z"}),
    )
    assert pod.credentials.current().access_key == "ASIA"
    pod.now += HOUR / 2 + HOUR / 3
    assert pod.credentials.current().access_key == "NEXT"
    assert served.asked == ["GET /v1/credentials?a=b"] * 2
    assert [headers["authorization"] for headers in agent.headers] == ["first", "second"]
    assert {headers["accept"] for headers in agent.headers} == {"application/json"}


@pytest.mark.parametrize(
    "answer",
    [
        (500, json.dumps(DOCUMENT)),
        (404, "no association"),
        (204, ""),
        (302, ""),
        (200, ""),
        (200, "<html></html>"),
        (200, "[]"),
        (200, "null"),
        (200, json.dumps({**DOCUMENT, "Token": None})),
        (200, json.dumps({**DOCUMENT, "Expiration": "2026-01-02T03:04:05Z"})),
        (200, "[" * 60_000),
    ],
    ids=lambda value: f"{value[0]} {value[1][:40]}",
)
def test_what_are_no_credentials_is_left_to_botocore(
    agent: Agent, served: ScriptedServer, token: Path, answer: tuple[int, str]
) -> None:
    agent.answer = answer
    with pytest.raises(NoKeysError) as caught:
        Pod(served.url, token).credentials.current()
    assert len(served.asked) == 1
    assert str(caught.value) == ""


@pytest.mark.parametrize("content", [b"", b"a\n", b"a\r\nx-other: b", b"\n", "é".encode(), b"\xff", b"a\x00"])
def test_a_token_that_can_not_be_sent_is_not(served: ScriptedServer, token: Path, content: bytes) -> None:
    token.write_bytes(content)
    with pytest.raises(NoKeysError):
        Pod(served.url, token).credentials.current()
    assert served.asked == []


def test_a_token_that_is_not_there_is_not_sent(served: ScriptedServer, tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(NoKeysError):
            Pod(served.url, path).credentials.current()
    assert served.asked == []


def test_an_agent_that_does_not_listen_is_left_to_botocore(token: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused_port:
        url = f"http://127.0.0.1:{unused_port.getsockname()[1]}"
    with pytest.raises(NoKeysError):
        Pod(url, token).credentials.current()
