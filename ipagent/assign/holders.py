"""Who holds an address, and whether it may be taken from there."""

from __future__ import annotations

from collections.abc import Iterable

from ipagent.assign.faults import Failure, Fault
from ipagent.assign.selection import IPAddress
from ipagent.assign.topology import EniDetails


def holder_of(address: IPAddress, eni_id: str, enis: Iterable[EniDetails]) -> EniDetails | None:
    """Give the ENI that holds the address; `eni_id` itself, should it be one of several."""
    holding = [eni for eni in enis if eni.holds(address)]
    return min(holding, key=lambda eni: (eni.eni_id != eni_id, eni.eni_id), default=None)


def held_elsewhere(address: IPAddress, holder: EniDetails, said: str = "") -> Failure:
    """Give the refusal that names the other ENI; `said` is what EC2 said, if it was asked to assign it."""
    primary = holder.holds_as_primary(address)
    text = f"it is a {'primary' if primary else 'secondary'} address of {name(holder)}"
    if reason := why_immovable(address, holder):
        text += f": {reason}"
    fault = Fault.REFUSED if primary else Fault.HELD_ELSEWHERE
    return Failure(fault, f"{text} ({said})" if said else text, final=True)


def why_immovable(address: IPAddress, holder: EniDetails) -> str:
    """Say why the address must never be taken off the ENI that holds it; empty if it may be."""
    if holder.holds_as_primary(address):
        return "a primary address can't be taken off"
    if holder.managed:
        return "that ENI belongs to an AWS service"
    if holder.device_number == 0:
        return "device number 0 belongs to the VPC CNI"
    return ""


def name(eni: EniDetails) -> str:
    """Name the ENI with what helps to find whose it is."""
    where = f"device number {eni.device_number} of {eni.instance_id}" if eni.instance_id else "not attached"
    described = f', described as "{eni.description}"' if eni.description else ""
    return f"{eni.eni_id} ({where}{described})"
