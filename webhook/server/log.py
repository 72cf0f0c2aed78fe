"""The webhook's log: JSON lines on standard error, one for each decision.

Peers can cause log lines, so the rate of each event is limited; its next line counts those that were left
out.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import BinaryIO

import msgspec

from common.log import JsonLog
from common.token_bucket import Rate, TokenBucket

_ENCODER = msgspec.json.Encoder(enc_hook=str)

RATES = {"decision": Rate(10_000, 2_000), "library": Rate(20, 1), "accept_failed": Rate(5, 0.1)}
"""Lines of an event: so many at once, and so many a second after that. No peer causes other events."""
MAX_TEXT = 512
"""Characters of a text that comes from a peer."""


class Log(JsonLog):
    """JSON lines by msgspec's encoder, which costs a fraction of json's; never a pod's content."""

    def __init__(self, stream: BinaryIO = sys.stderr.buffer, level: str = "info") -> None:
        super().__init__(stream, _ENCODER.encode, level)
        self._buckets = {event: TokenBucket(rate) for event, rate in RATES.items()}
        self._suppressed = dict.fromkeys(RATES, 0)

    def write(self, level: str, event: str, **fields: object) -> None:
        """Write one line and flush it, unless its level is not written or there are too many of its event."""
        if not self.is_enabled(level):
            return
        bucket = self._buckets.get(event)
        if bucket is not None:
            if not bucket.take(time.monotonic()):
                self._suppressed[event] += 1
                return
            if self._suppressed[event]:
                fields["suppressed"] = self._suppressed[event]
                self._suppressed[event] = 0
        super().write(level, event, **fields)

    def capture(self, library: str) -> None:
        """Write a library's warnings and errors to this log, under the event `library`."""
        logger = logging.getLogger(library)
        logger.handlers = [_Forward(self)]
        logger.setLevel(logging.WARNING)
        logger.propagate = False


class _Forward(logging.Handler):
    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else "warning"
        self._log.write(level, "library", library=record.name, message=record.getMessage()[:MAX_TEXT])
