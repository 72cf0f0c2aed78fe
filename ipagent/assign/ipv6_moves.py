"""How IPv6 addresses come from other ENIs to ours: who holds what -> what to take off, and from where."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ipagent.assign.addresses import IPAddress
from ipagent.assign.calls import Move, Outcome, Unassign, releases
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.holders import held_elsewhere, why_immovable
from ipagent.assign.topology import EniDetails


@dataclass(frozen=True)
class MovePlan:
    """What clears the way for a move: calls first; `refused` are the parts that can't be moved.

    `addresses` are those that may be assigned once the calls have succeeded.
    """

    addresses: tuple[IPAddress, ...]
    unassigns: tuple[Unassign, ...] = ()
    refused: tuple[Outcome, ...] = ()


def plan_move(move: Move, enis: Iterable[EniDetails]) -> MovePlan:
    """Decide by what EC2 shows; nothing is taken off the ENI that is to have it, whoever else is shown."""
    free: list[IPAddress] = []
    refused: list[Outcome] = []
    taken: set[tuple[str, IPAddress]] = set()
    known = tuple(enis)
    for address in move.addresses:
        holders = [eni for eni in known if eni.holds(address)]
        if any(eni.eni_id == move.eni_id for eni in holders):
            holders = []
        if failure := _refusal(address, holders, takeover=move.allow_reassignment):
            refused.append(Outcome(replace(move, addresses=(address,)), failure=failure))
            continue
        free.append(address)
        taken.update((eni.eni_id, address) for eni in holders)
    return MovePlan(tuple(free), releases(taken), tuple(refused))


def _refusal(address: IPAddress, holders: Iterable[EniDetails], *, takeover: bool) -> Failure | None:
    for eni in holders:
        if not takeover or why_immovable(address, eni):
            return held_elsewhere(address, eni)
    return None


def after_taking(failure: Failure, taken: Iterable[Unassign]) -> Failure:
    """Say of a refused Assign that its addresses were taken off others before.

    Such a refusal is looked at again: EC2 may just not have seen yet that they are free.
    """
    listed = " and ".join(f"{', '.join(map(str, call.addresses))} off {call.eni_id}" for call in taken)
    if not listed:
        return failure
    again = failure.fault in (Fault.HELD_ELSEWHERE, Fault.REFUSED)
    fault = Fault.CONTENDED if again else failure.fault
    return replace(failure, fault=fault, text=f"{failure.text}; the agent took {listed} before")
