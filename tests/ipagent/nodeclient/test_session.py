"""Connections come and go: what is stated is stated on each of them, and how long it waits in between."""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ipagent.node_protocol import ClaimStatus
from ipagent.nodeclient import session as module
from ipagent.nodeclient.session import CONNECT_SECONDS, HEAD_SECONDS, NoToken, ReconnectingSession

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
DONE = b'{"serial":%d,"state":"assigned","code":0}\n'
FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\n{}"


class Server:
    """A port that does what a test says."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.open: list[socket.socket] = []

    def accept(self) -> socket.socket:
        connection, _ = self.listener.accept()
        connection.settimeout(20)
        self.open.append(connection)
        return connection

    def close(self) -> None:
        for each in (self.listener, *self.open):
            each.close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def talk(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReconnectingSession]:
    monkeypatch.setattr(module, "random_value", lambda: 0.5)
    (tmp_path / "token").write_text("first")
    made = ReconnectingSession("127.0.0.1", server.port, str(tmp_path / "token"), "test")
    made.set_statement({"contract": 1})
    yield made
    made.close()


def turn(talk: ReconnectingSession, now: float = 0.0) -> list[ClaimStatus]:
    """Wait for something to happen on the connection, and take it in."""
    poll = select.poll()
    line = talk.watch(poll)
    ready = dict(poll.poll(20_000))
    return talk.ready(ready[line], now)


def connected(talk: ReconnectingSession, server: Server, now: float = 0.0) -> socket.socket:
    talk.step(now)
    turn(talk, now)
    return server.accept()


def statement(connection: socket.socket) -> dict[str, Any]:
    """Read what is stated next."""
    data = b""
    while not data.endswith(b"\n\r\n"):
        data += connection.recv(1 << 16)
    found: dict[str, Any] = json.loads(data.splitlines()[-2])
    return found


def test_a_new_connection_states_everything_with_a_new_token(
    talk: ReconnectingSession, server: Server, tmp_path: Path
) -> None:
    first = connected(talk, server)
    assert b"Bearer first\r\n" in first.recv(1 << 16)
    first.close()
    turn(talk)
    assert talk.trouble == "it has closed the connection"
    (tmp_path / "token").write_text("second\n")
    due = talk.due()
    assert due is not None
    again = connected(talk, server, due)
    said = again.recv(1 << 16)
    assert b"Bearer second\r\n" in said
    assert b'"serial":1' in said


def test_only_statuses_of_the_last_statement_count(talk: ReconnectingSession, server: Server) -> None:
    connection = connected(talk, server)
    statement(connection)
    talk.set_statement({"contract": 1, "more": True})
    connection.sendall(HEAD + DONE % 1)
    assert turn(talk) == []
    talk.step(0.0)
    assert statement(connection) == {"contract": 1, "more": True, "serial": 2}
    connection.sendall(DONE % 2)
    (standing,) = turn(talk)
    assert (standing.serial, talk.trouble) == (2, "")


def test_keys_that_were_read_are_not_sent_again(talk: ReconnectingSession, server: Server) -> None:
    talk.set_statement({"contract": 1, "again": ["10.10.1.80"]})
    assert "again" in statement(connected(talk, server))
    talk.drop_key("again")
    server.open[0].close()
    turn(talk)
    due = talk.due()
    assert due is not None
    assert "again" not in statement(connected(talk, server, due))


def test_delays_double_up_to_a_limit_and_begin_anew_after_a_good_connection(
    talk: ReconnectingSession, server: Server
) -> None:
    delays = []
    now = 100.0
    for _ in range(7):
        connected(talk, server, now).close()
        turn(talk, now)
        due = talk.due()
        assert due is not None
        delays.append(due - now)
        now = due
    assert delays == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0])
    good = connected(talk, server, now)
    good.sendall(HEAD + DONE % 1)
    turn(talk, now)
    good.close()
    turn(talk, now + 3600)
    due = talk.due()
    assert due is not None
    assert due - now - 3600 == pytest.approx(0.05)


def test_after_the_start_and_after_a_refusal_it_asks_less_often(
    talk: ReconnectingSession, server: Server
) -> None:
    talk.slow_down()
    connected(talk, server).close()
    turn(talk)
    assert talk.due() == pytest.approx(0.25)
    connected(talk, server, 1.0).sendall(FORBIDDEN)
    turn(talk, 1.0)
    assert talk.refusal
    assert (talk.refusal.status, talk.trouble) == (403, "HTTP status 403: HTTP status 403")
    assert talk.due() == pytest.approx(1.0 + 30.0)
    # The next connection is another story.
    connected(talk, server, 31.0).close()
    turn(talk, 31.0)
    assert talk.refusal is None


def test_a_connection_that_no_answer_comes_from_is_given_up(
    talk: ReconnectingSession, server: Server
) -> None:
    talk.step(0.0)
    assert talk.due() == CONNECT_SECONDS
    turn(talk)
    server.accept()
    assert talk.due() == HEAD_SECONDS
    talk.step(HEAD_SECONDS)
    assert talk.trouble == "it does not answer"


def test_an_accepted_session_has_no_deadline(talk: ReconnectingSession, server: Server) -> None:
    connected(talk, server).sendall(HEAD)
    turn(talk)
    assert talk.due() is None


@pytest.mark.parametrize("token", ["", "a b", "x" * 5000, "\x00", "\xff"])
def test_a_malformed_token_is_not_sent(talk: ReconnectingSession, tmp_path: Path, token: str) -> None:
    (tmp_path / "token").write_text(token, encoding="latin-1")
    with pytest.raises(NoToken):
        talk.step(0.0)


def test_a_statement_that_does_not_fit_the_kernels_buffer_is_sent_in_parts(
    talk: ReconnectingSession, server: Server
) -> None:
    talk.set_statement({"contract": 1, "long": "x" * 20_000_000})
    talk.step(0.0)
    turn(talk)
    connection = server.accept()
    received = 0
    while received < 20_000_000:
        received += len(connection.recv(1 << 20))
        poll = select.poll()
        line = talk.watch(poll)
        if ready := dict(poll.poll(0)):
            talk.ready(ready[line], 0.0)
    assert talk.trouble == ""


def test_an_ipv6_host_is_written_as_one() -> None:
    assert ReconnectingSession("fd00::1", 9407, "", "test").authority == "[fd00::1]:9407"
