"""A raw HTTP/1.1 client over TLS: it sends whatever it is given, and reads what comes back."""

from __future__ import annotations

import base64
import functools
import json
import socket
import ssl
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from tests.cluster.webhook import WebhookServer

PATH = b"/mutate/namespace/default"


@dataclass(frozen=True, slots=True)
class Reply:
    """Status and body of an answer."""

    status: int
    body: bytes

    @property
    def review(self) -> dict[str, Any]:
        """The `response` of the AdmissionReview in the body."""
        response: dict[str, Any] = json.loads(self.body)["response"]
        return response


@functools.lru_cache(maxsize=8)
def _trusting(ca: bytes) -> ssl.SSLContext:
    """Trust a CA alone; making a context for each of a thousand connections takes a second or two."""
    return ssl.create_default_context(cadata=ca.decode())


class Connection:
    """One TLS connection from `with` to the end of its block.

    `timeout` (seconds) holds for each send and each read; the API server itself gives up after 10. `source`
    is the address that it comes from, `window` how many bytes its kernel takes before it reads.
    """

    def __init__(
        self,
        server: WebhookServer,
        *,
        timeout: float = 20.0,
        source: str = "127.0.0.1",
        window: int | None = None,
    ) -> None:
        trust = _trusting(server.service.ca)
        plain = socket.socket()
        try:
            if window is not None:
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
            plain.settimeout(timeout)
            plain.bind((source, 0))
            plain.connect(("127.0.0.1", server.port))
            self._tls = trust.wrap_socket(plain, server_hostname="127.0.0.1")
        except BaseException:
            plain.close()
            raise
        self._reader = self._tls.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.close()
        self._tls.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are; raises OSError where the server has closed."""
        self._tls.sendall(data)

    def end_sending(self) -> None:
        """Close this direction only (TLS close_notify and FIN), as a client does that goes away."""
        try:
            self._tls.unwrap().close()
        except (OSError, ValueError):
            return

    def shut_down(self) -> None:
        """End this direction only (FIN), and read nothing."""
        self._tls.shutdown(socket.SHUT_WR)

    def reply(self) -> Reply | None:
        """Read one answer; None where the server closed instead."""
        try:
            head = self._head()
            length = int(head.get("content-length", "0"))
            return Reply(int(head["status"]), self._reader.read(length)) if head else None
        except (ConnectionError, ssl.SSLError):
            return None

    def ask(self, body: bytes, path: bytes = PATH) -> Reply | None:
        """Send a request as it should be, and read its answer."""
        self.send(request(body, path))
        return self.reply()

    def _head(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for line in iter(self._reader.readline, b""):
            text = line.decode("latin-1").strip()
            if not found:
                found["status"] = text.split(" ")[1]
            elif text:
                name, _, value = text.partition(":")
                found[name.lower()] = value.strip()
            elif found["status"] == "100":
                found = {}
            else:
                return found
        return {}


def head(*headers: bytes, path: bytes = PATH, start: bytes = b"POST %b HTTP/1.1") -> bytes:
    """Write a request's head with these header lines."""
    first = start % path if b"%b" in start else start
    return b"".join(line + b"\r\n" for line in (first, b"Host: webhook", *headers, b""))


def request(body: bytes, path: bytes = PATH) -> bytes:
    """Write a request as it should be."""
    return head(b"Content-Length: %d" % len(body), path=path) + body


def chunked(body: bytes, size: int = 65536) -> bytes:
    """Write a body in the chunked transfer coding (RFC 9112, section 7.1)."""
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def operations(response: dict[str, Any]) -> list[dict[str, Any]]:
    """Decode the patch of a review's response."""
    found: list[dict[str, Any]] = json.loads(base64.b64decode(response.get("patch", "W10="), validate=True))
    return found


def check_answer(reply: Reply | None) -> None:
    """Check that an answer is one: a review, or a 4xx with a sentence."""
    assert reply is not None, "closed without an answer"
    if reply.status != 200:
        assert 400 <= reply.status < 500, reply
        assert reply.body.decode().strip()
        assert b"Traceback" not in reply.body
        return
    response = reply.review
    assert response["uid"]
    assert response["allowed"] is ("status" not in response)
    if not response["allowed"]:
        assert 0 < len(response["status"]["message"]) < 2000
        assert response["status"]["code"] < 500, response
    for operation in operations(response):
        assert operation["op"] in ("add", "move", "test"), operation
