"""Follows a list of objects, or one of them, for the life of a process.

Kubernetes API concepts, "Efficient detection of changes": a list gives the resourceVersion from which a
watch goes on, bookmarks carry it forward, and 410 Gone asks for a new list.
"""

from __future__ import annotations

import http.client
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
"""How long one watch lasts: the API server ends it, and watches of many clients not at the same time."""
MARGIN = 30.0
"""Seconds after which a watch that was not ended is taken for dead."""
SHORTEST = 1.0
"""Seconds between two watches at least."""
PASSING = frozenset({429, 500, 502, 503, 504})
"""HTTP codes of an API server that starts, ends or has too much to do: they say nothing about the version."""
PATIENCE = 3
"""Failures in a row after which it is listed anew all the same."""

Item = TypeVar("Item")
Heard_contra = TypeVar("Heard_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class Target:
    """What to follow: the path of a kind, and the parameters that select; `name` is for people."""

    path: str
    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def one_object(path: str, name: str) -> Target:
    """Follow one object by its name, also for RBAC: a rule with resourceNames wants this selector."""
    return Target(path, f"{path} with the name {name}", {"fieldSelector": f"metadata.name={name}"})


class Handler(Protocol[Heard_contra]):
    """Who is told; called in the watcher's thread, so that what takes long delays what follows."""

    def listed(self, items: tuple[Heard_contra, ...]) -> None:
        """Take all there is now."""
        ...

    def changed(self, item: Heard_contra, *, gone: bool) -> None:
        """Take one that is new, has changed or is gone."""
        ...

    def failed(self, error: Exception) -> None:
        """Hear what went wrong; it is tried again."""
        ...


class Reflector(threading.Thread, Generic[Item]):
    """Tells `follower` what there is and what changes, until `stop`.

    `take` gives what is kept of an object. A break is bridged by the resourceVersion; where the API server
    has forgotten that version, or refuses to watch, follows a list.
    """

    def __init__(
        self,
        client: Client,
        target: Target,
        take: Callable[[Object], Item],
        follower: Handler[Item],
    ) -> None:
        super().__init__(name=f"watch {target.name}", daemon=True)
        self._client = client
        self._target = target
        self._take = take
        self._follower = follower
        self._stopping = threading.Event()
        self._watch: Watch | None = None
        self._version: str | None = None
        self._failures = 0
        self.heard: float | None = None
        """When the API server was last heard of (time.monotonic): a list, an event or a bookmark, which it
        sends every minute or so."""

    def stop(self) -> None:
        """Let it end; join it afterwards."""
        self._stopping.set()
        if watch := self._watch:
            watch.abort()

    def run(self) -> None:
        """List and watch."""
        while not self._stopping.is_set():
            try:
                if self._version is None:
                    self._list()
                self._follow()
            except Unreachable as error:
                # What was heard so far holds: the next watch goes on from there.
                self._fail(error)
            except ClusterError as error:
                self._fail(error)
            except ApiError as error:
                if error.code not in PASSING or self._failures + 1 >= PATIENCE:
                    self._version = None
                if error.code != http.client.GONE:
                    self._fail(error)

    def read_all(self) -> tuple[str, tuple[Item, ...]]:
        """Read a complete list as of now: its resourceVersion and the objects. For any thread."""
        target = self._target
        return self._client.list(target.path, f"list {target.name}", target.parameters, self._take)

    def _list(self) -> None:
        version, items = self.read_all()
        self._hear(version)
        self._follower.listed(items)

    def _follow(self) -> None:
        began = time.monotonic()
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
                    if event.kind != "BOOKMARK":
                        self._follower.changed(self._take(event.object), gone=event.kind == "DELETED")
                    self._hear(event.version)
        finally:
            self._watch = None
        self._stopping.wait(max(0.0, began + SHORTEST - time.monotonic()))

    def _hear(self, version: str) -> None:
        self._version = version
        self._failures = 0
        self.heard = time.monotonic()

    def _fail(self, error: Exception) -> None:
        if self._stopping.is_set():
            return
        self._failures += 1
        self._follower.failed(error)
        self._stopping.wait(pause_after_failure(self._failures, random.random()))  # noqa: S311 - no secret
