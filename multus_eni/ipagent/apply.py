"""Runs the calls of a plan, and splits a refused one so that the good addresses land."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from multus_eni.ipagent.addresses import IPAddress
from multus_eni.ipagent.errors import Ec2Error
from multus_eni.ipagent.plan import Assign, Call, Outcome, Unassign
from multus_eni.ipagent.retry import BY_ADDRESS, Failure, Fault, split


class Ec2(Protocol):
    """The calls that change something; both raise Ec2Error, and then have changed nothing, or all."""

    def assign(self, call: Assign) -> frozenset[IPAddress]:
        """Assign, and give the addresses that the answer lists."""

    def unassign(self, call: Unassign) -> None:
        """Unassign."""


def run(call: Call, ec2: Ec2) -> Iterator[Outcome]:
    """Run a call; yields how it went for each part, as soon as that is known. Each address is in one part.

    Split where a part of the addresses may be the cause. After a failure of another kind, and once the ENI
    or subnet has no room for a single address, what has not been tried fails in the same way untried.
    """
    waiting = deque([call])
    while waiting:
        part = waiting.popleft()
        outcome = _once(part, ec2)
        failure = outcome.failure
        if failure and failure.fault in BY_ADDRESS and len(part.addresses) > 1:
            parts = split(part.addresses, failure.text)
            waiting.extendleft(replace(part, addresses=addresses) for addresses in reversed(parts))
            continue
        yield outcome
        if failure and _holds_for_all(failure):
            yield from (replace(outcome, call=untried) for untried in waiting)
            return


def _once(call: Call, ec2: Ec2) -> Outcome:
    try:
        if isinstance(call, Assign):
            return Outcome(call, listed=ec2.assign(call))
        ec2.unassign(call)
    except Ec2Error as error:
        return Outcome(call, failure=error.failure)
    return Outcome(call, listed=frozenset(call.addresses))


def _holds_for_all(failure: Failure) -> bool:
    return failure.fault not in BY_ADDRESS or failure.fault in (Fault.ENI_FULL, Fault.SUBNET_FULL)
