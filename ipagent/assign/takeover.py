"""Takeovers: the holders of addresses -> which addresses may be taken over, and by which calls.

IPv4 has a flag for it (AllowReassignment). IPv6 has none: addresses are taken off there first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from common.frozen_dataclass import dataclass, replace
from ipagent.assign.address_calls import Assign, Call, Move, Outcome, TakeOver, Unassign, unassign_calls
from ipagent.assign.addresses import IPAddress
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.holders import held_elsewhere, holder_of, why_immovable
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
    return MovePlan(tuple(free), unassign_calls(taken), tuple(refused))


def _refusal(address: IPAddress, holders: Iterable[EniDetails], *, takeover: bool) -> Failure | None:
    for eni in holders:
        if not takeover or why_immovable(address, eni):
            return held_elsewhere(address, eni)
    return None


def plan_takeover(
    call: TakeOver, addresses: Iterable[IPAddress], refusal: Failure, enis: Iterable[EniDetails]
) -> tuple[tuple[Assign, ...], tuple[Outcome, ...]]:
    """Decide about addresses some of which are held elsewhere; returns calls, and what must stay."""
    known = tuple(enis)
    free: list[IPAddress] = []
    movable: list[IPAddress] = []
    refused: list[Outcome] = []
    for address in addresses:
        holder = holder_of(address, call.eni_id, known)
        if holder is None or holder.eni_id == call.eni_id:
            free.append(address)
        elif why_immovable(address, holder):
            failure = held_elsewhere(address, holder, refusal.text)
            refused.append(Outcome(replace(call, addresses=(address,)), failure=failure))
        else:
            movable.append(address)
    return assigns(call, free, movable), tuple(refused)


def assigns(call: TakeOver, free: Iterable[IPAddress], movable: Iterable[IPAddress]) -> tuple[Assign, ...]:
    """Return the calls for a takeover, without the flag and with it."""
    parts = ((tuple(free), False), (tuple(movable), True))
    return tuple(Assign(call.eni_id, part, allow_reassignment=flag) for part, flag in parts if part)


def after_taking(failure: Failure, taken: Iterable[Unassign]) -> Failure:
    """Say of a refused Assign that its addresses were taken off others before.

    Such a refusal is looked at again: EC2 may just not have seen yet that they are free.
    """
    listed = " and ".join(f"{_listed(call)} off {call.eni_id}" for call in taken)
    if not listed:
        return failure
    again = failure.fault in (Fault.HELD_ELSEWHERE, Fault.REFUSED)
    fault = Fault.CONTENDED if again else failure.fault
    return replace(failure, fault=fault, text=f"{failure.text}; the agent took {listed} before")


def after_giving_back(failure: Failure, given: Iterable[Outcome]) -> Failure:
    """Say of a refused Assign which of its addresses the ENIs that had them have again."""
    text = failure.text
    for outcome in given:
        what, eni_id = _listed(outcome.call), outcome.call.eni_id
        if outcome.failure is None:
            text += f", and gave {what} back to {eni_id}"
        else:
            text += f", and could not give {what} back to {eni_id} ({outcome.failure.text})"
    return replace(failure, text=text)


def _listed(call: Call) -> str:
    return ", ".join(map(str, call.addresses))


LOOKED_UP_SECONDS = 60.0
"""How long after a takeover the same address is taken again without a look whose it is: VRRP may flap."""


class RecentTakeovers:
    """Addresses that were taken over a moment ago, after a look whose they were."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._taken_at: dict[IPAddress, float] = {}

    def already_looked_up(self, addresses: Iterable[IPAddress]) -> frozenset[IPAddress]:
        """Return those of the addresses that need no look."""
        since = self._clock() - LOOKED_UP_SECONDS
        self._taken_at = {address: at for address, at in self._taken_at.items() if at > since}
        return frozenset(address for address in addresses if address in self._taken_at)

    def record(self, outcome: Outcome) -> None:
        """Record how a part of a call went. A takeover without a look does not prolong the time."""
        call = outcome.call
        if isinstance(call, Assign) and call.allow_reassignment and outcome.failure is None:
            for address in call.addresses:
                self._taken_at.setdefault(address, self._clock())
