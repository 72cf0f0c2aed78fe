"""A session with the node agent that survives its connections: each begins with the whole statement."""

from __future__ import annotations

import select

from common.backoff import full_jitter
from common.random_value import random_value
from ipagent import node_protocol
from ipagent.node_protocol import ClaimStatus, ProtocolError, Refusal
from ipagent.nodeclient.connection import Connection, ConnectionBroken

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONNECT_SECONDS = 5.0
HEAD_SECONDS = 15.0
"""How long an answer may take to begin: the node agent asks the API server about the token."""
STABLE_SECONDS = 10.0
"""A connection that held so long was a good one: the next try begins with the shortest delay."""

FIRST_PACE = 0.1, 2.0
LATER_PACE = 0.5, 30.0
REFUSED_PACE = 30.0, 300.0
"""Delays in seconds, doubled from the first value to the second: at the start, later, after a refusal."""

FINAL = (400, 401, 403, 413)
"""Refusals that the same statement will get again."""


class NoToken(Exception):
    """The token cannot be read; the text says why."""


class ReconnectingSession:
    """One connection after the other, as long as there is something to state.

    `trouble` says why the last connection came to nothing, until one has been answered; `refusal` is what the
    node agent said when it refused the request.
    """

    def __init__(self, host: str, port: int, token_file: str, version: str) -> None:
        self.authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.trouble = ""
        self.refusal: Refusal | None = None
        self.serial = 0
        self._host = host
        self._port = port
        self.token_file = token_file
        self._version = version
        self._statement: dict[str, Any] = {}
        self._stale = False
        self._connection: Connection | None = None
        self._begun = 0.0
        self._tries = 0
        self._next = 0.0
        self._pace = FIRST_PACE

    def set_statement(self, statement: dict[str, Any]) -> None:
        """Send this statement from now on, on each connection."""
        self.serial += 1
        self._statement = {**statement, node_protocol.StatementKey.SERIAL: self.serial}
        self._stale = True

    def drop_key(self, key: str) -> None:
        """Leave a key out where the statement is sent again: the node agent has read it."""
        self._statement.pop(key, None)

    def slow_down(self) -> None:
        """Reconnect less often from now on."""
        self._pace = LATER_PACE

    def close(self) -> None:
        """Close the connection."""
        if self._connection:
            self._connection.close()
        self._connection = None

    def due(self) -> float | None:
        """Return when `step` has something to do (monotonic), None if only an event can change that."""
        if self._connection is None:
            return self._next
        if not self._connection.connected:
            return self._begun + CONNECT_SECONDS
        return None if self._connection.answers.accepted else self._begun + HEAD_SECONDS

    def watch(self, poll: select.poll) -> int:
        """Register the connection for its events; returns its descriptor, -1 for none."""
        if self._connection is None:
            return -1
        poll.register(
            self._connection, select.POLLIN | (select.POLLOUT if self._connection.wants_to_write else 0)
        )
        return self._connection.fileno()

    def step(self, now: float) -> None:
        """Do what is due: connect, give up on a connection, send a changed statement. Raises NoToken."""
        if self._connection is None:
            if now >= self._next:
                self._connect(now)
        elif (due := self.due()) is not None and now >= due:
            self.retry_later(
                "it does not answer" if self._connection.connected else "no answer to the connection", now
            )
        elif self._stale and not self._connection.wants_to_write:
            self._try(self._send, now)

    def ready(self, events: int, now: float) -> list[ClaimStatus]:
        """Handle the connection's events; returns the statuses that answer the current statement."""
        statuses: list[ClaimStatus] = []
        if events & ~select.POLLOUT:
            self._try(lambda connection: statuses.extend(self._receive(connection, now)), now)
        if self._connection and events & select.POLLOUT:
            self._try(Connection.flush, now)
        return [status for status in statuses if status.serial == self.serial]

    def _connect(self, now: float) -> None:
        token = _token(self.token_file)
        self._begun, self.refusal = now, None
        try:
            self._connection = Connection(self._host, self._port)
        except ConnectionBroken as error:
            self.retry_later(str(error), now)
            return
        self._connection.queue(node_protocol.request(self.authority, token, self._version))
        self._send(self._connection)

    def _send(self, connection: Connection) -> None:
        self._stale = False
        connection.queue(node_protocol.chunk(self._statement))
        if connection.connected:
            connection.flush()

    def _receive(self, connection: Connection, now: float) -> list[ClaimStatus]:
        answers, ended = connection.receive()
        statuses = []
        for answer in answers:
            if isinstance(answer, Refusal):
                self.refusal = answer
                self.retry_later(
                    f"HTTP status {answer.status}: {answer.text} {answer.remedy}".rstrip(". "), now
                )
                return []
            self.trouble, self.refusal = "", None
            statuses.append(answer)
        if ended:
            self.retry_later("it has closed the connection", now)
        return statuses

    def _try(self, do: Any, now: float) -> None:
        if self._connection is None:
            return
        try:
            do(self._connection)
        except ConnectionBroken as error:
            self.retry_later(str(error), now)
        except ProtocolError as error:
            self.retry_later(f"what answers there is not the node agent: {error}", now)

    def retry_later(self, why: str, now: float) -> None:
        """Close the connection and reconnect later."""
        self.trouble = why
        # Only one that was answered has held: a silent peer is asked less and less often.
        held = self._connection is not None and self._connection.answers.accepted
        self.close()
        if held and now - self._begun > STABLE_SECONDS and self.refusal is None:
            self._tries = 0
        final = self.refusal is not None and self.refusal.status in FINAL
        base, cap = REFUSED_PACE if final else self._pace
        # Jitter: all pods of a node come back when its agent does.
        self._next = now + full_jitter(base, cap, self._tries, random_value())
        self._tries += 1


def _token(path: str) -> str:
    """Read the token, each time again: the kubelet replaces it. Raises NoToken."""
    try:
        with open(path, encoding="ascii") as file:  # noqa: PTH123 - pathlib costs more than all of this
            token = file.read(node_protocol.MAX_TOKEN + 1).strip()
    except (OSError, ValueError) as error:
        raise NoToken(getattr(error, "strerror", None) or "it is not a text") from None
    if not node_protocol.is_token(token):
        raise NoToken("what is in there is not a token")
    return token
