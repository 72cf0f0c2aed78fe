"""Informer: the objects of one kind by name, kept up to date by a reflector.

Thread: the reflector's calls `on_list`, `on_change`, `on_error`, `on_recovery` and `notify`; any other takes
copies.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any, Generic, Protocol, TypeVar

from common.kube.client import Client
from common.kube.reflector import Reflector, Target

Item = TypeVar("Item")


class Log(Protocol):
    """Where failures are reported."""

    def warning(self, event: str, *, message: str) -> None:
        """Write that something needs a look."""


class Informer(Generic[Item]):
    """The objects of a kind by name, with their namespace if they have one, from `start` to `stop`.

    `read` returns what is needed of an object, None for one that does not count; one that it can't read
    (AttributeError, KeyError, TypeError, ValueError) is logged and does not count. `notify` gets the names of
    all objects after a list, and of each that a change has made different; it must not wait.
    """

    def __init__(
        self,
        client: Client,
        target: Target,
        read: Callable[[Mapping[str, Any]], Item | None],
        notify: Callable[[Collection[str]], None],
        log: Log,
    ) -> None:
        self.synced = False
        """Whether all objects have been listed."""
        self._target = target
        self._read = read
        self._notify = notify
        self._log = log
        self._lock = threading.Lock()
        self._items: dict[str, Item] = {}
        self._failure = ""
        self._reflector = Reflector(client, target, self._take, self)

    def start(self) -> None:
        """Begin with a list."""
        self._reflector.start()

    def stop(self) -> None:
        """Ask the thread to end; join it afterwards."""
        self._reflector.stop()

    def join(self, seconds: float) -> None:
        """Wait for the thread's end; one that is just connecting ends with the process."""
        self._reflector.join(seconds)

    @property
    def alive(self) -> bool:
        """Whether its thread goes on."""
        return self._reflector.is_alive()

    def items(self) -> dict[str, Item]:
        """Return a copy, in the order of their names."""
        with self._lock:
            return dict(sorted(self._items.items()))

    def on_list(self, items: tuple[tuple[str, Item | None], ...]) -> None:
        """Replace everything."""
        with self._lock:
            names = self._items.keys() | {name for name, _ in items}
            self._items = {name: item for name, item in items if item is not None}
            self.synced = True
        self._notify(names)

    def on_change(self, item: tuple[str, Item | None], *, gone: bool) -> None:
        """Apply a change."""
        name, found = item
        with self._lock:
            before = self._items.pop(name, None)
            after = None if gone else found
            if after is not None:
                self._items[name] = after
        if after != before:
            self._notify({name})

    def on_error(self, error: Exception) -> None:
        """Log a failure once; the reflector tries again."""
        if str(error) != self._failure:
            self._failure = str(error)
            self._log.warning(
                "watch-failed", message=f"{error}; the known objects stay, and the watch is retried"
            )

    def on_recovery(self) -> None:
        """Log the next failure, whatever it is."""
        self._failure = ""

    def _take(self, found: Mapping[str, Any]) -> tuple[str, Item | None]:
        name = ""
        try:
            metadata = found["metadata"]
            name = "/".join(filter(None, (metadata.get("namespace"), str(metadata["name"]))))
            return name, self._read(found)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            message = f"{self._target.name}: {name or 'one'} can't be read and is ignored: {error!r}"
            self._log.warning("unreadable", message=message)
            return name, None
