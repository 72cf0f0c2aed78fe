"""Writes the answers to node agents: `status.responses` of NodeAttachments.

Thread: the loop's. What fails is written again a little later.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from common.kube.client import Client
from ipagent.call_relay import RelayAnswers
from ipagent.call_relay_status import RELAY_MANAGER, responses_body
from ipagent.controller.kube.recent_writes import RecentWrites
from ipagent.controller.kube.slow_writes import Key
from ipagent.controller.kube.write_budget import ANSWERS, ATTACHMENT, WriteBudget
from ipagent.controller.kube.write_turns import PendingWrite, Unwritable, WriteTurns
from ipagent.controller.model.relay import RelayPlan
from ipagent.log import Log
from ipagent.node_network_api import ATTACHMENTS

_GROUP = "NodeAttachment status"


@dataclass(slots=True)
class ResponseWriter:
    """`may` is asked before each write whether this replica still leads; `clock` is monotonic, in seconds."""

    client: Client
    log: Log
    may: Callable[[], bool]
    clock: Callable[[], float] = time.monotonic
    recent: RecentWrites = field(default_factory=RecentWrites)
    budget: WriteBudget = field(init=False)
    _turns: WriteTurns = field(init=False)

    def __post_init__(self) -> None:
        self.budget = WriteBudget(self.log, ANSWERS)
        self._turns = WriteTurns(self.recent, self.log, self.clock)

    def write(self, plan: RelayPlan, now: float) -> float:
        """Write what is lacking; returns when to come again at the latest (monotonic seconds)."""
        self.budget.begin()
        writes = (self._write(name, answers, now) for name, answers in plan.responses.items())
        return min(self._turns.run(writes, now), self.budget.due)

    def _write(self, name: str, answers: RelayAnswers, now: float) -> PendingWrite:
        """Return the write of the answers to one node agent; if it fails, its next answers do not wait,
        unless that was slow."""
        allowed = lambda: self.may() and self.budget.take((ATTACHMENT, name), now)  # noqa: E731
        make = partial(self._apply, name, answers)
        return PendingWrite(Key(_GROUP, name), answers, allowed, make, attempt=Key(_GROUP, name, answers))

    def _apply(self, name: str, answers: RelayAnswers, patience: float | None) -> None:
        path, what = f"{ATTACHMENTS}/{name}/status", f"answer the node agent in NodeAttachment {name}"
        try:
            body = responses_body(name, answers)
        except ValueError as error:
            raise Unwritable(f"cannot {what}: {error}") from error
        self.client.apply(path, what, body, manager=RELAY_MANAGER, force=True, patience=patience)
