"""What the operator allows to be taken back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from ipagent.assign.selection import IPAddress, IPNetwork
from ipagent.assign.topology import Eni

MIN_COOLDOWN = 30.0


class GcMode(StrEnum):
    """What becomes of addresses that are left behind."""

    OFF = "off"
    REPORT = "report"
    """What would go is logged and counted."""
    ON = "on"


@dataclass(frozen=True)
class GcPolicy:
    """What the operator allows. `cooldown` and `interval` are in seconds.

    `managed` are the ranges that are ours, empty for the subnets of the node's ENIs; `protected` are never
    swept. `no_floating`: the operator's word that no pod holds addresses that it does not state.
    """

    mode: GcMode = GcMode.REPORT
    cooldown: float = 120.0
    interval: float = 300.0
    managed: tuple[IPNetwork, ...] = ()
    protected: tuple[IPNetwork, ...] = ()
    no_floating: bool = False

    def manages(self, eni: Eni, address: IPAddress) -> bool:
        """Whether the address lies in a range that is ours to manage."""
        return within(address, self.managed) if self.managed else eni.contains(address)

    def protects(self, address: IPAddress) -> bool:
        """Whether the address is never to be swept."""
        return within(address, self.protected)


def within(address: IPAddress, networks: Iterable[IPNetwork]) -> bool:
    """Whether one of the networks contains the address."""
    return any(address in network for network in networks)
