"""What the webhook says about itself: one JSON line a decision, on standard error."""

from __future__ import annotations

import logging
import sys
import time
from typing import BinaryIO

import msgspec

_ENCODER = msgspec.json.Encoder(enc_hook=str)


class Log:
    """Writes JSON lines: time (RFC 3339, UTC), level, event and its own fields, never a pod's content."""

    def __init__(self, stream: BinaryIO = sys.stderr.buffer) -> None:
        self._stream = stream
        self._second = -1
        self._written_second = ""

    def write(self, level: str, event: str, **fields: object) -> None:
        """Write one line and flush it."""
        line = {"time": self._time(time.time_ns() // 1_000_000), "level": level, "event": event, **fields}
        self._stream.write(_ENCODER.encode(line) + b"\n")
        self._stream.flush()

    def _time(self, milliseconds: int) -> str:
        second, rest = divmod(milliseconds, 1000)
        if second != self._second:
            # Writing a date costs more than the rest of a line, which comes hundreds of times a second.
            self._second = second
            self._written_second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._written_second}.{rest:03d}Z"

    def take_over(self, library: str) -> None:
        """Write a library's warnings and errors as lines of this log, under the event `library`."""
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
        self._log.write(level, "library", library=record.name, message=record.getMessage())
