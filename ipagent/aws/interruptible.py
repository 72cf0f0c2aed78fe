"""Waits for what does not heed signals, so that a deadline or SIGTERM is heeded all the same.

A signal's handler runs between two instructions of Python's main thread. Looking up a name is one call of C
(`getaddrinfo`), which goes on for a minute where the name servers are silent: 5 seconds for each server, try
and search domain (`man 5 resolv.conf`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")


def interruptible(call: Callable[[], Answer], seconds: float) -> Answer:
    """Make the call in a thread of its own and wait for it; raises what it raises.

    After so many seconds raises TimeoutError; the thread goes on, and what it does is not undone.
    """
    answers: list[Answer] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            answers.append(call())
        except BaseException as error:  # noqa: BLE001 - raised below, by the thread that asked
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not answers:
        raise TimeoutError(f"no answer within {seconds:g} s, as it is where name servers are silent")
    return answers[0]
