"""Lets the loop look when an object may have changed: the loop reads what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from certs.log import Log


@dataclass(frozen=True, slots=True)
class Waker:
    """Calls `wake` after each list and each event of the object `name`."""

    wake: Callable[[], None]
    name: str
    log: Log

    def listed(self, items: tuple[None, ...]) -> None:  # noqa: ARG002 - the loop reads it
        """Wake the loop: what happened before the list is not known."""
        self.wake()

    def changed(self, item: None, *, gone: bool) -> None:  # noqa: ARG002 - the loop reads it
        """Wake the loop."""
        self.wake()

    def failed(self, error: Exception) -> None:
        """Log it."""
        self.log.write("warning", "watch_failed", object=self.name, error=str(error))
