"""Responses of HTTP/1.1, read as http.client reads them, or refused for a reason that stands here."""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ipagent.aws.http_messages import (
    MAX_LINE,
    MAX_LINES,
    MalformedError,
    Response,
    ResponseReader,
    TooLargeError,
    encode_request,
)
from tests.work_counter import count_work

pytestmark = pytest.mark.pure

MAX_BYTES = 1000
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
FIVE = b"Content-Length: 5\r\n\r\nhello"


def read(*pieces: bytes, max_bytes: int = MAX_BYTES) -> Response:
    """Read a response from what comes, and then the connection's end; raises MalformedError."""
    reader = ResponseReader(max_bytes)
    for piece in filter(None, pieces):
        if (response := reader.feed(piece)) is not None:
            return response
    response = reader.feed(b"")
    assert response is not None
    return response


def read_or_why(*pieces: bytes) -> Response | str:
    try:
        return read(*pieces)
    except MalformedError as error:
        return str(error)


class Received:
    """A socket on which all has come."""

    def __init__(self, data: bytes) -> None:
        self.file = BytesIO(data)

    def makefile(self, _: str) -> BytesIO:
        return self.file


def read_by_http_client(data: bytes) -> Response | None:
    """Return what http.client reads, None where it refuses it, as its former user here did, too."""
    received: Any = Received(data)
    response = http.client.HTTPResponse(received, method="POST")
    try:
        response.begin()
        body = response.read(MAX_BYTES + 1)
    except (http.client.HTTPException, ValueError):
        return None
    if response.length or len(body) > MAX_BYTES:
        return None
    return Response(response.status, body, persists=not response.will_close)


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


CUTS = st.lists(st.integers(0, 1 << 16), max_size=20)
NEWLINE = st.sampled_from([b"\r\n", b"\n"])
NAMES = st.from_regex(rb"X-[!#$%&'*+.^_`|~0-9A-Za-z-]{0,12}", fullmatch=True)
_TEXTS = st.binary(max_size=40).map(lambda text: text.replace(b"\r", b"").replace(b"\n", b""))
VALUES = st.one_of(_TEXTS, st.tuples(_TEXTS, _TEXTS).map(b"\n\t".join))
"""Some go on in the next line."""


@dataclass(frozen=True)
class Sent:
    """A response as a server sends it, and what is to be read from it."""

    data: bytes
    response: Response
    by_close: bool
    """Whether it ends with the connection."""


@st.composite
def chunks(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Draw a body and its chunks."""
    body = wire = b""
    for part in draw(st.lists(st.binary(min_size=1, max_size=60), max_size=6)):
        number = draw(st.sampled_from([b"%x", b"%X", b"%08x"])) % len(part)
        extension = draw(st.sampled_from([b"", b";a=b", b' ; a="b"', b" "]))
        wire += number + extension + draw(NEWLINE) + part + b"\r\n"
        body += part
    trailer = b"".join(draw(st.lists(st.sampled_from([b"X-Sum: 1\r\n", b"Content-Length: 9\n"]), max_size=3)))
    return body, wire + draw(st.sampled_from([b"0", b"000", b"0;x"])) + draw(NEWLINE) + trailer + draw(
        NEWLINE
    )


@st.composite
def responses(draw: st.DrawFn) -> Sent:
    """Draw a response whose end http.client and the reader find alike."""
    version = draw(st.sampled_from([b"HTTP/1.1", b"HTTP/1.0"]))
    status = draw(st.sampled_from([200, 200, 204, 304, 400, 404, 503, 999]))
    body, wire = draw(chunks())
    framing = draw(st.sampled_from(["length", "chunks", "close"])) if status not in (204, 304) else "none"
    fields = draw(st.lists(st.tuples(NAMES, VALUES), max_size=5))
    if framing == "length":
        wire = body
        fields.append((draw(st.sampled_from([b"Content-Length", b"content-length"])), b"%d" % len(body)))
    elif framing == "chunks":
        fields.append((b"Transfer-Encoding", draw(st.sampled_from([b"chunked", b"Chunked"]))))
        # It does not count beside chunks.
        fields += draw(st.sampled_from([[], [(b"Content-Length", b"3")]]))
    else:
        wire = body = body if framing == "close" else b""
    asked = draw(st.sampled_from([b"", b"close", b"Keep-Alive", b"upgrade, Close"]))
    fields += [(b"Connection", asked)] if asked else []
    persists = asked == b"Keep-Alive" if version == b"HTTP/1.0" else b"lose" not in asked
    first = b"%s %d%s" % (version, status, draw(st.sampled_from([b"", b" ", b" OK", b" Not \xe9 OK"])))
    separator = draw(st.sampled_from([b":", b": ", b":\t "]))
    lines = [first, *(name + separator + value for name, value in draw(st.permutations(fields)))]
    head = b"".join(line + draw(NEWLINE) for line in [*lines, b""])
    interim = b"".join(draw(st.lists(st.just(b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n"), max_size=2)))
    by_close = framing == "close"
    return Sent(interim + head + wire, Response(status, body, persists and not by_close), by_close)


@given(responses(), CUTS)
def test_a_response_is_read_as_http_client_reads_it_in_whatever_pieces_it_comes(
    sent: Sent, cuts: list[int]
) -> None:
    found = read(*pieces_of(sent.data, cuts))
    assert found == sent.response == read_by_http_client(sent.data)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK + FIVE,
        CHUNKED + b"3\r\nhel\r\n2;a=b\r\nlo\r\n0\r\nX-Sum: 1\r\n\r\n",
        OK + b"\r\nhello",
    ],
    ids=["length", "chunks", "without a length"],
)
def test_a_response_may_be_cut_anywhere(data: bytes) -> None:
    for cut in range(len(data)):
        assert read(data[:cut], data[cut:]).body == b"hello"
    assert read(*(data[at : at + 1] for at in range(len(data)))) == read(data)


@given(responses(), st.data())
def test_what_is_read_of_a_damaged_response_is_read_so_by_http_client(
    sent: Sent, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(sent.data)))
    cut = data.draw(st.integers(0, 8))
    put = data.draw(
        st.one_of(
            st.binary(max_size=4),
            st.sampled_from([b"\n", b"\r\n\r\n", b":", b" ", b"\nContent-Length: 2", b"0\r\n", b"-", b"+1"]),
        )
    )
    damaged = sent.data[:start] + put + sent.data[start + cut :]
    pieces = pieces_of(damaged, data.draw(CUTS))
    found, whole = read_or_why(*pieces), read_or_why(damaged)
    if isinstance(found, str) or isinstance(whole, str):
        # Only how much is missing depends on what had come before the end.
        assert isinstance(found, str)
        assert isinstance(whole, str)
        return
    assert (found.status, found.body) == (whole.status, whole.body)
    if not is_read_otherwise(found, damaged):
        other = read_by_http_client(damaged)
        assert other is not None
        assert (found.status, found.body) == (other.status, other.body)
        assert other.persists or not found.persists


@given(st.binary(max_size=100), CUTS)
def test_no_bytes_are_a_response_by_chance(data: bytes, cuts: list[int]) -> None:
    for start in (b"", OK, CHUNKED):
        found = read_or_why(*pieces_of(start + data, cuts))
        if isinstance(found, Response) and not is_read_otherwise(found, start + data):
            assert read_by_http_client(start + data) is not None


@given(responses())
def test_a_part_of_a_response_is_none(sent: Sent) -> None:
    assume(not sent.by_close)
    for length in range(len(sent.data)):
        with pytest.raises(MalformedError):
            read(sent.data[:length])


OTHERWISE = {
    "early hints": (
        # Those that are not 100 are the answer for http.client, and the answer is that to the next request.
        b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + OK + FIVE,
        Response(200, b"hello", persists=True),
        Response(103, b"", persists=True),
    ),
    "chunks without a body": (
        # RFC 9112, section 6.3: it has none, whatever it says.
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        Response(204, b"", persists=False),
        Response(204, b"x", persists=True),
    ),
    "a space after chunked": (
        # It is no part of the value (RFC 9112, section 5.1).
        OK + b"Transfer-Encoding: chunked \r\n\r\n1\r\nx\r\n0\r\n\r\n",
        Response(200, b"x", persists=True),
        Response(200, b"1\r\nx\r\n0\r\n\r\n", persists=False),
    ),
    "two lengths in a line": (
        # RFC 9110, section 8.6: they may be the same.
        OK + b"Content-Length: 5, 5\r\n\r\nhello",
        Response(200, b"hello", persists=True),
        Response(200, b"hello", persists=False),
    ),
    "more than its length": (
        OK + FIVE + b"HTTP/1.1 ",
        Response(200, b"hello", persists=False),
        Response(200, b"hello", persists=True),
    ),
    "closed in another line": (
        OK + b"Connection: upgrade\r\nConnection: close\r\n" + FIVE,
        Response(200, b"hello", persists=False),
        Response(200, b"hello", persists=True),
    ),
    "HTTP/1.0 that is kept by another field": (
        b"HTTP/1.0 200 OK\r\nKeep-Alive: timeout=5\r\n" + FIVE,
        Response(200, b"hello", persists=False),
        Response(200, b"hello", persists=True),
    ),
}
"""What comes, what is read, and what http.client reads."""


@pytest.mark.parametrize(("data", "here", "there"), OTHERWISE.values(), ids=OTHERWISE)
def test_what_is_read_in_another_way_than_by_http_client(
    data: bytes, here: Response, there: Response
) -> None:
    assert read(data) == here
    assert read_by_http_client(data) == there


def is_read_otherwise(found: Response, data: bytes) -> bool:
    """Return whether the first three of `OTHERWISE` may be why the two differ."""
    interim = re.search(rb"HTTP/1\.[01] 1(?!00)\d\d", data)
    spaces = re.search(rb"chunked[ \t\v\f]", data, re.IGNORECASE)
    return bool(interim or spaces) or found.status in (204, 304)


STRICTER = {
    # The rest of a head is lost for http.client, and so is how the body ends.
    "a line that is no field": OK + b"oops\r\n" + FIVE,
    "a space before the colon": OK + b"Content-Length : 5\r\n\r\nhello",
    "a name with a space": OK + b"Content Length: 5\r\n" + FIVE,
    "no name": OK + b": x\r\n" + FIVE,
    "a name that no token is": OK + b"(a): x\r\n" + FIVE,
    "a value that goes on before any field": OK + b" a: b\r\n" + FIVE,
    "a carriage return in a line": OK + b"a: b\rContent-Length: 5\r\n\r\nhello",
    # What is cut off is no answer.
    "a head without an end": OK + b"Content-Le",
    "a trailer without an end": CHUNKED + b"0\r\n",
    # It would be read as it is.
    "an encoding that was not asked for": OK + b"Transfer-Encoding: gzip, chunked\r\n" + FIVE,
    "two encodings": OK + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n",
    # RFC 9112, section 6.3: it can't be known how the body ends.
    "two lengths": OK + b"Content-Length: 5\r\nContent-Length: 9\r\n\r\nhello",
    "a length of many digits": OK + b"Content-Length: 1" + b"0" * 5000 + b"\r\n\r\nhello",
    "a length with a sign": OK + b"Content-Length: +5\r\n\r\nhello",
    "a negative length": OK + b"Content-Length: -5\r\n\r\nhello",
    "a length with an underscore": OK + b"Content-Length: 0_5\r\n\r\nhello",
    "no length": OK + b"Content-Length:\r\n\r\nhello",
    "a length in words": OK + b"Content-Length: five\r\n\r\nhello",
    "a size with a prefix": CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n",
    "a chunk that is longer than it says": CHUNKED + b"3\r\nhello0\r\n\r\n",
    # No server says so.
    "a status with a sign": b"HTTP/1.1 +200 OK\r\n" + FIVE,
    "another version": b"HTTP/1.2 200 OK\r\n" + FIVE,
    "tabs": b"HTTP/1.1\t200\tOK\r\n" + FIVE,
    "a line that has more than enough": OK + b"a: " + b"b" * MAX_LINE + b"\r\n" + FIVE,
    "many interim ones": b"HTTP/1.1 100 Continue\r\na: b\r\n\r\n" * (MAX_LINES // 2) + OK + FIVE,
}
"""What http.client reads, and nothing is read of here."""


@pytest.mark.parametrize("data", STRICTER.values(), ids=STRICTER)
def test_what_is_refused_though_http_client_reads_it(data: bytes) -> None:
    with pytest.raises(MalformedError):
        read(data)
    assert read_by_http_client(data) is not None


REFUSED = {
    "nothing": b"",
    "an empty line": b"\r\n" + OK + FIVE,
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "HTTP/2": b"HTTP/2 200\r\n" + FIVE,
    "no status": b"HTTP/1.1\r\n" + FIVE,
    "a short status": b"HTTP/1.1 20\r\n" + FIVE,
    "a status that is none": b"HTTP/1.1 2x0 OK\r\n" + FIVE,
    "a status below all": b"HTTP/1.1 099 OK\r\n" + FIVE,
    "a part of a body": OK + FIVE[:-1],
    "a part of a chunk": CHUNKED + b"5\r\nhell",
    "chunks without the last": CHUNKED + b"5\r\nhello\r\n",
    "a size that is none": CHUNKED + b"five\r\nhello\r\n0\r\n\r\n",
    "a negative size": CHUNKED + b"-1\r\n0\r\n\r\n",
    "no size": CHUNKED + b"\r\n0\r\n\r\n",
    "too many fields": OK + b"a: b\r\n" * MAX_LINES + FIVE,
    "a line without an end": OK + b"a" * (1 << 17),
    "a status line without an end": b"HTTP/1.1 200 " + b"a" * (1 << 17),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_what_is_no_response_is_refused_as_http_client_refuses_it(data: bytes) -> None:
    with pytest.raises(MalformedError):
        read(data)
    assert read_by_http_client(data) is None


def test_as_many_fields_are_read_as_by_http_client() -> None:
    data = OK + b"a: b\r\n" * (MAX_LINES - 2) + FIVE
    assert read(data) == read_by_http_client(data) == Response(200, b"hello", persists=True)


@pytest.mark.parametrize(
    "data",
    [
        # Before its bytes come.
        OK + b"Content-Length: 6\r\n\r\n",
        CHUNKED + b"3\r\nabc\r\n3\r\n",
        CHUNKED + b"ffffffffffffffff\r\n",
        OK + b"\r\nabcdef",
    ],
    ids=["length", "chunks", "a chunk", "without a length"],
)
def test_a_body_above_the_limit_is_not_waited_for(data: bytes) -> None:
    reader = ResponseReader(5)
    with pytest.raises(TooLargeError, match="more than 5 bytes"):
        reader.feed(data)


@pytest.mark.parametrize(
    "data",
    [OK + FIVE, CHUNKED + b"5\r\nhello\r\n0\r\n\r\n", OK + b"\r\nhello"],
    ids=["length", "chunks", "without a length"],
)
def test_a_body_at_the_limit_is_read(data: bytes) -> None:
    assert read(data, max_bytes=5).body == b"hello"


@pytest.mark.parametrize(
    "make",
    [
        lambda size: OK + b"a:\r\n" + b" b\r\n" * min(size // 4, MAX_LINES - 3),
        lambda size: OK + b"Content-Length: %d\r\n\r\n" % size + b"a" * size,
        lambda size: CHUNKED + b"1\r\na\r\n" * (size // 6),
        lambda size: CHUNKED + b"%x\r\n" % size + b"a" * size,
        lambda size: OK + b"\r\n" + b"a" * size,
    ],
    ids=["fields", "length", "small chunks", "a chunk", "without a length"],
)
def test_each_byte_is_looked_at_a_few_times_in_however_small_pieces_they_come(
    make: Callable[[int], bytes],
) -> None:
    def work(size: int) -> float:
        data, reader = make(size), ResponseReader(1 << 20)
        return count_work(lambda: [reader.feed(data[at : at + 1]) for at in range(len(data))]) / len(data)

    assert work(1 << 14) < 1.2 * work(1 << 12)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("GET", "/a?b=c", b""), ("PUT", "/", b""), ("POST", "/", b""), ("POST", "/", b"a=b\r\n\xff")],
)
def test_a_request_is_what_http_client_sends(method: str, path: str, body: bytes) -> None:
    sent: list[bytes] = []
    connection = http.client.HTTPConnection("ec2.example")
    wire: Any = SimpleNamespace(sendall=sent.append)
    connection.sock = wire
    connection.request(method, path, body or None, {"X-A": "b c"})
    headers = {"Host": "ec2.example", "Accept-Encoding": "identity", "X-A": "b c"}
    assert read_request(encode_request(method, path, headers, body)) == read_request(b"".join(sent))


def read_request(data: bytes) -> tuple[bytes, list[bytes], bytes]:
    """Return the first line, the others in order, and the body."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    return first, sorted(lines), body


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/a b", {}),
        ("/\n", {}),
        ("/é", {}),
        ("/", {"authorization": "secret\r\nx: y"}),
        ("/", {"authorization": "secret\n"}),
        ("/", {"authorization": "secret é"}),
        ("/", {"authorization\x00": "secret"}),
    ],
)
def test_what_can_not_be_sent_is_not_written_nor_quoted(path: str, headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="can't be sent") as caught:
        encode_request("GET", path, headers)
    assert "secret" not in str(caught.value)
