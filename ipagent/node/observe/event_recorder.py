"""Event recorder: writes Events on pods to the API server.

Thread: one of its own writes; the main loop's calls `record`.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable

from common.kube.client import Client
from common.kube.errors import ApiError
from ipagent.log import Log
from ipagent.node.model.address_events import AddressEvent
from ipagent.node.observe.api_writer import ApiWriter
from ipagent.node.observe.event_correlator import (
    COMPONENT,
    EventCorrelator,
    Write,
    body_of,
    path_of,
    pod_events,
)


class EventRecorder(ApiWriter[Write]):
    """Writes what happened to pods as Events on them."""

    def __init__(self, client: Client, node: str, log: Log) -> None:
        super().__init__("events")
        self._log = log
        self._client = client
        self._node = node
        self._correlator = EventCorrelator(uuid.uuid4().hex[:8])

    @property
    def dropped(self) -> int:
        """How many Events were not written: too many of them, or the API server was away for too long."""
        return self._correlator.dropped

    def record(self, events: Iterable[AddressEvent]) -> None:
        """Let the Events of what happened be written; returns at once."""
        found = pod_events(events)
        if found:
            with self.wake:
                self._correlator.add(found, time.monotonic(), time.time())
                self.wake.notify()

    def due(self) -> Write | float | None:
        """Return the Event to write now."""
        return self._correlator.due(time.monotonic())

    def write(self, item: Write, patience: float | None) -> None:
        """Create the Event, or count it on."""
        what = f"write an Event on pod {item.event.pod}"
        body = body_of(item, self._node)
        if item.new:
            self._client.create(path_of(item), what, body, patience=patience)
        else:
            self._client.merge(path_of(item), what, body, manager=COMPONENT, patience=patience)

    def key(self, item: Write) -> str:
        """Return the Event's name."""
        return item.name

    def put_back(self, item: Write, until: float) -> None:
        """Write it again later."""
        self._correlator.put_back(item, new=item.new, until=until)

    def refused(self, item: Write, error: ApiError) -> bool:
        """Create the Event anew where it has expired; drop it where its namespace is going or gone."""
        if error.not_found and not item.new:
            # The API server deletes Events after an hour.
            with self.wake:
                self._correlator.put_back(item, new=True)
            return False
        # A conflict: an answer was lost after the Event was created.
        return not error.outdated and "being terminated" not in error.message

    def log_failure(self, message: str) -> None:
        """Log why nothing is written."""
        self._log.warning("events-failed", message=message)
