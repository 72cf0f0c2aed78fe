"""Events of addresses: for the pods' Events, the log and the metrics. Data only.

Thread: made in the main loop's; frozen.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from common.agent_settings import LogLevel
from ipagent.assign.addresses import IPAddress
from ipagent.node.model.pod import PodKey


class EventType(StrEnum):
    """What happened; the value is the log's event and a metric's label."""

    ASSIGNED = "assigned"
    FOUND = "found"
    """It was there when the agent began."""
    CONFLICT = "conflict"
    """Another has it: a pod of this node, or another ENI that took it away."""
    REFUSED = "not-assigned"
    DELAYED = "delayed"
    """It is still being assigned, and has waited for long."""
    RELEASED = "released"
    """The pod gave it back."""
    NOT_RELEASED = "not-released"
    RECLAIMED = "reclaimed"
    """It belonged to no living pod any more."""
    WOULD_RECLAIM = "would-reclaim"
    WARNING = "warning"


_LEVELS = {
    EventType.ASSIGNED: LogLevel.INFO,
    EventType.FOUND: LogLevel.DEBUG,
    # `assign-failed` says it, once for all addresses of an ENI.
    EventType.DELAYED: LogLevel.DEBUG,
    EventType.RELEASED: LogLevel.INFO,
    EventType.RECLAIMED: LogLevel.INFO,
    EventType.WOULD_RECLAIM: LogLevel.INFO,
    EventType.WARNING: LogLevel.WARNING,
}


@dataclass(frozen=True)
class AddressEvent:
    """`pod` is None where nobody knows whose the address was, `eni_id` empty where no ENI was found.

    `seconds` is how long an assigned address was wanted before it was confirmed.
    """

    kind: EventType
    pod: PodKey | None
    address: IPAddress | None
    eni_id: str
    message: str
    seconds: float | None = None

    @property
    def level(self) -> LogLevel:
        """How important its line in the log is."""
        return _LEVELS.get(self.kind, LogLevel.ERROR)
