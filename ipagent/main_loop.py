"""The main loop of the programs that serve a node: turns until a signal, then an exit code and a message."""

from __future__ import annotations

import math
import os
import select
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import NoReturn, Protocol

from common.exit_codes import ExitCode
from common.kube.errors import ClusterError
from ipagent.assign.errors import AgentError, BadUsage
from ipagent.interrupting_signals import InterruptingSignals, StopSignal
from ipagent.log import Log
from ipagent.termination import crash_text

ENDING = 2.0
"""Seconds that each thread has for its end."""


def run_daemon(log: Log, run: Callable[[InterruptingSignals], None], what_stays: str) -> int:
    """Run until `StopSignal`; returns the exit code. `what_stays` ends the sentence that is logged then."""
    try:
        with InterruptingSignals() as signals:
            try:
                run(signals)
            finally:
                signals.end()
    except StopSignal as stop:
        log.info("stopped", message=f"Ended by {stop}; {what_stays}")
    except Exception as error:  # noqa: BLE001 - the last resort: a sentence, where the user looks for it
        return end_with(log, error)
    return ExitCode.OK


def end_with(log: Log, error: Exception) -> int:
    """Log why the program ends, with the remedy; returns the exit code."""
    if isinstance(error, ClusterError):
        failure: AgentError = BadUsage(
            str(error), "Run it in a pod with a ServiceAccount, or set KUBECONFIG."
        )
    elif isinstance(error, AgentError):
        failure = error
    else:
        failure = AgentError(crash_text(error, log))
    log.error("failed", message=f"{failure}. {failure.remedy}")
    return failure.exit_code


class Part(Protocol):
    """A thread of a daemon."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """Ask it to end."""

    def join(self, timeout: float) -> object:
        """Wait so many seconds for its end."""


def run_until_end(part: Part, stack: ExitStack) -> None:
    """Start a thread, which is stopped with the stack."""
    part.start()
    stack.callback(part.join, ENDING)
    stack.callback(part.stop)


class Wakeup:
    """Wakes a loop from other threads; `fileno` becomes readable."""

    def __init__(self) -> None:
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._event

    def set(self) -> None:
        """Wake the loop; any number of times."""
        os.eventfd_write(self._event, 1)

    def clear(self) -> None:
        """Make it unreadable again, until the next `set`."""
        with suppress(BlockingIOError):
            os.eventfd_read(self._event)

    def close(self) -> None:
        """Close it; nobody may call `set` any more."""
        os.close(self._event)


class TurnLoop:
    """Runs turns, and remembers for how long one has been going on; `clock` is monotonic, in seconds.

    A turn returns the seconds until the next one, None if only a descriptor brings it about.
    """

    def __init__(self, turn: Callable[[], float | None], clock: Callable[[], float]) -> None:
        self._turn = turn
        self._clock = clock
        self._busy_since: float | None = None

    def busy_seconds(self) -> float:
        """Return for how long one turn has been going on; 0.0 between turns. Thread: any."""
        since = self._busy_since
        return 0.0 if since is None else self._clock() - since

    def run(self, signals: InterruptingSignals, *descriptors: int) -> NoReturn:
        """Turn now and whenever a descriptor is readable, until `StopSignal` is raised."""
        poll = select.poll()
        for descriptor in (*descriptors, signals.wakeup):
            poll.register(descriptor, select.POLLIN)
        while True:
            signals.check()
            self._busy_since = self._clock()
            pause = self._turn()
            self._busy_since = None
            poll.poll(None if pause is None else math.ceil(pause * 1000))
