"""Status reporter: writes the state of interfaces to their NodeAttachments where it has changed.

Thread: the main loop's. A write that fails is repeated later; the loop goes on meanwhile, since the
interfaces matter more than what is said of them. One that is refused, or for which an admission webhook
hangs, delays no other.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from common.backoff import half_jitter
from common.kube.backoff import REST, SLOW
from common.kube.client import Client
from common.kube.errors import ApiError, KubeError
from common.kube.write_backoff import WriteBackoff
from common.token_bucket import BucketsByKey, Rate
from ipagent.links.node_attachments import LinkAttachment, fit_to_schema, status_body
from ipagent.links.plan import LinkStatus
from ipagent.log import Log
from ipagent.node_network_api import ATTACHMENTS, LINKS_MANAGER

BASE, CAP = 1.0, 60.0
"""Seconds between tries while the API server does not answer."""
RATE = Rate(120, 0.5)
"""Reports on one interface: as many as the controller makes writes for a node (its `write_budget.py`). One
that goes up and down all the time is reported in the end as it is then."""


@dataclass
class LinkStatusReporter:
    """`clock` is monotonic, in seconds."""

    client: Client
    clock: Callable[[], float]
    log: Log
    failures: int = 0
    """Consecutive ones without an answer."""
    _next_try: float = 0.0
    _refused: WriteBackoff = field(default_factory=WriteBackoff)
    _written: dict[str, LinkStatus] = field(default_factory=dict)
    _rates: BucketsByKey[str] = field(default_factory=lambda: BucketsByKey(RATE))

    def report(
        self, attachments: Mapping[str, LinkAttachment], statuses: Mapping[str, LinkStatus]
    ) -> float | None:
        """Write what differs; returns the seconds until a write is tried again, None if all is written."""
        self._written = {name: each for name, each in self._written.items() if name in attachments}
        self._refused.retain(attachments.keys())
        changed = {
            name: status
            for name, each in statuses.items()
            if (status := fit_to_schema(each)) != self._written.get(name, attachments[name].reported)
        }
        now = self.clock()
        for name in changed:
            self._refused.want(name, now)
        self._refused.prune(now)
        if not changed:
            return None
        if now < self._next_try:
            return self._next_try - now
        for name, status in sorted(changed.items(), key=lambda pair: self._refused.rank(pair[0])):
            if self._due(name, now) > now:
                continue
            began = self.clock()
            self._rates.of(name).take(began)
            try:
                self._write(name, status)
            except KubeError as error:
                if not error.of_one_object:
                    return self._pause_all(name, error)
                took = self.clock() - began
                self._refuse(name, error, took)
                if took >= SLOW:
                    # Each of the others may take as long: the interfaces come first.
                    break
        self.failures = 0
        now = self.clock()
        left = [name for name, status in changed.items() if self._written.get(name) != status]
        return min((self._due(name, now) - now for name in left), default=None)

    def _due(self, name: str, now: float) -> float:
        return max(self._refused.due(name, now), now + self._rates.of(name).wait(now))

    def _refuse(self, name: str, error: KubeError, took: float) -> None:
        """Have this one wait, which was refused or given up after so many seconds."""
        now, chance = self.clock(), random.random()  # noqa: S311 - no secret
        until = self._refused.refuse(name, now, chance, took=took, rest=REST)
        self._log_failure(error, until - now)

    def _pause_all(self, name: str, error: KubeError) -> float:
        """Have all wait, and this one let others go first; returns for how many seconds."""
        pause = half_jitter(BASE, CAP, self.failures, random.random())  # noqa: S311 - no secret
        self._log_failure(error, pause)
        self.failures += 1
        now = self.clock()
        self._refused.record_unanswered(name, now)
        self._next_try = now + pause
        return pause

    def _log_failure(self, error: Exception, pause: float) -> None:
        self.log.warning("report-failed", message=f"{error}; it is tried again in {pause:.0f} s")

    def _write(self, name: str, status: LinkStatus) -> None:
        try:
            self.client.apply(
                f"{ATTACHMENTS}/{name}/status",
                f"report the interface of NodeAttachment {name}",
                status_body(name, status),
                manager=LINKS_MANAGER,
                force=True,
                patience=self._refused.patience(name),
            )
        except ApiError as error:
            # Deleted a moment ago, which the watch does not show yet.
            if not error.not_found:
                raise
        self._written[name] = status
        self._refused.accept(name)

    def forget(self, name: str) -> None:
        """Compare an attachment that has changed with what it says, no more with what was written."""
        self._written.pop(name, None)
