"""What the core asks of whoever takes back addresses that are left behind."""

from __future__ import annotations

from typing import Protocol

from ipagent.node.model.events import AddressEvent
from ipagent.node.model.ownership import Ownership


class GarbageCollector(Protocol):
    """Who takes back what no living pod holds."""

    def observe(self, belongings: Ownership) -> None:
        """Take in whose the addresses are now; comes before the first call for a new one."""

    def step(self) -> float | None:
        """Do what is due; returns the seconds until more is due, None if nothing is."""

    def make_room(self, eni_id: str) -> None:
        """Sweep the ENI as soon as the rules allow: it is full."""

    def making_room(self, eni_id: str) -> bool:
        """Whether that sweep is still to come."""

    def freed(self) -> frozenset[str]:
        """Give the ENIs on which there is room again, since the last time."""

    def happenings(self) -> list[AddressEvent]:
        """Give what has happened since the last time."""
