"""Status reporter: writes the state of interfaces to their NodeAttachments where it has changed.

Thread: the main loop's. A write that fails is repeated later; the loop goes on meanwhile, since the
interfaces matter more than what is said of them. One that is refused delays no other.
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
    """Consecutive ones without an answer."""
    _next_try: float = 0.0
    _refused: dict[str, tuple[int, float]] = field(default_factory=dict)
    """How often in a row a report was refused, and when it is tried again."""
    _written: dict[str, Status] = field(default_factory=dict)

    def report(
        self, attachments: Mapping[str, LinkAttachment], statuses: Mapping[str, Status]
    ) -> float | None:
        """Write what differs; returns the seconds until a write is tried again, None if all is written."""
        self._written = {name: each for name, each in self._written.items() if name in attachments}
        self._refused = {name: each for name, each in self._refused.items() if name in attachments}
        changed = {
            name: status
            for name, each in statuses.items()
            if (status := shortened(each)) != self._written.get(name, attachments[name].reported)
        }
        if not changed:
            return None
        now = self.clock()
        if now < self._next_try:
            return self._next_try - now
        for name, status in changed.items():
            if now < self._refused.get(name, (0, now))[1]:
                continue
            try:
                self._write(name, status)
            except ApiError as error:
                count = self._refused.get(name, (0, 0.0))[0]
                self._refused[name] = count + 1, now + self._pause(count, error)
            except (Unreachable, ClusterError) as error:
                pause = self._pause(self.failures, error)
                self.failures += 1
                self._next_try = now + pause
                return pause
        self.failures = 0
        return min((self._refused[name][1] - now for name in changed if name in self._refused), default=None)

    def _pause(self, failures: int, error: Exception) -> float:
        pause = half_jitter(BASE, CAP, failures, random.random())  # noqa: S311 - no secret
        self.log.warning("report-failed", message=f"{error}; it is tried again in {pause:.0f} s")
        return pause

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
        self._refused.pop(name, None)

    def forget(self, name: str) -> None:
        """Compare an attachment that has changed with what it says, no more with what was written."""
        self._written.pop(name, None)
