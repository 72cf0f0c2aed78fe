"""What peers of the port of probes and metrics may cost, and that kubelet is served meanwhile."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, suppress
from http.client import HTTPConnection

import pytest
from prometheus_client import CollectorRegistry, Gauge

from common import probes
from common.probes import FAULTS, LIMITS, MAX_HEAD, ProbeServer
from tests.closed_connections import count_unfinished
from tests.cluster.waiting import wait_for

pytestmark = pytest.mark.pure

PATIENCE = 60.0
"""Seconds for which a test waits for what the server does."""


class Clock:
    """In place of `time`: it stands still, so that however slowly a test is run no rate refills."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    sleep = staticmethod(time.sleep)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Have the server close a connection for no slowness, but where that is the subject."""
    made = Clock()
    monkeypatch.setattr(probes, "time", made)
    for name in ("HEAD_SECONDS", "ANSWER_SECONDS", "TAKE_SECONDS"):
        monkeypatch.setattr(probes, name, 10 * PATIENCE)
    return made


def broken() -> bool:
    raise RuntimeError("the probe is broken")


@pytest.fixture
def server() -> Iterator[ProbeServer]:
    checks = {"/livez": lambda: True, "/readyz": lambda: False, "/broken": broken}
    with ProbeServer(CollectorRegistry(), checks, "127.0.0.1", 0) as running:
        yield running


def ask(server: ProbeServer, path: str, source: str = "127.0.0.1") -> int:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE, source_address=(source, 0))
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def connect(server: ProbeServer, source: str, window: int | None = None) -> socket.socket:
    connection = socket.socket()
    if window is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    connection.settimeout(PATIENCE)
    connection.bind((source, 0))
    with suppress(ConnectionError):
        # The server may have reset it before the call returns.
        connection.connect(("127.0.0.1", server.port))
    return connection


def is_closed(connection: socket.socket) -> bool:
    """Wait until the server has closed a connection without an answer."""
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def count_threads(before: Collection[threading.Thread]) -> int:
    """Return how many connections have a thread that was not there before."""
    found = set(threading.enumerate()).difference(before)
    return sum(thread.name.startswith("Thread-") for thread in found)


def test_probes_and_metrics_are_answered(server: ProbeServer) -> None:
    answers = [ask(server, path) for path in ("/livez", "/readyz", "/metrics", "/other")]
    assert answers == [200, 503, 200, 404]


def test_one_peer_has_few_connections_and_others_are_served(server: ProbeServer) -> None:
    before = threading.enumerate()
    with ExitStack() as stack:
        mine = [stack.enter_context(connect(server, "127.0.0.2")) for _ in range(60)]
        assert ask(server, "/livez") == 200
        assert all(is_closed(each) for each in mine[LIMITS.per_peer :])
        # One more, if the thread of the probe has not ended yet.
        assert count_threads(before) <= LIMITS.per_peer + 1
        # Those that were accepted first are still there.
        mine[0].sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        assert mine[0].recv(64).startswith(b"HTTP/1.0 200")


def test_refused_connections_are_counted() -> None:
    registry = CollectorRegistry()
    with ProbeServer(registry, {"/livez": lambda: True}, "127.0.0.1", 0) as server, ExitStack() as stack:
        opened = [stack.enter_context(connect(server, "127.0.0.2")) for _ in range(LIMITS.per_peer + 5)]
        assert all(is_closed(each) for each in opened[LIMITS.per_peer :])
        count = "multus_eni_probes_refused_connections_total"
        assert registry.get_sample_value(count, {"reason": "too_many"}) == 5
        for number in range(LIMITS.connections):
            stack.enter_context(connect(server, f"127.0.1.{number + 1}"))
        assert ask(server, "/livez") == 200
        assert registry.get_sample_value(count, {"reason": "evicted"}) == LIMITS.per_peer + 1


def test_many_peers_that_fill_the_listener_give_way_to_a_probe(server: ProbeServer) -> None:
    before = threading.enumerate()
    with ExitStack() as stack:
        for number in range(2 * LIMITS.connections):
            slow = stack.enter_context(connect(server, f"127.0.1.{number // LIMITS.per_peer + 1}"))
            with suppress(OSError):
                slow.sendall(b"GET /metrics HTTP/1.0\r\nX: ")
        for _ in range(5):
            assert ask(server, "/livez") == 200
        wait_for(lambda: count_threads(before) <= LIMITS.connections + 1, "the end of those that gave way")


def test_a_peer_that_connects_too_often_is_refused_and_others_are_served(server: ProbeServer) -> None:
    refused = 0
    for _ in range(3 * int(LIMITS.connects.burst)):
        with connect(server, "127.0.0.3") as connection:
            try:
                connection.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
                refused += connection.recv(16) == b""
            except TimeoutError:
                raise
            except OSError:
                refused += 1
    # The others are its burst: its connections were refused by their number or by their rate.
    assert refused >= 2 * LIMITS.connects.burst
    assert ask(server, "/livez") == 200


def test_what_a_peer_does_not_read_counts_and_does_not_stay_in_the_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("ANSWER_SECONDS", "TAKE_SECONDS"):
        monkeypatch.setattr(probes, name, 0.2)
    registry = CollectorRegistry()
    long = Gauge("long", "More than a window of 2048 bytes.", ["number"], registry=registry)
    for number in range(500):
        long.labels(str(number)).set(number)
    before = threading.enumerate()
    with ProbeServer(registry, {"/livez": lambda: True}, "127.0.0.1", 0) as server, ExitStack() as stack:
        for _ in range(LIMITS.per_peer):
            connection = stack.enter_context(connect(server, "127.0.0.2", window=2048))
            connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert ask(server, "/livez") == 200
        wait_for(lambda: not count_threads(before), "the end of all connections")
        assert count_unfinished(server.port) == 0


def test_a_long_head_is_not_read_to_its_end(server: ProbeServer) -> None:
    with connect(server, "127.0.0.1") as connection:
        connection.sendall(b"GET /livez HTTP/1.0\r\nX: " + b"x" * MAX_HEAD)
        assert is_closed(connection)


def test_a_head_that_comes_byte_by_byte_has_one_deadline(server: ProbeServer, clock: Clock) -> None:
    with connect(server, "127.0.0.1") as connection:
        connection.settimeout(0.005)
        sent = 0
        while True:
            try:
                connection.sendall(b"x")
                sent += 1
                clock.now += probes.HEAD_SECONDS / 8
                if connection.recv(1) == b"":
                    break
            except TimeoutError:
                assert sent < MAX_HEAD
            except ConnectionError:
                break
    assert sent < MAX_HEAD


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01 not HTTP\r\n\r\n", b"GET /metrics HTTP/1.1\r\n\r\n"], ids=["junk", "gone"]
)
def test_peers_write_no_log(server: ProbeServer, capfd: pytest.CaptureFixture[str], sent: bytes) -> None:
    before = threading.enumerate()
    for _ in range(3):
        for _ in range(LIMITS.per_peer):
            with connect(server, "127.0.0.2") as connection:
                connection.sendall(sent)
        # It is accepted after all of them.
        assert ask(server, "/livez") == 200
        wait_for(lambda: not count_threads(before), "the end of all connections")
    assert capfd.readouterr().err == ""


def test_a_broken_probe_has_failed_and_is_logged_a_few_times(
    server: ProbeServer, clock: Clock, capfd: pytest.CaptureFixture[str]
) -> None:
    # No peer has too many at once, however late the server sees that the former ones have closed.
    peers = [f"127.0.0.{2 + number % LIMITS.per_peer}" for number in range(30)]
    assert {ask(server, "/broken", peer) for peer in peers} == {500}
    assert capfd.readouterr().err.count("Traceback") == FAULTS.burst
    clock.now += 1 / FAULTS.refill
    assert {ask(server, "/broken") for _ in range(3)} == {500}
    assert capfd.readouterr().err.count("Traceback") == 1
