"""Watches one object by name: it says that something has changed, and the loop reads what.

Kubernetes API concepts, "Efficient detection of changes": a list gives the resourceVersion from which a
watch goes on, bookmarks carry it forward, and 410 Gone asks for a new list.
"""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from multus_eni.certs.errors import ApiError, ClusterError, Unreachable
from multus_eni.certs.kube import Client, Object, Watch
from multus_eni.certs.log import Log
from multus_eni.certs.pace import pause_after_failure

SECONDS = (240, 480)
"""How long one watch lasts: the API server ends it, and watches of many clients not at the same time."""
MARGIN = 30.0
"""Seconds after which a watch that was not ended is taken for dead."""
SHORTEST = 1.0
"""Seconds between two watches at least."""


class _Gone(Exception):
    """The resourceVersion is too old: list again."""


@dataclass(frozen=True, slots=True)
class Target:
    """The object: the path of its kind, and its name."""

    path: str
    name: str

    @property
    def selector(self) -> dict[str, str]:
        """The parameters that select it, also for RBAC: a rule with resourceNames wants them."""
        return {"fieldSelector": f"metadata.name={self.name}"}


class Watcher(threading.Thread):
    """Calls `changed` once the object may have changed, until `stop`; also after each list."""

    def __init__(self, client: Client, target: Target, changed: Callable[[], None], log: Log) -> None:
        super().__init__(name=f"watch {target.name}", daemon=True)
        self._client = client
        self._target = target
        self._changed = changed
        self._log = log
        self._stopping = threading.Event()
        self._watch: Watch | None = None

    def stop(self) -> None:
        """Let it end; join it afterwards."""
        self._stopping.set()
        if watch := self._watch:
            watch.abort()

    def run(self) -> None:
        """Watch."""
        failures = 0
        while not self._stopping.is_set():
            try:
                version = self._list()
                failures = 0
                self._changed()
                while not self._stopping.is_set():
                    version = self._follow(version)
            except _Gone:
                continue
            except (ApiError, Unreachable, ClusterError) as error:
                if self._stopping.is_set():
                    return
                failures += 1
                self._log.write("warning", "watch_failed", object=self._target.name, error=str(error))
                self._stopping.wait(pause_after_failure(failures, random.random()))  # noqa: S311 - no secret

    def _list(self) -> str:
        what = f"list {self._target.path} with the name {self._target.name}"
        listed = self._client.get(self._target.path, what, self._target.selector).object
        return str(listed["metadata"]["resourceVersion"])

    def _follow(self, version: str) -> str:
        """Watch once; returns the resourceVersion to go on from."""
        began = time.monotonic()
        seconds = random.randint(*SECONDS)  # noqa: S311 - no secret
        parameters = {
            **self._target.selector,
            "resourceVersion": version,
            "timeoutSeconds": str(seconds),
        }
        what = f"watch {self._target.path} with the name {self._target.name}"
        try:
            with self._client.watch(self._target.path, what, parameters, seconds + MARGIN) as watch:
                self._watch = watch
                if self._stopping.is_set():
                    return version
                for event in watch.events():
                    version = self._take(event, what)
        except ApiError as error:
            if error.code == http.client.GONE:
                raise _Gone from error
            raise
        finally:
            self._watch = None
        self._stopping.wait(max(0.0, began + SHORTEST - time.monotonic()))
        return version

    def _take(self, event: Object, what: str) -> str:
        found = event.get("object") or {}
        if event.get("type") == "ERROR":
            raise ApiError(
                int(found.get("code", 500)), str(found.get("reason")), str(found.get("message"))[:500], what
            )
        if event.get("type") != "BOOKMARK":
            self._changed()
        return str(found["metadata"]["resourceVersion"])
