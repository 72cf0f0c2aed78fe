"""Token reviewer: makes TokenReviews in threads of its own, one at a time for each token.

Thread: the server's event loop, except where said otherwise.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ipagent.node.model.pod import PodKey
from ipagent.node.sessions.auth import PodIdentity, TokenReviewCache, Unauthenticated, read_review
from ipagent.node.sessions.limits import Limits
from ipagent.node.sessions.session import ServiceUnavailable

Review = Callable[[str], Mapping[str, Any]]
"""Asks the API server about a token with our audience; returns `status` of the TokenReview, or raises."""


class TokenReviewer:
    """A cache of TokenReviews, and the calls for what it lacks; `review` may block.

    `reviews` counts the calls.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, review: Review, limits: Limits) -> None:
        self.reviews = 0
        self._loop = loop
        self._ask = review
        self._limits = limits
        self._cache = TokenReviewCache()
        self._asking: dict[str, asyncio.Future[PodIdentity | Unauthenticated]] = {}
        self._threads = ThreadPoolExecutor(limits.reviews, thread_name_prefix="review")

    async def review(self, token: str) -> PodIdentity | Unauthenticated:
        """Find the pod that a token is bound to; raises ServiceUnavailable."""
        if known := self._cache.get(token, self._loop.time()):
            return known
        asking = self._asking.get(token)
        if asking is None:
            if len(self._asking) >= self._limits.waiting_reviews:
                raise ServiceUnavailable("Too many pods are waiting for their tokens to be checked")
            asking = self._loop.create_task(self._call(token))
            self._asking[token] = asking
            asking.add_done_callback(lambda done: self._answered(token, done))
        try:
            return await asyncio.wait_for(asyncio.shield(asking), self._limits.review_seconds)
        except TimeoutError:
            seconds = self._limits.review_seconds
            raise ServiceUnavailable(
                f"The API server has not reviewed the token within {seconds:g} s"
            ) from None

    def forget(self, gone: Collection[PodKey]) -> None:
        """Forget the tokens of pods that are gone."""
        self._cache.drop(gone)

    def close(self) -> None:
        """Begin no more calls; thread: any. Closing twice is fine."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _call(self, token: str) -> PodIdentity | Unauthenticated:
        self.reviews += 1
        try:
            found = await self._loop.run_in_executor(self._threads, self._ask, token)
        except Exception as error:  # noqa: BLE001 - whatever the API client raises is a reason to try later
            raise ServiceUnavailable(f"The API server cannot be asked about the token: {error}") from None
        return read_review(found)

    def _answered(self, token: str, done: asyncio.Future[PodIdentity | Unauthenticated]) -> None:
        del self._asking[token]
        if not done.cancelled() and done.exception() is None:
            self._cache.put(token, done.result(), self._loop.time(), time.time())
