"""Large bodies beside other peers: how long the next one waits for what one took."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from webhook.server import body
from webhook.server.body import PAUSE_SHARE, SMALL_BODY, LargeBodies

pytestmark = pytest.mark.pure


class Clock:
    """Time passes by sleeping and by decoding alone."""

    def __init__(self) -> None:
        self.now = 100.0
        self._sleep = asyncio.sleep

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await self._sleep(0)


def decode_times(clock: Clock, each: float, peers: int, *, shared: bool) -> list[float]:
    """Have each of several peers send a large body; returns when each was begun to be decoded."""
    times = []

    def process(content: bytearray) -> bytes:
        times.append(clock.now)
        clock.now += each
        if len(times) == 2:
            raise ValueError(content[:1])
        return b""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b" " * (SMALL_BODY + 1), "more_body": False}

    async def send_all() -> None:
        bodies = LargeBodies(is_shared=lambda: shared, clock=clock)
        scopes = [{"type": "http", "client": (f"10.0.0.{number}", 1)} for number in range(peers)]
        await asyncio.gather(
            *(bodies.receive_and_process(scope, receive, process) for scope in scopes), return_exceptions=True
        )

    asyncio.run(send_all())
    return times


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    patched: Callable[[float], Any] = made.sleep
    monkeypatch.setattr(asyncio, "sleep", patched)
    # It counts by the event loop's clock, which is the machine's.
    monkeypatch.setattr(body, "BODY_TIMEOUT", 3600)
    return made


def test_large_bodies_leave_most_of_the_time_to_others_however_many_peers_send_them(clock: Clock) -> None:
    times = decode_times(clock, 0.5, 4, shared=True)
    begun = [time - times[0] for time in times]
    # The second one can't be read, and costs as much.
    assert begun == pytest.approx([number * 0.5 * (1 + PAUSE_SHARE) for number in range(4)])


def test_a_peer_alone_waits_for_nothing(clock: Clock) -> None:
    assert decode_times(clock, 0.5, 3, shared=False) == [100.0, 100.5, 101.0]
