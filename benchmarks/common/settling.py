"""Waiting until the work is done that an earlier measurement has left behind, whoever does it."""

from __future__ import annotations

import time
from pathlib import Path

LOOK = 0.5
"""Seconds between two looks at the machine."""
CALM = 0.15
"""Share of all cores' time below which nothing is left to wait for."""


def settle(patience: float) -> bool:
    """Wait until the machine is calm, for `patience` seconds at most; says whether it is."""
    deadline = time.monotonic() + patience
    before = _times()
    while time.monotonic() < deadline:
        time.sleep(LOOK)
        now = _times()
        if busy_share(before, now) < CALM:
            return True
        before = now
    return False


def busy_for(seconds: float) -> float:
    """Return the share of time that all cores work in the next so many seconds."""
    before = _times()
    time.sleep(seconds)
    return busy_share(before, _times())


def busy_share(before: str, now: str) -> float:
    """Return the share of time that all cores worked between two readings of /proc/stat (proc_stat(5))."""
    (total_before, idle_before), (total, idle) = _total_and_idle(before), _total_and_idle(now)
    return 1 - (idle - idle_before) / max(total - total_before, 1)


def _times() -> str:
    return Path("/proc/stat").read_text(encoding="ascii")


def _total_and_idle(text: str) -> tuple[int, int]:
    name, *counts = text.splitlines()[0].split()
    if name != "cpu":
        raise ValueError(f"/proc/stat begins with {name!r} instead of the sum of all cores")
    # The last two, time of guests, are part of the first two.
    user, nice, system, idle, iowait, *others = map(int, counts[:8])
    return user + nice + system + idle + iowait + sum(others), idle + iowait
