"""Event recorder: writes Events to the API server; nobody waits for it, and its failure hurts nobody.

Thread: one of its own writes; the main loop's calls `record`.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Iterable

from common.kube.backoff import pause_after_failure
from common.kube.client import Client
from common.kube.errors import ApiError, ClusterError, Unreachable
from ipagent.log import Log
from ipagent.node.model.events import AddressEvent
from ipagent.node.observe.event_correlator import COMPONENT, EventCorrelator, Write, body_of, notes, path_of

_PASSING = frozenset({429, 500, 502, 503, 504})
"""HTTP codes after which the same request may succeed (Kubernetes API conventions, "HTTP Status codes")."""


class EventRecorder(threading.Thread):
    """Turns events into Events on their pods, from `start` to `stop`."""

    def __init__(self, client: Client, node: str, log: Log) -> None:
        super().__init__(name="events", daemon=True)
        self._client = client
        self._node = node
        self._log = log
        self._correlator = EventCorrelator(uuid.uuid4().hex[:8])
        self._wake = threading.Condition()
        self._stopping = False
        self._failures = 0
        self._failure = ""

    @property
    def dropped(self) -> int:
        """How many Events were not written: too many of them, or the API server was away for too long."""
        return self._correlator.dropped

    def record(self, events: Iterable[AddressEvent]) -> None:
        """Take what happened; returns at once."""
        found = notes(events)
        if found:
            with self._wake:
                self._correlator.add(found, time.monotonic(), time.time())
                self._wake.notify()

    def stop(self) -> None:
        """Let it end, without what has not been written; join it afterwards."""
        with self._wake:
            self._stopping = True
            self._wake.notify()

    def run(self) -> None:
        """Write what is due."""
        while (write := self._next()) is not None:
            try:
                self._write(write)
            except ApiError as error:
                self._refused(write, error)
            except (Unreachable, ClusterError) as error:
                self._again(write, error)
            else:
                self._failures, self._failure = 0, ""

    def _next(self) -> Write | None:
        with self._wake:
            while not self._stopping:
                found = self._correlator.due(time.monotonic())
                if isinstance(found, Write):
                    return found
                self._wake.wait(found)
        return None

    def _write(self, write: Write) -> None:
        what = f"write an Event on pod {write.note.pod}"
        body = body_of(write, self._node)
        if write.new:
            self._client.create(path_of(write), what, body)
        else:
            self._client.merge(path_of(write), what, body, manager=COMPONENT)

    def _refused(self, write: Write, error: ApiError) -> None:
        if error.code in _PASSING:
            self._again(write, error)
        elif error.code == 404 and not write.new:
            # The API server deletes Events after an hour.
            with self._wake:
                self._correlator.put_back(write, new=True)
        elif error.code not in (404, 409) and "being terminated" not in error.message:
            # Otherwise the namespace is going or gone, or an answer was lost after the Event was made.
            self._log_once(error)

    def _again(self, write: Write, error: Exception) -> None:
        self._log_once(error)
        self._failures += 1
        with self._wake:
            self._correlator.put_back(write, new=write.new)
            if not self._stopping:
                self._wake.wait_for(
                    lambda: self._stopping,
                    pause_after_failure(self._failures, random.random()),  # noqa: S311 - no secret
                )

    def _log_once(self, error: Exception) -> None:
        kind = f"{type(error).__name__} {getattr(error, 'code', '')}"
        if kind != self._failure:
            self._failure = kind
            self._log.warning("events-failed", message=f"{error}; addresses are assigned all the same")
