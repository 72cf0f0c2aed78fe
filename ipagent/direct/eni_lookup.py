"""Finds the ENIs for the pod's addresses, with as few queries to IMDS and EC2 as possible."""

from __future__ import annotations

from collections.abc import Collection

from common.frozen_dataclass import replace
from common.lean_typing import Protocol
from ipagent.assign.addresses import Holding
from ipagent.assign.cloud import Cloud
from ipagent.assign.placement import Placed, Placement, Unplaced, place, place_known
from ipagent.assign.topology import Eni, Topology


class PodCloud(Cloud, Protocol):
    """What the agent of one pod needs of AWS."""

    def cached(self, macs: Collection[str]) -> Topology | None:
        """Return what was read last, if nobody has to be asked for more for these MACs."""

    def known(self, mac: str) -> Eni | None:
        """Return the verified ENI with a MAC by what was read last, without asking anybody."""

    def verified(self, shown: Topology, macs: Collection[str]) -> Topology:
        """Return what IMDS has shown, with EC2's word on the ENIs that have these MACs; raises AgentError."""

    def ranged(self, shown: Topology, macs: Collection[str]) -> Topology:
        """Return it with EC2's word on the ranges of subnets, as far as EC2 tells; raises AgentError."""


class EniLookup:
    """Places a pod's addresses; with `takeover` they may be taken from other ENIs."""

    def __init__(self, cloud: PodCloud, *, takeover: bool) -> None:
        self._cloud = cloud
        self._takeover = takeover

    def find(self, holdings: tuple[Holding, ...], *, fresh: bool, lived: bool) -> Placed:
        """Find the ENIs by what IMDS shows; EC2 is asked where that alone must not decide. Raises AgentError.

        `fresh`: what was read before does not do. `lived`: there were addresses before these.
        """
        if not holdings:
            return Placed()
        macs = {holding.mac for holding in holdings}
        topology = self._cloud.topology(macs, fresh=fresh)
        placed = self._place(holdings, topology)
        if placed.unplaced and lived and not fresh:
            # The agent has run for a while: another ENI may have been attached.
            topology = self._cloud.topology(macs, fresh=True)
            placed = self._place(holdings, topology)
        if any(each.unranged for each in placed.unplaced):
            topology = self._cloud.ranged(topology, macs)
            placed = self._place(holdings, topology)
        if not topology.verified and any(map(_needs_call, placed.placements)):
            placed = self._place(holdings, self._cloud.verified(topology, macs))
        return replace(placed, unplaced=tuple(map(_waiting_for_ranges, placed.unplaced)))

    def without_asking(self, holdings: tuple[Holding, ...], before: Placed) -> Placed:
        """Find the ENIs for which nobody has to be asked, by the last result, too; the others are pending."""
        if not holdings:
            return Placed()
        macs = {holding.mac for holding in holdings}
        cached = self._cloud.cached(macs)
        if cached is not None:
            placed = self._place(holdings, cached)
            if not placed.unplaced and (cached.verified or not any(map(_needs_call, placed.placements))):
                return placed
        enis = {mac: eni for mac in macs if (eni := self._cloud.known(mac)) is not None}
        return place_known(holdings, before, enis, takeover=self._takeover)

    def _place(self, holdings: tuple[Holding, ...], topology: Topology) -> Placed:
        return place(holdings, topology, takeover=self._takeover)


def _waiting_for_ranges(unplaced: Unplaced) -> Unplaced:
    """Return what becomes of an address that IMDS' ranges leave without an ENI, where EC2 tells no others."""
    if not unplaced.unranged:
        return unplaced
    text = f"{unplaced.reason} (by the ranges that IMDS shows so far)"
    return replace(unplaced, reason=text, pending=True)


def _needs_call(placement: Placement) -> bool:
    """Return whether EC2 has to assign the address: one of the ENI's prefixes is routed as it is."""
    return placement.eni.prefix_of(placement.holding.address) is None
