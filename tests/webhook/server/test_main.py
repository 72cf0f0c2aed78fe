"""`multus-eni serve` as a process, over TLS."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from common import pod_keys
from common.version import VERSION
from tests import http_client, programs
from tests.cluster.certificates import Authority
from tests.cluster.processes import Process
from tests.cluster.waiting import wait_for
from tests.cluster.webhook import WebhookServer
from tests.webhook.core.test_cases import review
from tests.webhook.wire import Connection, check_answer, request

PROGRAM = programs.MULTUS_ENI
POD: dict[str, Any] = {
    "metadata": {"name": "web", "annotations": {pod_keys.NETWORKS: "ipvlan-multus"}},
    "spec": {"containers": [{"name": "app", "image": "busybox"}]},
}
_PATIENT = """
import runpy, sys
from webhook.server import body, http_limits, listener
http_limits.LAST_REQUEST = http_limits.HEAD_TIMEOUT = 600
listener.HANDSHAKE_TIMEOUT = body.BODY_TIMEOUT = 600
# After those above: it copies one of them.
from webhook.server import main
main.SHUTDOWN = 600
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
PATIENT = [sys.executable, "-c", _PATIENT]
"""Starts our program so that peers have ten minutes where they have seconds else: a busy machine is slow."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebhookServer]:
    with WebhookServer(tmp_path) as server:
        yield server


@pytest.fixture
def client(server: WebhookServer) -> Iterator[httpx.Client]:
    trust = ssl.create_default_context(cadata=server.service.ca.decode())
    with httpx.Client(base_url=server.service.url, verify=trust, trust_env=False) as client:
        yield client


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, *arguments], check=False, capture_output=True, text=True, timeout=120)


def test_a_review_over_tls_is_answered(client: httpx.Client) -> None:
    answer = client.post("/mutate/namespace/init", content=review(POD, "apps")).json()["response"]
    assert (answer["allowed"], answer["patchType"]) == (True, "JSONPatch")


def test_reviews_that_arrive_in_interleaved_pieces_are_not_mixed_up(server: WebhookServer) -> None:
    # All connections are read into one buffer.
    sizes = [5_000, 40_000, 200_000]
    requests = []
    for number, size in enumerate(sizes):
        document = json.loads(review(POD, "apps"))
        document["request"]["uid"] = f"uid-{number}"
        document["request"]["object"]["metadata"]["annotations"]["note"] = f"{number}" * size
        requests.append(request(json.dumps(document).encode()))
    with ExitStack() as stack:
        connections = [stack.enter_context(Connection(server)) for _ in requests]
        for tenth in range(10):
            for connection, content in zip(connections, requests, strict=True):
                step = len(content) // 10 + 1
                connection.send(content[tenth * step : (tenth + 1) * step])
        replies = [connection.reply() for connection in connections]
    assert [reply and reply.review["allowed"] for reply in replies] == [True, True, True]
    assert [reply and json.loads(reply.body)["response"]["uid"] for reply in replies] == [
        "uid-0",
        "uid-1",
        "uid-2",
    ]


def test_a_start_builds_no_model_of_openapi() -> None:
    # In a process of its own: another import of FastAPI may have come before here.
    script = "import webhook.server.app; from fastapi.openapi import models; print({})"
    command = [sys.executable, "-c", script.format("models.Info.__pydantic_complete__")]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "False\n"


def test_sigterm_ends_it_with_0_and_a_last_line(server: WebhookServer) -> None:
    assert server.process.terminate() == 0
    assert [line["event"] for line in server.events("stopped")] == ["stopped"]


def test_whoever_is_connected_is_answered_before_it_ends(tmp_path: Path) -> None:
    body = review(POD, "apps")
    whole = request(body)
    with WebhookServer(tmp_path, launcher=PATIENT) as server, ExitStack() as stack:

        def connect(*, requests: int, begun: int) -> Connection:
            connection = stack.enter_context(Connection(server))
            for _ in range(requests):
                check_answer(connection.ask(body))
            connection.send(whole[:begun])
            return connection

        cases = [(requests, begun) for requests in (0, 1) for begun in (0, 10, -1)]
        connections = {case: connect(requests=case[0], begun=case[1]) for case in cases}
        # Of a connection that was used, nothing tells that another request is to come.
        idle = connections.pop((1, 0))
        plain = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))

        os.kill(server.process.pid, signal.SIGTERM)
        wait_for(lambda: not listens("127.0.0.1", server.port), "end of the listener")
        trust = ssl.create_default_context(cadata=server.service.ca.decode())
        late = stack.enter_context(trust.wrap_socket(plain, server_hostname="127.0.0.1"))
        late.sendall(whole)
        for (_, begun), connection in connections.items():
            connection.send(whole[begun:])
        assert idle.reply() is None
        assert late.recv(65536).startswith(b"HTTP/1.1 200")
        for connection in connections.values():
            check_answer(connection.reply())
            assert connection.reply() is None
        assert server.process.terminate() == 0


def test_whoever_is_connected_and_asks_nothing_does_not_keep_it_from_ending(server: WebhookServer) -> None:
    with Connection(server) as silent:
        os.kill(server.process.pid, signal.SIGTERM)
        assert silent.reply() is None
    wait_for(lambda: server.events("stopped"), "end of the server")


def test_after_sigterm_a_pooled_connection_is_answered_and_retired(tmp_path: Path) -> None:
    body = review(POD, "apps")
    with WebhookServer(tmp_path, options=["--drain=600"]) as server:
        trust = ssl.create_default_context(cadata=server.service.ca.decode())
        with httpx.Client(base_url=server.service.url, verify=trust, trust_env=False) as pool:
            assert "connection" not in pool.post("/mutate/namespace/init", content=body).headers
            os.kill(server.process.pid, signal.SIGTERM)
            wait_for(
                lambda: pool.post("/mutate/namespace/init", content=body).headers.get("connection"),
                "answer that retires its connection",
            )
            assert pool.get("/readyz").status_code == 503
        # The second SIGTERM.
        assert server.process.terminate() == 0


def test_the_drain_ends_by_itself(tmp_path: Path) -> None:
    with WebhookServer(tmp_path, options=["--drain=0.5"]) as server:
        os.kill(server.process.pid, signal.SIGTERM)
        wait_for(lambda: server.events("stopped"), "end of the server")


def listens(host: str, port: int | None) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"config": "agent: {}"}, "settings.yaml: agent: "),
        ({"certificate": "nothing"}, "not a usable certificate/key pair"),
        ({"host": "203.0.113.1"}, "cannot listen on 203.0.113.1 port 0"),
    ],
)
def test_what_keeps_it_from_starting_is_said_in_one_line(
    tmp_path: Path, wrong: dict[str, str], named: str
) -> None:
    pair = Authority().issue(["localhost"], tmp_path)
    settings = tmp_path / "settings.yaml"
    settings.write_text(wrong.get("config", "agent: {image: i}"))
    if "certificate" in wrong:
        pair.public.write_text(wrong["certificate"])
    result = run(
        "serve", "--config", settings, "--tls-cert", pair.public, "--tls-key", pair.private,
        "--host", wrong.get("host", "127.0.0.1"), "--port", "0",
    )  # fmt: skip
    assert result.returncode == 2
    assert named in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def waiting(folder: Path) -> Process:
    settings = folder / "settings.yaml"
    settings.write_text("agent: {image: i}")
    argv = [
        PROGRAM,
        "serve",
        f"--config={settings}",
        "--wait-for-certificate",
        "--host=127.0.0.1",
        "--port=0",
    ]
    files = ["--host=127.0.0.1", f"--tls-cert={folder / 'tls.crt'}", f"--tls-key={folder / 'tls.key'}"]
    return Process("multus-eni serve", [*argv, *files], log=folder / "log")


def said(process: Process, event: str) -> bool:
    return f'"event":"{event}"' in process.log.read_text(encoding="utf-8")


def test_a_certificate_that_comes_later_is_waited_for(tmp_path: Path) -> None:
    with waiting(tmp_path) as process:
        process.wait_until(lambda: said(process, "waiting"), "line that says what it waits for", 120)
        assert not said(process, "started")
        made = Authority().issue(["localhost"], tmp_path, "made")
        made.private.rename(tmp_path / "tls.key")
        made.public.rename(tmp_path / "tls.crt")
        process.wait_until(lambda: said(process, "started"), "start", 120)
        assert process.terminate() == 0


def test_sigterm_ends_the_wait_for_a_certificate(tmp_path: Path) -> None:
    with waiting(tmp_path) as process:
        process.wait_until(lambda: said(process, "waiting"), "line that says what it waits for", 120)
        assert process.terminate() == 0
        assert said(process, "stopped")


def test_it_says_its_version_and_how_it_is_used() -> None:
    assert run("--version").stdout.strip() == f"multus-eni {VERSION}"
    assert "AdmissionReview" in run("serve", "--help").stdout
    assert run().returncode == 2
    assert (
        "65535"
        in run("serve", "--config", "c", "--tls-cert", "c", "--tls-key", "k", "--port", "99999").stderr
    )


@pytest.mark.parametrize("drain", ["-1", "nan", "soon", "1e9"])
def test_a_drain_that_is_no_time_is_refused(drain: str) -> None:
    done = run("serve", "--config", "c", "--tls-cert", "c", "--tls-key", "k", f"--drain={drain}")
    assert done.returncode == 2
    assert "from 0 to 600" in done.stderr


def test_metrics_have_a_port_of_their_own(tmp_path: Path) -> None:
    with WebhookServer(tmp_path, options=["--metrics-port=0"]) as server:
        (started,) = server.events("started")
        text = http_client.get(f"http://127.0.0.1:{started['metrics_port']}/metrics").data.decode()
    assert f'multus_eni_webhook_build_info{{version="{VERSION}"}} 1.0' in text
    assert "multus_eni_webhook_certificate_expiry_timestamp_seconds 1." in text


def test_every_line_of_its_log_is_json(server: WebhookServer, client: httpx.Client) -> None:
    client.post("/mutate/namespace/init", content=b"nonsense")
    client.post("/mutate/namespace/init", content=review(POD, "apps"))
    client.close()
    server.process.terminate()
    for line in server.process.log.read_text(encoding="utf-8").splitlines():
        assert {"time", "level", "event"} <= json.loads(line).keys()
