"""Whatever is sent to `multus-eni serve`: it answers or closes, says no 5xx, and goes on as before.

`MULTUS_ENI_FUZZ` is how many mutated reviews are sent, `MULTUS_ENI_FUZZ_SEED` the seed; both are printed
where a test fails.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cluster.waiting import wait_for
from tests.cluster.webhook import WebhookServer
from tests.webhook.server.mutations import VALID, mutation
from tests.webhook.server.strange_requests import (
    CHUNKED,
    DEPTH,
    ENDLESS,
    GOOD,
    HEADS,
    LENGTH,
    NESTED,
    WIDE,
    pod,
    review,
)
from tests.webhook.wire import PATH, Connection, check_answer, chunked, head, request
from webhook.server.body import BODY_TIMEOUT, MAX_BODY
from webhook.server.http_limits import MAX_FRAMES

SEED = int(os.environ.get("MULTUS_ENI_FUZZ_SEED", "20260401"))
COUNT = int(os.environ.get("MULTUS_ENI_FUZZ", "2000"))
MAX_RESIDENT = 256
"""MiB that the process may ever have in memory, whatever is sent to it by whomever."""
MAX_GROWTH = 192
"""MiB that it may take for what one test sends, beyond what it has before."""
SLOW = 20
"""Connections of each slow kind."""


def resident(server: WebhookServer) -> int:
    """Return the largest memory (MiB) of the process since `forget_peak` (proc(5), VmHWM)."""
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) // 1024


def forget_peak(server: WebhookServer) -> int:
    """Let the largest memory be the present one, and return that."""
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5", encoding="ascii")
    return resident(server)


@pytest.fixture(scope="module")
def peaks() -> list[int]:
    return []


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory, peaks: list[int]) -> Iterator[WebhookServer]:
    with WebhookServer(tmp_path_factory.mktemp("fuzzed")) as server:
        with Connection(server) as connection:
            for _ in range(100):
                check_answer(connection.ask(GOOD))
        yield server
        assert max(peaks) <= MAX_RESIDENT, peaks


@pytest.fixture
def server(process: WebhookServer, peaks: list[int]) -> Iterator[WebhookServer]:
    """The one process of this module; after each test it must be as it was before."""
    pid = process.process.pid
    logged = process.process.log.stat().st_size
    before = forget_peak(process)
    yield process
    peaks.append(resident(process))
    process.process.check()
    with Connection(process) as connection:
        reply = connection.ask(GOOD)
    assert reply is not None
    assert (reply.status, reply.review["auditAnnotations"]) == (200, {"reason": "inject_sidecar"})
    assert process.process.pid == pid
    with process.process.log.open("rb") as log:
        log.seek(logged)
        # Not by str.splitlines: JSON leaves U+2028 as it is.
        lines = [json.loads(line) for line in log.read().splitlines()]
    assert [line for line in lines if line["level"] == "error"] == []
    assert peaks[-1] - before <= MAX_GROWTH


@pytest.fixture(scope="module", autouse=True)
def silent_connections(process: WebhookServer) -> Iterator[list[Connection]]:
    """Connections whose request's head never ends, or begins: opened first, as the slow ones."""
    with ExitStack() as stack:
        opened = [stack.enter_context(Connection(process, timeout=BODY_TIMEOUT + 20)) for _ in range(SLOW)]
        for number, connection in enumerate(opened):
            connection.send(head(LENGTH)[: 3 * number])
        yield opened


@pytest.fixture(scope="module", autouse=True)
def slow_connections(process: WebhookServer) -> Iterator[list[Connection]]:
    """Bodies that stop in the middle, opened first: the other tests pass the time that they take."""
    with ExitStack() as stack:
        opened = [stack.enter_context(Connection(process, timeout=BODY_TIMEOUT + 20)) for _ in range(SLOW)]
        for number, connection in enumerate(opened):
            # Few of them, since a body of unknown length may be given the room of the largest.
            unknown = number % 10 == 0
            connection.send(head(CHUNKED if unknown else LENGTH) + (chunked(GOOD) if unknown else GOOD)[:100])
        yield opened


def test_mutated_reviews_are_answered(server: WebhookServer) -> None:
    print(f"MULTUS_ENI_FUZZ_SEED={SEED} MULTUS_ENI_FUZZ={COUNT}")
    seen: dict[str, int] = {}
    with Connection(server) as connection:
        for number in range(COUNT):
            reply = connection.ask(mutation(SEED, number))
            try:
                check_answer(reply)
            except Exception as error:
                raise AssertionError(
                    f"mutation({SEED}, {number}): {mutation(SEED, number)[:2000]!r}"
                ) from error
            assert reply is not None
            kind = reply.review["auditAnnotations"]["reason"] if reply.status == 200 else str(reply.status)
            seen[kind] = seen.get(kind, 0) + 1
    # The mutator reaches the decision, the refusals and the decoder.
    assert {"inject_sidecar", "invalid_setting", "unreadable_pod", "not_pod_creation", "400"} <= seen.keys()


@pytest.mark.parametrize("nested", NESTED)
@pytest.mark.parametrize(
    "place",
    [
        b"%b",
        b'{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": %b}',
        GOOD.replace(b'"oldObject": null', b'"oldObject": %b'),
        review(b"%b"),
        review(pod(spec=b', "unknown": %b')),
        review(pod(spec=b', "volumes": [{"name": "a", "emptyDir": {"a": %b}}]')),
        review(pod(containers=b"%b")),
        review(pod(networks=b"%b")),
    ],
    ids=["body", "request", "oldObject", "pod", "unknown field", "emptyDir", "containers", "networks"],
)
def test_deep_nesting_is_answered(server: WebhookServer, nested: str, place: bytes) -> None:
    value = NESTED[nested]
    if place == review(pod(networks=b"%b")):
        value = value.replace(b'"', b'\\"')
    with Connection(server) as connection:
        check_answer(connection.ask(place.replace(b"%b", value)))


@pytest.mark.parametrize("wide", WIDE)
def test_a_huge_pod_is_answered_within_the_api_servers_time(server: WebhookServer, wide: str) -> None:
    with Connection(server, timeout=10) as connection:
        check_answer(connection.ask(review(WIDE[wide]())))


@pytest.mark.parametrize("announced", [MAX_BODY + 1, 1 << 40, (1 << 63) - 1])
def test_a_body_announced_over_the_limit_is_413(server: WebhookServer, announced: int) -> None:
    with Connection(server) as connection:
        connection.send(head(b"Content-Length: %d" % announced))
        reply = connection.reply()
    assert reply is not None
    assert reply.status == 413


def test_a_chunked_body_over_the_limit_is_413(server: WebhookServer) -> None:
    with Connection(server) as connection:
        with contextlib.suppress(OSError):
            connection.send(head(b"Transfer-Encoding: chunked") + chunked(b" " * (MAX_BODY + 65536)))
        reply = connection.reply()
    assert reply is not None
    assert reply.status == 413


def test_what_follows_a_413_is_not_kept(server: WebhookServer) -> None:
    with Connection(server) as connection:
        connection.send(head(b"Content-Length: %d" % (1 << 40)))
        with contextlib.suppress(OSError):
            for _ in range(400):
                connection.send(b"x" * (1 << 20))


@pytest.mark.parametrize("case", HEADS)
def test_strange_requests_are_answered_or_closed(server: WebhookServer, case: str) -> None:
    with Connection(server) as connection:
        with contextlib.suppress(OSError):
            connection.send(HEADS[case])
            # So that a server that waits for more sees that there is no more.
            connection.send(head(b"Connection: close", start=b"GET /healthz HTTP/1.1"))
        reply = connection.reply()
    assert reply is None or 200 <= reply.status < 500, reply


def test_no_answer_sends_the_caller_elsewhere(server: WebhookServer) -> None:
    with Connection(server) as connection:
        reply = connection.ask(GOOD, PATH + b"/")
    assert reply is not None
    assert reply.status == 404


@pytest.mark.parametrize("case", ENDLESS)
def test_a_head_without_end_is_not_kept(server: WebhookServer, case: str) -> None:
    start, more = ENDLESS[case]
    before = forget_peak(server)
    with Connection(server) as connection, contextlib.suppress(OSError):
        connection.send(start)
        for _ in range(32):
            connection.send(more)
    assert resident(server) - before <= 16


def test_bodies_that_stop_are_408(server: WebhookServer, slow_connections: list[Connection]) -> None:
    replies = [connection.reply() for connection in slow_connections]
    assert [reply.status if reply else None for reply in replies] == [408] * SLOW
    assert server.process.pid


def test_heads_that_do_not_end_are_closed(
    server: WebhookServer, silent_connections: list[Connection]
) -> None:
    assert [connection.reply() for connection in silent_connections] == [None] * SLOW
    assert server.process.pid


def test_many_large_bodies_at_once_stay_within_the_bound(server: WebhookServer) -> None:
    whole = head(b"Content-Length: %d" % MAX_BODY) + b" " * (MAX_BODY - 1)

    def send(connection: Connection) -> None:
        # A server that reads no further for now is one way to stay within the bound.
        with contextlib.suppress(OSError):
            connection.send(whole)

    with ExitStack() as stack:
        opened = [stack.enter_context(Connection(server, timeout=2)) for _ in range(60)]
        with ThreadPoolExecutor(len(opened)) as senders:
            list(senders.map(send, opened))
        # Ordinary reviews are answered meanwhile.
        check_answer(stack.enter_context(Connection(server)).ask(GOOD))


def test_hundreds_of_idle_connections_are_no_obstacle(server: WebhookServer) -> None:
    address = ("127.0.0.1", server.port)
    # Those of one address count together, so they come from others than the good review does.
    with ExitStack() as stack:
        for _ in range(500):
            with contextlib.suppress(OSError):
                stack.enter_context(
                    socket.create_connection(address, timeout=10, source_address=("127.0.0.2", 0))
                )
        for number in range(100):
            connection = stack.enter_context(Connection(server, source="127.0.0.3"))
            connection.send(head(LENGTH)[: number % 60])
        check_answer(stack.enter_context(Connection(server)).ask(GOOD))


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\x00" * 1000, bytes(range(256)), b""],
    ids=["HTTP", "TLS record", "bytes", "nothing"],
)
def test_garbage_instead_of_tls_is_closed(server: WebhookServer, garbage: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as plain:
        plain.sendall(garbage)
        # The server may have closed it already.
        with contextlib.suppress(OSError):
            plain.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while plain.recv(4096):
                pass


@pytest.mark.parametrize("sent", [0, 10, 200, -1])
def test_clients_that_leave_in_the_middle_are_forgotten(server: WebhookServer, sent: int) -> None:
    whole = request(GOOD)
    files = Path(f"/proc/{server.process.pid}/fd")
    before = len(list(files.iterdir()))
    for number in range(20):
        with Connection(server) as connection:
            connection.send(whole[:sent])
            if number % 2:
                connection.end_sending()
    wait_for(lambda: len(list(files.iterdir())) <= before, "end of the connections that were left")


def test_pipelined_requests_are_answered_in_order(server: WebhookServer) -> None:
    uid = VALID["request"]["uid"].encode()
    with Connection(server) as connection:
        for start in range(0, 500, 20):
            uids = [f"uid-{number}" for number in range(start, start + 20)]
            connection.send(b"".join(request(GOOD.replace(uid, each.encode())) for each in uids))
            replies = [connection.reply() for _ in uids]
            assert [reply.review["uid"] for reply in replies if reply] == uids


PIECES = {
    "chunks": head(b"Transfer-Encoding: chunked") + b"1\r\n \r\n" * 2 * MAX_FRAMES + b"0\r\n\r\n",
    "header lines": head(*[b"a: b"] * 2 * MAX_FRAMES),
    "trailers": head(b"Transfer-Encoding: chunked") + b"0\r\n" + b"a: b\r\n" * 2 * MAX_FRAMES + b"\r\n",
    "chunks of many requests": (head(b"Transfer-Encoding: chunked") + b"1\r\n \r\n" * 100 + b"0\r\n\r\n")
    * 20,
}


@pytest.mark.parametrize("kind", PIECES)
def test_requests_in_many_small_pieces_are_ended(server: WebhookServer, kind: str) -> None:
    """A chunk of one byte costs the parser as much as one of 32 KiB: 100 peers with such cost seconds."""
    with Connection(server) as connection:
        with contextlib.suppress(OSError):
            connection.send(PIECES[kind])
        replies = list(iter(connection.reply, None))
    assert len(replies) < 10
    assert {reply.status for reply in replies} <= {400}


def test_a_large_review_may_come_in_chunks(server: WebhookServer) -> None:
    body = GOOD + b" " * (MAX_BODY - len(GOOD))
    with Connection(server) as connection:
        connection.send(head(b"Transfer-Encoding: chunked") + chunked(body, 32 << 10))
        reply = connection.reply()
    assert reply is not None
    assert reply.status == 200


def test_good_reviews_are_answered_amid_the_bad(server: WebhookServer) -> None:
    stop = threading.Event()

    def disturb(number: int) -> None:
        while not stop.is_set():
            with Connection(server) as connection:
                for body in (mutation(SEED + number, 1), GOOD[:-5], b"[" * DEPTH):
                    check_answer(connection.ask(body))

    with ThreadPoolExecutor(4) as disturbers:
        running = [disturbers.submit(disturb, number) for number in range(4)]
        try:
            with Connection(server) as connection:
                for _ in range(300):
                    reply = connection.ask(GOOD)
                    assert reply is not None
                    assert reply.review["allowed"] is True
        finally:
            stop.set()
        for future in running:
            future.result()
