"""Session: one request of a pod. Head, token and statements are checked before they take effect.

Thread: the server's event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol

from common.exit_codes import ExitCode
from common.token_bucket import TokenBucket
from ipagent.node.model.claim import ClaimState, ClaimStatus
from ipagent.node.model.pod import PodKey
from ipagent.node.sessions.auth import OTHER_NODE, Answer, Authorization, PodIdentity, Unauthenticated
from ipagent.node.sessions.connection import Connection
from ipagent.node.sessions.http1 import (
    CONTINUE,
    BadRequest,
    RequestParser,
    answer_head,
    error_response,
)
from ipagent.node.sessions.limits import FRAME_COST, READ_COST, Limits
from ipagent.node.sessions.messages import Statement, answer, read_statement

MAX_WAITING = 64
"""Statements that may wait in one session."""


class ServiceUnavailable(Exception):
    """A request can't be served now; the text says why."""


class Server(Protocol):
    """What a session asks of the server that it belongs to; all of it in the server's thread."""

    limits: Limits
    scratch: memoryview
    """Where sessions receive, one after the other."""

    def closed(self, session: Session) -> None:
        """Forget a session; the one of a pod has ended with it."""

    def hold(self, session: Session, size: int) -> None:
        """Record how many bytes a session holds; ends those that hold theirs for too long."""

    async def review(self, token: str) -> PodIdentity | Unauthenticated:
        """Find the pod that a token is bound to; raises ServiceUnavailable."""

    def on_another_node(self, bearer: PodIdentity) -> str:
        """Return a sentence if the bearer's pod runs on another node."""

    def rates(self, pod: PodKey) -> tuple[TokenBucket, TokenBucket]:
        """Return what a pod may send yet, by all its connections: bytes, and statements."""

    def authorize(self, bearer: PodIdentity, stated: PodKey) -> Authorization:
        """Decide whether the bearer may speak for the pod that it states."""

    def submit(self, session: Session, statement: Statement) -> int:
        """Hand a claim over in the name of its pod; returns its ticket. Raises ServiceUnavailable."""

    def record_refusal(self, peer: str, status: HTTPStatus, reason: str) -> None:
        """Count and log a request that is not served."""


class Session(Connection):
    """From the connection to its end; `pod` is None until the bearer may speak for it.

    `bytes_rate` is what the peer may send before its pod is known. With `refusal` it is only told why.
    """

    def __init__(self, server: Server, peer: str, bytes_rate: TokenBucket, refusal: str = "") -> None:
        super().__init__(server.scratch, server.limits.stall_seconds)
        self.pod: PodKey | None = None
        self.peer = peer
        self.refusal = refusal
        self._server = server
        self._request = RequestParser()
        self._bytes_rate = bytes_rate
        self._statements_rate = TokenBucket(server.limits.statements)
        self._bearer: PodIdentity | None = None
        self._answered = self._final = False
        self._unseen: tuple[Statement, int] | None = None
        """What a pod states that is not seen on this node yet, and its size."""
        self._review: asyncio.Task[None] | None = None
        self._ticket = self._serial = 0
        self._unsent: ClaimStatus | None = None

    # Called by the connection.

    def _opened(self) -> None:
        """Wait for a request, or tell the peer why there can be none."""
        if self.refusal:
            self._refuse(HTTPStatus.TOO_MANY_REQUESTS, self.refusal)
        else:
            self._wait_for_rest()

    def _received(self, data: bytes) -> None:
        """Parse what came, as far as the limits allow."""
        self._parse(lambda: self._receive(data), READ_COST + len(data))

    def _writable(self) -> None:
        """Go on with the latest status; what was true in between is stale."""
        status, self._unsent = self._unsent, None
        if status:
            self._write(status)
        self._account()

    def _stopped(self) -> None:
        if self._review and self._review is not asyncio.current_task():
            self._review.cancel()
        self._request = RequestParser()
        self._unseen = self._unsent = None
        self._account()

    def _closed(self) -> None:
        self._server.closed(self)

    # Called by the server.

    def end(self, reason: str, remedy: str) -> None:
        """Answer the pod that this session is over, why, and what the user does next."""
        self._refuse(HTTPStatus.FORBIDDEN, reason, remedy)

    def recheck(self) -> None:
        """Decide again: the pods of this node have changed."""
        if self._unseen and self._bearer:
            statement = self._unseen[0]
            if self._server.authorize(self._bearer, statement.claim.pod).answer is not Answer.RETRY:
                self._guard(lambda: self._submit(statement, 0))

    def send_status(self, status: ClaimStatus, ticket: int) -> None:
        """Send the pod its status, if that answers its last statement."""
        if ticket != self._ticket:
            return
        if self._stalled:
            self._unsent = status
        else:
            self._write(status)

    # Steps.

    def _guard(self, step: Callable[[], None]) -> None:
        try:
            step()
        except BadRequest as error:
            self._refuse(error.status, str(error))
        except ServiceUnavailable as error:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        self._account()

    def _parse(self, step: Callable[[], None], cost: int = 0) -> None:
        """Do a step, and charge for it and for the frames that it has parsed, also where it has failed."""
        request, frames = self._request, self._request.frames
        self._guard(step)
        self._charge(cost + FRAME_COST * (request.frames - frames))

    def _charge(self, cost: int) -> None:
        """Charge the peer for what it has sent; the next is read when it has been paid for."""
        wait = self._bytes_rate.charge(cost, self._loop.time())
        if wait and not self._over:
            self._pause("rate")
            self._flow.start_timer("rate", wait, lambda: self._resume("rate"))

    def _receive(self, data: bytes) -> None:
        self._request.feed(data)
        if self._request.statements:
            self._flow.cancel("statement")
        if self._bearer:
            self._read_statements()
        elif self._request.head:
            # Nothing of the body is parsed before it is known whose token this is.
            self._pause("token")
            self._review = self._loop.create_task(self._check(self._request.head.token))

    async def _check(self, token: str) -> None:
        try:
            found = await self._server.review(token)
        except ServiceUnavailable as error:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
            return
        if self._over:
            # It has ended while the API server was asked.
            return
        if isinstance(found, Unauthenticated):
            reason = f"The pod's token is refused: {found.reason}"
            self._refuse(HTTPStatus.UNAUTHORIZED, reason, found.remedy)
        elif reason := self._server.on_another_node(found):
            self._refuse(HTTPStatus.FORBIDDEN, reason, OTHER_NODE)
        else:
            self._bearer = found
            self._bytes_rate, self._statements_rate = self._server.rates(found.pod)
            self._parse(self._read_body)

    def _read_body(self) -> None:
        if self._request.head and self._request.head.expects:
            self._send(CONTINUE)
        self._request.accept()
        self._resume("token")
        self._read_statements()

    def _read_statements(self) -> None:
        """Take statements as fast as is allowed; while some wait, nothing more is read."""
        waiting = self._request.statements
        if len(waiting) > MAX_WAITING:
            raise BadRequest(f"More than {MAX_WAITING} statements came at once")
        while waiting and not self._over:
            if wait := self._statements_rate.wait(self._loop.time()):
                self._pause("statements")
                self._flow.start_timer("statements", wait, lambda: self._guard(self._read_statements))
                break
            self._statements_rate.take(self._loop.time())
            line = waiting.popleft()
            self._submit(read_statement(line), len(line))
        else:
            self._resume("statements")
        if self._request.ended and not self._answered:
            raise BadRequest("The request has no statement")
        self._end_if_done()

    def _wait_for_rest(self) -> None:
        """Limit the time for what is incomplete, while it is the peer whom we wait for."""
        if self._over or self._flow.paused:
            return
        if self._request.partial or not self._answered:
            self._flow.start_timer("statement", self._server.limits.statement_seconds, self._late, anew=False)
        else:
            self._flow.cancel("statement")

    def _pause(self, why: str) -> None:
        self._flow.cancel("statement")
        self._flow.pause(why)

    def _resume(self, why: str) -> None:
        self._flow.resume(why)
        self._wait_for_rest()

    def _submit(self, statement: Statement, size: int) -> None:
        assert self._bearer  # noqa: S101 - statements are read of nobody else
        decision = self._server.authorize(self._bearer, statement.claim.pod)
        if decision.answer is Answer.NO:
            self._refuse(HTTPStatus.FORBIDDEN, decision.reason, decision.remedy)
            return
        self._unseen = None
        self._serial, self._final = statement.serial, False
        if decision.answer is Answer.RETRY:
            self._unseen = statement, size
            self._write(ClaimStatus(ClaimState.PENDING, ExitCode.DEADLINE, f"{decision.reason}."))
            return
        self._ticket = self._server.submit(self, statement)
        self.pod = self._bearer.pod
        self._begin_answer()

    def _begin_answer(self) -> None:
        if not self._answered:
            self._answered = True
            self._send(answer_head())

    def _write(self, status: ClaimStatus) -> None:
        self._begin_answer()
        self._send(answer(status, self._serial))
        self._final = status.state is not ClaimState.PENDING
        self._account()
        self._end_if_done()

    def _end_if_done(self) -> None:
        """End where the pod has no more to say and there is no more to tell it."""
        if self._request.ended and self._final and not self._request.statements:
            self._end()

    def _late(self) -> None:
        seconds = self._server.limits.statement_seconds
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"There was no whole statement within {seconds:g} s")

    def _refuse(self, status: HTTPStatus, reason: str, remedy: str = "") -> None:
        """Answer why and what to do, in the form that fits how far it has come, and end."""
        if self._over:
            return
        self._server.record_refusal(self.peer, status, reason)
        text = f"{reason}. {remedy}".rstrip()
        if not self._answered:
            self._send(error_response(status, f"{reason}.", remedy))
        elif status is HTTPStatus.SERVICE_UNAVAILABLE:
            # The pod asks again on its next connection.
            self._send(answer(ClaimStatus(ClaimState.PENDING, ExitCode.DEADLINE, text), self._serial))
        else:
            code = ExitCode.NOT_GRANTED if status is HTTPStatus.FORBIDDEN else ExitCode.USAGE
            self._send(answer(ClaimStatus(ClaimState.FAILED, code, text), self._serial))
        self._end()

    def _account(self) -> None:
        """Record what is kept of this peer: it is bounded for all peers together."""
        waiting = sum(map(len, self._request.statements)) + (self._unseen[1] if self._unseen else 0)
        self._server.hold(self, self._request.partial + waiting + self._unread)
