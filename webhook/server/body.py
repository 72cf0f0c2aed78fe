"""Reads the bodies of reviews: small ones as they come, large ones within a budget that all share.

A connection counts by the bytes that it has sent. When all bodies together are too large, the largest body of
the peer with the most bytes is refused (503), so that a slow or greedy peer never keeps another one waiting.
Beside other peers a peer's large bodies are read, and decoded, at bounded rates: small reviews wait while one
is decoded. However many peers send them, three quarters of the time are left for small ones.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.types import Receive, Scope

from common.connection_limits import peer_of
from common.token_bucket import BucketsByKey, Rate

MAX_BODY = 7 << 20
"""Bytes. A review holds an object of up to 1.5 MiB (etcd's limit) more than once; controller-runtime has the
same limit."""
SMALL_BODY = 64 << 10
"""Bytes up to which a body is not counted: uvicorn holds as much for each connection anyway."""
MAX_LARGE_BODIES = 24 << 20
"""Bytes of all larger bodies together."""
READ_RATE = Rate(192 << 20, 16 << 20)
DECODE_RATE = Rate(4 * MAX_BODY, 8 << 20)
"""Bytes of one peer's large bodies while there are other peers: at once, and a second after that. Decoding
one of 7 MiB takes as long as 20 small reviews."""
PAUSE_SHARE = 3.0
"""Beside other peers the next large body is decoded after so many times as long as the last one took."""
BODY_TIMEOUT = 10
"""Seconds for a body to arrive: as long as the API server waits for the response (webhook.timeoutSeconds)."""


class Rejected(Exception):
    """The request is answered with an HTTP error: its code, and a sentence for the caller."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(slots=True, eq=False)
class _Upload:
    peer: str
    deadline: asyncio.Timeout
    size: int = 0
    given_up: bool = False


@dataclass(slots=True)
class LargeBodies:
    """The large bodies that are being received or processed.

    `is_shared`: whether there are several peers. `clock` gives seconds; the event loop's own counts
    milliseconds, and only from turn to turn.
    """

    limit: int = MAX_LARGE_BODIES
    is_shared: Callable[[], bool] = lambda: True
    clock: Callable[[], float] = time.perf_counter
    _next_at: float = float("-inf")
    _uploads: set[_Upload] = field(default_factory=set)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    reads: BucketsByKey[str] = field(default_factory=lambda: BucketsByKey(READ_RATE))
    decodes: BucketsByKey[str] = field(default_factory=lambda: BucketsByKey(DECODE_RATE))

    async def receive_and_process(
        self, scope: Scope, receive: Receive, process: Callable[[bytearray], bytes]
    ) -> bytes:
        """Receive a body and return what `process` makes of it. Raises Rejected, TimeoutError."""
        async with asyncio.timeout(BODY_TIMEOUT) as deadline:
            client = scope.get("client")
            upload = _Upload(peer_of(client[0]) if client else "", deadline)
            self._uploads.add(upload)
            try:
                body = await self._receive(receive, upload)
                await self._charge(self.decodes, upload.peer, len(body))
                # One after the other, and small reviews get their turn in between.
                async with self._turn:
                    await asyncio.sleep(max(0.0, self._next_at - self.clock()) if self.is_shared() else 0)
                    return self._timed(process, body)
            except asyncio.CancelledError:
                if upload.given_up:
                    raise _no_room() from None
                raise
            finally:
                self._uploads.discard(upload)

    def _timed(self, process: Callable[[bytearray], bytes], body: bytearray) -> bytes:
        begun = self.clock()
        try:
            return process(body)
        finally:
            ended = self.clock()
            self._next_at = ended + PAUSE_SHARE * (ended - begun)

    async def _receive(self, receive: Receive, upload: _Upload) -> bytearray:
        body = bytearray()
        more = True
        while more:
            message = await receive()
            chunk, more = _chunk(message)
            body += chunk
            upload.size = len(body)
            if upload.size > MAX_BODY:
                raise too_large()
            self._make_room(upload)
            # Meanwhile nothing is read: uvicorn holds at most 64 KiB, and the sender waits.
            await self._charge(self.reads, upload.peer, len(chunk))
        return body

    async def _charge(self, buckets: BucketsByKey[str], peer: str, size: int) -> None:
        if not self.is_shared():
            return
        wait = buckets.of(peer).charge(size, asyncio.get_running_loop().time())
        if wait:
            await asyncio.sleep(wait)

    def _make_room(self, latest: _Upload) -> None:
        while sum(upload.size for upload in self._uploads) > self.limit:
            by_peer: dict[str, int] = {}
            for upload in self._uploads:
                by_peer[upload.peer] = by_peer.get(upload.peer, 0) + upload.size
            heaviest = max(by_peer, key=lambda peer: by_peer[peer])
            given_up = max(
                (upload for upload in self._uploads if upload.peer == heaviest), key=lambda each: each.size
            )
            self._uploads.discard(given_up)
            given_up.given_up = True
            if given_up is latest:
                raise _no_room()
            given_up.deadline.reschedule(0)


async def receive_small(receive: Receive, *, complete: bool) -> bytes | bytearray:
    """Receive a body of at most SMALL_BODY bytes. Raises Rejected, TimeoutError.

    A body that is complete already needs no timer, which would cost more than reading it.
    """
    if complete:
        return _chunk(await receive())[0]
    async with asyncio.timeout(BODY_TIMEOUT):
        body = bytearray()
        more = True
        while more:
            chunk, more = _chunk(await receive())
            body += chunk
        return body


def _chunk(message: object) -> tuple[bytes, bool]:
    if not isinstance(message, dict) or message["type"] != "http.request":
        raise Rejected(400, "the body ended early")
    return message.get("body", b""), message.get("more_body", False)


def announced_size(scope: Scope) -> int:
    """Return the size that a request announces, MAX_BODY if none. Raises Rejected if it is too large."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            size = int(value)
            if size > MAX_BODY:
                raise too_large()
            return size
    return MAX_BODY


def too_large() -> Rejected:
    """Make the rejection of a body over the limit."""
    return Rejected(413, f"the body is larger than {MAX_BODY} bytes")


def _no_room() -> Rejected:
    return Rejected(503, "too many large reviews at once: try again")
