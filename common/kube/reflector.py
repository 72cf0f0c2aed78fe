"""Lists and watches objects of one kind for the life of a process, as client-go's Reflector does.

Kubernetes API concepts, "Efficient detection of changes": a list has the resourceVersion from which a
watch continues, bookmarks advance it, and 410 Gone means that a new list is needed.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from common.kube.backoff import pause_after_failure
from common.kube.client import Client, Object, Watch
from common.kube.errors import ApiError, ClusterError, Unreachable

SECONDS = (240, 480)
"""Range of a watch's length: the API server ends it, and those of many clients at different times."""
MARGIN = 30.0
"""Seconds beyond its length after which a watch counts as dead."""
SHORTEST = 1.0
"""Seconds between two lists or watches at least, also where each ends at once or is refused with 410."""
PATIENCE = 3
"""Consecutive failures after which the objects are listed again anyway, and after so many more again."""

Item = TypeVar("Item")
Item_contra = TypeVar("Item_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class Target:
    """What to watch: the path of a kind and its selecting parameters; `name` is for messages."""

    path: str
    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def one_object(path: str, name: str) -> Target:
    """Return the target for one object: RBAC rules with resourceNames allow a list only by this selector."""
    return Target(path, f"{path} with the name {name}", {"fieldSelector": f"metadata.name={name}"})


class Handler(Protocol[Item_contra]):
    """Receives the objects, in the reflector's thread: a slow handler delays the events that follow."""

    def on_list(self, items: tuple[Item_contra, ...]) -> None:
        """Replace everything known by this complete list."""
        ...

    def on_change(self, item: Item_contra, *, gone: bool) -> None:
        """Apply one object that was added, was modified or is `gone`."""
        ...

    def on_error(self, error: Exception) -> None:
        """Report a failure; the reflector retries."""
        ...

    def on_recovery(self) -> None:
        """Note the first event or bookmark after failures."""
        ...


class Reflector(threading.Thread, Generic[Item]):
    """Passes the list and each change to `handler`, until `stop`.

    `take` returns what is needed of an object. After a break the watch continues from its resourceVersion; if
    the API server has forgotten that version, or refuses the watch, the objects are listed again.
    """

    def __init__(
        self,
        client: Client,
        target: Target,
        take: Callable[[Object], Item],
        handler: Handler[Item],
    ) -> None:
        super().__init__(name=f"watch {target.name}", daemon=True)
        self._client = client
        self._target = target
        self._take = take
        self._handler = handler
        self._stopping = threading.Event()
        self._watch: Watch | None = None
        self._version: str | None = None
        self._failures = 0
        self.heard: float | None = None
        """Time of the API server's last answer (time.monotonic): a list, an event, or a bookmark, which
        comes every minute or so."""

    def stop(self) -> None:
        """Ask the thread to end; join it afterwards."""
        self._stopping.set()
        if watch := self._watch:
            watch.abort()

    def run(self) -> None:
        """List and watch."""
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                if self._version is None:
                    self._list()
                self._follow()
            except Unreachable as error:
                # The known objects stay valid: the next watch continues from their version.
                self._fail(error)
            except ClusterError as error:
                self._fail(error)
            except ApiError as error:
                if not error.transient or (self._failures + 1) % PATIENCE == 0:
                    self._version = None
                if not error.expired:
                    self._fail(error)
            self._stopping.wait(max(0.0, began + SHORTEST - time.monotonic()))

    def read_all(self) -> tuple[str, tuple[Item, ...]]:
        """Read a complete list as of now: its resourceVersion and the objects. For any thread."""
        target = self._target
        return self._client.list(target.path, f"list {target.name}", target.parameters, self._take)

    def _list(self) -> None:
        version, items = self.read_all()
        self._hear(version)
        self._handler.on_list(items)

    def _follow(self) -> None:
        seconds = random.randint(*SECONDS)  # noqa: S311 - no secret
        parameters = {
            **self._target.parameters,
            "resourceVersion": str(self._version),
            "timeoutSeconds": str(seconds),
        }
        what = f"watch {self._target.name}"
        try:
            with self._client.watch(self._target.path, what, parameters, seconds + MARGIN) as watch:
                self._watch = watch
                if self._stopping.is_set():
                    return
                for event in watch.events():
                    self._recover()
                    if event.kind != "BOOKMARK":
                        self._handler.on_change(self._take(event.object), gone=event.kind == "DELETED")
                    self._hear(event.version)
        finally:
            self._watch = None

    def _hear(self, version: str) -> None:
        self._version = version
        self.heard = time.monotonic()

    def _recover(self) -> None:
        # A list alone is none: where the watch is refused, lists would follow each other without a pause.
        if self._failures:
            self._failures = 0
            self._handler.on_recovery()

    def _fail(self, error: Exception) -> None:
        if self._stopping.is_set():
            return
        self._failures += 1
        self._handler.on_error(error)
        self._stopping.wait(pause_after_failure(self._failures, random.random()))  # noqa: S311 - no secret
