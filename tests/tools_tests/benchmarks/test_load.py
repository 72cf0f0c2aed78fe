"""The load client: it measures right answers, and takes no wrong one."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import shutil
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from benchmarks.webhook.cores import Cores
from benchmarks.webhook.load import Expect, Job, LoadClient, LoadError, load_program
from benchmarks.webhook.pods import SERIAL
from tests.cluster.certificates import Authority
from tests.skipping import skip

PATCH = base64.b64encode(b'[{"op":"add","path":"/a","value":1}]').decode()


def answer(**response: Any) -> bytes:
    return json.dumps({"response": response}).encode()


RIGHT = answer(allowed=True, patchType="JSONPatch", patch=PATCH)


class Answering(ThreadingHTTPServer):
    daemon_threads = True
    status = 200
    content = RIGHT
    wrong = 0
    hold = 0.0
    bodies: list[bytes]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Answering

    def do_POST(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        threading.Event().wait(self.server.hold)
        self.send_response(503 if len(self.server.bodies) <= self.server.wrong else self.server.status)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Answering]:
    authority = Authority()
    (tmp_path / "ca.crt").write_bytes(authority.pem)
    pair = authority.issue(["127.0.0.1"], tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.public, pair.private)
    with Answering(("127.0.0.1", 0), Handler) as answering:
        answering.bodies = []
        answering.socket = context.wrap_socket(answering.socket, server_side=True)
        thread = threading.Thread(target=answering.serve_forever)
        thread.start()
        yield answering
        answering.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def client() -> LoadClient:
    if shutil.which("go") is None:
        skip("the load client is built with Go (https://go.dev/dl)")
    core = min(os.sched_getaffinity(0))
    return LoadClient(load_program(), Cores(core, frozenset({core})))


def job(server: Answering, tmp_path: Path, **more: Any) -> Job:
    body = tmp_path / "body.json"
    body.write_bytes(b"x" * 10_000)
    fields: dict[str, Any] = {"count": 20, "connections": 2, "expect": Expect(200, review=True), **more}
    address = f"127.0.0.1:{server.server_address[1]}"
    return Job(address=address, ca=str(tmp_path / "ca.crt"), path="/mutate", body=str(body), **fields)


def test_so_many_requests_are_sent_as_were_asked_for(
    server: Answering, client: LoadClient, tmp_path: Path
) -> None:
    sample = client.run(job(server, tmp_path), os.getpid())
    assert server.bodies == [b"x" * 10_000] * 20
    assert sample.requests_per_second * sample.seconds == pytest.approx(20)
    assert 0 < sample.p50 <= sample.p99
    assert {tls.split()[1] for tls in client.tls} == {"1.3"}


def test_jobs_take_turns_in_the_order_asked_for(
    server: Answering, client: LoadClient, tmp_path: Path
) -> None:
    jobs = {"one": job(server, tmp_path, connections=1, count=5)}
    other = tmp_path / "other.json"
    other.write_bytes(b"y")
    jobs["other"] = dataclasses.replace(jobs["one"], body=str(other), count=2)
    batches = client.take_turns(jobs, ["other", "one", "other"])
    assert [len(batch.latencies) for batch in batches] == [2, 5, 2]
    assert [body[:1] for body in server.bodies] == [b"y"] * 2 + [b"x"] * 5 + [b"y"] * 2
    assert all(min(batch.latencies) <= batch.p50 <= max(batch.latencies) for batch in batches)


def test_each_turn_counts_its_own_failures(server: Answering, client: LoadClient, tmp_path: Path) -> None:
    server.wrong = 3
    jobs = {"one": job(server, tmp_path, connections=1, tolerate=3)}
    batches = client.take_turns(jobs, ["one", "one"])
    assert [(len(batch.latencies), batch.failures) for batch in batches] == [(17, 3), (20, 0)]


def test_no_two_requests_are_alike_where_a_serial_is_asked_for(
    server: Answering, client: LoadClient, tmp_path: Path
) -> None:
    wanted = job(server, tmp_path, serial=SERIAL)
    (tmp_path / "body.json").write_text(f"before {SERIAL} between {SERIAL} after", encoding="ascii")
    client.run(wanted)
    numbers = {f"{number:0{len(SERIAL)}}" for number in range(1, 21)}
    assert {body.decode() for body in server.bodies} == {
        f"before {number} between {number} after" for number in numbers
    }


def test_a_serial_that_is_not_in_the_body_is_refused(
    server: Answering, client: LoadClient, tmp_path: Path
) -> None:
    with pytest.raises(LoadError, match=f'does not hold "{SERIAL}"'):
        client.run(job(server, tmp_path, serial=SERIAL))


def test_it_sends_for_the_time_asked_for(server: Answering, client: LoadClient, tmp_path: Path) -> None:
    sample = client.run(job(server, tmp_path, count=0, warmup=0.05, seconds=0.2))
    assert sample.seconds == 0.2
    assert 0 < sample.requests_per_second * sample.seconds <= len(server.bodies)


def test_what_is_answered_after_a_turn_is_measured_too(
    server: Answering, client: LoadClient, tmp_path: Path
) -> None:
    server.hold = seconds = 0.3
    jobs = {"one": job(server, tmp_path, count=0, seconds=seconds)}
    (batch,) = client.take_turns(jobs, ["one"])
    assert len(batch.latencies) == len(server.bodies) == 2


def test_what_is_answered_after_a_run_is_in_no_rate(
    server: Answering, client: LoadClient, tmp_path: Path
) -> None:
    server.hold = seconds = 0.3
    with pytest.raises(LoadError, match=f"no right answer within {seconds} s"):
        client.run(job(server, tmp_path, count=0, seconds=seconds))


@pytest.mark.parametrize(
    ("status", "content", "complaint"),
    [
        (500, RIGHT, "status is 500, not 200"),
        (200, answer(allowed=False), "refuses the pod"),
        (200, answer(allowed=True), "no JSON Patch"),
        (200, answer(allowed=True, patchType="JSONPatch", patch="W10="), "no list of operations"),
        (200, b"ok", "no AdmissionReview"),
    ],
)
def test_a_wrong_answer_ends_the_run(
    server: Answering, client: LoadClient, tmp_path: Path, status: int, content: bytes, complaint: str
) -> None:
    server.status, server.content = status, content
    with pytest.raises(LoadError, match=complaint):
        client.run(job(server, tmp_path))


def test_an_answer_without_the_mark_ends_the_run(
    server: Answering, client: LoadClient, tmp_path: Path
) -> None:
    with pytest.raises(LoadError, match='does not contain "multus-eni-agent"'):
        client.run(job(server, tmp_path, expect=Expect(200, contains="multus-eni-agent")))


def test_tolerated_answers_are_counted_and_not_measured(
    server: Answering, client: LoadClient, tmp_path: Path
) -> None:
    server.wrong = 3
    sample = client.run(job(server, tmp_path, connections=1, tolerate=3))
    assert sample.failures == 3
    assert sample.requests_per_second * sample.seconds == pytest.approx(17)


def test_no_more_is_tolerated_than_was_said(server: Answering, client: LoadClient, tmp_path: Path) -> None:
    server.wrong = 4
    with pytest.raises(LoadError, match="status is 503"):
        client.run(job(server, tmp_path, connections=1, tolerate=3))


def test_a_run_without_a_right_answer_fails(server: Answering, client: LoadClient, tmp_path: Path) -> None:
    server.wrong = 4
    with pytest.raises(LoadError, match="no right answer"):
        client.run(job(server, tmp_path, count=4, tolerate=4))


def test_a_server_that_is_not_there_is_named(server: Answering, client: LoadClient, tmp_path: Path) -> None:
    wanted = job(server, tmp_path)
    server.shutdown()
    server.server_close()
    with pytest.raises(LoadError, match=wanted.address):
        client.run(wanted)
