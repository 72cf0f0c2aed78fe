"""Status reporter: writes the state of interfaces to their NodeAttachments where it has changed.

Thread: the main loop's. A write that fails is repeated later; the loop goes on meanwhile, since the
interfaces matter more than what is said of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from common.backoff import half_jitter
from common.kube.client import Client
from common.kube.errors import ApiError, ClusterError, Unreachable
from ipagent.log import Log
from ipagent.node_interfaces.attachments import LinkAttachment, shortened, status_body
from ipagent.node_interfaces.plan import Status
from ipagent.node_network_names import ATTACHMENTS, LINKS_MANAGER

BASE, CAP = 1.0, 60.0
"""Seconds between tries of a write that fails."""
GONE = 404


@dataclass
class StatusReporter:
    """`clock` is monotonic, in seconds."""

    client: Client
    clock: Callable[[], float]
    log: Log
    failures: int = 0
    """Consecutive ones."""
    _next_try: float = 0.0
    _written: dict[str, Status] = field(default_factory=dict)

    def report(
        self, attachments: Mapping[str, LinkAttachment], statuses: Mapping[str, Status]
    ) -> float | None:
        """Write what differs; returns the seconds until a write is tried again, None if all is written."""
        self._written = {name: each for name, each in self._written.items() if name in attachments}
        changed = {
            name: status
            for name, each in statuses.items()
            if (status := shortened(each)) != self._written.get(name, attachments[name].reported)
        }
        if not changed:
            return None
        if (pause := self._next_try - self.clock()) > 0:
            return pause
        failure = self._write_all(changed)
        if failure is None:
            self.failures = 0
            return None
        pause = half_jitter(BASE, CAP, self.failures, random.random())  # noqa: S311 - no secret
        self.failures += 1
        self._next_try = self.clock() + pause
        self.log.warning("report-failed", message=f"{failure}; it is tried again in {pause:.0f} s")
        return pause

    def _write_all(self, changed: Mapping[str, Status]) -> Exception | None:
        """Write what differs; returns the first failure. What is refused of one holds up no other."""
        first: Exception | None = None
        for name, status in changed.items():
            try:
                self._write(name, status)
            except ApiError as error:
                first = first or error
            except (Unreachable, ClusterError) as error:
                return first or error
        return first

    def _write(self, name: str, status: Status) -> None:
        try:
            self.client.apply(
                f"{ATTACHMENTS}/{name}/status",
                f"report the interface of NodeAttachment {name}",
                status_body(name, status),
                manager=LINKS_MANAGER,
                force=True,
            )
        except ApiError as error:
            # Deleted a moment ago, which the watch does not show yet.
            if error.code != GONE:
                raise
        self._written[name] = status

    def forget(self, name: str) -> None:
        """Compare an attachment that has changed with what it says, no more with what was written."""
        self._written.pop(name, None)
