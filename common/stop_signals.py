"""SIGTERM and SIGINT for programs of several threads: a thread of their own waits for them.

Python runs a handler in the main thread, between any two of its instructions: one that takes a lock which the
main thread holds just then waits for ever.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}


def block_stop_signals() -> None:
    """Block them in this thread, and in those that it starts from now on: called before the first one."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)


def on_stop_signal(stop: Callable[[], None]) -> None:
    """Have `stop` called, in a thread of its own, when the first of them comes, or came while blocked."""

    def wait() -> None:
        signal.sigwait(STOP_SIGNALS)
        stop()

    threading.Thread(target=wait, name="signals", daemon=True).start()
