"""The pod's addresses with the ENI of each, and where each of them is now: what `addresses` shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ipagent.assign.holders import holder_of
from ipagent.assign.selection import IPAddress
from ipagent.assign.topology import Eni, EniDetails, Placed, Placement, Topology, Unplaced, place
from ipagent.commands.selection_view import Held

BY_MAC, BY_SUBNET = "mac", "subnet"
"""How an ENI was found."""


@dataclass(frozen=True)
class Target:
    """The ENI that is to carry an address, None with the reason `why` there is none.

    `found_by` is `BY_MAC` or `BY_SUBNET`; `candidates` are the ENIs whose subnet has the address.
    """

    eni: Eni | None
    why: str
    found_by: str = ""
    candidates: tuple[Eni, ...] = ()


@dataclass(frozen=True)
class Whereabouts:
    """An address of the pod. `in_imds` is None where that is not known.

    `holder` is the ENI on which EC2 has it; `asked` tells whether EC2 was asked at all.
    """

    held: Held
    target: Target | None = None
    in_imds: bool | None = None
    asked: bool = False
    holder: EniDetails | None = None

    @property
    def in_ec2(self) -> bool | None:
        """Whether EC2 has it on its ENI; None where that is not known."""
        if not self.asked or self.target is None or self.target.eni is None:
            return None
        return self.holder is not None and self.holder.eni_id == self.target.eni.id

    @property
    def elsewhere(self) -> EniDetails | None:
        """The other ENI that holds it."""
        return self.holder if self.in_ec2 is False else None


def targets(held: Iterable[Held], topology: Topology) -> dict[Held, Target]:
    """Find the ENI for each address that counts, as the agent finds it."""
    counting = [one for one in held if one.counts]
    placed: Placed = place([one.holding for one in counting], topology)
    found = {one.holding: _target(one, topology) for one in placed.placements}
    missing = {one.holding: _no_target(one) for one in placed.unplaced}
    # An address on two interfaces of one ENI is placed once.
    by_address = {holding.address: target for holding, target in found.items()}
    return {
        one: found.get(one.holding) or missing.get(one.holding) or by_address[one.holding.address]
        for one in counting
    }


def _target(placement: Placement, topology: Topology) -> Target:
    eni, holding = placement.eni, placement.holding
    if eni.mac == holding.mac:
        return Target(eni, f"{holding.interface} has its MAC", BY_MAC)
    candidates = tuple(other for other in topology.enis if other.usable and other.contains(holding.address))
    return Target(eni, placement.warning, BY_SUBNET, candidates)


def _no_target(unplaced: Unplaced) -> Target:
    return Target(None, unplaced.reason)


def whereabouts(
    held: Iterable[Held],
    found: Mapping[Held, Target],
    imds: Mapping[str, frozenset[IPAddress] | None],
    enis: Mapping[str, EniDetails] | None,
    others: Iterable[EniDetails],
) -> tuple[Whereabouts, ...]:
    """Put together where each address is. `imds` and `enis` are by ENI id; `enis` is None if EC2 was silent.

    `others` are ENIs that hold addresses that are not where they belong.
    """
    every = [*(enis or {}).values(), *others]

    def one(entry: Held) -> Whereabouts:
        target = found.get(entry)
        if target is None or target.eni is None:
            return Whereabouts(entry, target)
        shown = imds.get(target.eni.id)
        own = (enis or {}).get(target.eni.id)
        return Whereabouts(
            entry,
            target,
            in_imds=None if shown is None else entry.holding.address in shown,
            asked=own is not None,
            holder=holder_of(entry.holding.address, own.eni_id, _near(own, every)) if own else None,
        )

    return tuple(map(one, held))


def _near(own: EniDetails, enis: Iterable[EniDetails]) -> list[EniDetails]:
    """Leave out the ENIs of other VPCs, which may use the same ranges."""
    return [eni for eni in enis if eni.vpc_id == own.vpc_id]
