"""How many writes a node may cause: a token bucket for each node, and one for each network.

What a node reports, and what others change in its objects, has the controller write its NodeAttachments, its
labels and its capacity, and the statuses of its networks. What has to wait for the bucket is decided anew in
each turn: in the end the last state is written, and what it was in between is not.

Thread: the loop's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TypeAlias

from common.token_bucket import BucketsByKey, Rate
from ipagent.log import Log

STATUSES = Rate(120, 0.5)
"""Of a node or a network. A node with eight networks needs 70 until all are ready."""
ANSWERS = Rate(120, 2)
"""Answers to a node's agent, which gets two calls a second made (PACE in `controller/relay/decide.py`)."""
LOGGED_AGAIN = 600.0
"""Seconds for which one that is over its budget is not named in the log again."""

TICK = 1 / STATUSES.refill
"""Seconds between the instants at which all that has to wait is done together, in one turn."""

NODE, NETWORK, ATTACHMENT = "node", "network", "attachment"
Payer: TypeAlias = tuple[str, str]
"""Whose budget a write is of: one of the three, and its name."""


def next_tick(at: float) -> float:
    """Return the first of these instants that is not before `at` (monotonic seconds, or infinity)."""
    return math.ceil(at / TICK) * TICK if math.isfinite(at) else at


@dataclass(slots=True)
class WriteBudget:
    """`now` is monotonic, in seconds."""

    log: Log
    rate: Rate = STATUSES
    due: float = float("inf")
    """When what waits may be written; infinity if nothing does."""
    _buckets: BucketsByKey[Payer] = field(init=False)
    _logged: dict[Payer, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._buckets = BucketsByKey(self.rate)

    def begin(self) -> None:
        """Begin a turn: nothing waits yet."""
        self.due = float("inf")

    def take(self, payer: Payer, now: float) -> bool:
        """Take one write; false where it has to wait, until `due` at the latest."""
        bucket = self._buckets.of(payer)
        if bucket.take(now):
            return True
        self.due = min(self.due, now + bucket.wait(now))
        self._report(payer, now)
        return False

    def _report(self, payer: Payer, now: float) -> None:
        self._logged = {each: at for each, at in self._logged.items() if now - at < LOGGED_AGAIN}
        if payer in self._logged:
            return
        self._logged[payer] = now
        kind, name = payer
        self.log.warning(
            "paced",
            message=f"{kind} {name} changes all the time: it is written only every "
            f"{1 / self.rate.refill:g} s. Check what changes in its NodeAttachments (kubectl get "
            "nodeattachments -w -o yaml), and the logs of the node's agent and links",
            **{kind: name},
        )
