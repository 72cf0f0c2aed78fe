"""One connection of a pod: what came is checked, step by step, before anything of it counts."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from http import HTTPStatus
from typing import Protocol

from common.contract import ExitCode
from ipagent.node.model.claim import Claim, ClaimState, ClaimStatus
from ipagent.node.model.pod import PodKey
from ipagent.node.sessions.auth import Answer, Authorization, PodIdentity, Unauthenticated
from ipagent.node.sessions.http1 import (
    CONTINUE,
    BadRequest,
    BodyParser,
    Head,
    HeadParser,
    answer_head,
    error_response,
)
from ipagent.node.sessions.limits import Limits, TokenBucket
from ipagent.node.sessions.messages import Statement, answer, read_statement

MAX_LINES = 64
"""Statements that may wait in one session."""
LINGER_SECONDS = 2.0
"""How long a peer that was told to go may still send: a reset could overtake what it was told."""
KEEPALIVE = {socket.TCP_KEEPIDLE: 60, socket.TCP_KEEPINTVL: 15, socket.TCP_KEEPCNT: 4}
"""A peer that is gone without a word is found out by the kernel within two minutes (`man 7 tcp`)."""
USER_TIMEOUT_MS = 60_000
"""How long what was sent may wait for its acknowledgement (TCP_USER_TIMEOUT, `man 7 tcp`)."""


class NotNow(Exception):
    """A token can't be checked now; the text says why."""


class Server(Protocol):
    """What a session asks of the server that it belongs to; all of it in the server's thread."""

    limits: Limits

    def admit(self, peer: str) -> str:
        """Count a connection; says why where there are too many."""

    def leave(self, session: Session) -> None:
        """Count it no longer, and let its pod go."""

    async def review(self, token: str) -> PodIdentity | Unauthenticated:
        """Find the pod that a token is bound to; raises NotNow."""

    def on_another_node(self, bearer: PodIdentity) -> str:
        """Say so if the bearer's pod runs on another node."""

    def authorize(self, bearer: PodIdentity, stated: PodKey) -> Authorization:
        """May the bearer speak for the pod that it states?"""

    def submit(self, session: Session, claim: Claim) -> int:
        """Hand a claim over in the name of its pod; gives its ticket."""

    def refused(self, peer: str, status: HTTPStatus, reason: str) -> None:
        """Take note of somebody who is not talked to."""


class Session(asyncio.Protocol):
    """From the connection to its end; `pod` is None until the bearer may speak for it."""

    def __init__(self, server: Server) -> None:
        self.pod: PodKey | None = None
        self.peer = ""
        self.admitted = False
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._head = HeadParser()
        self._body: BodyParser | None = None
        self._bearer: PodIdentity | None = None
        self._answered = self._final = self._over = False
        self._waiting: Statement | None = None
        self._lines: deque[bytes] = deque()
        self._bucket = TokenBucket(server.limits.statements)
        self._review: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._later: asyncio.TimerHandle | None = None
        self._ticket = self._serial = 0
        self._unsent: ClaimStatus | None = None

    # What asyncio tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the peer, or tell it to go."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - of a TCP server
        self._transport = transport
        self.peer = str((transport.get_extra_info("peername") or ("",))[0])
        _watch(transport.get_extra_info("socket"))
        if why := self._server.admit(self.peer):
            self._refuse(HTTPStatus.TOO_MANY_REQUESTS, why)
            return
        self.admitted = True
        self._wait_for_statement()

    def data_received(self, data: bytes) -> None:
        """Take what came; one part after the other, and never more than the limits allow."""
        if self._over:
            return
        try:
            if self._body is None:
                self._read_head(data)
            else:
                self._read_body(self._body, data)
        except BadRequest as error:
            self._refuse(error.status, str(error))

    def eof_received(self) -> bool:
        """End what the peer ends: nobody is there to be answered."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go."""
        del exc
        self._transport, self._over = None, True
        self._cancel_timers()
        if self._review:
            self._review.cancel()
        self._server.leave(self)

    def pause_writing(self) -> None:
        """Note that the peer does not read."""
        self._stalled = self._loop.call_later(self._server.limits.stall_seconds, self.abort)

    def resume_writing(self) -> None:
        """Go on with the latest standing; what was true in between is stale."""
        if self._stalled:
            self._stalled.cancel()
        self._stalled = None
        standing, self._unsent = self._unsent, None
        if standing:
            self._write(standing)

    # What the server tells.

    def abort(self) -> None:
        """End at once."""
        if self._transport:
            self._transport.abort()

    def end(self, reason: str) -> None:
        """Tell the pod that this session is over, and why."""
        self._refuse(HTTPStatus.FORBIDDEN, reason)

    def look_again(self) -> None:
        """Judge anew: the pods of this node have changed."""
        statement, bearer = self._waiting, self._bearer
        if statement and bearer:
            pod = statement.claim.pod
            if self._server.authorize(bearer, pod).say is not Answer.WAIT:
                self._answer_statement(bearer, statement)

    def tell(self, standing: ClaimStatus, ticket: int) -> None:
        """Tell the pod how far it is, if that answers its last statement."""
        if ticket != self._ticket:
            return
        if self._stalled:
            self._unsent = standing
        else:
            self._write(standing)

    # Steps.

    def _wait_for_statement(self) -> None:
        self._timer = self._loop.call_later(self._server.limits.first_seconds, self._late)

    def _read_head(self, data: bytes) -> None:
        """Read the head. Nothing that follows is read before it is known whose token it shows."""
        if head := self._head.feed(data):
            self._pause()
            self._cancel_timers()
            self._review = self._loop.create_task(self._check(head))

    async def _check(self, head: Head) -> None:
        try:
            found = await self._server.review(head.token)
        except NotNow as error:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
            return
        if isinstance(found, Unauthenticated):
            self._refuse(HTTPStatus.UNAUTHORIZED, f"The pod's token is refused: {found.reason}")
        elif reason := self._server.on_another_node(found):
            self._refuse(HTTPStatus.FORBIDDEN, reason)
        else:
            self._accept_body(found, head)

    def _accept_body(self, bearer: PodIdentity, head: Head) -> None:
        self._bearer, self._body = bearer, BodyParser(head)
        if head.expects:
            self._send(CONTINUE)
        self._wait_for_statement()
        self._resume()
        self.data_received(self._head.take_rest())

    def _read_body(self, body: BodyParser, data: bytes) -> None:
        self._lines.extend(body.feed(data))
        if len(self._lines) > MAX_LINES:
            raise BadRequest(f"More than {MAX_LINES} statements came at once")
        if self._lines:
            if self._timer:
                self._timer.cancel()
            self._next_lines()
            self._end_if_done()
        elif body.ended and not self._answered:
            raise BadRequest("The request has no statement")
        else:
            self._end_if_done()

    def _next_lines(self) -> None:
        """Take statements as fast as is allowed; while some wait, nothing more is read."""
        self._later = None
        while self._lines and self._bearer and not self._over:
            if wait := self._bucket.wait(self._loop.time()):
                self._pause()
                self._later = self._loop.call_later(wait, self._safely_next)
                return
            self._bucket.take(self._loop.time())
            self._answer_statement(self._bearer, read_statement(self._lines.popleft()))
        self._resume()

    def _safely_next(self) -> None:
        try:
            self._next_lines()
        except BadRequest as error:
            self._refuse(error.status, str(error))

    def _answer_statement(self, bearer: PodIdentity, statement: Statement) -> None:
        verdict = self._server.authorize(bearer, statement.claim.pod)
        if verdict.say is Answer.NO:
            self._refuse(HTTPStatus.FORBIDDEN, verdict.reason)
            return
        self._serial, self._final = statement.serial, False
        if not self._answered:
            self._answered = True
            self._send(answer_head())
        if verdict.say is Answer.WAIT:
            self._waiting = statement
            self._write(ClaimStatus(ClaimState.PENDING, ExitCode.DEADLINE, f"{verdict.reason}."))
            return
        self._waiting = None
        self.pod = bearer.pod
        self._ticket = self._server.submit(self, statement.claim)

    def _write(self, standing: ClaimStatus) -> None:
        self._send(answer(standing, self._serial))
        self._final = standing.state is not ClaimState.PENDING
        self._end_if_done()

    def _end_if_done(self) -> None:
        """End where the pod has no more to say and there is no more to tell it."""
        if self._body and self._body.ended and self._final and not self._lines:
            self._end()

    def _late(self) -> None:
        seconds = self._server.limits.first_seconds
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"There was no whole statement within {seconds:g} s")

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        """Answer why, in the form that fits how far it has come, and end."""
        if self._over:
            return
        self._server.refused(self.peer, status, reason)
        if self._answered:
            code = ExitCode.NOT_GRANTED if status is HTTPStatus.FORBIDDEN else ExitCode.USAGE
            self._send(answer(ClaimStatus(ClaimState.FAILED, code, f"{reason}."), self._serial))
        else:
            self._send(error_response(status, f"{reason}."))
        self._end()

    def _end(self) -> None:
        """Answer no more and hear no more, but let the peer read what it was told."""
        if self._over or self._transport is None:
            return
        self._over = True
        self._lines.clear()
        self._cancel_timers()
        self._timer = self._loop.call_later(LINGER_SECONDS, self.abort)
        self._resume()
        self._transport.write_eof()

    def _cancel_timers(self) -> None:
        for handle in (self._timer, self._stalled, self._later):
            if handle:
                handle.cancel()

    def _send(self, data: bytes) -> None:
        if self._transport and not self._over:
            self._transport.write(data)

    def _pause(self) -> None:
        if self._transport and self._transport.is_reading():
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._transport and not self._transport.is_reading():
            self._transport.resume_reading()


def _watch(connection: socket.socket | None) -> None:
    """Let the kernel look after the connection: a pod that vanished says nothing."""
    if connection is None:
        return
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE.items():
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
