"""The session between a pod and the agent of its node, as the pod writes and reads it.

One HTTP/1.1 request that stays open both ways: a chunked POST whose every chunk is one line of JSON, a whole
statement of what the pod sees and wants, and an answer whose every line of JSON says how far the pod is.
`curl --no-buffer --data @statement.json` speaks it too. The keys are in `docs/node-protocol.md`.
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
"""Characters of a token; the kubelet's have about a thousand."""

MAX_LINKS, MAX_ADDRESSES, MAX_ROUTES, MAX_NAMES, MAX_CIDRS, MAX_AGAIN = 512, 2048, 512, 128, 256, 1024
"""Entries of a statement's lists."""
MAX_TEXT = 4096
"""Characters of a message: what Kubernetes shows of a termination message."""

PENDING, ASSIGNED, FAILED, CONFLICT = "pending", "assigned", "failed", "conflict"


class ProtocolError(Exception):
    """What the other side sent makes no sense; the text says what."""


def request(authority: str, token: str, version: str) -> bytes:
    """Write the head of the request; `authority` is the agent's host:port."""
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
    """Write one statement."""
    line = json.dumps(statement, separators=(",", ":")).encode() + b"\n"
    return b"%x\r\n%b\r\n" % (len(line), line)


class Refusal:
    """The agent of the node does not talk to the pod: HTTP status and its own sentence."""

    __slots__ = ("status", "text")

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        self.text = text


class ClaimStatus:
    """How far the pod is, by the agent of its node; `serial` is that of the statement it answers.

    `code` is the exit code to end with. `addresses` maps address and interface to phase, ENI and a sentence;
    None where there are too many to tell.
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
    """Takes the agent's answer as it comes, and gives a Refusal, or one ClaimStatus a line."""

    def __init__(self) -> None:
        self._data = b""
        self._status = 0
        self._length: int | None = None
        self._refused = False

    @property
    def accepted(self) -> bool:
        """Whether the agent talks to the pod."""
        return self._status == 200

    def feed(self, data: bytes) -> Sequence[Refusal | ClaimStatus]:
        """Take more bytes, empty at the end of the connection; raises ProtocolError."""
        self._data += data
        if not self._status and not self._head():
            return ()
        if self._status != 200:
            return self._refusal(ended=not data)
        *lines, self._data = self._data.split(b"\n")
        if len(self._data) > MAX_ANSWER:
            raise ProtocolError(f"a line has more than {MAX_ANSWER} bytes")
        return [standing(line) for line in lines if line.strip()]

    def _head(self) -> bool:
        """Read the head of the answer, if all of it is there."""
        while not self._status:
            head, end, rest = self._data.partition(b"\r\n\r\n")
            if len(head) > MAX_HEAD:
                raise ProtocolError(f"the head of the answer has more than {MAX_HEAD} bytes")
            if not end:
                return False
            first, *fields = head.split(b"\r\n")
            protocol, _, reason = first.partition(b" ")
            status = reason.partition(b" ")[0]
            if not protocol.startswith(b"HTTP/1.") or len(status) != 3 or not status.isdigit():
                raise ProtocolError("it does not speak HTTP/1.1")
            self._data = rest
            if not status.startswith(b"1"):
                self._status = int(status)
                self._length = _length(fields)
        return True

    def _refusal(self, *, ended: bool) -> Sequence[Refusal]:
        whole = self._length is not None and len(self._data) >= self._length
        if self._refused or not (whole or ended or len(self._data) >= MAX_ANSWER):
            return ()
        self._refused = True
        text = ""
        try:
            found = json.loads(self._data[:MAX_ANSWER])
            text = _text(found, "message") if isinstance(found, dict) else ""
        except (ValueError, RecursionError, ProtocolError):
            # Not our agent's: the status must do.
            pass
        return [Refusal(self._status, text or f"HTTP status {self._status}")]


def _length(fields: Sequence[bytes]) -> int | None:
    for field in fields:
        name, _, value = field.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return min(int(value[:12]), MAX_ANSWER)
    return None


def standing(line: bytes) -> ClaimStatus:
    """Read one line of the answer; unknown keys are ignored. Raises ProtocolError."""
    if len(line) > MAX_ANSWER:
        raise ProtocolError(f"a line has more than {MAX_ANSWER} bytes")
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise ProtocolError("a line is no JSON") from None
    if not isinstance(found, dict):
        raise ProtocolError("a line is no JSON object")
    state, code = _text(found, "state"), _number(found, "code")
    if state not in (PENDING, ASSIGNED, FAILED) or not 0 <= code <= 125:
        raise ProtocolError(f"it says state {state[:40]!r} and code {code}")
    if (state == ASSIGNED) is not (code == 0):
        raise ProtocolError(f"state {state} and code {code} contradict each other")
    return ClaimStatus(
        _number(found, "serial"), state, code, _text(found, "message"), _addresses(found.get("addresses"))
    )


def _addresses(listed: Any) -> dict[tuple[str, str], tuple[str, str, str]] | None:
    if listed is None:
        return None
    if not isinstance(listed, list) or len(listed) > MAX_ADDRESSES:
        raise ProtocolError(f"addresses is no list of at most {MAX_ADDRESSES}")
    addresses = {}
    for entry in listed:
        if not isinstance(entry, dict):
            raise ProtocolError("an address is no JSON object")
        who = _text(entry, "address"), _text(entry, "interface")
        addresses[who] = _text(entry, "state"), _text(entry, "eni"), _text(entry, "message")
    return addresses


def _text(found: dict[str, Any], key: str) -> str:
    value = found.get(key, "")
    if not isinstance(value, str):
        raise ProtocolError(f"{key} is no text")
    return value[:MAX_TEXT]


def _number(found: dict[str, Any], key: str) -> int:
    value = found.get(key, 0)
    if type(value) is not int or not 0 <= value < 1 << 53:
        raise ProtocolError(f"{key} is no number")
    return value
