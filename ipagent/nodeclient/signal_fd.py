"""SIGTERM and SIGINT as a descriptor to wait on, so that no step is interrupted."""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


class SignalFd:
    """Catches the signals between `with` and its end: `fileno` becomes readable, `take` returns which came.

    A handler is needed in any case: the first process of a container ignores signals that it does not handle
    (`man 7 pid_namespaces`).
    """

    _NUMBERS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before = {number: signal.getsignal(number) for number in self._NUMBERS}

    def __enter__(self) -> Self:
        # Python writes the number of each signal into the pipe.
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in self._NUMBERS:
            signal.signal(number, lambda *_: None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(-1)
        os.close(self._write)
        os.close(self._read)

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._read

    def take(self) -> int:
        """Return the first signal that has come, 0 for none."""
        try:
            return os.read(self._read, 1)[0]
        except BlockingIOError:
            return 0


def signal_name(number: int) -> str:
    """Return a signal's name."""
    return signal.Signals(number).name
