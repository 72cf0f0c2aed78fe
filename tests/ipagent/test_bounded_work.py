"""Whatever somebody sends to the agent or the node agent, the work grows with its size and no faster.

One quadratic reader is enough to stop a whole node agent with a statement of 130 kB. Each reader of foreign
bytes gets its worst input here in two sizes; work is counted, not timed.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from common.agent_container import TOKEN_AUDIENCE
from common.kube.list_stream import ListReader, NotAList
from ipagent import node_protocol
from ipagent.assign.errors import NoImds
from ipagent.aws.imds import Imds
from ipagent.aws.imds_http import MAX_BYTES as MAX_IMDS_BYTES
from ipagent.aws.imds_http import ImdsConnection
from ipagent.network_status_origin import NETWORK_STATUS
from ipagent.node.model.pod import read_pod
from ipagent.node.model.settings_readers import SettingsError
from ipagent.node.observe.status_command import SOCKET, NotRunning, ask
from ipagent.node.sessions.auth import read_review
from ipagent.node.sessions.http1 import BadRequest, BodyParser, Head, HeadParser, answer_head, read_head
from ipagent.node.sessions.messages import read_statement
from ipagent.node.settings import read_settings
from ipagent.node_protocol import MAX_HEAD, MAX_STATEMENT, ProtocolError, ResponseParser
from ipagent.nodeclient.session import NoToken, _token
from tests.ipagent.fakes import Time
from tests.work_counter import RegexOnForeignBytes, count_work

pytestmark = [pytest.mark.pure, pytest.mark.no_cover]

Reader = Callable[[bytes], object]

PER_BYTE = 40
"""Calls and looks at one byte."""
FIXED = 3000
"""What a reader does for the shortest input."""

TEXTS: dict[str, Callable[[int], bytes]] = {
    "escaped quotes without an end": lambda size: b'{"x":"' + b'\\"' * (size // 2),
    "quotes": lambda size: b'"' * size,
    "escaped quotes": lambda size: b'{"x":"' + b'\\"' * (size // 2) + b'"}',
    "backslashes": lambda size: b'{"x":"' + b"\\" * size,
    "surrogates": lambda size: b'{"x":"' + b"\\ud800" * (size // 6) + b'"}',
    "opening brackets": lambda size: b"[" * size,
    "closing brackets": lambda size: b"]" * size,
    "nested objects": lambda size: b'{"x":' * (size // 5),
    "brackets in a text": lambda size: b'{"x":"' + b"[" * size + b'"}',
    "empty lists": lambda size: b'{"x":[' + b"[]," * (size // 3) + b"[]]}",
    "keys": lambda size: b"{" + b",".join(b'"%d":{}' % number for number in range(size // 9)) + b"}",
    "digits": lambda size: b'{"x":' + b"1" * size + b"}",
    "long numbers": lambda size: b'{"x":[' + (b"1" * 4299 + b",") * (size // 4300) + b"1]}",
    "a fraction": lambda size: b'{"x":0.' + b"1" * size + b"}",
    "an exponent": lambda size: b'{"x":1' + b"1" * size + b"e-%d}" % size,
    "spaces": lambda size: b" " * size,
    "no UTF-8": lambda size: b"\xff" * size,
    "links": lambda size: b'{"links":[' + b'{"name":"a"},' * (size // 13) + b"{}]}",
    "addresses": lambda size: (
        b'{"pod":{"namespace":"a","name":"b","uid":"c"},"addresses":['
        + b",".join([b'{"address":"::1"}'] * (size // 18))
        + b"]}"
    ),
    "CIDRs": lambda size: b'{"allowedCidrs":[' + b",".join([b'"banana"'] * (size // 9)) + b"]}",
}


def statuses(data: bytes) -> object:
    return read_pod(
        {
            "metadata": {
                "namespace": "apps",
                "name": "web-0",
                "uid": "1",
                "annotations": {NETWORK_STATUS: data.decode("latin-1")},
                "managedFields": [
                    {
                        "subresource": "status",
                        "fieldsV1": {"f:metadata": {"f:annotations": {f"f:{NETWORK_STATUS}": {}}}},
                    }
                ],
            },
            "status": {"podIP": "10.0.0.1"},
        }
    )


def addresses_of_one_entry(data: bytes) -> object:
    return statuses(json.dumps([{"interface": "net1", "ips": data.decode("latin-1").split(",")}]).encode())


def review_error(data: bytes) -> object:
    text = data.decode("latin-1")
    return read_review({"authenticated": True, "audiences": [TOKEN_AUDIENCE], "user": {"username": text}})


def list_in_pieces(data: bytes) -> None:
    """Read one object of a list, which comes in pieces much smaller than itself."""
    ListReader(len).read(pieces(b'{"items":[{"a":' + data + b"}]}", 64))


READERS: dict[str, Reader] = {
    "a statement": read_statement,
    "network-status": statuses,
    "network-status, addresses": addresses_of_one_entry,
    "the settings": read_settings,
    "a line of the answer": node_protocol.read_status,
    "a TokenReview": review_error,
    "a list of pods": list_in_pieces,
}


def read(reader: Reader, data: bytes) -> None:
    with suppress(BadRequest, NotAList, ProtocolError, SettingsError, NotRunning, NoToken):
        reader(data)


class AnsweredConnection(ImdsConnection):
    """A connection to an IMDS whose every answer is the same."""

    text = ""

    def _ask(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        del method, path, headers
        return 200, self.text


class AnsweredImds(Imds):
    """IMDS over such a connection."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1", Time().timing)
        self.answers = self._connection = AnsweredConnection("http://127.0.0.1", Time().timing)


def of_imds(ask: Callable[[Imds], object]) -> Reader:
    imds = AnsweredImds()

    def read(data: bytes) -> None:
        imds.answers.text = data.decode("latin-1")
        with suppress(NoImds):
            ask(imds)

    return read


IMDS_READERS: dict[str, Reader] = {
    "the identity document": of_imds(Imds.region),
    "the addresses of an interface": of_imds(lambda imds: imds.addresses("02:aa:00:00:00:01", (4,))),
    "the list of interfaces": of_imds(lambda imds: imds.topology_as_shown(["02:aa:00:00:00:01"])),
}


def work_of(reader: Reader, data: bytes) -> int:
    return count_work(lambda: read(reader, data))


def check(reader: Reader, make: Callable[[int], bytes], largest: int) -> None:
    """Bound the work for each byte; with a quadratic reader it grows sixteenfold from size to size."""
    # What is imported on the first call is not counted.
    read(reader, make(largest // 16))
    for size in (largest // 16, largest):
        data = make(size)
        assert work_of(reader, data) <= FIXED + PER_BYTE * len(data), size


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("reader", READERS)
def test_whatever_a_text_holds_the_work_grows_with_its_size(reader: str, text: str) -> None:
    check(READERS[reader], TEXTS[text], MAX_STATEMENT // 8)


IMDS_TEXTS: dict[str, Callable[[int], bytes]] = {
    **TEXTS,
    "lines": lambda size: b"\n" * size,
    "addresses in lines": lambda size: b"10.0.0.1\n" * (size // 9),
    "one address": lambda size: b"1." * (size // 2),
    "IPv6 zeroes": lambda size: b"0:" * (size // 2),
    "slashes": lambda size: b"/" * size,
}


@pytest.mark.parametrize("text", IMDS_TEXTS)
@pytest.mark.parametrize("reader", ["the identity document", "the addresses of an interface"])
def test_the_work_for_an_answer_of_imds_grows_with_its_size(reader: str, text: str) -> None:
    check(IMDS_READERS[reader], IMDS_TEXTS[text], MAX_IMDS_BYTES)


def pieces(data: bytes, size: int = 1) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def heads(data: bytes) -> None:
    parser = HeadParser()
    for piece in pieces(data):
        parser.feed(piece)


@pytest.mark.parametrize(
    "make",
    [
        lambda size: b"x" * size,
        lambda size: b"\r\n" * (size // 2),
        lambda size: b"\r\n\r" * (size // 3),
        lambda size: b"POST /v1/session HTTP/1.1\r\n" + b"a:b\r\n" * (size // 5),
        lambda size: b"POST /v1/session HTTP/1.1\r\nAuthorization: Bearer " + b" " * size + b"x\r\n\r\n",
    ],
)
def test_a_head_in_single_bytes_is_looked_at_once(make: Callable[[int], bytes]) -> None:
    check(heads, make, MAX_HEAD - 100)


@pytest.mark.parametrize("field", [b"a:b\r\n", b":\r\n", b"\r\n", b"Authorization: Bearer x\r\n"])
def test_the_fields_of_a_head_are_read_in_linear_time(field: bytes) -> None:
    def make(size: int) -> bytes:
        return b"POST /v1/session HTTP/1.1\r\n" + field * (size // len(field))

    check(read_head, make, MAX_HEAD)


def bodies(length: int | None, size: int) -> Reader:
    def read(data: bytes) -> None:
        parser = BodyParser(Head("token", length))
        for piece in pieces(data, size):
            parser.feed(piece)

    return read


def in_chunks(data: bytes, size: int) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces(data, size))


@pytest.mark.parametrize("piece", [1, 7, 16 * 1024])
@pytest.mark.parametrize("fill", [b"x", b"\n", b" \n", b"{}\n"])
@pytest.mark.parametrize("chunk", [0, 1, 4096])
def test_a_body_in_pieces_is_looked_at_once(chunk: int, fill: bytes, piece: int) -> None:
    length = None if chunk else 1 << 40

    def make(size: int) -> bytes:
        whole = fill * (size // len(fill))
        return in_chunks(whole, chunk) if chunk else whole

    check(bodies(length, piece), make, MAX_STATEMENT // 64)


@pytest.mark.parametrize("digits", [b"1", b";", b"0", b" ", b"\r"])
def test_the_size_of_a_chunk_is_bounded(digits: bytes) -> None:
    check(bodies(None, 1), lambda size: digits * size, MAX_STATEMENT // 32)


def answers(data: bytes) -> None:
    parser = ResponseParser()
    for piece in pieces(data):
        parser.feed(piece)
    parser.feed(b"")


def whole_answers(data: bytes) -> None:
    ResponseParser().feed(data)


LINE = b'{"state":"pending","code":17,"serial":1}\n'
REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 9999999\r\n\r\n"


@pytest.mark.parametrize("read", [answers, whole_answers], ids=["in single bytes", "at once"])
@pytest.mark.parametrize(
    "make",
    [
        lambda size: b"x" * size,
        lambda size: answer_head() + b"x" * size,
        lambda size: answer_head() + b"\n" * size,
        lambda size: answer_head() + LINE * (size // len(LINE)),
        lambda size: REFUSED + b"x" * size,
        lambda size: b"HTTP/1.1 100 x\r\n\r\n" * (size // 18),
    ],
    ids=["no answer", "one line", "blank lines", "statuses", "a refusal", "interim answers"],
)
def test_the_client_looks_at_each_byte_of_the_answer_once(make: Callable[[int], bytes], read: Reader) -> None:
    check(read, make, node_protocol.MAX_ANSWER // 16)


def test_the_client_reads_no_more_of_its_token_than_a_token_has(tmp_path: Path) -> None:
    path = tmp_path / "token"

    def reader(_: bytes) -> object:
        return _token(str(path))

    for size in (node_protocol.MAX_TOKEN, 1 << 20):
        path.write_bytes(b"x" * size)
        # What is imported on the first call is not counted.
        read(reader, b"")
        assert work_of(reader, b"") <= FIXED + PER_BYTE * node_protocol.MAX_TOKEN


def test_what_answers_at_the_socket_for_the_status_is_read_in_linear_time(tmp_path: Path) -> None:
    def check_size(size: int) -> None:
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as listener:
            path = tmp_path / SOCKET
            listener.bind(str(path))
            listener.listen()

            def serve() -> None:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    for piece in pieces(b'{"x":"' + b'\\"' * (size // 2), 1000):
                        connection.sendall(piece)

            thread = threading.Thread(target=serve)
            thread.start()
            work = count_work(lambda: _unless_not_running(tmp_path))
            thread.join()
            path.unlink()
        assert work <= FIXED + PER_BYTE * size

    for size in (10_000, 1_000_000):
        check_size(size)


def _unless_not_running(folder: Path) -> None:
    with suppress(NotRunning):
        ask(folder)


def quadratic(data: bytes) -> None:
    for at in range(len(data)):
        data.find(b"x", at)


def test_a_reader_that_looks_again_and_again_is_found() -> None:
    with pytest.raises(AssertionError):
        check(quadratic, lambda size: b" " * size, 4096)


def test_a_regular_expression_on_foreign_bytes_is_found() -> None:
    import re  # noqa: PLC0415 - what no reader may do

    pattern: Any = re.compile(rb'"(?:[^"\\]|\\.)*"')
    with pytest.raises(RegexOnForeignBytes):
        work_of(lambda data: pattern.sub(b"", data), b'{"x":"\\"')
