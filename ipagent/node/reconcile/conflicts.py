"""Conflicts between the pods of a node: which one gets an address that several have. Pure.

Thread: the main loop's, through NodeState.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ipagent.assign.addresses import Holding, IPAddress, sort_key
from ipagent.assign.errors import HeldElsewhere
from ipagent.assign.placement import Placement
from ipagent.assign.report import Problem
from ipagent.node.model.pod import PodKey
from ipagent.node.reconcile.desired import PodDesired


@dataclass(frozen=True)
class Conflict:
    """A pod's address that another pod of this node has."""

    holding: Holding
    owner: PodKey
    by_status: bool
    transient: bool = False
    """The sandbox of one of the two is being made anew, and then it may have another address."""

    @property
    def problem(self) -> Problem:
        """What to tell the pod that does not get it."""
        how = "which has it by its network-status" if self.by_status else "which has stated it"
        text = f"it belongs to the pod {self.owner} on this node, {how}"
        remedy = (
            "Give the pods different addresses, or delete the one that is not to have it. If both got theirs "
            "from IPAM, two networks hand out the same range."
        )
        return Problem(self.holding, "", text, HeldElsewhere(text, remedy))


@dataclass(frozen=True)
class Desired:
    """What the node is to have: `owners` say which pod each address belongs to.

    `by_status` are the addresses that their owner has by its network-status.
    """

    placements: tuple[Placement, ...] = ()
    owners: Mapping[IPAddress, PodKey] = field(default_factory=lambda: MappingProxyType({}))
    conflicts: Mapping[PodKey, tuple[Conflict, ...]] = field(default_factory=lambda: MappingProxyType({}))
    by_status: frozenset[IPAddress] = frozenset()


_Contender = tuple[PodDesired, Placement | None]
"""A pod that names the address, and where it may have it: network-status alone gives no place."""


NOBODY = Desired()


def resolve_conflicts(desired: Iterable[PodDesired], before: Desired = NOBODY) -> Desired:
    """Grant each address to one pod; `before` is how it was until now."""
    contenders: dict[IPAddress, list[_Contender]] = {}
    for each in desired:
        placed = {placement.holding.address: placement for placement in each.placements}
        for address in (*placed, *(each.own - placed.keys())):
            contenders.setdefault(address, []).append((each, placed.get(address)))
    placements: list[Placement] = []
    owners: dict[IPAddress, PodKey] = {}
    by_status: set[IPAddress] = set()
    conflicts: dict[PodKey, list[Conflict]] = {}
    for address, rivals in contenders.items():
        if len(rivals) > 1:
            _in_order(rivals, address, before)
        (owner, placement), *losers = rivals
        owners[address] = owner.pod.key
        if address in owner.own:
            by_status.add(address)
        if placement:
            placements.append(placement)
        for loser, lost in losers:
            if lost:
                transient = owner.pod.remade or loser.pod.remade
                conflict = Conflict(lost.holding, owner.pod.key, address in owner.own, transient)
                conflicts.setdefault(loser.pod.key, []).append(conflict)
    in_order = {key: tuple(sorted(each, key=_by_address)) for key, each in conflicts.items()}
    return Desired(tuple(placements), owners, in_order, frozenset(by_status))


def _in_order(rivals: list[_Contender], address: IPAddress, before: Desired) -> None:
    """Put the one that gets the address first.

    IPAM gives an address to a new pod while the old one is only being deleted, or has no sandbox any more:
    that one then lacks it. What a pod had by its network-status, and only states any longer, it does not keep
    from others.
    """
    owner, was_by_status = before.owners.get(address), address in before.by_status

    def rank(rival: _Contender) -> tuple[int, bool, str, PodKey]:
        pod = rival[0].pod
        by_status = address in rival[0].own
        incumbent = pod.key == owner and (by_status or not was_by_status)
        transient = pod.leaving or pod.remade if by_status else rival[0].silent
        place_in_line = (1 if by_status else 3) + transient
        return (0 if incumbent and not transient else place_in_line, not incumbent, pod.created, pod.key)

    rivals.sort(key=rank)


def _by_address(conflict: Conflict) -> tuple[int, int]:
    return sort_key(conflict.holding.address)
