"""Writes what node agents are answered: `status.responses` of NodeAttachments.

Thread: the loop's. What fails is written again a little later.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from common.kube.backoff import pause_after_failure
from common.kube.client import Client
from common.kube.errors import ApiError, ClusterError, Unreachable
from ipagent.call_relay import RELAY_MANAGER, RelayAnswers, responses_body
from ipagent.controller.model.relay import RelayPlan
from ipagent.log import Log
from ipagent.node_network_api import ATTACHMENTS

LAG = 3.0
"""Seconds for which answers that were written are not written again: the watch will show them."""
PASSED = (404, 409)
"""The object is gone."""


@dataclass(slots=True)
class ResponseWriter:
    """`may` is asked before each write whether this replica still leads."""

    client: Client
    log: Log
    may: Callable[[], bool]
    failures: int = 0
    """Writes that the API server has refused or not answered."""
    _written: dict[str, tuple[RelayAnswers, float]] = field(default_factory=dict)
    _row: int = 0
    _until: float = 0.0

    def write(self, plan: RelayPlan, now: float) -> float:
        """Write what is lacking; returns when to come again at the latest (monotonic seconds)."""
        if now < self._until:
            return self._until
        self._written = {name: each for name, each in self._written.items() if now - each[1] < LAG}
        for name, answers in plan.responses.items():
            before = self._written.get(name)
            if not self.may() or (before is not None and before[0] == answers):
                continue
            try:
                self._apply(name, answers)
            except (Unreachable, ClusterError) as error:
                self._row += 1
                self._until = now + pause_after_failure(self._row, 0.5)
                self._failed(error)
                return self._until
            self._row = 0
            self._written[name] = (answers, now)
        return now + LAG if self._written else float("inf")

    def _apply(self, name: str, answers: RelayAnswers) -> None:
        """Write the answers to one node agent; a refusal of theirs holds up nobody else's."""
        path, what = f"{ATTACHMENTS}/{name}/status", f"answer the node agent in NodeAttachment {name}"
        try:
            self.client.apply(path, what, responses_body(name, answers), manager=RELAY_MANAGER, force=True)
        except ApiError as error:
            if error.code not in PASSED:
                self._failed(error)
        except ValueError as error:
            self._failed(ValueError(f"cannot {what}: {error}"))

    def _failed(self, error: Exception) -> None:
        self.failures += 1
        self.log.warning("write-failed", message=str(error))
