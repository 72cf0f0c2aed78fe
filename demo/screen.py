"""What the demo shows: numbered steps with the time that each took, and a sign of life in long ones."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

PATIENCE = 2.0
"""Seconds after which a step says that it is still at work."""
REMINDER = 5.0
"""Seconds between two such lines where lines can't be overwritten."""

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "cyan": "36"}


@dataclass(frozen=True)
class Step:
    """A step that has ended; `seconds` is how long it took."""

    name: str
    title: str
    seconds: float


class Screen:
    """Writes to a stream, or nowhere; in colour only to a terminal (and never with NO_COLOR set)."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._terminal = stream is not None and stream.isatty()
        self._coloured = self._terminal and not os.environ.get("NO_COLOR")
        self._lock = threading.Lock()
        self._waiting = False
        self.steps: list[Step] = []

    def line(self, text: str = "", style: str = "") -> None:
        """Write one line."""
        with self._lock:
            self._write(text, style)

    def detail(self, text: str, style: str = "") -> None:
        """Write lines that belong to the step under way."""
        for line in text.splitlines():
            self.line(f"   {line}", style)

    @contextmanager
    def step(self, name: str, title: str) -> Iterator[None]:
        """Run a step: its title, its lines, its time. `name` is a word for the summary."""
        self.line()
        self.line(f"{len(self.steps) + 1}. {title}", "bold")
        began = time.monotonic()
        ended = threading.Event()
        watch = threading.Thread(target=self._watch, args=(ended, began), daemon=True)
        watch.start()
        try:
            yield
        finally:
            ended.set()
            watch.join()
            self.steps.append(Step(name, title, time.monotonic() - began))
        self.detail(f"({self.steps[-1].seconds:.1f} s)", "dim")

    def summary(self) -> str:
        """How long each step took, in one line."""
        parts = [f"{step.name} {step.seconds:.1f} s" for step in self.steps]
        return f"{', '.join(parts)}; {sum(step.seconds for step in self.steps):.1f} s in all"

    def _watch(self, ended: threading.Event, began: float) -> None:
        pause = PATIENCE
        while not ended.wait(pause):
            with self._lock:
                text = f"   … {time.monotonic() - began:.0f} s"
                if self._terminal and self._stream is not None:
                    self._stream.write(f"\r\x1b[K{self._styled(text, 'dim')}")
                    self._stream.flush()
                    self._waiting = True
                else:
                    self._write(text, "")
            pause = 1.0 if self._terminal else REMINDER

    def _write(self, text: str, style: str) -> None:
        if self._stream is None:
            return
        if self._waiting:
            self._stream.write("\r\x1b[K")
            self._waiting = False
        self._stream.write(self._styled(text, style) + "\n")
        self._stream.flush()

    def _styled(self, text: str, style: str) -> str:
        if not (self._coloured and style and text):
            return text
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m"


def diff_style(line: str) -> str:
    """The style of a line of a unified diff."""
    return {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
