"""Keeps talking to the agent of the node: what is to be stated is stated on every connection anew."""

from __future__ import annotations

import os
import select

from common.backoff import full_jitter
from ipagent import nodeprotocol
from ipagent.nodeclient.connection import Broken, Connection
from ipagent.nodeprotocol import ClaimStatus, ProtocolError, Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONNECT_SECONDS = 5.0
HEAD_SECONDS = 15.0
"""How long an answer may take to begin: the node's agent asks the API server about the token."""
STABLE_SECONDS = 10.0
"""A connection that held so long was a good one: the next try begins with the shortest delay."""

FIRST_PACE = 0.1, 2.0
LATER_PACE = 0.5, 30.0
REFUSED_PACE = 30.0, 300.0
"""Delays in seconds, doubled from the first value to the second: at the start, later, after a refusal."""

FINAL = (400, 401, 403, 413)
"""Refusals that the same statement will get again."""


class NoToken(Exception):
    """The token can't be read; the text says why."""


class ReconnectingSession:
    """One connection after the other, as long as there is something to state.

    `trouble` says why the last connection came to nothing, until one has been answered; `refusal` is what the
    agent of the node said when it refused to talk.
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
        self._link: Connection | None = None
        self._begun = 0.0
        self._tries = 0
        self._next = 0.0
        self._pace = FIRST_PACE

    def state(self, statement: dict[str, Any]) -> None:
        """State this from now on."""
        self.serial += 1
        self._statement = {**statement, "serial": self.serial}
        self._stale = True

    def forget(self, key: str) -> None:
        """Leave a part out where this is stated again: it has been heard."""
        self._statement.pop(key, None)

    def be_patient(self) -> None:
        """Try less often from now on."""
        self._pace = LATER_PACE

    def close(self) -> None:
        """Close the connection."""
        if self._link:
            self._link.close()
        self._link = None

    def put_off(self, why: str, now: float) -> None:
        """Try again later."""
        self._broken(why, now)

    def due(self) -> float | None:
        """Give the time at which `step` has something to do, None if only by an event."""
        if self._link is None:
            return self._next
        if not self._link.connected:
            return self._begun + CONNECT_SECONDS
        return None if self._link.answers.accepted else self._begun + HEAD_SECONDS

    def watch(self, poll: select.poll) -> int:
        """Register what to wait for; gives the descriptor, -1 for none."""
        if self._link is None:
            return -1
        poll.register(self._link, select.POLLIN | (select.POLLOUT if self._link.wants_to_write else 0))
        return self._link.fileno()

    def step(self, now: float) -> None:
        """Do what is due: connect, give up on a connection, state what has changed. Raises NoToken."""
        if self._link is None:
            if now >= self._next:
                self._connect(now)
        elif (due := self.due()) is not None and now >= due:
            self._broken("it does not answer" if self._link.connected else "no answer to the connection", now)
        elif self._stale and not self._link.wants_to_write:
            self._try(self._send, now)

    def ready(self, events: int, now: float) -> list[ClaimStatus]:
        """Take what has happened; gives what the agent of the node said about what is stated now."""
        heard: list[ClaimStatus] = []
        if events & ~select.POLLOUT:
            self._try(lambda link: heard.extend(self._receive(link, now)), now)
        if self._link and events & select.POLLOUT:
            self._try(Connection.flush, now)
        return [standing for standing in heard if standing.serial == self.serial]

    def _connect(self, now: float) -> None:
        token = _token(self.token_file)
        self._begun, self.refusal = now, None
        try:
            self._link = Connection(self._host, self._port)
        except Broken as error:
            self._broken(str(error), now)
            return
        self._link.queue(nodeprotocol.request(self.authority, token, self._version))
        self._send(self._link)

    def _send(self, link: Connection) -> None:
        self._stale = False
        link.queue(nodeprotocol.chunk(self._statement))
        if link.connected:
            link.flush()

    def _receive(self, link: Connection, now: float) -> list[ClaimStatus]:
        answers, ended = link.receive()
        heard = []
        for answer in answers:
            if isinstance(answer, Refusal):
                self.refusal = answer
                self._broken(f"HTTP status {answer.status}: {answer.text}".rstrip("."), now)
                return []
            self.trouble, self.refusal = "", None
            heard.append(answer)
        if ended:
            self._broken("it has closed the connection", now)
        return heard

    def _try(self, do: Any, now: float) -> None:
        if self._link is None:
            return
        try:
            do(self._link)
        except Broken as error:
            self._broken(str(error), now)
        except ProtocolError as error:
            self._broken(f"what answers there is not the node's agent: {error}", now)

    def _broken(self, why: str, now: float) -> None:
        self.trouble = why
        self.close()
        if now - self._begun > STABLE_SECONDS and self.refusal is None:
            self._tries = 0
        final = self.refusal is not None and self.refusal.status in FINAL
        base, cap = REFUSED_PACE if final else self._pace
        # Jitter: all pods of a node come back when its agent does.
        self._next = now + full_jitter(base, cap, self._tries, _random())
        self._tries += 1


def _random() -> float:
    """Give a value in [0, 1): the module random costs more memory than this whole class."""
    return int.from_bytes(os.urandom(4), "little") / (1 << 32)


def _token(path: str) -> str:
    """Read the token, anew each time: the kubelet replaces it. Raises NoToken."""
    try:
        with open(path, encoding="ascii") as file:  # noqa: PTH123 - pathlib costs more than all of this
            token = file.read(nodeprotocol.MAX_TOKEN + 1).strip()
    except (OSError, ValueError) as error:
        raise NoToken(getattr(error, "strerror", None) or "it is no text") from None
    if not token or len(token) > nodeprotocol.MAX_TOKEN or not token.isprintable() or " " in token:
        raise NoToken("what is in there is no token")
    return token
