"""The operator's policy for leaked addresses. Data only; frozen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from ipagent.assign.addresses import IPAddress, IPNetwork
from ipagent.assign.topology import Eni

MIN_COOLDOWN = 30.0


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
