"""Waiting on conditions."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")
SCENARIO_SECONDS = 900.0
"""How long a scenario may take that runs as a process of its own; machines are shared."""


def wait_for(condition: Callable[[], Found | None], what: str, timeout: float = 60.0) -> Found:
    """Call `condition` until it answers something true, and return that.

    `timeout` is in seconds. Raises TimeoutError that names `what`, with the last false answer. The pauses
    grow from 10 to 200 ms: short waits end soon, long ones leave the CPU to what is waited for.
    """
    deadline = time.monotonic() + timeout
    pause = 0.01
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() >= deadline:
            raise TimeoutError(f"no {what} within {timeout:g} s (last answer: {found!r})")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.2)
