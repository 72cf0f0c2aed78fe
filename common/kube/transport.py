"""Connections to the API server."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from common.keepalive import keep_alive
from common.linger import unacknowledged

TIMEOUT = 15.0
"""Seconds for connecting, and for each read of an answer."""
PROBE_TIMEOUT = 2.0
"""The same for a read that shows whether the API server answers anything."""
MAX_IDLE = 8
"""Connections that are kept at most."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the API server is: `https://host:port`, and what its paths begin with behind a proxy."""

    host: str
    port: int
    prefix: str = ""

    def __str__(self) -> str:
        return f"https://{self.host}:{self.port}"


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
        """Return the headers that say who we are."""
        ...


class SilentWriteError(Exception):
    """A write has arrived, and its answer did not come in time. No OSError: the connection is in order."""


class Connection(http.client.HTTPSConnection):
    """A connection whose death is noticed; `until` is when it is too old to be used again."""

    until = 0.0
    opened: socket.socket
    """Its socket since `connect`, also when http.client has passed it on to an answer that ends with it."""
    _parts: list[bytes] | None = None

    def send(self, data: Any) -> None:
        """Send bytes, or collect them while a request is put together."""
        if self._parts is None:
            super().send(data)
        else:
            self._parts.append(data)

    def send_request(self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]) -> None:
        """Send a request at once: http.client writes head and body apart, each as a TLS record."""
        self._parts = []
        try:
            self.request(method, target, body, headers)
            whole = b"".join(self._parts)
        finally:
            self._parts = None
        self.send(whole)

    def ask(
        self,
        method: str,
        target: str,
        body: bytes | None,
        headers: Mapping[str, str],
        *,
        patience: float | None = None,
    ) -> http.client.HTTPResponse:
        """Send a request and wait for the head of its answer, for `patience` seconds if they are given.

        Raises also SilentWriteError.
        """
        try:
            self.send_request(method, target, body, headers)
            try:
                return self._head(patience)
            except TimeoutError as error:
                # What has not even arrived tells of a connection that has died.
                if method == "GET" or unacknowledged(self.opened):
                    raise
                raise SilentWriteError from error
        except BaseException:
            self.close()
            raise

    def _head(self, patience: float | None) -> http.client.HTTPResponse:
        if patience is None:
            return self.getresponse()
        self.opened.settimeout(patience)
        try:
            return self.getresponse()
        finally:
            # http.client has closed it where the API server has.
            with suppress(OSError):
                self.opened.settimeout(self.timeout)

    def connect(self) -> None:
        """Connect."""
        super().connect()
        self.opened = self.sock
        # A watch says nothing for minutes: what is dead is found within one.
        keep_alive(self.sock, idle=15, probes=3)


class Connections:
    """Opens connections, and keeps those that are released for `keep` seconds from their opening on.

    No longer, so that a renewed CA file counts. With 0 each request has one of its own.
    """

    def __init__(self, cluster: Cluster, keep: float, timeout: float = TIMEOUT) -> None:
        self._cluster = cluster
        self._keep = keep
        self.timeout = timeout
        self._idle: list[Connection] = []
        self._lock = threading.Lock()

    def open(self, timeout: float | None = None) -> Connection:
        """Make a new one, which connects when it is used first; by default with the `timeout` of all."""
        endpoint = self._cluster.endpoint
        context = self._cluster.context()
        wait = self.timeout if timeout is None else timeout
        connection = Connection(endpoint.host, endpoint.port, timeout=wait, context=context)
        connection.until = time.monotonic() + self._keep
        return connection

    def take(self) -> Connection | None:
        """Return one that was used before, None if none is kept."""
        now = time.monotonic()
        with self._lock:
            while self._idle:
                connection = self._idle.pop()
                if now < connection.until:
                    return connection
                connection.close()
        return None

    def release(self, connection: Connection, *, usable: bool) -> None:
        """Keep a connection for the next request, or close one that can't be used again."""
        with self._lock:
            if usable and len(self._idle) < MAX_IDLE and time.monotonic() < connection.until:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close those that nobody uses."""
        with self._lock:
            while self._idle:
                self._idle.pop().close()
