"""The kept connection: requests are sent once, and answers belong to the request before them."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from ipagent.aws import ec2_calls
from ipagent.aws.ec2_query import connection_pool as product
from ipagent.aws.ec2_query.client import QueryClient
from ipagent.aws.ec2_query.connection_pool import ConnectionPool, NoAnswerError, NotSentError
from ipagent.aws.ec2_query.query_protocol import NotAnAnswerError, RefusedError
from ipagent.aws.ec2_query.signature import Keys
from ipagent.aws.urls import host_of
from ipagent.interrupting_signals import InterruptingSignals, StopSignal
from tests.cluster.certificates import Authority
from tests.ipagent.aws.ec2_query.raw_server import RawServer, Sent, answer, raw_server

REGION = "eu-central-1"
KEYS = Keys("AKIDEXAMPLE", "the-secret-key", "the-session-token", float("inf"))


def subnets(token: str) -> bytes:
    return f"<DescribeSubnetsResponse><nextToken>{token}</nextToken></DescribeSubnetsResponse>".encode()


def numbered(number: int) -> Sent:
    """Answer with the request's number."""
    return Sent(answer(subnets(f"answer {number}")))


@contextmanager
def client_of(url: str, ca_file: str = "") -> Iterator[QueryClient]:
    with closing(QueryClient(ConnectionPool(url, ca_file), REGION, lambda: KEYS)) as client:
        yield client


def asked(client: QueryClient) -> str:
    return str(client.describe_subnets()["NextToken"])


def test_calls_share_one_connection_and_have_their_own_answers() -> None:
    with raw_server(numbered) as served, client_of(served.url) as client:
        assert [asked(client) for _ in range(3)] == ["answer 0", "answer 1", "answer 2"]
    assert (served.connections, len(served.requests)) == (1, 3)


CALLS: dict[str, Callable[[QueryClient], object]] = {
    "AssignPrivateIpAddresses": lambda ec2: ec2.assign_private_ip_addresses(NetworkInterfaceId="eni-1"),
    "AssignIpv6Addresses": lambda ec2: ec2.assign_ipv6_addresses(NetworkInterfaceId="eni-1"),
    "UnassignPrivateIpAddresses": lambda ec2: ec2.unassign_private_ip_addresses(NetworkInterfaceId="eni-1"),
    "UnassignIpv6Addresses": lambda ec2: ec2.unassign_ipv6_addresses(NetworkInterfaceId="eni-1"),
    "DescribeNetworkInterfaces": lambda ec2: ec2.describe_network_interfaces(NetworkInterfaceId="eni-1"),
    "DescribeSubnets": lambda ec2: ec2.describe_subnets(NetworkInterfaceId="eni-1"),
}


@pytest.mark.parametrize("operation", CALLS)
def test_a_request_is_a_signed_form(operation: str) -> None:
    body = f"<{operation}Response><return>true</return></{operation}Response>".encode()
    with raw_server(lambda _: Sent(answer(body))) as served, client_of(served.url) as client:
        assert CALLS[operation](client) == {"Return": "true"}
    head, _, form = served.requests[0].partition(b"\r\n\r\n")
    first, *lines = head.decode("ascii").split("\r\n")
    headers = [line.partition(": ") for line in lines]
    assert first == "POST / HTTP/1.1"
    assert form == f"Action={operation}&Version=2016-11-15&NetworkInterfaceId=eni-1".encode()
    names = sorted(name.lower() for name, _, _ in headers)
    assert names == [
        *("accept-encoding", "authorization", "content-length", "content-type", "host", "user-agent"),
        *("x-amz-date", "x-amz-security-token"),
    ]
    (host,) = [value for name, _, value in headers if name.lower() == "host"]
    assert f"http://{host}" == served.url


def test_a_connection_that_the_server_has_closed_is_made_anew() -> None:
    def once(number: int) -> Sent:
        return Sent(numbered(number).data, hang_up=True)

    with raw_server(once) as served, client_of(served.url) as client:
        for number in range(3):
            served.hung_up.clear()
            assert asked(client) == f"answer {number}"
            assert served.hung_up.wait(30)
    assert (served.connections, len(served.requests)) == (3, 3)


@pytest.mark.parametrize(
    "sent",
    [
        answer(subnets("t"), "HTTP/1.1 200 OK\r\nConnection: close"),
        b"HTTP/1.0 200 OK\r\n\r\n" + subnets("t"),
        b"HTTP/1.1 100 Continue\r\n\r\n" + answer(subnets("t")),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (subnets("t")[:9], subnets("t")[9:]))
        + b"0\r\n\r\n",
    ],
    ids=["close", "without a length", "100 Continue", "chunked"],
)
def test_answers_have_any_form_that_http_knows(sent: bytes) -> None:
    with (
        raw_server(lambda _: Sent(sent, hang_up=b"100 " not in sent)) as served,
        client_of(served.url) as client,
    ):
        assert asked(client) == "t"
    assert len(served.requests) == 1


WHOLE = answer(subnets("t"))
LOST = {
    "nothing": b"",
    "half a status": WHOLE[:10],
    "half a body": WHOLE[:-30],
    "half the headers": WHOLE[:20],
    "headers alone": WHOLE[: WHOLE.index(b"<")],
    "half a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n<Describe",
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "too many headers": b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n",
}


@pytest.mark.parametrize("sent", LOST.values(), ids=LOST)
def test_a_request_whose_answer_is_lost_is_sent_once(sent: bytes) -> None:
    def script(number: int) -> Sent:
        return numbered(number) if number else Sent(sent, hang_up=True)

    with raw_server(script) as served, client_of(served.url) as client:
        with pytest.raises(NoAnswerError) as caught:
            asked(client)
        assert len(served.requests) == 1
        assert_no_secret(caught.value)
        assert asked(client) == "answer 1"


def assert_no_secret(error: BaseException | None) -> None:
    """No secret is in what an error and those before it say."""
    while error is not None:
        for text in (str(error), repr(error)):
            assert KEYS.secret_key not in text
            assert KEYS.token not in text
            assert "Signature=" not in text
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


@pytest.mark.parametrize(
    ("sent", "raised"),
    [
        (answer(b"down", "HTTP/1.1 503 Service Unavailable"), NotAnAnswerError),
        (
            answer(
                b"<Response><Errors><Error><Code>c</Code></Error></Errors></Response>",
                "HTTP/1.1 400 Bad Request",
            ),
            RefusedError,
        ),
    ],
)
def test_after_an_error_the_connection_is_kept(sent: bytes, raised: type[Exception]) -> None:
    def script(number: int) -> Sent:
        return numbered(number) if number else Sent(sent)

    with raw_server(script) as served, client_of(served.url) as client:
        with pytest.raises(raised) as caught:
            asked(client)
        assert_no_secret(caught.value)
        assert asked(client) == "answer 1"
    assert served.connections == 1


def test_an_answer_that_does_not_end_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(product, "MAX_BYTES", 100)
    long = Sent(answer(b"x" * 101))
    with (
        raw_server(lambda number: numbered(number) if number else long) as served,
        client_of(served.url) as client,
    ):
        with pytest.raises(NoAnswerError, match="more than 100 bytes"):
            asked(client)
        assert asked(client) == "answer 1"


def test_a_silent_server_is_waited_for_as_long_as_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ec2_calls, "READ_SECONDS", 0.05)
    over = threading.Event()

    def late(number: int) -> Sent:
        if number == 0:
            over.wait(30)
        return numbered(number)

    with raw_server(late) as served, client_of(served.url) as client:
        with pytest.raises(NoAnswerError, match=r"no answer within 0\.05 s"):
            asked(client)
        monkeypatch.setattr(ec2_calls, "READ_SECONDS", 30)
        over.set()
        # The number tells that one request came before.
        assert asked(client) == "answer 1"


def test_after_a_signal_the_old_answer_is_not_taken_for_the_next() -> None:
    stopped = threading.Event()

    def ring(number: int) -> Sent:
        if number == 0:
            os.kill(os.getpid(), signal.SIGALRM)
            assert stopped.wait(30)
        return numbered(number)

    with raw_server(ring) as served, client_of(served.url) as client:
        with InterruptingSignals(), pytest.raises(StopSignal):
            asked(client)
        stopped.set()
        assert asked(client) == "answer 1"
    assert served.connections == 2


@pytest.mark.parametrize(
    "error", [socket.gaierror(-2, "Name or service not known"), TimeoutError("timed out")]
)
def test_without_a_connection_nothing_is_sent(error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with client_of("http://ec2.example") as client, pytest.raises(NotSentError) as caught:
        asked(client)
    assert_no_secret(caught.value)


def test_a_closed_port_is_no_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with client_of(url) as client, pytest.raises(NotSentError, match="refused"):
        asked(client)


@pytest.mark.parametrize("host", ["a..b", "a" * 64])
def test_a_name_that_can_be_none_is_no_connection(host: str) -> None:
    with client_of(f"http://{host}") as client, pytest.raises(NotSentError):
        asked(client)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://[::1]", ("::1", 80)),
        ("http://[::1]:8080", ("::1", 8080)),
        ("http://[fd00:ec2::23]/", ("fd00:ec2::23", 80)),
        ("http://ec2.example", ("ec2.example", 80)),
        ("https://ec2.example", ("ec2.example", 443)),
        ("https://[::1]", ("::1", 443)),
        ("https://EC2.example:443", ("ec2.example", 443)),
    ],
)
def test_the_server_is_the_endpoints(
    url: str, address: tuple[str, int], authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached: list[Any] = []

    def connect(to: tuple[bytes, int], *_: object) -> NoReturn:
        reached.append((to[0].decode(), to[1]))
        raise OSError("no network")

    monkeypatch.setattr(socket, "create_connection", connect)
    ca_file = trusting(authority, tmp_path)
    with client_of(url, ca_file) as client, pytest.raises(NotSentError):
        asked(client)
    assert reached == [address]
    # The host that is signed is the one that is sent.
    assert ConnectionPool(url, ca_file).host == host_of(url)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("theirs")


def trusting(authority: Authority, folder: Path) -> str:
    path = folder / "ca.pem"
    path.write_bytes(authority.pem)
    return str(path)


@contextmanager
def tls_server(authority: Authority, folder: Path, version: ssl.TLSVersion) -> Iterator[RawServer]:
    pair = authority.issue(["127.0.0.1"], folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.public, pair.private)
    context.minimum_version = context.maximum_version = version
    with raw_server(numbered, context) as served:
        yield served


@pytest.mark.parametrize(
    ("version", "name"), [(ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")]
)
def test_calls_share_one_connection_by_tls(
    version: ssl.TLSVersion, name: str, authority: Authority, tmp_path: Path
) -> None:
    # With TLS 1.3 session tickets come after the handshake: they are no end of the connection.
    ca_file = trusting(authority, tmp_path)
    with tls_server(authority, tmp_path, version) as served, client_of(served.url, ca_file) as client:
        assert [asked(client) for _ in range(3)] == ["answer 0", "answer 1", "answer 2"]
    assert (served.connections, served.tls) == (1, {name})


def test_a_server_of_another_ca_gets_no_request(authority: Authority, tmp_path: Path) -> None:
    ca_file = trusting(Authority("another"), tmp_path)
    with (
        tls_server(authority, tmp_path, ssl.TLSVersion.TLSv1_3) as served,
        client_of(served.url, ca_file) as client,
        pytest.raises(NotSentError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        asked(client)
    assert served.requests == []


def test_a_ca_bundle_that_can_not_be_read_is_an_error_of_the_files(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    for name, error in (("missing.pem", FileNotFoundError), ("empty.pem", ssl.SSLError), (".", OSError)):
        with pytest.raises(error):
            ConnectionPool("https://ec2.example", str(tmp_path / name))
