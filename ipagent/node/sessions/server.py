"""The server that the pods of this node talk to: in a thread of its own, it decides nothing about addresses.

It knows who lives on the node and asks the API server who is asking; claims go to the main loop by a mailbox,
standings come back by it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

from ipagent.log import Log
from ipagent.node.model.claim import Claim, ClaimStatus
from ipagent.node.model.pod import PodKey
from ipagent.node.sessions.auth import (
    Authorization,
    PodIdentity,
    TokenReviewCache,
    Unauthenticated,
    authorize,
    on_another_node,
    read_review,
)
from ipagent.node.sessions.claim_queue import ClaimQueue, SessionClosed, StatusUpdate
from ipagent.node.sessions.limits import ConnectionLimiter, Limits, Rate, TokenBucket
from ipagent.node.sessions.session import NotNow, Session

Review = Callable[[str], Mapping[str, Any]]
"""Asks the API server about a token with our audience; gives `status` of the TokenReview, or raises."""

_BACKLOG = 512
_LOGGED = Rate(10, 0.2)
"""Refusals that are logged: a pod must not fill the log."""
_STOP_SECONDS = 5.0


def listen(host: str, port: int) -> socket.socket:
    """Open the port; raises OSError. `host` is an address of the node."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        # The next process after an upgrade must not wait for the last one's connections.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


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
        self._listener = listener
        self._node = node
        self._ask = review
        self._notify = notify
        self._log = log
        self._mailbox = ClaimQueue()
        self._counts: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._serve, name="sessions", daemon=True)
        self._reviewers = ThreadPoolExecutor(self.limits.reviews, thread_name_prefix="review")
        # From here on the server's thread alone.
        self._peers = ConnectionLimiter(self.limits)
        self._verdicts = TokenReviewCache()
        self._asking: dict[str, asyncio.Future[PodIdentity | Unauthenticated]] = {}
        self._living: frozenset[PodKey] = frozenset()
        self._all: set[Session] = set()
        self._by_pod: dict[PodKey, Session] = {}
        self._logged = TokenBucket(_LOGGED)

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
        self._reviewers.shutdown(wait=False, cancel_futures=True)
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
        return self._mailbox.take()

    def publish(self, changes: Mapping[PodKey, ClaimStatus]) -> None:
        """Pass changed statuses on to the pods whose claims were taken."""
        if news := self._mailbox.match(changes):
            self._call(self._deliver, news)

    def counts(self) -> Mapping[str, int]:
        """Count for metrics: `open` connections, `pods` that speak, `claims`, `reviews`, `refused_STATUS`."""
        return {**self._counts, "open": self._peers.connections, "pods": len(self._by_pod)}

    # For sessions, in the server's thread.

    def admit(self, peer: str) -> str:
        """Count a connection; says why where there are too many."""
        return self._peers.admit(peer, self._loop.time())

    def leave(self, session: Session) -> None:
        """Count it no longer, and let its pod go."""
        self._all.discard(session)
        if session.admitted:
            self._peers.leave(session.peer, vouched=session.pod is not None)
        if session.pod and self._by_pod.get(session.pod) is session:
            del self._by_pod[session.pod]
            self._mailbox.close(session.pod)
            self._notify()

    async def review(self, token: str) -> PodIdentity | Unauthenticated:
        """Find the pod that a token is bound to; raises NotNow."""
        if known := self._verdicts.get(token, self._loop.time()):
            return known
        asking = self._asking.get(token)
        if asking is None:
            if len(self._asking) >= self.limits.waiting_reviews:
                raise NotNow("Too many pods are waiting for their tokens to be checked")
            asking = self._loop.create_task(self._review(token))
            self._asking[token] = asking
            asking.add_done_callback(lambda done: self._reviewed(token, done))
        try:
            return await asyncio.wait_for(asyncio.shield(asking), self.limits.review_seconds)
        except TimeoutError:
            seconds = self.limits.review_seconds
            raise NotNow(f"The API server has not said within {seconds:g} s whose token it is") from None

    def on_another_node(self, bearer: PodIdentity) -> str:
        """Say so if the bearer's pod runs on another node."""
        return on_another_node(bearer, self._node)

    def authorize(self, bearer: PodIdentity, stated: PodKey) -> Authorization:
        """May the bearer speak for the pod that it states?"""
        return authorize(bearer, stated, self._node, self._living)

    def submit(self, session: Session, claim: Claim) -> int:
        """Hand a claim over in the name of its pod; an older session of the pod ends."""
        before = self._by_pod.get(claim.pod)
        if before is not session:
            self._peers.vouch(session.peer)
            self._by_pod[claim.pod] = session
            if before:
                before.abort()
        self._counts["claims"] += 1
        ticket = self._mailbox.put(claim)
        self._notify()
        return ticket

    def refused(self, peer: str, status: HTTPStatus, reason: str) -> None:
        """Take note of somebody who is not talked to."""
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
        server = await self._loop.create_server(self._session, sock=self._listener, backlog=_BACKLOG)
        await self._stopping.wait()
        server.close()
        for session in list(self._all):
            session.abort()
        # The loop's next turn closes their sockets.
        await asyncio.sleep(0)
        await server.wait_closed()

    def _session(self) -> Session:
        session = Session(self)
        self._all.add(session)
        return session

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        del loop
        error = context.get("exception")
        self._log.error("session-fault", message=f"{context.get('message')}: {error!r}")

    async def _review(self, token: str) -> PodIdentity | Unauthenticated:
        self._counts["reviews"] += 1
        try:
            found = await self._loop.run_in_executor(self._reviewers, self._ask, token)
        except Exception as error:  # noqa: BLE001 - whatever the API client raises is a reason to try later
            raise NotNow(f"The API server can't be asked whose token it is: {error}") from None
        return read_review(found)

    def _reviewed(self, token: str, done: asyncio.Future[PodIdentity | Unauthenticated]) -> None:
        del self._asking[token]
        if not done.cancelled() and done.exception() is None:
            self._verdicts.put(token, done.result(), self._loop.time())

    def _pods(self, living: frozenset[PodKey]) -> None:
        gone, self._living = self._living - living, living
        if gone:
            self._verdicts.drop(gone)
        for pod in gone & self._by_pod.keys():
            self._by_pod[pod].end(f"The pod {pod} is gone from {self._node}")
        for session in list(self._all):
            session.look_again()

    def _deliver(self, news: list[StatusUpdate]) -> None:
        for told in news:
            if session := self._by_pod.get(told.pod):
                session.tell(told.status, told.ticket)
