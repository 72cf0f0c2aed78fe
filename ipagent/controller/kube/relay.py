"""Writes the answers to node agents: `status.responses` of NodeAttachments.

Thread: the loop's. What fails is written again a little later.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from common.kube.client import Client
from common.kube.errors import ApiError, ClusterError, Unreachable
from ipagent.call_relay import RelayAnswers
from ipagent.call_relay_status import RELAY_MANAGER, responses_body
from ipagent.controller.kube.recent_writes import PASSED, REFUSED, RecentWrites
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
        try:
            for name, answers in plan.responses.items():
                self._write(name, answers, now)
        except (ApiError, Unreachable, ClusterError) as error:
            self._log(error)
            return self.recent.failed(now)
        return min(self.recent.done(now), self.budget.due)

    def _write(self, name: str, answers: RelayAnswers, now: float) -> None:
        """Write the answers to one node agent; a refusal of theirs holds up no others, not even its next."""
        if self.recent.has(name, answers) or self.recent.waits((name, answers), now) or not self.may():
            return
        if not self.budget.take((ATTACHMENT, name), now):
            return
        path, what = f"{ATTACHMENTS}/{name}/status", f"answer the node agent in NodeAttachment {name}"
        try:
            self.client.apply(path, what, responses_body(name, answers), manager=RELAY_MANAGER, force=True)
        except ValueError as error:
            self.recent.refused((name, answers), now)
            self._log(ValueError(f"cannot {what}: {error}"))
            return
        except ApiError as error:
            if error.code in REFUSED and self.recent.refused((name, answers), now):
                self._log(error)
                return
            if error.code not in PASSED:
                raise
            # The NodeAttachment is gone, as the watch will show: no answer is written again.
        self.recent.reached()
        self.recent.record(name, answers, now)

    def _log(self, error: Exception) -> None:
        self.log.warning("write-failed", message=str(error))
