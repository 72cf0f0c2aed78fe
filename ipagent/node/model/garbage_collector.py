"""The garbage collector as the controller of a node's pods uses it.

Thread: the main loop's.
"""

from __future__ import annotations

from typing import Protocol

from ipagent.node.model.address_events import AddressEvent
from ipagent.node.model.ownership import Ownership


class GarbageCollector(Protocol):
    """Reclaims the addresses that no living pod holds: see gc.collector.Collector."""

    def observe(self, ownership: Ownership) -> None:
        """Record who owns the addresses now; to be called before the first EC2 call for a new one."""

    def step(self) -> float | None:
        """Do what is due; returns the seconds until more is due, None if nothing is."""

    def make_room(self, eni_id: str) -> None:
        """Sweep the ENI as soon as the policy allows: it is full."""

    def is_reclaiming(self, eni_id: str) -> bool:
        """Whether that sweep is still to come."""

    def take_freed(self) -> frozenset[str]:
        """Return the ENIs on which slots were freed since the last call."""

    def take_events(self) -> list[AddressEvent]:
        """Return the events since the last call."""
