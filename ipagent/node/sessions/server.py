"""The server that the pods of this node talk to, in a thread of its own. It decides nothing about addresses.

It knows which pods live on the node and asks the API server whose a token is. Claims go to the main loop by a
queue, statuses come back by it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Mapping
from http import HTTPStatus
from typing import Any

from common.keepalive import keep_alive
from common.linger import reset
from common.token_bucket import BucketsByKey, Rate, TokenBucket
from ipagent.log import Log
from ipagent.node.model.claim import Claim, ClaimStatus
from ipagent.node.model.pod import PodKey
from ipagent.node.sessions.auth import (
    POD_GONE,
    Authorization,
    PodIdentity,
    Unauthenticated,
    authorize,
    on_another_node,
)
from ipagent.node.sessions.claim_queue import ClaimQueue, SessionClosed, StatusUpdate
from ipagent.node.sessions.limits import (
    BufferBudget,
    ClaimBudget,
    ConnectionLimiter,
    Limits,
)
from ipagent.node.sessions.listener import Acceptor
from ipagent.node.sessions.messages import Statement
from ipagent.node.sessions.session import ServiceUnavailable, Session
from ipagent.node.sessions.token_reviewer import Review, TokenReviewer

SCRATCH = 16 * 1024
"""Bytes that are received at once."""
_LOGGED = Rate(10, 0.2)
"""Refusals that are logged, and faults likewise: a peer must not fill the log."""
_STOP_SECONDS = 5.0


class PodSessionServer:
    """Serves from `start` to `close`.

    `node` is this node's name, `review` may block, and is called in threads of ours. `notify` is called, in
    the server's thread, whenever `take_claims` has something: it must not block.
    """

    def __init__(  # noqa: PLR0913 - its seams, by name
        self,
        listener: socket.socket,
        *,
        node: str,
        review: Review,
        notify: Callable[[], None],
        log: Log,
        limits: Limits | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.scratch = memoryview(bytearray(SCRATCH))
        self._listener = listener
        self._node = node
        self._notify = notify
        self._log = log
        self._queue = ClaimQueue()
        self._counts: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._serve, name="sessions", daemon=True)
        # From here on the server's thread alone.
        self._peers = ConnectionLimiter(self.limits)
        self._peer_bytes: BucketsByKey[str] = BucketsByKey(self.limits.reading)
        self._pod_bytes: BucketsByKey[PodKey] = BucketsByKey(self.limits.reading)
        self._pod_statements: BucketsByKey[PodKey] = BucketsByKey(self.limits.statements)
        self._buffers: BufferBudget[Session] = BufferBudget(self.limits.buffered)
        self._claims = ClaimBudget(self.limits)
        self._tokens = TokenReviewer(self._loop, review, self.limits)
        self._living: frozenset[PodKey] = frozenset()
        self._all: set[Session] = set()
        self._unidentified: OrderedDict[Session, None] = OrderedDict()
        """Sessions whose pod is not known yet, the oldest first."""
        self._refused: set[Session] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._by_pod: dict[PodKey, Session] = {}
        self._logged = TokenBucket(_LOGGED)
        self._faults = TokenBucket(_LOGGED)

    # For the main loop.

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def close(self) -> None:
        """End every session and the thread; closing twice is fine."""
        if self._thread.is_alive():
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(_STOP_SECONDS)
        elif not self._loop.is_closed():
            self._loop.close()
        self._tokens.close()
        self._listener.close()

    @property
    def alive(self) -> bool:
        """Whether its thread goes on."""
        return self._thread.is_alive()

    def set_living_pods(self, living: Collection[PodKey]) -> None:
        """Record which pods live on this node; the sessions of all others end."""
        self._call(self._pods, frozenset(living))

    def take_claims(self) -> list[Claim | SessionClosed]:
        """Return what pods have claimed since the last call."""
        return self._queue.take()

    def publish(self, changes: Mapping[PodKey, ClaimStatus]) -> None:
        """Pass changed statuses on to the pods whose claims were taken."""
        if updates := self._queue.match(changes):
            self._call(self._deliver, updates)

    def counts(self) -> Mapping[str, int]:
        """Return figures: `open` connections, `pods` with a session, `claims`, `reviews`, `refused_STATUS`.

        `evicted` sessions had to make room for others; `faults` are errors of ours or of the kernel.
        """
        return {
            **self._counts,
            "reviews": self._tokens.reviews,
            "open": self._peers.connections,
            "pods": len(self._by_pod),
        }

    # For sessions, in the server's thread.

    def closed(self, session: Session) -> None:
        """Forget a session; the one of a pod has ended with it."""
        self._refused.discard(session)
        if session not in self._all:
            return
        self._all.discard(session)
        self._peers.close(session.peer, identified=session not in self._unidentified)
        self._unidentified.pop(session, None)
        if session.pod and self._by_pod.get(session.pod) is session:
            del self._by_pod[session.pod]
            self._queue.close(session.pod)
            self._notify()

    def hold(self, session: Session, size: int) -> None:
        """Record how many bytes a session holds; ends those that hold theirs for too long."""
        for slow in self._buffers.hold(session, size):
            self._end_early(slow)

    def rates(self, pod: PodKey) -> tuple[TokenBucket, TokenBucket]:
        """Return what a pod may send yet, by all its connections: bytes, and statements."""
        return self._pod_bytes.of(pod), self._pod_statements.of(pod)

    async def review(self, token: str) -> PodIdentity | Unauthenticated:
        """Find the pod that a token is bound to; raises ServiceUnavailable."""
        return await self._tokens.review(token)

    def on_another_node(self, bearer: PodIdentity) -> str:
        """Say so if the bearer's pod runs on another node."""
        return on_another_node(bearer, self._node)

    def authorize(self, bearer: PodIdentity, stated: PodKey) -> Authorization:
        """May the bearer speak for the pod that it states?"""
        return authorize(bearer, stated, self._node, self._living)

    def submit(self, session: Session, statement: Statement) -> int:
        """Hand a claim over in the name of its pod; an older session of the pod ends.

        Raises ServiceUnavailable.
        """
        pod = statement.claim.pod
        if not self._claims.admit(pod, statement.weight):
            raise ServiceUnavailable("The claims of this node's pods leave no room for a claim of this size")
        before = self._by_pod.get(pod)
        if session in self._unidentified:
            del self._unidentified[session]
            self._peers.release_peer_slot(session.peer)
        self._by_pod[pod] = session
        if before and before is not session:
            before.abort()
        self._counts["claims"] += 1
        ticket = self._queue.put(statement.claim)
        self._notify()
        return ticket

    def record_refusal(self, peer: str, status: HTTPStatus, reason: str) -> None:
        """Count and log a request that is not served."""
        self._counts[f"refused_{status.value}"] += 1
        if self._logged.take(self._loop.time()):
            self._log.warning("claim-refused", message=f"{peer}: {status.value} {reason}")

    # The thread.

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        # After the end nobody is there to be told.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)

    def _serve(self) -> None:
        self._loop.set_exception_handler(self._failed)
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._until_stopped())

    async def _until_stopped(self) -> None:
        acceptor = Acceptor(self._listener, self._loop, self._accepted, self._not_accepted)
        acceptor.start()
        await self._stopping.wait()
        acceptor.close()
        for session in [*self._all, *self._refused]:
            session.abort()
        # The loop's next turn closes their sockets.
        await asyncio.sleep(0)

    def _accepted(self, connection: socket.socket, peer: str) -> None:
        """Make a session of a connection, or refuse it: with a word to a few, and a reset to all others."""
        reason = self._peers.admit(peer, self._loop.time(), self._make_room)
        if reason and len(self._refused) >= self.limits.refusals:
            self.record_refusal(peer, HTTPStatus.TOO_MANY_REQUESTS, reason)
            reset(connection)
            return
        session = Session(self, peer, self._peer_bytes.of(peer), reason)
        if reason:
            self._refused.add(session)
        else:
            self._all.add(session)
            self._unidentified[session] = None
        task = self._loop.create_task(self._connect(session, connection))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, session: Session, connection: socket.socket) -> None:
        try:
            keep_alive(connection)
            await self._loop.connect_accepted_socket(lambda: session, connection)
        except OSError:
            # The peer has gone already.
            connection.close()
            self.closed(session)

    def _make_room(self) -> None:
        """End the oldest session without a pod."""
        if self._unidentified:
            self._end_early(next(iter(self._unidentified)))

    def _end_early(self, session: Session) -> None:
        """End a session to make room for others."""
        self._counts["evicted"] += 1
        session.abort()
        self.closed(session)

    def _not_accepted(self, error: OSError) -> None:
        self._fault(f"No connection can be accepted: {error.strerror}")

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        del loop
        self._fault(f"{context.get('message')}: {context.get('exception')!r}")

    def _fault(self, message: str) -> None:
        self._counts["faults"] += 1
        if self._faults.take(self._loop.time()):
            self._log.error("session-fault", message=message)

    def _pods(self, living: frozenset[PodKey]) -> None:
        gone, self._living = self._living - living, living
        if gone:
            self._tokens.forget(gone)
            for pod in gone:
                self._claims.drop(pod)
        for pod in gone & self._by_pod.keys():
            self._by_pod[pod].end(f"The pod {pod} is gone from {self._node}", POD_GONE)
        for session in list(self._unidentified):
            session.recheck()

    def _deliver(self, updates: list[StatusUpdate]) -> None:
        for update in updates:
            if session := self._by_pod.get(update.pod):
                session.send_status(update.status, update.ticket)
