"""What the process says: one JSON line an event, on standard error, as the webhook's lines are."""

from __future__ import annotations

import datetime
import json
import sys
import threading
from typing import TextIO


class Log:
    """Writes JSON lines: time (RFC 3339, UTC), level, event and its own fields; never a key."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._lock = threading.Lock()

    def write(self, level: str, event: str, **fields: object) -> None:
        """Write one line and flush it."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": f"{now[:-6]}Z", "level": level, "event": event, **fields}, default=str)
        with self._lock:
            self._stream.write(f"{line}\n")
            self._stream.flush()
