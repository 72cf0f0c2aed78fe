"""The webhook's log: one JSON line a decision, on standard error."""

from __future__ import annotations

import logging
import sys
from typing import BinaryIO

import msgspec

from common.log import JsonLog

_ENCODER = msgspec.json.Encoder(enc_hook=str)


class Log(JsonLog):
    """JSON lines by msgspec's encoder, which costs a fraction of json's; never a pod's content."""

    def __init__(self, stream: BinaryIO = sys.stderr.buffer) -> None:
        super().__init__(stream, _ENCODER.encode)

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
