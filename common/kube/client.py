"""A small client of the Kubernetes API: objects, lists that are read piece by piece, and watches.

It uses the standard library alone: the official client imports every kind of the API, which each node would
pay for in memory. The token is read for each request, so that a renewed token is used from the next one on.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar
from urllib.parse import urlencode

from common.kube.answers import MAX_ANSWER, error_of, object_of, refusal_of, response_time
from common.kube.errors import OF_ALL, ApiError, ClusterError, HangingWrite, Unreachable
from common.kube.list_stream import ListReader, NotAList
from common.kube.transport import (
    PROBE_TIMEOUT,
    TIMEOUT,
    Cluster,
    Connection,
    Connections,
    Endpoint,
    SilentWriteError,
)
from common.version import VERSION

__all__ = ["Answer", "Client", "Cluster", "Endpoint", "Event", "Object", "Watch"]

Object = dict[str, Any]
Item = TypeVar("Item")

JSON = "application/json"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"

MAX_LIST = 256 << 20
"""Bytes of a whole list, of which only one object at a time is in memory."""
MAX_PAGES = 1000
CHUNK = 64 << 10
LIST_WEBHOOKS = "kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations"
NO_REMEDIES: Mapping[int, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Answer:
    """An object, and the API server's time (seconds since 1970) as it answered."""

    object: Object
    time: float | None


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a watch: ADDED, MODIFIED, DELETED or BOOKMARK, and the object."""

    kind: str
    object: Object
    version: str


class Client:
    """Speaks to one API server. Methods raise ApiError, Unreachable or ClusterError.

    `program` is the User-Agent, `remedies` are by HTTP code what the user does next. Connections are used
    again for `keep` seconds. `timeout` are the seconds for connecting, and for each read of an answer; the
    answer to a write may be waited for with less `patience`.
    """

    def __init__(
        self,
        cluster: Cluster,
        program: str,
        remedies: Mapping[int, str] = NO_REMEDIES,
        *,
        keep: float = 0.0,
        timeout: float = TIMEOUT,
    ) -> None:
        self._cluster = cluster
        self._program = program
        self._remedies = remedies
        self._connections = Connections(cluster, keep, timeout)

    def close(self) -> None:
        """Close the connections that are kept."""
        self._connections.close()

    def get(self, path: str, what: str, parameters: Mapping[str, str] | None = None) -> Answer:
        """Read; `what` completes "refused to …" in errors."""
        return self._answer(_Call("GET", path, what, parameters or {}))

    def create(self, path: str, what: str, body: Object, *, patience: float | None = None) -> Answer:
        """Create an object; also a review, which only gives an answer."""
        return self._answer(_Call("POST", path, what, {}, body, JSON, patience))

    def apply(  # noqa: PLR0913 - one keyword an option
        self,
        path: str,
        what: str,
        body: Object,
        *,
        manager: str,
        force: bool,
        patience: float | None = None,
    ) -> Answer:
        """Create or change an object by server-side apply; with `force` other managers lose its fields."""
        parameters = {"fieldManager": manager, "force": "true" if force else "false"}
        return self._answer(_Call("PATCH", path, what, parameters, body, APPLY, patience))

    def merge(
        self, path: str, what: str, body: Object, *, manager: str, patience: float | None = None
    ) -> Answer:
        """Change an object by a JSON Merge Patch (RFC 7396)."""
        parameters = {"fieldManager": manager}
        return self._answer(_Call("PATCH", path, what, parameters, body, MERGE, patience))

    def delete(self, path: str, what: str, uid: str, *, patience: float | None = None) -> None:
        """Delete the object with this uid; the API server refuses with 409 if another one has its name."""
        body: Object = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": uid}}
        self._answer(_Call("DELETE", path, what, {}, body, JSON, patience))

    def list(
        self, path: str, what: str, parameters: Mapping[str, str], take: Callable[[Object], Item]
    ) -> tuple[str, tuple[Item, ...]]:
        """Read all objects of a list: its resourceVersion, and what `take` gives of each object.

        Pages are followed where the API server answers in pages, as it does with the parameter `limit`.
        Raises ApiError with 410 where the list changed too much between two pages.
        """
        reader, token = ListReader(take), ""
        for _ in range(MAX_PAGES):
            asked = {**parameters, **({"continue": token} if token else {})}
            self._read_list(_Call("GET", path, what, asked), reader)
            token = str(reader.metadata.get("continue") or "")
            if not token:
                return str(reader.metadata.get("resourceVersion", "")), tuple(reader.items)
        raise self._wrong("TooLarge", f"the list has more than {MAX_PAGES} pages", what)

    @contextmanager
    def watch(self, path: str, what: str, parameters: Mapping[str, str], silence: float) -> Iterator[Watch]:
        """Open a watch, which the API server or `silence` seconds without a word end."""
        asked = {**parameters, "watch": "true", "allowWatchBookmarks": "true"}
        with self._request(_Call("GET", path, what, asked)) as (response, connection):
            connection.opened.settimeout(silence)
            yield Watch(response, connection.opened, what, self._remedies)

    def _read_list(self, call: _Call, reader: ListReader[Item]) -> None:
        with self._request(call) as (response, _connection):
            try:
                reader.read(_bounded(response))
            except NotAList as error:
                raise self._wrong("NotAList", f"{error}: is this an API server?", call.what) from error
            response.read(CHUNK)

    def _answer(self, call: _Call) -> Answer:
        with self._request(call) as (response, _connection):
            text = response.read(MAX_ANSWER + 1)
            if len(text) > MAX_ANSWER:
                raise self._wrong("TooLarge", f"the answer has more than {MAX_ANSWER} bytes", call.what)
            return Answer(object_of(text, call.what), response_time(response.headers.get("Date")))

    def _wrong(self, reason: str, message: str, what: str) -> ApiError:
        return ApiError(200, reason, message, what)

    @contextmanager
    def _request(self, call: _Call) -> Iterator[tuple[http.client.HTTPResponse, Connection]]:
        connection = None
        usable = False
        try:
            connection, response = self._send(call)
            if response.status >= 300:
                raise refusal_of(response, call.what, self._remedies)
            yield response, connection
            usable = response.isclosed() and not response.will_close
        except (OSError, http.client.HTTPException) as error:
            text = f"cannot {call.what}: no answer from the API server at {self._cluster.endpoint}: {error!r}"
            raise Unreachable(text) from error
        except SilentWriteError as error:
            raise self._silence(call) from error
        finally:
            if connection is not None:
                self._connections.release(connection, usable=usable)

    def _send(self, call: _Call) -> tuple[Connection, http.client.HTTPResponse]:
        request = self._built(call)
        if kept := self._connections.take():
            # The API server may have closed it meanwhile: that says nothing about the request.
            with suppress(OSError, http.client.HTTPException):
                return kept, kept.ask(*request, patience=call.patience)
        connection = self._connections.open()
        return connection, connection.ask(*request, patience=call.patience)

    def _built(self, call: _Call) -> tuple[str, str, bytes | None, Mapping[str, str]]:
        headers = {"Accept": JSON, "User-Agent": f"{self._program}/{VERSION}"}
        headers |= {"Content-Type": call.media_type} if call.media_type else {}
        headers |= self._cluster.headers()
        target = f"{self._cluster.endpoint.prefix}{call.path}?{urlencode(call.parameters)}"
        body = None if call.body is None else json.dumps(call.body).encode("ascii")
        return call.method, target, body, headers

    def _silence(self, call: _Call) -> Unreachable:
        """Return what the silence after a write means, which a read of the same shows."""
        waited = self._connections.timeout if call.patience is None else call.patience
        begun = f"cannot {call.what}: no answer within {waited:g} s"
        where = f"the API server at {self._cluster.endpoint}"
        status = self._probe(call.path.removesuffix("/status"))
        if status is None or status in OF_ALL:
            found = "no answer" if status is None else f"HTTP {status}"
            return Unreachable(f"{begun} from {where}, and to a read {found}")
        return HangingWrite(
            f"{begun} to this write, which {where} has taken; it answers reads (HTTP {status}): an admission "
            f"webhook or a quota may hang ({LIST_WEBHOOKS})"
        )

    def _probe(self, path: str) -> int | None:
        """Return the HTTP status of a read, None where it has no answer either."""
        try:
            with closing(self._connections.open(PROBE_TIMEOUT)) as connection:
                return connection.ask(*self._built(_Call("GET", path, "read", {"limit": "1"}))).status
        except (OSError, http.client.HTTPException, ClusterError):
            return None


@dataclass(frozen=True, slots=True)
class _Call:
    method: str
    path: str
    what: str
    parameters: Mapping[str, str]
    body: Object | None = None
    media_type: str = ""
    patience: float | None = None
    """Seconds to wait for the answer's head, where that is not the client's timeout."""


class Watch:
    """One answer of the API server that goes on: an event a line."""

    def __init__(
        self,
        response: http.client.HTTPResponse,
        connection: socket.socket,
        what: str,
        remedies: Mapping[int, str] = NO_REMEDIES,
    ) -> None:
        self._response = response
        self._connection = connection
        self._what = what
        self._remedies = remedies

    def events(self) -> Iterator[Event]:
        """Wait for events. Raises OSError, HTTPException or ApiError, with 410 for a list anew."""
        while line := self._response.readline(MAX_ANSWER):
            if not line.endswith(b"\n"):
                return  # cut off in its middle, or too long: a new list tells the rest
            yield self._event(object_of(line, self._what))

    def abort(self) -> None:
        """End it from another thread."""
        with suppress(OSError):
            # SSLSocket's own shutdown takes the TLS object from under the thread that reads.
            socket.socket.shutdown(self._connection, socket.SHUT_RDWR)

    def _event(self, line: Object) -> Event:
        kind, found = line.get("type"), line.get("object")
        found = found if isinstance(found, dict) else {}
        if kind == "ERROR":
            code = found.get("code")
            raise error_of(code if isinstance(code, int) else 500, found, self._what, self._remedies)
        metadata = found.get("metadata")
        version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
        if not isinstance(kind, str) or not isinstance(version, str):
            raise ApiError(200, "NoEvent", "the line is not an event: is this an API server?", self._what)
        return Event(kind, found, version)


def _bounded(response: http.client.HTTPResponse) -> Iterator[bytes]:
    size = 0
    while chunk := response.read1(CHUNK):
        size += len(chunk)
        if size > MAX_LIST:
            raise NotAList(f"the list has more than {MAX_LIST} bytes")
        yield chunk
