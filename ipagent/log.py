"""Log lines on stderr: one JSON object an event, or text for people.

Without `logging`, and without typing at run time: they cost start-up time.
"""

from __future__ import annotations

import json
import sys
import time

from common.agent_settings import LogFormat, LogLevel
from common.log import timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

_ORDER = {level: number for number, level in enumerate(LogLevel)}


class Log:
    """Writes events from `level` on; `namespace` and `pod` say for whom. Keys of a JSON line:

    `time` (RFC 3339, UTC), `level`, `event` (a fixed word), `namespace`, `pod`, `address` and `eni` (several
    with commas between; both left out where they mean nothing), `message`.
    """

    def __init__(
        self,
        namespace: str = "",
        pod: str = "",
        level: LogLevel = LogLevel.INFO,
        form: LogFormat = LogFormat.AUTO,
        *,
        stream: TextIO | None = None,
    ) -> None:
        self._stream = stream or sys.stderr
        self._least = _ORDER[level]
        self._json = form is LogFormat.JSON or (form is LogFormat.AUTO and not self._stream.isatty())
        self._who = {"namespace": namespace, "pod": pod}

    def debug(self, event: str, *, message: str, **fields: str) -> None:
        """Write for those who look for a fault."""
        self._write(LogLevel.DEBUG, event, message, fields)

    def info(self, event: str, *, message: str, **fields: str) -> None:
        """Write that something has happened as it should."""
        self._write(LogLevel.INFO, event, message, fields)

    def warning(self, event: str, *, message: str, **fields: str) -> None:
        """Write that something needs a look."""
        self._write(LogLevel.WARNING, event, message, fields)

    def error(self, event: str, *, message: str, **fields: str) -> None:
        """Write that an address is not, or may not be, where it should be."""
        self._write(LogLevel.ERROR, event, message, fields)

    def _write(self, level: LogLevel, event: str, message: str, fields: dict[str, str]) -> None:
        if _ORDER[level] < self._least:
            return
        stamp = timestamp(time.time_ns() // 1_000_000)
        if self._json:
            named = {key: value for key, value in (*self._who.items(), *fields.items()) if value}
            line = {"time": stamp, "level": level, "event": event, **named, "message": message}
            text = json.dumps(line, ensure_ascii=False)
        else:
            about = "".join(f" {key}={value}" for key, value in fields.items() if value)
            text = f"{stamp} {level.upper():7} {event}: {printable(message + about)}"
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except OSError:
            # A log that nobody takes must not end the work.
            return


def printable(text: str) -> str:
    """Put a text that others wrote on one line, without control characters."""
    return "".join(char if char.isprintable() else " " for char in " ".join(text.split()))
