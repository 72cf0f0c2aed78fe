"""What the double was asked and what it answered: one entry a call, in the order of their effects."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

MAX_CALLS = 100_000
"""Older calls are forgotten."""

NO_ANSWER = "no answer"
"""The result of a call that nothing answered."""

_log = logging.getLogger("doubles")


@dataclass(frozen=True)
class Call:
    """One call. Tokens, secret keys and signatures are never part of it.

    `monotonic` and `wall` are the seconds at which it arrived. `service` is ec2 or imds; `action` the EC2
    action, or the IMDS method and path. `caller` is the source address, `user_agent` what the program says
    it is; `access_key` and `identity` (an ARN) tell whose credentials it used, None without.
    `params` are as sent, under their wire names. `result` is what the call came to: `ok`, EC2's error code,
    IMDS's HTTP status, or `no answer` where nothing happened. `fault` is the fault that befell it, if any:
    `ok` beside a lost connection means that the effect took place and the caller was not told.
    """

    monotonic: float
    wall: float
    service: str
    caller: str
    identity: str | None
    action: str
    params: Mapping[str, str]
    result: str
    user_agent: str = ""
    access_key: str | None = None
    fault: str | None = None


class Journal:
    """Collects calls; safe to read from another thread."""

    def __init__(self) -> None:
        self._calls: deque[Call] = deque(maxlen=MAX_CALLS)
        self._lock = threading.Lock()

    def record(self, call: Call) -> None:
        """Add a call, and log it."""
        with self._lock:
            self._calls.append(call)
        _log.info(
            "%s %s %s from %s: %s", call.service, call.action, dict(call.params), call.caller, call.result
        )

    def calls(self) -> tuple[Call, ...]:
        """Return all calls so far."""
        with self._lock:
            return tuple(self._calls)

    def clear(self) -> None:
        """Forget all calls."""
        with self._lock:
            self._calls.clear()
