"""A copy of what EC2 and IMDS have shown, which a dry run changes in memory. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from ipagent.assign.address_calls import Assign, Unassign
from ipagent.assign.addresses import IPAddress
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.errors import Ec2Error
from ipagent.assign.holders import held_elsewhere, holder_of
from ipagent.assign.retry import Timing
from ipagent.assign.topology import Eni, EniDetails, Topology

Change = Assign | Unassign


class SimulatedClock:
    """A clock that only sleeping moves, so that minutes take no time; chance is always the middle."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self.now += seconds

    @property
    def timing(self) -> Timing:
        """The clock as the reconciler takes it."""
        return Timing(lambda: self.now, self.sleep, lambda: 0.5)


class SimulatedCloud:
    """The node's ENIs, and what EC2 says of some; `changes` are the calls that have succeeded, in order.

    `seen` are ENIs as EC2 described them. `unseen` is why EC2 could not be asked about others, None if it
    could: what they hold is not known then, and counts as free.
    """

    def __init__(self, enis: Iterable[Eni], seen: Iterable[EniDetails], unseen: Failure | None) -> None:
        self.changes: list[Change] = []
        self._topology = Topology(tuple(enis))
        self._seen: dict[str, EniDetails] = {eni.eni_id: eni for eni in seen}
        self._unseen = unseen
        self._assigned: dict[str, frozenset[IPAddress]] = {}

    def topology(self, macs: Collection[str], *, fresh: bool = False) -> Topology:
        """Return the node's ENIs."""
        del macs, fresh
        return self._topology

    def metadata(self, eni: Eni, versions: Collection[int]) -> frozenset[IPAddress] | None:
        """Return what has been assigned to the ENI here: IMDS shows it in the end."""
        assigned = self._assigned.get(eni.id, frozenset())
        return frozenset(address for address in assigned if address.version in versions)

    def describe(self, eni_id: str) -> EniDetails:
        """Return what EC2 would say of the ENI; raises Ec2Error."""
        if eni_id not in self._seen:
            raise Ec2Error(self._unseen or Failure(Fault.NO_PERMISSION, eni_id))
        return self._seen[eni_id]

    def holders(self, addresses: Collection[IPAddress], subnet_id: str) -> tuple[EniDetails, ...]:
        """Return the ENIs that would hold any of the addresses; raises Ec2Error."""
        del subnet_id
        if self._unseen is not None:
            raise Ec2Error(self._unseen)
        return tuple(eni for eni in self._seen.values() if any(eni.holds(each) for each in addresses))

    def prefix_holders(self, addresses: Collection[IPAddress], subnet_id: str) -> tuple[EniDetails, ...]:
        """Return the same: what was seen shows its prefixes; raises Ec2Error."""
        return self.holders(addresses, subnet_id)

    def assign(self, call: Assign) -> frozenset[IPAddress]:
        """Assign in memory, if EC2 would; raises Ec2Error where it would refuse.

        EC2 reassigns IPv4 alone, and with the flag alone, whosever the ENI is; never primary addresses, nor
        parts of prefixes. A refusal without the flag does not name the holder: it is looked up after that.
        """
        found = {each: holder_of(each, call.eni_id, self._seen.values()) for each in call.addresses}
        holders = {each: eni for each, eni in found.items() if eni is not None and eni.eni_id != call.eni_id}
        for address, holder in holders.items():
            if address.version == 6 or holder.holds_as_primary(address) or holder.prefix_of(address):
                raise Ec2Error(held_elsewhere(address, holder))
        if holders and not call.allow_reassignment:
            text = f"[{', '.join(map(str, holders))}] assigned, but move is not allowed."
            raise Ec2Error(Failure(Fault.HELD_ELSEWHERE, text))
        for address, holder in holders.items():
            self._remove(holder.eni_id, (address,))
        self._add(call.eni_id, call.addresses)
        self.changes.append(call)
        return frozenset(call.addresses)

    def unassign(self, call: Unassign) -> None:
        """Unassign in memory."""
        self._remove(call.eni_id, call.addresses)
        self.changes.append(call)

    def _add(self, eni_id: str, addresses: Collection[IPAddress]) -> None:
        self._assigned[eni_id] = self._assigned.get(eni_id, frozenset()) | frozenset(addresses)
        if eni := self._seen.get(eni_id):
            new = tuple(each for each in addresses if not eni.holds(each))
            self._seen[eni_id] = replace(eni, secondaries=(*eni.secondaries, *new))

    def _remove(self, eni_id: str, addresses: Collection[IPAddress]) -> None:
        eni = self._seen[eni_id]
        left = tuple(each for each in eni.secondaries if each not in addresses)
        self._seen[eni_id] = replace(eni, secondaries=left)


def seen_by(enis: Mapping[str, EniDetails] | None, others: Iterable[EniDetails]) -> tuple[EniDetails, ...]:
    """Return every ENI that EC2 described, each once."""
    return tuple({eni.eni_id: eni for eni in (*(enis or {}).values(), *others)}.values())
