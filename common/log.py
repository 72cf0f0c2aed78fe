"""Log lines as JSON on standard error: one object an event. It imports next to nothing."""

from __future__ import annotations

import json
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import BinaryIO


LEVELS = ("debug", "info", "warning", "error")
"""The least important one first."""


def timestamp(milliseconds: int) -> str:
    """Return a Unix time in milliseconds as RFC 3339 in UTC."""
    second, rest = divmod(milliseconds, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(second))}.{rest:03d}Z"


def encode_json(line: Mapping[str, object]) -> bytes:
    """Return a line's JSON; a value that JSON lacks is written as its text."""
    return json.dumps(line, default=str).encode()


class JsonLog:
    """Writes JSON lines: time (RFC 3339, UTC), level, event and the event's own fields.

    Lines below `level` are left out. Several threads may write: a line is one write to a buffered stream,
    which has a lock of its own.
    """

    def __init__(
        self,
        stream: BinaryIO | None = None,
        encode: Callable[[Mapping[str, object]], bytes] = encode_json,
        level: str = "info",
    ) -> None:
        self._written = frozenset(LEVELS[LEVELS.index(level) :])
        self._stream = stream or sys.stderr.buffer
        self._encode = encode
        self._dated = (-1, "")
        """A second and its text, as one value: several threads may write."""

    def is_enabled(self, level: str) -> bool:
        """Whether lines of this level are written."""
        return level in self._written

    def write(self, level: str, event: str, **fields: object) -> None:
        """Write one line and flush it, if its level is written."""
        if level not in self._written:
            return
        line = {"time": self._time(time.time_ns() // 1_000_000), "level": level, "event": event, **fields}
        self._stream.write(self._encode(line) + b"\n")
        self._stream.flush()

    def _time(self, milliseconds: int) -> str:
        dated = self._dated
        if milliseconds // 1000 != dated[0]:
            # Formatting a date costs more than the rest of a line, which comes hundreds of times a second.
            dated = self._dated = (milliseconds // 1000, timestamp(milliseconds)[:-4])
        return f"{dated[1]}{milliseconds % 1000:03d}Z"
