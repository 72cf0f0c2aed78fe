"""What the double was asked and what it answered: one entry a call, in the order of their effects."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

MAX_CALLS = 100_000
"""Older calls are forgotten."""

_log = logging.getLogger("doubles")


@dataclass(frozen=True)
class Call:
    """One call. Tokens, keys and signatures are never part of it.

    `monotonic` and `wall` are the seconds at which it arrived. `service` is ec2 or imds; `action` the EC2
    action, or the IMDS method and path. `params` are as sent, under their wire names. `identity` is the
    caller's ARN, where it has one. `result` is `ok`, EC2's error code, IMDS's HTTP status, or `no answer`.
    """

    monotonic: float
    wall: float
    service: str
    caller: str
    identity: str | None
    action: str
    params: Mapping[str, str]
    result: str


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
        """Give all calls so far."""
        with self._lock:
            return tuple(self._calls)
