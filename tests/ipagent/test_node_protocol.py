"""What the slim client reads: in whatever pieces it comes, bounded, and nonsense is nonsense."""

from __future__ import annotations

import itertools
import json
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.exit_codes import ExitCode
from ipagent.node.model.claim import ClaimState
from ipagent.node.model.claim import ClaimStatus as NodeStatus
from ipagent.node.sessions import http1
from ipagent.node.sessions.messages import answer
from ipagent.node_protocol import MAX_ANSWER, MAX_HEAD, ClaimStatus, ProtocolError, Refusal, ResponseParser

pytestmark = pytest.mark.pure

LINE = answer(NodeStatus(ClaimState.PENDING, ExitCode.DEADLINE, "Wait."), 1)
WHOLE = (
    http1.CONTINUE
    + http1.answer_head()
    + LINE
    + answer(NodeStatus(ClaimState.ASSIGNED, ExitCode.OK, "Done."), 2)
)


def fed(data: bytes, cuts: list[int]) -> list[Refusal | ClaimStatus]:
    answers = ResponseParser()
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    found: list[Refusal | ClaimStatus] = []
    for start, stop in itertools.pairwise(edges):
        found.extend(answers.feed(data[start:stop]))
    return [*found, *answers.feed(b"")]


@given(st.lists(st.integers(0, 1000), max_size=10))
def test_the_pieces_in_which_it_comes_do_not_matter(cuts: list[int]) -> None:
    found = fed(WHOLE, cuts)
    assert [(each.serial, each.message) for each in found if isinstance(each, ClaimStatus)] == [
        (1, "Wait."),
        (2, "Done."),
    ]


@given(st.lists(st.integers(0, 1000), max_size=10))
def test_a_refusal_is_returned_once(cuts: list[int]) -> None:
    (found,) = fed(http1.error_response(HTTPStatus.FORBIDDEN, "No."), cuts)
    assert isinstance(found, Refusal)
    assert (found.status, found.text) == (403, "No.")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "HTTP status 502"),
        (b"<html>bad gateway</html>", "HTTP status 502"),
        (b"[1]", "HTTP status 502"),
        (b'{"message": 7}', "HTTP status 502"),
        (b'{"message": "late"}', "late"),
        (b"[" * 100_000, "HTTP status 502"),
        (b'{"message": "' + b"x" * (MAX_ANSWER + 1), "HTTP status 502"),
    ],
    ids=range(7),
)
def test_the_refusal_of_somebody_else_has_its_status(body: bytes, text: str) -> None:
    answers = ResponseParser()
    found = [*answers.feed(b"HTTP/1.0 502 Bad Gateway\r\n\r\n"), *answers.feed(body), *answers.feed(b"")]
    assert [(each.status, each.text) for each in found if isinstance(each, Refusal)] == [(502, text)]


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 2000\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"x" * (MAX_HEAD + 1),
        http1.answer_head() + b"x" * (MAX_ANSWER + 1),
        http1.answer_head() + b"x" * (MAX_ANSWER + 1) + b"\n",
        http1.answer_head() + b"\xff\n",
        http1.answer_head() + b"7\n",
        http1.answer_head() + b'{"state":"pending","code":true}\n',
        http1.answer_head() + b'{"state":"pending","code":500}\n',
        http1.answer_head() + b'{"state":"pending","code":17,"addresses":[7]}\n',
        http1.answer_head() + b'{"state":"pending","code":17,"addresses":[{"address":7}]}\n',
        http1.answer_head() + b'{"state":"pending","code":17,"serial":-1}\n',
    ],
    ids=range(14),
)
def test_an_unreadable_message_is_an_error(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        ResponseParser().feed(data)


def test_interim_responses_are_skipped() -> None:
    answers = ResponseParser()
    assert answers.feed(http1.CONTINUE * 5000) == ()
    assert not answers.accepted
    answers.feed(http1.answer_head())
    assert answers.accepted


def test_what_a_newer_server_adds_is_ignored() -> None:
    told = json.loads(LINE) | {"mood": ["fine"], "addresses": [{"address": "a", "interface": "b", "age": 7}]}
    (found,) = ResponseParser().feed(http1.answer_head() + json.dumps(told).encode() + b"\n\n")
    assert isinstance(found, ClaimStatus)
    assert found.addresses == {("a", "b"): ("", "", "")}


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_any_bytes_are_read_or_refused(pieces: list[bytes]) -> None:
    for start in (b"", http1.answer_head(), b"HTTP/1.1 401 x\r\ncontent-length: 9999999999999\r\n\r\n"):
        answers = ResponseParser()
        try:
            for piece in (start, *pieces, b""):
                answers.feed(piece)
        except ProtocolError as error:
            assert str(error)  # noqa: PT017 - a sentence, whatever it is
