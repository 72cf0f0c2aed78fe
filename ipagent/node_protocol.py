"""The protocol between a pod and the node agent, as the pod writes and reads it.

One HTTP/1.1 request that stays open both ways: a chunked POST whose every chunk is one line of JSON, a whole
statement of what the pod sees and wants, and an answer whose every line of JSON says how far the pod is.
`curl --no-buffer --data @statement.json` speaks it too. `docs/node-protocol.md` says what the keys mean.
"""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

PATH = "/v1/session"
"""A change that an older peer can't ignore gets another number; all others add keys."""
MEDIA_TYPE = "application/x-ndjson"

MAX_STATEMENT = 256 * 1024
"""Bytes of one statement."""
MAX_ANSWER = 256 * 1024
"""Bytes of one line of the answer, and of the body of a refusal."""
MAX_HEAD = 8 * 1024
"""Bytes of a request's head, and of an answer's."""
MAX_TOKEN = 4 * 1024
"""Characters of a token, on both sides: it has to fit into a head beside the other fields.

A projected token has about a thousand: an RS256 signature is 342 of them, and the names in it have at most
253 characters each (RFC 1123).
"""

MAX_LINKS, MAX_ADDRESSES, MAX_ROUTES, MAX_NAMES, MAX_CIDRS, MAX_AGAIN = 512, 2048, 512, 128, 256, 1024
"""Entries of a statement's lists."""
MAX_TEXT = 4096
"""Characters of a message: what Kubernetes shows of a termination message."""

PENDING, ASSIGNED, FAILED, CONFLICT = "pending", "assigned", "failed", "conflict"


class StatementKey:
    """Keys of a statement. Texts: the container does not pay for the import of enum."""

    CONTRACT, SERIAL = "contract", "serial"
    POD = "pod"
    NAMESPACE, UID = "namespace", "uid"
    NAME = "name"
    """Of the pod, and of a link."""

    MODE, RESTARTED, LEAVING = "mode", "restarted", "leaving"
    INTERFACES, TAKEOVER, ALLOWED_CIDRS = "interfaces", "takeover", "allowedCidrs"
    RELEASE_ON_EXIT, EIP_WAIT = "releaseOnExit", "eipWait"

    LINKS, ADDRESSES, ROUTES, AGAIN = "links", "addresses", "routes", "again"
    INDEX = "index"
    """Of a link, also in its addresses and routes."""
    MAC, LOOPBACK = "mac", "loopback"
    ADDRESS, SCOPE, FLAGS = "address", "scope", "flags"
    DESTINATION = "destination"


class AnswerKey:
    """Keys of a line of the answer, and of the body of a refusal."""

    SERIAL, CODE = "serial", "code"
    STATE, MESSAGE = "state", "message"
    """Of the pod, and of an address."""
    ADDRESSES = "addresses"
    ADDRESS, INTERFACE, ENI = "address", "interface", "eni"
    REMEDY = "remedy"
    """Of a refusal, beside its message."""


_HEAD_END = b"\r\n\r\n"


class ProtocolError(Exception):
    """The other side does not speak the protocol; the text says what is wrong."""


def is_token(text: str) -> bool:
    """Return whether this may be a bearer token (RFC 6750, section 2.1): visible ASCII, not too long."""
    return 0 < len(text) <= MAX_TOKEN and text.isascii() and text.isprintable() and " " not in text


def request(authority: str, token: str, version: str) -> bytes:
    """Return the head of the request; `authority` is the node agent's host:port."""
    lines = [
        f"POST {PATH} HTTP/1.1",
        f"Host: {authority}",
        f"User-Agent: ipagent/{version}",
        f"Authorization: Bearer {token}",
        f"Content-Type: {MEDIA_TYPE}",
        "Transfer-Encoding: chunked",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii", "replace")


def chunk(statement: dict[str, Any]) -> bytes:
    """Return one statement as a chunk."""
    line = json.dumps(statement, separators=(",", ":")).encode() + b"\n"
    return b"%x\r\n%b\r\n" % (len(line), line)


class Refusal:
    """The node agent refuses the pod: HTTP status, its sentence, and what the user does next."""

    __slots__ = ("remedy", "status", "text")

    def __init__(self, status: int, text: str, remedy: str = "") -> None:
        self.status = status
        self.text = text
        self.remedy = remedy


class ClaimStatus:
    """The pod's status by the node agent; `serial` is that of the statement it answers.

    `code` is the exit code to end with. `addresses` maps address and interface to state, ENI and a sentence;
    None where they are too many for one line.
    """

    __slots__ = ("addresses", "code", "message", "serial", "state")

    def __init__(
        self,
        serial: int,
        state: str,
        code: int,
        message: str,
        addresses: dict[tuple[str, str], tuple[str, str, str]] | None,
    ) -> None:
        self.serial = serial
        self.state = state
        self.code = code
        self.message = message
        self.addresses = addresses


class ResponseParser:
    """Parses the node agent's answer as it comes: a Refusal, or one ClaimStatus a line.

    Each byte is looked at once, in however small pieces it comes.
    """

    def __init__(self) -> None:
        self._head = bytearray()
        self._line = bytearray()
        """What has come of the current line, or of the body of a refusal."""
        self._status = 0
        self._length = MAX_ANSWER
        self._refused = False

    @property
    def accepted(self) -> bool:
        """Whether the node agent serves the pod."""
        return self._status == 200

    def feed(self, data: bytes) -> Sequence[Refusal | ClaimStatus]:
        """Parse more bytes, none at the end of the connection. Raises ProtocolError."""
        ended = not data
        if not self._status:
            data = self._read_head(data)
        if not self._status:
            return ()
        if self._status != 200:
            return self._refusal(data, ended=ended)
        statuses = []
        first, *others = data.split(b"\n")
        self._add(first)
        for each in others:
            if self._line.strip():
                statuses.append(read_status(bytes(self._line)))
            self._line.clear()
            self._add(each)
        return statuses

    def _add(self, data: bytes) -> None:
        self._line += data
        if len(self._line) > MAX_ANSWER:
            raise ProtocolError(f"a line has more than {MAX_ANSWER} bytes")

    def _read_head(self, data: bytes) -> bytes:
        """Read the head of the answer if all of it has come; returns what follows it."""
        head = self._head
        seen = max(0, len(head) - 3)
        head += data
        *heads, rest = bytes(head).split(_HEAD_END) if _HEAD_END in head[seen:] else (head,)
        for number, each in enumerate(heads):
            _check_head(each)
            status, fields = _status(each)
            # An interim answer (RFC 9110, section 15.2) comes before the one that counts.
            if status >= 200:
                self._status, self._length = status, _length(fields)
                head.clear()
                return _HEAD_END.join([*heads[number + 1 :], rest])
        _check_head(rest)
        self._head = bytearray(rest) if heads else head
        return b""

    def _refusal(self, data: bytes, *, ended: bool) -> Sequence[Refusal]:
        self._line += data[: MAX_ANSWER - len(self._line)]
        if self._refused or not (ended or len(self._line) >= self._length):
            return ()
        self._refused = True
        text = remedy = ""
        try:
            found = json.loads(self._line)
            if isinstance(found, dict):
                text, remedy = _text(found, AnswerKey.MESSAGE), _text(found, AnswerKey.REMEDY)
        except (ValueError, RecursionError, ProtocolError):
            # Another program's answer: its status has to do.
            pass
        return [Refusal(self._status, text or f"HTTP status {self._status}", remedy)]


def _check_head(head: bytes | bytearray) -> None:
    if len(head) > MAX_HEAD:
        raise ProtocolError(f"the head of the answer has more than {MAX_HEAD} bytes")


def _status(head: bytes) -> tuple[int, list[bytes]]:
    """Return the status of an answer's head, and its fields."""
    first, *fields = head.split(b"\r\n")
    protocol, _, reason = first.partition(b" ")
    status = reason.partition(b" ")[0]
    if not protocol.startswith(b"HTTP/1.") or len(status) != 3 or not status.isdigit():
        raise ProtocolError("it does not speak HTTP/1.1")
    return int(status), fields


def _length(fields: Sequence[bytes]) -> int:
    """Return how much of a refusal's body is waited for."""
    for field in fields:
        name, _, value = field.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return min(int(value[:12]), MAX_ANSWER)
    return MAX_ANSWER


def read_status(line: bytes) -> ClaimStatus:
    """Read one line of the answer; unknown keys are ignored. Raises ProtocolError."""
    if len(line) > MAX_ANSWER:
        raise ProtocolError(f"a line has more than {MAX_ANSWER} bytes")
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise ProtocolError("a line is not JSON") from None
    if not isinstance(found, dict):
        raise ProtocolError("a line is not a JSON object")
    state, code = _text(found, AnswerKey.STATE), _number(found, AnswerKey.CODE)
    if state not in (PENDING, ASSIGNED, FAILED) or not 0 <= code <= 125:
        raise ProtocolError(f"it says state {state[:40]!r} and code {code}")
    if (state == ASSIGNED) is not (code == 0):
        raise ProtocolError(f"state {state} and code {code} contradict each other")
    return ClaimStatus(
        _number(found, AnswerKey.SERIAL),
        state,
        code,
        _text(found, AnswerKey.MESSAGE),
        _addresses(found.get(AnswerKey.ADDRESSES)),
    )


def _addresses(listed: Any) -> dict[tuple[str, str], tuple[str, str, str]] | None:
    if listed is None:
        return None
    if not isinstance(listed, list) or len(listed) > MAX_ADDRESSES:
        raise ProtocolError(f"{AnswerKey.ADDRESSES} is not a list of at most {MAX_ADDRESSES}")
    addresses = {}
    for entry in listed:
        if not isinstance(entry, dict):
            raise ProtocolError("an address is not a JSON object")
        who = _text(entry, AnswerKey.ADDRESS), _text(entry, AnswerKey.INTERFACE)
        state, eni = _text(entry, AnswerKey.STATE), _text(entry, AnswerKey.ENI)
        addresses[who] = state, eni, _text(entry, AnswerKey.MESSAGE)
    return addresses


def _text(found: dict[str, Any], key: str) -> str:
    value = found.get(key, "")
    if not isinstance(value, str):
        raise ProtocolError(f"{key} is not a text")
    return value[:MAX_TEXT]


def _number(found: dict[str, Any], key: str) -> int:
    value = found.get(key, 0)
    if type(value) is not int or not 0 <= value < 1 << 53:
        raise ProtocolError(f"{key} is not a number")
    return value
