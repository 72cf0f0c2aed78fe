"""A connection by HTTP/1.1: kept as long as both sides let it, and never with a part of an old answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from ipagent.aws.http_connection import HttpConnection
from ipagent.aws.http_messages import MalformedError, TooLargeError
from tests.ipagent.aws.ec2_query.raw_server import Sent, answer, raw_server


@contextmanager
def connection_to(url: str) -> Iterator[HttpConnection]:
    with closing(HttpConnection(url, connect_seconds=30, read_seconds=30)) as connection:
        yield connection


def asked(connection: HttpConnection) -> bytes:
    return connection.request("POST", "/", {}, max_bytes=100).body


def numbered(number: int) -> bytes:
    return answer(b"answer %d" % number)


@pytest.mark.parametrize(
    ("first", "connections"),
    [
        (answer(b"answer 0"), 1),
        (answer(b"answer 0", "HTTP/1.1 404 Not Found"), 1),
        (answer(b"answer 0", "HTTP/1.0 200 OK\r\nConnection: keep-alive"), 1),
        (answer(b"answer 0", "HTTP/1.1 200 OK\r\nConnection: close"), 2),
        (answer(b"answer 0", "HTTP/1.0 200 OK"), 2),
        # What nobody has asked for would be taken for the next answer.
        (answer(b"answer 0") + numbered(7), 2),
    ],
    ids=["kept", "an error", "kept by HTTP/1.0", "close", "HTTP/1.0", "more than the answer"],
)
def test_a_connection_is_kept_as_long_as_the_server_keeps_it(first: bytes, connections: int) -> None:
    def script(number: int) -> Sent:
        return Sent(numbered(number) if number else first)

    with raw_server(script) as served, connection_to(served.url) as connection:
        assert [asked(connection) for _ in range(3)] == [b"answer 0", b"answer 1", b"answer 2"]
    assert served.connections == connections


@pytest.mark.parametrize(
    ("first", "error"),
    [
        (Sent(b"", hang_up=True), ConnectionResetError),
        (Sent(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), MalformedError),
        (Sent(answer(b"a" * 101)), TooLargeError),
        (Sent(answer(b"answer 0")[:-1], hang_up=True), MalformedError),
    ],
    ids=["nothing", "another protocol", "too much", "a part"],
)
def test_after_an_answer_that_is_none_the_next_one_is_its_own(first: Sent, error: type[Exception]) -> None:
    def script(number: int) -> Sent:
        return Sent(numbered(number)) if number else first

    with raw_server(script) as served, connection_to(served.url) as connection:
        with pytest.raises(error):
            asked(connection)
        assert not connection.is_open()
        assert asked(connection) == b"answer 1"
    assert (served.connections, len(served.requests)) == (2, 2)


def test_what_can_not_be_sent_is_not() -> None:
    with (
        raw_server(lambda number: Sent(numbered(number))) as served,
        connection_to(served.url) as connection,
    ):
        with pytest.raises(ValueError, match="can't be sent"):
            connection.request("POST", "/", {"a": "b\r\nc: d"}, max_bytes=100)
        assert asked(connection) == b"answer 0"
    assert len(served.requests) == 1


def test_it_is_open_from_its_first_request_to_the_servers_end() -> None:
    with (
        raw_server(lambda number: Sent(numbered(number), hang_up=number == 1)) as served,
        connection_to(served.url) as connection,
    ):
        assert not connection.is_open()
        asked(connection)
        assert connection.is_open()
        asked(connection)
        assert served.hung_up.wait(30)
        assert not connection.is_open()
