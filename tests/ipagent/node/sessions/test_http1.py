"""HTTP around a session: what is taken, in whatever pieces it comes, and what is refused how."""

from __future__ import annotations

import itertools
import json
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipagent import node_protocol
from ipagent.node.sessions.http1 import (
    MAX_FIELDS,
    BadRequest,
    RequestParser,
    error_response,
    read_head,
)

pytestmark = pytest.mark.pure

TOKEN = "eyJhbGciOiJSUzI1NiJ9.e30.c2ln"
HEAD = node_protocol.request("10.0.0.10:9407", TOKEN, "1.0")


def head(*fields: str, first: str = "POST /v1/session HTTP/1.1") -> bytes:
    return "\r\n".join([first, *fields, "", ""]).encode()


AUTHORIZED = f"Authorization: Bearer {TOKEN}"
CHUNKED = "Transfer-Encoding: chunked"


class Requests(RequestParser):
    """A parser that reads the body at once, as a session does whose token is a pod's."""

    def read(self, data: bytes) -> list[bytes]:
        waiting = self.head is None
        self.feed(data)
        if waiting and self.head is not None:
            self.accept()
        found = list(self.statements)
        self.statements.clear()
        return found


def test_what_the_slim_client_sends_is_read() -> None:
    requests = Requests()
    (line,) = requests.read(HEAD + node_protocol.chunk({"serial": 1}))
    assert requests.head
    assert (requests.head.token, requests.head.length, requests.head.expects) == (TOKEN, None, False)
    assert json.loads(line) == {"serial": 1}
    assert not requests.ended


def test_what_curl_sends_is_read() -> None:
    body = b'{"a":\n 1}'
    requests = Requests()
    whole = head("host: x", f"authorization: bearer {TOKEN}", f"Content-Length: {len(body)}") + body
    # --data-binary keeps newlines, and a line is a statement: curl's --data drops them.
    assert requests.read(whole) == [b'{"a":', b"1}"]
    assert requests.ended


def test_curl_may_ask_before_it_sends() -> None:
    requests = Requests()
    assert requests.read(head(AUTHORIZED, CHUNKED, "Expect: 100-continue")) == []
    assert requests.head
    assert requests.head.expects


@given(st.lists(st.integers(0, 400), max_size=12))
def test_the_pieces_in_which_it_comes_do_not_matter(cuts: list[int]) -> None:
    whole = HEAD + node_protocol.chunk({"serial": 1}) + b"3;x=y\r\n{}\n\r\n1\r\n[\r\n2\r\n]\n\r\n0\r\n\r\n"
    requests = Requests()
    edges = sorted({0, len(whole), *(cut % len(whole) for cut in cuts)})
    found = [line for start, stop in itertools.pairwise(edges) for line in requests.read(whole[start:stop])]
    assert found == [b'{"serial":1}', b"{}", b"[]"]
    assert requests.ended


def test_after_the_end_nothing_is_read() -> None:
    requests = Requests()
    requests.read(HEAD + b"0\r\n\r\n")
    assert requests.read(b"garbage" * 1000) == []


def test_a_body_of_no_bytes_has_ended() -> None:
    requests = Requests()
    assert requests.read(head(AUTHORIZED, "Content-Length: 0")) == []
    assert requests.ended


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (head(AUTHORIZED, CHUNKED, first="GET /v1/session HTTP/1.1"), 405),
        (head(AUTHORIZED, CHUNKED, first="POST / HTTP/1.1"), 404),
        (head(AUTHORIZED, CHUNKED, first="POST /v1/session HTTP/1.0"), 400),
        (head(AUTHORIZED, CHUNKED, first="\x16\x03\x01"), 400),
        (head(CHUNKED), 401),
        (head("Authorization: Basic eDp5", CHUNKED), 401),
        (head("Authorization: Bearer ", CHUNKED), 401),
        (head("Authorization: Bearer a b", CHUNKED), 401),
        (head("Authorization: Bearer a\x01", CHUNKED), 401),
        (head("Authorization: Bearer \xe9", CHUNKED), 401),
        (head(f"Authorization: Bearer {'a' * (node_protocol.MAX_TOKEN + 1)}", CHUNKED), 401),
        (head(AUTHORIZED, AUTHORIZED, CHUNKED), 400),
        (head(AUTHORIZED), 411),
        (head(AUTHORIZED, CHUNKED, "Content-Length: 3"), 400),
        (head(AUTHORIZED, "Transfer-Encoding: gzip, chunked"), 400),
        (head(AUTHORIZED, "Content-Length: -1"), 400),
        (head(AUTHORIZED, "Content-Length: 1_0"), 400),
        (head(AUTHORIZED, "Content-Length: 9999999999"), 413),
        (head(AUTHORIZED, f"Content-Length: {node_protocol.MAX_STATEMENT + 1}"), 413),
        (head(AUTHORIZED, CHUNKED, " folded: x"), 400),
        (head(AUTHORIZED, CHUNKED, "no colon"), 400),
        (head(AUTHORIZED, CHUNKED, "Host : x"), 400),
        (head(AUTHORIZED, CHUNKED, *(f"x-{number}: y" for number in range(MAX_FIELDS))), 400),
        (b"x" * (node_protocol.MAX_HEAD + 1), 431),
        (head(AUTHORIZED, CHUNKED, "x: " + "y" * node_protocol.MAX_HEAD), 431),
        (HEAD + b"x\r\n", 400),
        (HEAD + b"-1\r\n", 400),
        (HEAD + b"\r\n", 400),
        (HEAD + b"1" * 40, 400),
        (HEAD + b"0x10\r\n", 400),
        (HEAD + b"1000000\r\n", 400),
        (HEAD + b"fffff\r\n", 413),
        (HEAD + b"2\r\n{}}\r\n", 400),
    ],
)
def test_what_is_no_session_is_refused(data: bytes, status: int) -> None:
    with pytest.raises(BadRequest) as caught:
        Requests().read(data)
    assert caught.value.status == status
    assert str(caught.value)


def test_a_statement_in_many_chunks_is_bounded_too() -> None:
    requests = Requests()
    requests.read(HEAD)
    chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    for _ in range(node_protocol.MAX_STATEMENT // 4096):
        assert requests.read(chunk) == []
    with pytest.raises(BadRequest) as caught:
        requests.read(chunk)
    assert caught.value.status is HTTPStatus.REQUEST_ENTITY_TOO_LARGE


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_any_bytes_are_read_or_refused(pieces: list[bytes]) -> None:
    requests = Requests()
    try:
        for piece in pieces:
            requests.read(piece)
    except BadRequest as error:
        assert error.status >= 400  # noqa: PT017 - any refusal will do


@given(st.binary(max_size=80))
def test_any_bytes_after_the_head_are_read_or_refused(data: bytes) -> None:
    requests = Requests()
    requests.read(HEAD)
    try:
        for line in requests.read(data):
            assert b"\n" not in line
    except BadRequest as error:
        assert error.status in (400, 413)  # noqa: PT017


@pytest.mark.parametrize("size", [1, 2, 7, 100, 5000])
def test_each_line_and_chunk_counts_once_however_it_comes(size: int) -> None:
    body = b"3e8\r\n" + b"\n" * 1000 + b"\r\n" + b"1\r\n\n\r\n" * 1000 + b"4\r\n  \n \r\n"
    request = RequestParser()
    request.feed(node_protocol.request("here", "token", "test"))
    request.accept()
    for at in range(0, len(body), size):
        before = request.frames
        request.feed(body[at : at + size])
        assert 0 <= request.frames - before <= size
    assert request.frames == 1 + 1000 + 2 * 1000 + 2


@given(st.binary(max_size=80))
def test_any_head_is_read_or_refused(data: bytes) -> None:
    try:
        read_head(b"POST /v1/session HTTP/1.1\r\n" + data)
    except BadRequest as error:
        assert error.status >= 400  # noqa: PT017


@pytest.mark.parametrize("status", [HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.BAD_REQUEST])
def test_the_slim_client_reads_a_refusal(status: HTTPStatus) -> None:
    answers = node_protocol.ResponseParser()
    (read,) = answers.feed(error_response(status, 'It says "no".'))
    assert isinstance(read, node_protocol.Refusal)
    assert (read.status, read.text) == (status.value, 'It says "no".')
