"""HTTP/1.1 around a session (RFC 9112): a request's head and its chunks in, an answer's head out. No I/O.

Everything is bounded: a pod that sends more than a statement is answered with an error, not remembered. Each
byte is looked at once, in however small pieces it comes.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from ipagent.node_protocol import MAX_HEAD, MAX_STATEMENT, MAX_TEXT, MEDIA_TYPE, PATH, AnswerKey, is_token

MAX_FIELDS = 64
"""Header fields of a request."""

_MAX_CHUNK_LINE = 32


class BadRequest(Exception):
    """A request cannot be served; the text says why, `status` is the HTTP status to answer with."""

    def __init__(self, text: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a request; `length` is None for a chunked body, `expects` asks for a `100 Continue`."""

    token: str
    length: int | None
    expects: bool = False


class HeadParser:
    """Collects the head of a request. What follows it is left alone until somebody asks for it."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Head | None:
        """Return the head once all of it has come. Raises BadRequest."""
        # A blank line may begin in what came before; everything else has been searched already.
        seen = max(0, len(self._data) - 3)
        self._data += data
        at = self._data[seen:].find(b"\r\n\r\n")
        end = seen + at if at >= 0 else -1
        if (end if end >= 0 else len(self._data)) > MAX_HEAD:
            raise BadRequest(
                f"The head has more than {MAX_HEAD} bytes", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            )
        if end < 0:
            return None
        head = read_head(bytes(self._data[:end]))
        del self._data[: end + 4]
        return head

    def take_rest(self) -> bytes:
        """Return the bytes that came after the head, and drop them here."""
        rest = bytes(self._data)
        self._data.clear()
        return rest

    def __len__(self) -> int:
        return len(self._data)


class BodyParser:
    """Splits the body of a request into lines: one statement each."""

    def __init__(self, head: Head) -> None:
        self.ended = False
        """The pod has sent the whole body."""
        self.frames = 0
        """Chunks and lines so far, blank ones too: what the parser had to do beside looking at bytes."""
        self._chunked = head.length is None
        self._left = head.length or 0
        self._data = bytearray()
        self._line = bytearray()
        self._whole: list[bytes] = []
        self._in_chunk = False

    def __len__(self) -> int:
        """Return how many bytes of an incomplete statement are kept."""
        return len(self._data) + len(self._line)

    def feed(self, data: bytes) -> list[bytes]:
        """Return the statements that are complete now. Raises BadRequest."""
        self._data += data
        if self._chunked:
            while not self.ended and (self._chunk() if self._in_chunk else self._next_chunk()):
                pass
        else:
            self._plain()
        whole, self._whole = self._whole, []
        return whole

    def _plain(self) -> None:
        self._take()
        if not self._left:
            self._end()

    def _next_chunk(self) -> bool:
        """Read a chunk's size (RFC 9112, section 7.1); extensions and trailers mean nothing here."""
        end = self._data[: _MAX_CHUNK_LINE + 2].find(b"\r\n")
        if end < 0 and len(self._data) > _MAX_CHUNK_LINE:
            raise BadRequest(f"A chunk's size has more than {_MAX_CHUNK_LINE} characters")
        if end < 0:
            return False
        digits = bytes(self._data[:end]).partition(b";")[0].strip()
        # int() would take signs and underscores.
        if not digits or len(digits) > 6 or digits.strip(b"0123456789abcdefABCDEF"):
            raise BadRequest("A chunk's size is not a hexadecimal number, or too large")
        del self._data[: end + 2]
        self.frames += 1
        self._left = int(digits, 16)
        if self._left > MAX_STATEMENT + 1:
            # With its newline.
            raise too_large()
        if not self._left:
            self._end()
        self._in_chunk = True
        return True

    def _chunk(self) -> bool:
        self._take()
        if self._left or len(self._data) < 2:
            return False
        if self._data[:2] != b"\r\n":
            raise BadRequest("A chunk does not end where its size says")
        del self._data[:2]
        self._in_chunk = False
        return True

    def _take(self) -> None:
        """Take what is there of the chunk or body; what was taken before is not looked at again."""
        piece = bytes(self._data[: self._left])
        del self._data[: len(piece)]
        self._left -= len(piece)
        first, *others = piece.split(b"\n")
        self.frames += len(others)
        self._add(first)
        if others:
            self._finish()
            *whole, rest = others
            self._whole += [stripped for line in whole if (stripped := line.strip())]
            self._add(rest)

    def _add(self, part: bytes) -> None:
        self._line += part
        if len(self._line) > MAX_STATEMENT:
            raise too_large()

    def _finish(self) -> None:
        if line := self._line.strip():
            self._whole.append(bytes(line))
        self._line.clear()

    def _end(self) -> None:
        self.ended = True
        # The last line needs no newline, and what comes after the end is not read.
        self._finish()
        self._data.clear()


class RequestParser:
    """A request as a session reads it: the head, and after `accept` one statement after another."""

    def __init__(self) -> None:
        self.head: Head | None = None
        self.statements: deque[bytes] = deque()
        """Those that are complete and not taken yet."""
        self._head_parser = HeadParser()
        self._body: BodyParser | None = None

    @property
    def ended(self) -> bool:
        """Whether the whole request has come."""
        return self._body is not None and self._body.ended

    @property
    def frames(self) -> int:
        """Chunks and lines so far."""
        return self._body.frames if self._body is not None else 0

    @property
    def partial(self) -> int:
        """Bytes of what is not complete yet."""
        return len(self._body) if self._body is not None else len(self._head_parser)

    def feed(self, data: bytes) -> None:
        """Parse more bytes. Raises BadRequest."""
        if self._body is not None:
            self.statements += self._body.feed(data)
        elif self.head is None:
            self.head = self._head_parser.feed(data)

    def accept(self) -> None:
        """Begin to parse the body: it is known who sends it. Raises BadRequest."""
        assert self.head  # noqa: S101 - it names the one who sends the body
        self._body = BodyParser(self.head)
        self.feed(self._head_parser.take_rest())


def too_large() -> BadRequest:
    """Return the error of a statement that has too many bytes."""
    return BadRequest(f"A statement has more than {MAX_STATEMENT} bytes", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


def read_head(data: bytes) -> Head:
    """Parse a request's head without its empty line; raises BadRequest."""
    first, *lines = data.split(b"\r\n")
    match first.split(b" "):
        case [method, path, b"HTTP/1.1"]:
            if path != PATH.encode():
                raise BadRequest(f"There is only {PATH} here", HTTPStatus.NOT_FOUND)
            if method != b"POST":
                raise BadRequest(f"{PATH} takes POST only", HTTPStatus.METHOD_NOT_ALLOWED)
        case _:
            raise BadRequest("This is not an HTTP/1.1 request")
    if len(lines) > MAX_FIELDS:
        raise BadRequest(f"There are more than {MAX_FIELDS} header fields")
    fields = _fields(lines)
    return Head(_token(fields), _length(fields), fields.get("expect", "").lower() == "100-continue")


def _fields(lines: list[bytes]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        key = name.decode("latin-1").lower()
        if not colon or not key or key != key.strip():
            raise BadRequest("A header field cannot be read")
        if key in fields and key in ("authorization", "content-length", "transfer-encoding"):
            raise BadRequest(f"The header field {key} is there twice")
        fields[key] = value.decode("latin-1").strip()
    return fields


def _token(fields: Mapping[str, str]) -> str:
    scheme, _, token = fields.get("authorization", "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise BadRequest("There is no bearer token in the header Authorization", HTTPStatus.UNAUTHORIZED)
    if not is_token(token):
        raise BadRequest("The bearer token is not one", HTTPStatus.UNAUTHORIZED)
    return token


def _length(fields: Mapping[str, str]) -> int | None:
    coding, length = fields.get("transfer-encoding"), fields.get("content-length")
    if coding is not None:
        # Both at once is how requests are smuggled (RFC 9112, section 6.3).
        if coding.lower() != "chunked" or length is not None:
            raise BadRequest("The body must be either chunked or have a Content-Length")
        return None
    if length is None:
        raise BadRequest("The body must be chunked or have a Content-Length", HTTPStatus.LENGTH_REQUIRED)
    if not (length.isascii() and length.isdigit()):
        raise BadRequest("Content-Length is not a number")
    if len(length) > 9 or int(length) > MAX_STATEMENT:
        raise too_large()
    return int(length)


def answer_head() -> bytes:
    """Return the head of the answer to a pod that is served; its body ends with the connection."""
    return (
        f"HTTP/1.1 200 OK\r\nContent-Type: {MEDIA_TYPE}\r\nCache-Control: no-store\r\n"
        "Connection: close\r\n\r\n"
    ).encode()


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def error_response(status: HTTPStatus, text: str, remedy: str = "") -> bytes:
    """Return the whole answer to a pod that is refused: why, and what the user does next."""
    document = {AnswerKey.MESSAGE: text[:MAX_TEXT], **({AnswerKey.REMEDY: remedy} if remedy else {})}
    body = json.dumps(document).encode() + b"\n"
    more = ""
    if status is HTTPStatus.UNAUTHORIZED:
        more = "WWW-Authenticate: Bearer\r\n"
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\n{more}Connection: close\r\n\r\n"
    )
    return head.encode() + body
