"""Ownership of the node's addresses, the operator's policy for leaked ones, and the collector's interface.

Thread: data of the main loop's; nothing here is shared with another thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from ipagent.assign.addresses import IPAddress, IPNetwork
from ipagent.assign.topology import Eni
from ipagent.node.model.address_events import AddressEvent
from ipagent.node.model.pod import PodKey

MIN_COOLDOWN = 30.0


@dataclass(frozen=True)
class Ownership:
    """Who holds the addresses on this node's ENIs, and which pods may hold more than is known."""

    complete: bool = False
    """There was a complete list of the node's pods, and the watch is up to date."""
    owners: Mapping[tuple[str, IPAddress], PodKey] = field(default_factory=dict)
    """The living pod of each ENI id and address; a claimed address stays its pod's until the pod is gone."""
    floating: frozenset[tuple[str, IPAddress]] = frozenset()
    """Those owned addresses that the pod's own network-status does not name."""
    named: frozenset[IPAddress] = frozenset()
    """Every address that a living pod names at all, also where it is refused."""
    unstated: Mapping[PodKey, frozenset[str]] = field(default_factory=dict)
    """Living pods that may hold addresses they have not claimed: the ids of the ENIs (empty: any ENI)."""
    stated: frozenset[PodKey] = frozenset()
    """Pods whose sidecar has claimed all that it holds, over a session that is open."""
    mirrors: frozenset[PodKey] = frozenset()
    """Mirrors of static pods, whose containers outlive them."""
    busy: frozenset[tuple[str, IPAddress]] = frozenset()
    """What is being assigned or released."""


class GcMode(StrEnum):
    """What happens to leaked addresses."""

    OFF = "off"
    REPORT = "report"
    """They are logged and counted."""
    ON = "on"
    """They are reclaimed."""


@dataclass(frozen=True)
class GcPolicy:
    """What the operator allows to be reclaimed."""

    mode: GcMode = GcMode.REPORT
    cooldown: float = 120.0
    """Seconds for which an address must have been leaked."""
    interval: float = 300.0
    """Seconds between two sweeps."""
    managed: tuple[IPNetwork, ...] = ()
    """The ranges that may be reclaimed; empty: the subnets of the node's ENIs."""
    protected: tuple[IPNetwork, ...] = ()
    """Ranges that are never reclaimed."""
    no_floating: bool = False
    """The operator states that no pod holds addresses that it does not claim."""

    def manages(self, eni: Eni, address: IPAddress) -> bool:
        """Whether the address lies in a range that may be reclaimed."""
        return within(address, self.managed) if self.managed else eni.contains(address)

    def protects(self, address: IPAddress) -> bool:
        """Whether the address must never be reclaimed."""
        return within(address, self.protected)


def within(address: IPAddress, networks: Iterable[IPNetwork]) -> bool:
    """Whether one of the networks contains the address."""
    return any(address in network for network in networks)


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
