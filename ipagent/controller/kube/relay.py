"""Writes the answers to node agents: `status.responses` of NodeAttachments.

Thread: the loop's. What fails is written again a little later.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from common.kube.client import Client
from common.kube.errors import ApiError, ClusterError, Unreachable
from ipagent.call_relay import RELAY_MANAGER, RelayAnswers, responses_body
from ipagent.controller.kube.recent_writes import PASSED, RecentWrites
from ipagent.controller.kube.write_budget import ANSWERS, ATTACHMENT, WriteBudget
from ipagent.controller.model.relay import RelayPlan
from ipagent.log import Log
from ipagent.node_network_names import ATTACHMENTS


@dataclass(slots=True)
class ResponseWriter:
    """`may` is asked before each write whether this replica still leads."""

    client: Client
    log: Log
    may: Callable[[], bool]
    recent: RecentWrites = field(default_factory=RecentWrites)
    budget: WriteBudget = field(init=False)

    def __post_init__(self) -> None:
        self.budget = WriteBudget(self.log, ANSWERS)

    def write(self, plan: RelayPlan, now: float) -> float:
        """Write what is lacking; returns when to come again at the latest (monotonic seconds)."""
        if (until := self.recent.pause(now)) is not None:
            return until
        self.budget.begin()
        for name, answers in plan.responses.items():
            if self.recent.has(name, answers) or not self.may():
                continue
            if not self.budget.take((ATTACHMENT, name), now):
                continue
            try:
                self._apply(name, answers)
            except (Unreachable, ClusterError) as error:
                self._log(error)
                return self.recent.failed(now)
            self.recent.reached()
            self.recent.record(name, answers, now)
        return min(self.recent.done(now), self.budget.due)

    def _apply(self, name: str, answers: RelayAnswers) -> None:
        """Write the answers to one node agent; a refusal of theirs holds up nobody else's."""
        path, what = f"{ATTACHMENTS}/{name}/status", f"answer the node agent in NodeAttachment {name}"
        try:
            self.client.apply(path, what, responses_body(name, answers), manager=RELAY_MANAGER, force=True)
        except ApiError as error:
            if error.code not in PASSED:
                self._refused(error)
        except ValueError as error:
            self._refused(ValueError(f"cannot {what}: {error}"))

    def _refused(self, error: Exception) -> None:
        self.recent.failures += 1
        self._log(error)

    def _log(self, error: Exception) -> None:
        self.log.warning("write-failed", message=str(error))
