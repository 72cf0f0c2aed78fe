"""SIGTERM, SIGINT and the deadline's alarm as an exception that interrupts whatever the agent waits for.

A handler is needed in any case: the first process of a container ignores signals that it does not handle
(`man 7 pid_namespaces`), and the pod would take its whole grace period to end.
"""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, TracebackType
    from typing import Self


class StopSignal(BaseException):
    """The agent is to end: by a signal from outside, or because time is up (SIGALRM).

    Not an Exception, so that no handler of errors on the way takes it for one. `waiting_for` is who was being
    waited for, empty if that is not known.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number
        self.waiting_for = ""

    @property
    def timed_out(self) -> bool:
        """Whether it is the deadline."""
        return self.number == signal.SIGALRM


class InterruptingSignals:
    """Turns the signals into `StopSignal` between `with` and its end, the first of them only."""

    _NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)

    def __init__(self) -> None:
        self._stopped: StopSignal | None = None
        self._ending = False
        self.wakeup, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before = {number: signal.getsignal(number) for number in self._NUMBERS}

    def __enter__(self) -> Self:
        # A signal just before a sleep would be noticed after it only: the pipe wakes that sleep.
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in self._NUMBERS:
            signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(-1)
        os.close(self._write)
        os.close(self.wakeup)

    def alarm(self, seconds: float) -> None:
        """Let `StopSignal` be raised after so many seconds; 0 for never."""
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def end(self) -> None:
        """Let no signal interrupt any more: the result is there, and what follows is clearing up."""
        self._ending = True
        self.alarm(0)

    def check(self) -> None:
        """Raise what came, should the place where it was raised have swallowed it."""
        if self._stopped is not None:
            raise self._stopped

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self._stopped is None and not self._ending:
            self._stopped = StopSignal(number)
            raise self._stopped
