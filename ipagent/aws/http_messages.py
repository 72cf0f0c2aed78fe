"""HTTP/1.1 as a client writes and reads it, one request at a time (RFC 9112). Pure.

http.client does the same by the library for e-mail, whose import is a tenth of what an agent executes until
EC2 has answered. It is the tests' oracle; what is read more strictly here is listed there.
"""

from __future__ import annotations

from common.frozen_dataclass import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from typing import TypeVar

    T = TypeVar("T")
    Reading = Generator[None, bytes, T]
    """What is suspended while its bytes have not come; at the connection's end it is sent none."""

MAX_LINE = 1 << 13
"""Bytes of a line of the head, or between chunks."""
MAX_LINES = 100
"""Of all heads and the trailer of an answer, as with http.client."""
_MAX_DIGITS = 16
_DIGITS = {10: b"0123456789", 16: b"0123456789abcdefABCDEF"}
_NAME = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
"""What the name of a field has (RFC 9110, section 5.6.2), in lower case."""
_BODILESS = (204, 304)


class MalformedError(Exception):
    """What came is no whole response of HTTP/1.1; the text says why."""


class TooLargeError(MalformedError):
    """The body has more bytes than the caller takes."""


@dataclass(frozen=True)
class Response:
    """`persists`: the connection may carry another request."""

    status: int
    body: bytes
    persists: bool


def is_target(text: str) -> bool:
    """Return whether a request's first line may have it."""
    return text.isascii() and text.isprintable() and " " not in text


def encode_request(method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """Write a request; raises ValueError for what can't be sent."""
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if method != "GET":
        lines.append(f"Content-Length: {len(body)}")
    if not is_target(path) or not all(line.isascii() and line.isprintable() for line in lines):
        # It does not quote them: there are keys among the headers.
        raise ValueError("the request has characters that can't be sent")
    return "\r\n".join((*lines, "", "")).encode("ascii") + body


class ResponseReader:
    """Reads one response as it comes, in whatever pieces, with a body of at most so many bytes."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._unread = bytearray()
        self._lines_read = 0
        self._reading = self._response()
        next(self._reading)

    def feed(self, data: bytes) -> Response | None:
        """Read more, no bytes at the connection's end; returns the response once it is whole.

        Raises MalformedError.
        """
        try:
            self._reading.send(data)
        except StopIteration as end:
            response: Response = end.value
            return response
        return None

    def _response(self) -> Reading[Response]:
        status, persists, fields = _head((yield from self._lines()))
        while status < 200:
            # Interim ones (RFC 9110, section 15.2) come before the one that counts.
            status, persists, fields = _head((yield from self._lines()))
        if status in _BODILESS:
            body = b""
        elif b"transfer-encoding" in fields:
            _check_encoding(fields[b"transfer-encoding"])
            body = yield from self._chunks()
        elif b"content-length" in fields:
            body = yield from self._exactly(self._fitting(_length(fields[b"content-length"])))
        else:
            body, persists = (yield from self._all()), False
        # More than was asked for is the answer to nothing.
        return Response(status, body, persists and not self._unread)

    def _lines(self) -> Reading[list[bytes]]:
        """Read lines up to an empty one."""
        lines: list[bytes] = []
        while line := (yield from self._line()):
            lines.append(line)
            self._lines_read += 1
            if self._lines_read > MAX_LINES:
                raise MalformedError(f"the answer has more than {MAX_LINES} header lines")
        return lines

    def _line(self) -> Reading[bytes]:
        """Read a line and leave out its end, which may be a line feed alone (RFC 9112, section 2.2)."""
        seen = 0
        while (end := self._unread.find(b"\n", seen, MAX_LINE)) < 0:
            seen = len(self._unread)
            if seen >= MAX_LINE:
                raise MalformedError(f"a line of the answer's head has more than {MAX_LINE} bytes")
            yield from self._more()
        line = self._taken(end + 1)[:-1].removesuffix(b"\r")
        if b"\r" in line:
            raise MalformedError(f"a line of the answer's head has a carriage return in it: {line[:40]!r}")
        return line

    def _chunks(self) -> Reading[bytes]:
        body = bytearray()
        while size := _number((yield from self._line()).partition(b";")[0].rstrip(), base=16):
            self._fitting(len(body) + size)
            body += yield from self._exactly(size)
            if (yield from self._exactly(2)) != b"\r\n":
                raise MalformedError("a chunk of the answer has another length than it says")
        # What the trailer says is of no use.
        yield from self._lines()
        return bytes(body)

    def _exactly(self, size: int) -> Reading[bytes]:
        while (missing := size - len(self._unread)) > 0:
            yield from self._more(f": {missing} bytes are missing")
        return self._taken(size)

    def _all(self) -> Reading[bytes]:
        """Read up to the connection's end."""
        self._fitting(len(self._unread))
        while data := (yield):
            self._unread += data
            self._fitting(len(self._unread))
        return self._taken(len(self._unread))

    def _more(self, what: str = "") -> Reading[None]:
        data = yield
        if not data:
            raise MalformedError(f"the connection ended before the answer{what}")
        self._unread += data

    def _taken(self, size: int) -> bytes:
        taken = bytes(self._unread[:size])
        del self._unread[:size]
        return taken

    def _fitting(self, size: int) -> int:
        if size > self._max_bytes:
            raise TooLargeError(f"the answer has more than {self._max_bytes} bytes")
        return size


def _head(lines: Sequence[bytes]) -> tuple[int, bool, dict[bytes, bytes]]:
    """Return the status, whether the connection persists, and the fields, whose names are in lower case."""
    first = lines[0] if lines else b""
    version, _, rest = first.partition(b" ")
    status = rest.partition(b" ")[0]
    if version not in (b"HTTP/1.0", b"HTTP/1.1") or len(status) != 3 or not b"100" <= status <= b"999":
        raise MalformedError(f"the answer is not of HTTP/1.1: it begins with {first[:40]!r}")
    fields = _fields(lines[1:])
    connection = fields.get(b"connection", b"").lower()
    persists = b"keep-alive" in connection if version == b"HTTP/1.0" else b"close" not in connection
    return _number(status, base=10), persists, fields


def _fields(lines: Sequence[bytes]) -> dict[bytes, bytes]:
    fields: dict[bytes, bytes] = {}
    name = b""
    for line in lines:
        if name and line[:1] in (b" ", b"\t"):
            # A value may go on in the next line (RFC 9112, section 5.2).
            fields[name] += b" " + line.strip()
            continue
        name, colon, value = line.lower().partition(b":")
        if not colon or not name or name.translate(None, _NAME):
            raise MalformedError(f"a line of the answer's head is no field: {line[:40]!r}")
        fields[name] = fields[name] + b"," + value.strip() if name in fields else value.strip()
    return fields


def _check_encoding(value: bytes) -> None:
    if value != b"chunked":
        raise MalformedError(f"the answer has an encoding that was not asked for: {value[:40]!r}")


def _length(value: bytes) -> int:
    first, *others = (each.strip() for each in value.split(b","))
    # It may be repeated (RFC 9110, section 8.6).
    if any(each != first for each in others):
        raise MalformedError(f"the answer has several lengths: {value[:40]!r}")
    return _number(first, base=10)


def _number(digits: bytes, *, base: int) -> int:
    # int() takes signs, spaces and underscores, too.
    if not 0 < len(digits) <= _MAX_DIGITS or digits.translate(None, _DIGITS[base]):
        raise MalformedError(f"the answer has a number that is none: {digits[:40]!r}")
    return int(digits, base)
