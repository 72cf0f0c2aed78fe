"""Runs the calls of a plan, and splits a refused call so that its valid addresses are assigned."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from ipaddress import ip_address

from common.frozen_dataclass import replace
from ipagent.assign.address_calls import Assign, Call, Move, Outcome, TakeOver, Unassign
from ipagent.assign.addresses import IPAddress, sort_key
from ipagent.assign.cloud import Ec2
from ipagent.assign.ec2_error_codes import BY_ADDRESS, RETRIED, Failure, Fault
from ipagent.assign.errors import Ec2Error
from ipagent.assign.takeover import after_giving_back, after_taking, assigns, plan_move, plan_takeover


def run(call: Call, ec2: Ec2) -> Iterator[Outcome]:
    """Run a call; yields how it went for each part, as soon as that is known. Each address is in one part.

    Split where a part of the addresses may be the cause. After a failure of another kind, and once the ENI
    or subnet has no room for a single address, what has not been tried fails in the same way untried.
    """
    if isinstance(call, Move):
        yield from _move(call, ec2)
        return
    if isinstance(call, TakeOver):
        yield from _take_over(call, ec2)
        return
    waiting: deque[Assign | Unassign] = deque([call])
    while waiting:
        part = waiting.popleft()
        yield from _settle(part, _once(part, ec2), waiting)


def _settle(
    part: Assign | Unassign, outcome: Outcome, waiting: deque[Assign | Unassign]
) -> Iterator[Outcome]:
    """Yield the outcome of a part, or put its halves first in the queue of those that wait."""
    failure = outcome.failure
    if failure and failure.fault in BY_ADDRESS and len(part.addresses) > 1:
        parts = split(part.addresses, failure.text)
        waiting.extendleft(replace(part, addresses=addresses) for addresses in reversed(parts))
        return
    yield outcome
    if failure and _holds_for_all(failure):
        yield from (replace(outcome, call=untried) for untried in waiting)
        waiting.clear()


def _take_over(call: TakeOver, ec2: Ec2) -> Iterator[Outcome]:
    """Assign without the flag; only where EC2 refuses that is it looked up whose the addresses are.

    A free address costs one call, and a held one three.
    """
    looked_up = set(call.looked_up)
    blind: Failure | None = None
    free = [address for address in call.addresses if address not in call.looked_up]
    waiting: deque[Assign | Unassign] = deque(assigns(call, free, sorted(call.looked_up, key=sort_key)))
    while waiting:
        part = waiting.popleft()
        outcome = _once(part, ec2)
        failure = outcome.failure
        if failure is None or not _held_elsewhere(outcome):
            yield from _settle(part, outcome, waiting)
            continue
        if blind is None and not looked_up.issuperset(part.addresses):
            looked_up.update(part.addresses)
            try:
                enis = ec2.holders(part.addresses, call.subnet_id)
            except Ec2Error as error:
                if error.failure.fault is not Fault.NO_PERMISSION:
                    yield replace(outcome, failure=error.failure)
                    continue
                blind = error.failure
            else:
                calls, refused = plan_takeover(call, part.addresses, failure, enis)
                yield from refused
                waiting.extendleft(reversed(calls))
                continue
        if blind and len(part.addresses) == 1:
            outcome = replace(outcome, failure=_unknown_holder(failure, blind))
        yield from _settle(part, outcome, waiting)


def _held_elsewhere(outcome: Outcome) -> bool:
    """Whether EC2 refused a call because it was not allowed to take an address from another ENI."""
    failure, call = outcome.failure, outcome.call
    allowed = isinstance(call, Assign) and call.allow_reassignment
    return failure is not None and failure.fault is Fault.HELD_ELSEWHERE and not allowed


def _unknown_holder(refusal: Failure, blind: Failure) -> Failure:
    text = f"{refusal.text}; its holder can't be looked up, so it is not taken over: {blind.text}"
    return replace(blind, text=text)


def _move(move: Move, ec2: Ec2) -> Iterator[Outcome]:
    """Look who holds the addresses, take them off there, assign them here."""
    try:
        enis = ec2.holders(move.addresses, move.subnet_id)
    except Ec2Error as error:
        if error.failure.fault is not Fault.NO_PERMISSION:
            yield Outcome(move, failure=error.failure)
            return
        # EC2 itself refuses what another ENI holds; most addresses are nobody's.
        enis = ()
    found = plan_move(move, enis)
    yield from found.refused
    kept: dict[IPAddress, Failure] = {}
    taken: list[Unassign] = []
    for part in (part for call in found.unassigns for part in run(call, ec2)):
        if part.failure and part.failure.fault is not Fault.NOT_HELD:
            kept.update(dict.fromkeys(part.call.addresses, part.failure))
        elif isinstance(part.call, Unassign) and part.failure is None:
            taken.append(part.call)
    for address, failure in kept.items():
        yield Outcome(replace(move, addresses=(address,)), failure=failure)
    if free := tuple(address for address in found.addresses if address not in kept):
        yield from _assign(Assign(move.eni_id, free, allow_reassignment=False), taken, ec2)


def _assign(call: Assign, taken: Collection[Unassign], ec2: Ec2) -> Iterator[Outcome]:
    for outcome in run(call, ec2):
        failure = outcome.failure
        mine = [
            replace(one, addresses=both)
            for one in taken
            if (both := tuple(a for a in one.addresses if a in outcome.call.addresses))
        ]
        if failure is not None:
            failure = after_taking(failure, mine)
            if failure.fault not in RETRIED and not failure.pending:
                failure = after_giving_back(failure, _give_back(mine, ec2))
        yield replace(outcome, failure=failure)


def _give_back(taken: Iterable[Unassign], ec2: Ec2) -> Iterator[Outcome]:
    """Assign to the ENIs that had them, probably of living pods, what can't be assigned here."""
    for one in taken:
        yield from run(Assign(one.eni_id, one.addresses, allow_reassignment=False), ec2)


def _once(call: Assign | Unassign, ec2: Ec2) -> Outcome:
    try:
        if isinstance(call, Assign):
            return Outcome(call, listed=ec2.assign(call))
        ec2.unassign(call)
    except Ec2Error as error:
        return Outcome(call, failure=error.failure)
    return Outcome(call, listed=frozenset(call.addresses))


def _holds_for_all(failure: Failure) -> bool:
    return failure.fault not in BY_ADDRESS or failure.fault in (Fault.ENI_FULL, Fault.SUBNET_FULL)


def split(addresses: Sequence[IPAddress], message: str) -> tuple[tuple[IPAddress, ...], ...]:
    """Divide a refused batch of two or more in two, so that in the end the good addresses land.

    Addresses that EC2's message names are set apart; where it names none, or all, the batch is halved.
    """
    named = _named(message)
    apart = tuple(address for address in addresses if address in named)
    if apart and len(apart) < len(addresses):
        return tuple(address for address in addresses if address not in named), apart
    half = len(addresses) // 2
    return tuple(addresses[:half]), tuple(addresses[half:])


def _named(message: str) -> frozenset[IPAddress]:
    found = set()
    for word in re.findall(r"[0-9a-fA-F:.]{2,45}", message):
        try:
            found.add(ip_address(word.strip(".")))
        except ValueError:
            continue
    return frozenset(found)
