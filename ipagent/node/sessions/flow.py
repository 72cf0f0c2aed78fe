"""Flow control of a session: when it reads, and its deadlines.

Thread: the server's event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Flow:
    """Named timers, and named reasons not to read; it is read while there is none."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.transport: asyncio.Transport | None = None
        self._loop = loop
        self._pauses: set[str] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}

    @property
    def paused(self) -> bool:
        """Whether nothing is read now."""
        return bool(self._pauses)

    def pause(self, why: str) -> None:
        """Read no more; what the peer sends waits in the kernel, and then with the peer."""
        self._pauses.add(why)
        if self.transport and self.transport.is_reading():
            self.transport.pause_reading()

    def resume(self, why: str) -> None:
        """Read on, unless there is another reason not to."""
        self._pauses.discard(why)
        if not self._pauses and self.transport and not self.transport.is_reading():
            self.transport.resume_reading()

    def resume_all(self) -> None:
        """Read on whatever the reasons were."""
        self._pauses.clear()
        self.resume("")

    def running(self, name: str) -> bool:
        """Return whether a timer runs."""
        return name in self._timers

    def start_timer(
        self, name: str, seconds: float, then: Callable[[], object], *, anew: bool = True
    ) -> None:
        """Call `then` after so many seconds; with `anew` a timer of that name starts from the beginning."""
        if not anew and name in self._timers:
            return
        self.cancel(name)

        def expired() -> None:
            self._timers.pop(name, None)
            then()

        self._timers[name] = self._loop.call_later(seconds, expired)

    def cancel(self, name: str) -> None:
        """Stop a timer, if it runs."""
        if timer := self._timers.pop(name, None):
            timer.cancel()

    def cancel_all(self) -> None:
        """Stop all timers."""
        for name in list(self._timers):
            self.cancel(name)
