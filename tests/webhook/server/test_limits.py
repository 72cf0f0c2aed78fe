"""Attacks on `multus-eni serve` at the chart's own memory limit: the honest review beside them is answered.

The attackers come from other addresses of this machine than the API server does, as they would in a cluster.
Connections, answers and bytes are counted, never time.
"""

from __future__ import annotations

import contextlib
import re
import resource
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path

import pytest
import yaml

from common.connection_limits import Refusal
from tests import http_client
from tests.closed_connections import count_unfinished
from tests.cluster.waiting import wait_for
from tests.cluster.webhook import WebhookServer
from tests.descriptors import no_descriptors
from tests.memory_cgroup import MemoryCgroup, memory_cgroup, usable
from tests.webhook import client_hellos
from tests.webhook.server.strange_requests import GOOD, review
from tests.webhook.tls_records import RawRecords
from tests.webhook.wire import Connection, Reply, head, request
from webhook.server.body import DECODE_RATE, MAX_BODY, MAX_LARGE_BODIES
from webhook.server.listener import LIMITS
from webhook.server.tls_records import SMALL_RECORDS

VALUES = Path(__file__).parents[3] / "charts" / "multus-eni-injector" / "values.yaml"
API_SERVER = "127.0.0.1"
ATTACKER = "127.0.0.2"
MEBIBYTE = 1 << 20
LARGE = GOOD + b" " * (MEBIBYTE - len(GOOD))
"""An honest review of 1 MiB."""


def filled(before: str, part: str, after: str) -> bytes:
    """Write a review of a pod, filled up with a part to nearly the largest size; `#` in it is a number."""
    count = (MAX_BODY - 8192) // len(part.replace("#", "0" * 7) + ",")
    parts = ",".join([part.replace("#", "%07d")] * count) % (tuple(range(count)) if "#" in part else ())
    return review(f"{before}{parts}{after}".encode())


EXPANDING: dict[str, Callable[[], bytes]] = {
    "labels": lambda: filled('{"metadata":{"labels":{', '"#":""', "}}}"),
    "node selector": lambda: filled('{"spec":{"nodeSelector":{', '"#":""', "}}}"),
    "limits": lambda: filled('{"spec":{"containers":[{"resources":{"limits":{', '"#":1', "}}}]}}"),
    "commands": lambda: filled('{"spec":{"containers":[', '{"command":[' + '"a",' * 9999 + '"a"]}', "]}}"),
    "environments": lambda: filled('{"spec":{"initContainers":[', '{"env":[' + "{}," * 9999 + "{}]}", "]}}"),
    "projections": lambda: filled(
        '{"spec":{"volumes":[', '{"projected":{"sources":[' + "{}," * 9999 + "{}]}}", "]}}"
    ),
    "wide characters": lambda: filled('{"metadata":{"annotations":{"a":"\U0001f600', "#,", '"}}}'),
}


@cache
def chart_limit() -> int:
    """Return the memory limit of the chart's webhook, in bytes."""
    limit = yaml.safe_load(VALUES.read_text(encoding="utf-8"))["webhook"]["resources"]["limits"]["memory"]
    assert limit.endswith("Mi"), limit
    return int(limit[:-2]) * MEBIBYTE


@pytest.fixture
def cgroup() -> Iterator[MemoryCgroup | None]:
    if not usable():
        # Without rights to cgroups the largest resident memory is compared with the limit anyway.
        yield None
        return
    with memory_cgroup(chart_limit()) as made:
        yield made
        assert made.kills == 0


@pytest.fixture
def server(tmp_path: Path, cgroup: MemoryCgroup | None) -> Iterator[WebhookServer]:
    launcher = cgroup.launcher if cgroup else ()
    with WebhookServer(tmp_path, options=["--metrics-port=0"], launcher=launcher) as server:
        yield server
        server.process.check()
        assert honest(server).review["allowed"] is True
        assert peak(server) <= chart_limit()


def peak(server: WebhookServer) -> int:
    """Return the largest resident memory of the process in bytes (proc(5), VmHWM)."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{server.process.pid}/status").read_text("ascii"))
    assert found is not None
    return int(found[1]) * 1024


def honest(server: WebhookServer, body: bytes = GOOD) -> Reply:
    """Send a review as the API server does, over a connection of its own."""
    with Connection(server, source=API_SERVER) as connection:
        reply = connection.ask(body)
    assert reply is not None
    assert reply.status == 200, reply
    return reply


def metric(server: WebhookServer, name: str) -> float:
    (started,) = server.events("started")
    text = http_client.get(f"http://127.0.0.1:{started['metrics_port']}/metrics").data.decode()
    found = re.search(rf"^multus_eni_webhook_{re.escape(name)} (\S+)$", text, re.MULTILINE)
    assert found is not None, name
    return float(found[1])


def refused(server: WebhookServer) -> float:
    return sum(metric(server, f'refused_connections_total{{reason="{reason}"}}') for reason in Refusal)


def descriptors(server: WebhookServer) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def connect(stack: ExitStack, server: WebhookServer, source: str) -> socket.socket:
    """Open a TCP connection that says nothing."""
    return stack.enter_context(
        socket.create_connection(("127.0.0.1", server.port), timeout=20, source_address=(source, 0))
    )


def is_open(connection: socket.socket) -> bool:
    """Return whether the server has not closed it."""
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def test_open_files_are_raised_to_the_hard_limit(server: WebhookServer) -> None:
    soft, hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    assert soft == hard


def test_thousands_of_silent_connections_from_one_address(server: WebhookServer) -> None:
    with Connection(server, source=API_SERVER) as pooled, ExitStack() as stack:
        assert pooled.ask(GOOD) is not None
        count = 0
        for number in range(5000):
            try:
                connection = connect(stack, server, ATTACKER)
            except OSError:
                continue
            count += 1
            if number % 500 == 0:
                honest(server)
                assert is_open(connection) or number >= LIMITS.per_peer
        wait_for(lambda: refused(server) >= count - LIMITS.per_peer, "refusal of all above the limit")
        assert metric(server, "connections") <= LIMITS.connections
        assert descriptors(server) <= LIMITS.connections + 64
        # The connection that the API server had before is still there.
        assert pooled.ask(GOOD) is not None


def test_without_descriptors_open_connections_are_served_and_new_ones_wait(server: WebhookServer) -> None:
    (started,) = server.events("started")
    with Connection(server, source=API_SERVER) as pooled, ExitStack() as stack:
        assert pooled.ask(GOOD) is not None
        with no_descriptors(server.process.pid):
            # The kernel takes them; the webhook can't.
            waiting = [connect(stack, server, ATTACKER) for _ in range(64)]
            scrape = stack.enter_context(socket.create_connection(("127.0.0.1", started["metrics_port"])))
            wait_for(lambda: server.events("accept_failed"), "connections that can't be accepted")
            for _ in range(64):
                reply = pooled.ask(GOOD)
                assert reply is not None
                assert reply.status == 200
        honest(server)
        assert all(map(is_open, waiting))
        scrape.settimeout(20)
        scrape.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert scrape.recv(64).startswith(b"HTTP/1.0 200")
    assert len(server.events("accept_failed")) < 16


def test_an_address_that_connects_again_and_again_is_refused(server: WebhookServer) -> None:
    def refused_after_a_burst() -> bool:
        for _ in range(int(LIMITS.connects.burst)):
            with contextlib.suppress(OSError), ExitStack() as stack:
                connect(stack, server, ATTACKER)
        return metric(server, f'refused_connections_total{{reason="{Refusal.TOO_FAST}"}}') > 0

    wait_for(refused_after_a_burst, "refusal of a peer that connects too often")
    honest(server)


def test_keep_alive_connections_from_many_addresses_give_way(server: WebhookServer) -> None:
    with Connection(server, source=API_SERVER) as pooled, ExitStack() as stack:
        assert pooled.ask(GOOD) is not None
        for number in range(LIMITS.connections + 64):
            connection = stack.enter_context(Connection(server, source=f"127.0.1.{number % 64 + 1}"))
            with contextlib.suppress(OSError):
                connection.ask(GOOD)
        assert metric(server, "connections") <= LIMITS.connections
        for _ in range(8):
            honest(server)
        assert metric(server, f'refused_connections_total{{reason="{Refusal.EVICTED}"}}') > 0
        assert pooled.ask(GOOD) is not None


@pytest.mark.parametrize("honest_body", [GOOD, LARGE], ids=["small", "large"])
def test_slow_large_bodies_hold_nobody_up(server: WebhookServer, honest_body: bytes) -> None:
    with ExitStack() as stack:
        for _ in range(64):
            connection = stack.enter_context(Connection(server, source=ATTACKER))
            connection.send(head(b"Content-Length: %d" % MAX_BODY) + b" " * 1024)
        wait_for(lambda: metric(server, "in_flight_requests") == 64, "arrival of all heads")
        honest(server, honest_body)
        # None of them had ended when the honest one was answered.
        assert metric(server, "in_flight_requests") == 64


def test_a_flood_of_large_reviews_is_decoded_at_a_bounded_rate(server: WebhookServer) -> None:
    """Small reviews wait for each large one that is decoded: it is these that are counted."""
    stop = threading.Event()
    flood = request(GOOD + b" " * (MAX_BODY - len(GOOD)))

    def attack(connection: Connection) -> None:
        with contextlib.suppress(OSError):
            while not stop.is_set():
                connection.send(flood)
                if connection.reply() is None:
                    return

    begun = time.monotonic()
    with ExitStack() as stack, ThreadPoolExecutor(3) as attackers:
        for _ in range(3):
            attackers.submit(attack, stack.enter_context(Connection(server, source=ATTACKER)))
        pooled = stack.enter_context(Connection(server, source=API_SERVER))
        decoded, small = 0, 0
        wait_for(lambda: len(server.events("decision")) > DECODE_RATE.burst // MAX_BODY, "the first of them")
        for _ in range(400):
            reply = pooled.ask(GOOD)
            assert reply is not None
            assert reply.status == 200
            small += 1
        honest(server, LARGE)
        decoded = len(server.events("decision")) - small - 1
        seconds = time.monotonic() - begun
        # What is read ahead of their bodies is not taken for TLS without content.
        assert metric(server, f'refused_connections_total{{reason="{Refusal.OVERHEAD}"}}') == 0
        stop.set()
    assert 0 < decoded * MAX_BODY <= DECODE_RATE.burst + seconds * DECODE_RATE.refill + MAX_LARGE_BODIES


def send_each(connection: Connection, data: bytes) -> None:
    """Send each byte in a TLS record of its own."""
    for byte in data:
        connection.send(bytes((byte,)))


def test_whoever_sends_records_of_a_byte_is_refused(server: WebhookServer) -> None:
    """As with KeyUpdates, which Python's ssl can't send: TLS beside data is counted by peer."""
    refused = partial(metric, server, f'refused_connections_total{{reason="{Refusal.OVERHEAD}"}}')
    with Connection(server, source=API_SERVER) as pooled, Connection(server, source=ATTACKER) as attacker:
        assert pooled.ask(LARGE) is not None
        attacker.send(head(b"Content-Length: %d" % MAX_BODY))
        with pytest.raises(OSError, match=r"reset|Broken|EOF"):
            send_each(attacker, b" " * MAX_BODY)
        assert refused() == 1
        reply = pooled.ask(LARGE)
        assert reply is not None
        assert reply.status == 200


def send_key_updates(connection: RawRecords) -> None:
    for _ in range(15):
        connection.update_key(100)


def send_empty_records(connection: RawRecords) -> None:
    """OpenSSL ends a connection after 32 of them in a row."""
    for number in range(1500):
        connection.send(b"" if number % 32 else b" ")


@pytest.mark.parametrize("send", [send_key_updates, send_empty_records])
def test_tls_without_content_is_counted_however_short_its_connections_are(
    server: WebhookServer, tmp_path: Path, send: Callable[[RawRecords], None]
) -> None:
    refused = partial(metric, server, f'refused_connections_total{{reason="{Refusal.OVERHEAD}"}}')
    with Connection(server, source=API_SERVER) as pooled:
        for _ in range(64):
            with contextlib.suppress(OSError), RawRecords(server, tmp_path, ATTACKER) as attacker:
                attacker.send(head(b"Content-Length: %d" % MAX_BODY))
                send(attacker)
        assert refused() > 0
        reply = pooled.ask(GOOD)
        assert reply is not None
        assert reply.status == 200


def test_tls_without_content_is_counted_while_its_connection_is_closed(
    server: WebhookServer, tmp_path: Path
) -> None:
    """After an answer with `Connection: close` a peer has 2 s to close, and what it sends reaches no HTTP."""
    refused = partial(metric, server, f'refused_connections_total{{reason="{Refusal.OVERHEAD}"}}')
    with Connection(server, source=API_SERVER) as pooled, ExitStack() as stack:
        answer = pooled.ask(GOOD)
        assert answer is not None
        for _ in range(16):
            with contextlib.suppress(OSError):
                attacker = stack.enter_context(RawRecords(server, tmp_path, ATTACKER))
                attacker.send(head(b"Connection: close", b"Content-Length: %d" % len(GOOD)) + GOOD)
                attacker.receive(len(answer.body))
                attacker.update_key(int(SMALL_RECORDS.burst) // 4)
        wait_for(lambda: refused() > 0, "the end of some")
        reply = pooled.ask(GOOD)
        assert reply is not None
        assert reply.status == 200


def send_many(connection: RawRecords) -> None:
    for _ in range(100_000):
        connection.send(b"")


def test_empty_records_in_a_row_end_their_connection(server: WebhookServer, tmp_path: Path) -> None:
    with (
        RawRecords(server, tmp_path, ATTACKER) as attacker,
        pytest.raises(OSError, match=r"reset|Broken"),
    ):
        send_many(attacker)
    honest(server)


def test_unfinished_large_bodies_give_way_to_an_honest_one(server: WebhookServer) -> None:
    unfinished = head(b"Content-Length: %d" % MAX_BODY) + b" " * (MAX_BODY - 1)
    with ExitStack() as stack:
        opened = [stack.enter_context(Connection(server, source=ATTACKER)) for _ in range(24)]
        for connection in opened:
            with contextlib.suppress(OSError):
                connection.send(unfinished)
        honest(server, LARGE)
        turned_away = metric(server, 'rejected_requests_total{code="503"}')
        assert turned_away >= len(opened) - MAX_LARGE_BODIES // MAX_BODY
        replies = [connection.reply() for connection in opened[:3]]
        assert {reply.status for reply in replies if reply} <= {503, 408}


def test_bodies_that_grow_when_decoded_stay_within_the_limit(server: WebhookServer) -> None:
    """Each kind comes from an address of its own, which may have as much decoded as if it were alone."""
    for number, (kind, body) in enumerate((kind, make()) for kind, make in EXPANDING.items()):
        assert MAX_BODY - (128 << 10) < len(body) <= MAX_BODY
        with ExitStack() as stack:
            source = f"127.0.0.{2 + number}"
            opened = [stack.enter_context(Connection(server, source=source)) for _ in range(4)]
            for connection in opened:
                with contextlib.suppress(OSError):
                    connection.send(request(body))
            replies = [connection.reply() for connection in opened]
        assert {reply.status for reply in replies if reply} <= {200, 503}, kind
        assert peak(server) <= chart_limit(), kind


def test_responses_that_nobody_reads_are_not_kept(server: WebhookServer) -> None:
    with ExitStack() as stack:
        for _ in range(32):
            connection = stack.enter_context(Connection(server, source=ATTACKER, timeout=1))
            with contextlib.suppress(OSError):
                for _ in range(100):
                    connection.send(request(GOOD) * 20)
        honest(server)
        honest(server, LARGE)


def test_requests_in_one_piece_that_are_no_reviews_hold_nobody_up(server: WebhookServer) -> None:
    """Pipelined, and nobody reads their answers; each method comes from an address of its own."""
    for number, method in enumerate([b"HEAD", b"GET", b"OPTIONS"]):
        with ExitStack() as stack:
            for _ in range(32):
                attacker = Connection(server, source=f"127.0.0.{2 + number}", timeout=1)
                connection = stack.enter_context(attacker)
                with contextlib.suppress(OSError):
                    connection.send(head(start=method + b" %b HTTP/1.1", path=b"/readyz") * 5000)
            honest(server)
            honest(server, LARGE)


@pytest.mark.parametrize(
    ("names", "size"), [(16_000, 16_384), (0, 1)], ids=["many names", "a record for each byte"]
)
def test_hellos_that_cost_openssl_much_are_refused_and_counted(
    server: WebhookServer, names: int, size: int
) -> None:
    """OpenSSL takes each of them, and keeps some MiB of 16,000 names."""
    hello = client_hellos.message(client_hellos.usual(), client_hellos.authorities(names))
    handshakes = partial(metric, server, f'refused_connections_total{{reason="{Refusal.HANDSHAKE}"}}')
    with Connection(server, source=API_SERVER) as pooled, ExitStack() as stack:
        for _ in range(LIMITS.per_peer):
            with contextlib.suppress(OSError):
                connect(stack, server, ATTACKER).sendall(client_hellos.records(hello, size))
        honest(server)
        wait_for(lambda: handshakes() == LIMITS.per_peer, "the end of all handshakes")
        assert pooled.ask(GOOD) is not None


def test_what_a_peer_does_not_read_does_not_stay_in_the_kernel(server: WebhookServer) -> None:
    """20 answers each, a window of a few KiB, and the peer says that it has no more to send."""
    with ExitStack() as stack:
        for _ in range(32):
            connection = stack.enter_context(Connection(server, source=ATTACKER, window=2048))
            connection.send(request(GOOD) * 20)
            connection.shut_down()
        honest(server)
        wait_for(lambda: metric(server, "connections") == 0, "the end of all connections")
        assert count_unfinished(server.port) == 0


def test_handshakes_that_do_not_end_are_cut_off(server: WebhookServer) -> None:
    with ExitStack() as stack:
        opened = [connect(stack, server, ATTACKER) for _ in range(64)]
        for connection in opened:
            connection.sendall(b"\x16\x03\x01\x02\x00")
        honest(server)
        waiting = selectors.DefaultSelector()
        for connection in opened:
            waiting.register(connection, selectors.EVENT_READ)
        wait_for(lambda: not any(map(is_open, opened)), "end of the handshakes", timeout=30)
        wait_for(lambda: metric(server, "connections") == 0, "end of their bookkeeping")


def test_nonsense_is_logged_at_a_bounded_rate(server: WebhookServer) -> None:
    before = server.process.log.stat().st_size
    for _ in range(300):
        with contextlib.suppress(OSError, ssl.SSLError), Connection(server, source=ATTACKER) as connection:
            connection.send(b"nonsense\r\n\r\n")
            connection.reply()
    honest(server)
    assert len(server.events("library")) < 150
    assert server.process.log.stat().st_size - before < 64 << 10
