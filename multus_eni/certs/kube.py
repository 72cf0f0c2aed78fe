"""A small client of the Kubernetes API: one object at a time, and watches.

The standard library's, because this process runs for ever in every cluster and makes a handful of requests
a day: the official client imports every kind there is. A request opens a connection of its own, so that a
renewed token or CA file counts from the next one on.
"""

from __future__ import annotations

import email.utils
import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlencode

from multus_eni.certs.errors import ApiError, Unreachable
from multus_eni.version import VERSION

Object = dict[str, Any]

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"

TIMEOUT = 15.0
"""Seconds for connecting, and for each read of an answer."""
MAX_ANSWER = 8 << 20
"""Bytes. An object may have 1.5 MiB (etcd's limit), and comes with its managed fields."""
MAX_MESSAGE = 500
"""Characters of the API server's message that are passed on."""
_KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 3}
"""A watch says nothing for minutes: what is dead is found within one."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the API server is: `https://host:port`, and what its paths begin with behind a proxy."""

    host: str
    port: int
    prefix: str = ""


class Cluster(Protocol):
    """Where the API server is, whom to trust, and who we are; each may raise ClusterError or OSError."""

    @property
    def endpoint(self) -> Endpoint:
        """Where to connect to."""
        ...

    def context(self) -> ssl.SSLContext:
        """Make a TLS context with the CA, and a client certificate if there is one."""
        ...

    def headers(self) -> Mapping[str, str]:
        """Give the headers that say who we are."""
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """An object, and the API server's time (seconds since 1970) as it answered."""

    object: Object
    time: float | None


class Client:
    """Speaks to one API server. Methods raise ApiError, Unreachable or ClusterError."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def get(self, path: str, what: str, parameters: Mapping[str, str] | None = None) -> Answer:
        """Read; `what` completes "refused to …" in errors."""
        return self._answer(_Call("GET", path, what, parameters or {}))

    def apply(self, path: str, what: str, body: Object, *, manager: str, force: bool) -> Answer:
        """Create or change an object by server-side apply; with `force` other managers lose its fields."""
        parameters = {"fieldManager": manager, "force": "true" if force else "false"}
        return self._answer(_Call("PATCH", path, what, parameters, body, APPLY))

    def merge(self, path: str, what: str, body: Object, *, manager: str) -> Answer:
        """Change an object by a JSON Merge Patch (RFC 7396)."""
        return self._answer(_Call("PATCH", path, what, {"fieldManager": manager}, body, MERGE))

    @contextmanager
    def watch(self, path: str, what: str, parameters: Mapping[str, str], silence: float) -> Iterator[Watch]:
        """Open a watch, which the API server or `silence` seconds without a word end."""
        asked = {**parameters, "watch": "true", "allowWatchBookmarks": "true"}
        with self._request(_Call("GET", path, what, asked)) as (response, connection):
            connection.sock.settimeout(silence)
            yield Watch(response, connection.sock)

    def _answer(self, call: _Call) -> Answer:
        with self._request(call) as (response, _connection):
            text = response.read(MAX_ANSWER + 1)
            if len(text) > MAX_ANSWER:
                raise ApiError(200, "TooLarge", f"the answer has more than {MAX_ANSWER} bytes", call.what)
            return Answer(_object(text, call.what), _time(response))

    @contextmanager
    def _request(self, call: _Call) -> Iterator[tuple[http.client.HTTPResponse, http.client.HTTPSConnection]]:
        endpoint = self._cluster.endpoint
        context = self._cluster.context()
        headers = {"Accept": "application/json", "User-Agent": f"multus-eni-certs/{VERSION}"}
        headers |= {"Content-Type": call.media_type} if call.media_type else {}
        headers |= self._cluster.headers()
        target = f"{endpoint.prefix}{call.path}?{urlencode(call.parameters)}"
        body = None if call.body is None else json.dumps(call.body)
        connection = _Connection(endpoint.host, endpoint.port, timeout=TIMEOUT, context=context)
        try:
            connection.request(call.method, target, body, headers)
            response = connection.getresponse()
            if response.status >= 300:
                raise _refusal(response, call.what)
            yield response, connection
        except (OSError, http.client.HTTPException) as error:
            where = f"https://{endpoint.host}:{endpoint.port}"
            text = f"cannot {call.what}: no answer from the API server at {where}: {error!r}"
            raise Unreachable(text) from error
        finally:
            connection.close()


@dataclass(frozen=True, slots=True)
class _Call:
    method: str
    path: str
    what: str
    parameters: Mapping[str, str]
    body: Object | None = None
    media_type: str = ""


class Watch:
    """One answer of the API server that goes on: an event a line."""

    def __init__(self, response: http.client.HTTPResponse, connection: socket.socket) -> None:
        self._response = response
        self._connection = connection

    def events(self) -> Iterator[Object]:
        """Wait for events: objects with `type` and `object`. Raises OSError, HTTPException or ApiError."""
        while line := self._response.readline(MAX_ANSWER):
            if not line.endswith(b"\n"):
                return  # cut off in its middle, or too long: a new list tells the rest
            yield _object(line, "watch")

    def abort(self) -> None:
        """End it from another thread."""
        with suppress(OSError):
            # SSLSocket's own shutdown takes the TLS object from under the thread that reads.
            socket.socket.shutdown(self._connection, socket.SHUT_RDWR)


class _Connection(http.client.HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE.items():
            # Not every system has all of them.
            if hasattr(socket, option):
                self.sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _object(text: bytes, what: str) -> Object:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ApiError(200, "NotJSON", "the answer is no JSON object: is this an API server?", what)
    return found


def _refusal(response: http.client.HTTPResponse, what: str) -> ApiError:
    try:
        status = json.loads(response.read(MAX_ANSWER))
        reason, message = str(status.get("reason", "")), str(status.get("message", ""))
    except (ValueError, AttributeError):
        reason, message = response.reason, "no further word"
    return ApiError(response.status, reason, message[:MAX_MESSAGE], what, _time(response))


def _time(response: http.client.HTTPResponse) -> float | None:
    """Read the header `Date` (RFC 9110, section 6.6.1)."""
    try:
        return email.utils.parsedate_to_datetime(response.headers["Date"]).timestamp()
    except (TypeError, ValueError):
        return None
