"""Plans the next EC2 calls: desired placements and what was seen so far -> calls.

A plan is a value; calls' outcomes and looks at the ENIs make the next one. It knows neither where the
addresses come from nor in which mode the agent runs. An address moves through `Phase`; only a look that shows
it on its ENI confirms it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from common.frozen_dataclass import dataclass, replace
from ipagent.assign.address_calls import Assign, Move, Outcome, TakeOver
from ipagent.assign.address_state import SETTLED, UNCONFIRMED, Batch, Phase, PlannedAddress
from ipagent.assign.addresses import IPAddress, IPNetwork, sort_key
from ipagent.assign.ec2_error_codes import BY_ADDRESS, Failure, Fault
from ipagent.assign.holders import held_by_nobody_seen, held_elsewhere, holder_of, why_immovable
from ipagent.assign.placement import Placement
from ipagent.assign.topology import EniDetails

_Change = Callable[["PlannedAddress"], "PlannedAddress"]

STALE_SECONDS = 5.0
"""For how long EC2 may show an address on the ENI that it was on before another one got it."""


@dataclass(frozen=True)
class Plan:
    """All addresses that are wanted, in order. `retried` are the failures after which a call is repeated."""

    retried: frozenset[Fault]
    items: tuple[PlannedAddress, ...] = ()

    def with_desired(
        self, placements: Iterable[Placement], again: Collection[IPAddress] = (), now: float = 0.0
    ) -> Plan:
        """Replace the desired placements; an address keeps its phase, unless it is in `again`."""
        known = {(item.address, item.eni_id): item for item in self.items if item.address not in again}
        wanted = [_wanted(known.get((p.holding.address, p.eni.id)), p, now) for p in placements]
        return replace(self, items=tuple(sorted(wanted, key=lambda item: sort_key(item.address))))

    def in_phases(self, phases: Collection[Phase]) -> tuple[PlannedAddress, ...]:
        """Return the items in one of these phases."""
        return tuple(item for item in self.items if item.phase in phases)

    @property
    def settled(self) -> bool:
        """Whether nothing is left to do."""
        return all(item.phase in SETTLED for item in self.items)

    def calls(self) -> tuple[Assign | Move | TakeOver, ...]:
        """Return the calls that are to be made: one for each batch, and for what was sent of it alone."""
        batches: dict[Batch, list[PlannedAddress]] = {}
        for item in self.in_phases({Phase.WANTED}):
            batches.setdefault(item.batch, []).append(item)
        return tuple(_call(_awaited(items) or items) for items in batches.values())

    def arrivals(self) -> Mapping[Batch, Sequence[float]]:
        """Return the times at which addresses arrived for which no call has been made yet."""
        arrived: dict[Batch, list[float]] = {}
        wanted = self.in_phases({Phase.WANTED})
        awaited = {item.batch for item in _awaited(wanted)}
        for item in wanted:
            if item.failure is None and item.batch not in awaited:
                arrived.setdefault(item.batch, []).append(item.since)
        return arrived

    def after_call(self, outcome: Outcome, now: float) -> Plan:
        """Apply the outcome of a part of a call."""

        def change(item: PlannedAddress) -> PlannedAddress:
            phase = self._phase_after(item, outcome)
            failure = outcome.failure.after(item.failure) if outcome.failure else None
            return replace(item, phase=phase, failure=failure, since=now, found=False)

        return self._change(outcome.call.eni_id, outcome.call.addresses, change)

    def _phase_after(self, item: PlannedAddress, outcome: Outcome) -> Phase:
        if outcome.failure is None:
            return Phase.ACCEPTED if item.address in outcome.listed else Phase.DOUBTFUL
        if outcome.failure.fault in BY_ADDRESS and not outcome.failure.final:
            return Phase.DISPUTED
        return self._phase_after_failure(outcome.failure)

    def _phase_after_failure(self, failure: Failure | None) -> Phase:
        return Phase.WANTED if failure is None or failure.fault in self.retried else Phase.REFUSED

    def after_adoption(self, held: EniDetails, now: float) -> Plan:
        """Confirm what EC2 has just said that the ENI holds and no call was made for yet: none is needed."""

        def change(item: PlannedAddress) -> PlannedAddress:
            if item.phase is not Phase.WANTED or item.failure:
                return item
            if prefix := held.prefix_of(item.address):
                return _confirmed(item, now, prefix)
            own = item.address in held.secondaries
            return replace(_confirmed(item, now), found=True) if own else item

        return self._change(held.eni_id, None, change)

    def after_metadata(self, eni_id: str, shown: Collection[IPAddress], now: float) -> Plan:
        """Apply what IMDS shows on the ENI: it confirms what EC2 accepted, and denies nothing."""

        def change(item: PlannedAddress) -> PlannedAddress:
            return _confirmed(item, now) if item.phase is Phase.ACCEPTED else item

        return self._change(eni_id, shown, change)

    def after_describe(self, held: EniDetails, now: float) -> Plan:
        """Apply what EC2 says that the ENI holds: what it lacks is assigned again, or refused for good.

        What is contested is left to `after_holders`, which names the holder and does not believe at once.
        """

        def change(item: PlannedAddress) -> PlannedAddress:
            if item.phase not in UNCONFIRMED or item.contested:
                return item
            if held.holds(item.address):
                return _confirmed(item, now, held.prefix_of(item.address))
            failure = item.failure if item.phase is Phase.DISPUTED else _lost(held.eni_id)
            return replace(item, phase=self._phase_after_failure(failure), failure=failure, since=now)

        return self._change(held.eni_id, None, change)

    def after_holders(
        self, eni_id: str, looked_up: Collection[IPAddress], enis: Collection[EniDetails], now: float
    ) -> Plan:
        """Apply which ENIs hold these addresses: it settles a refusal, and finds what was taken away.

        What EC2 has refused as another ENI's and shows here is believed to be here only after STALE_SECONDS:
        of an address that flaps EC2 may show where it was a moment ago. Those of a prefix don't flap.
        """

        def change(item: PlannedAddress) -> PlannedAddress:
            if not item.watched and not item.contested:
                return item
            holder = holder_of(item.address, eni_id, enis)
            if holder is not None and holder.eni_id == eni_id:
                prefix = holder.prefix_of(item.address)
                if item.denied and prefix is None and now < item.since + STALE_SECONDS:
                    return item
                known = item.phase is Phase.CONFIRMED and item.prefix == prefix
                return item if known else _confirmed(item, now, prefix)
            if item.watched:
                return _without(item, holder, now)
            failure = self._failure_by_holder(item, holder)
            return replace(item, phase=self._phase_after_failure(failure), failure=failure, since=now)

        return self._change(eni_id, looked_up, change)

    def _failure_by_holder(self, item: PlannedAddress, holder: EniDetails | None) -> Failure | None:
        """Return why an address is not assigned, given who holds it."""
        failure = item.failure
        if failure is None or (holder is None and failure.fault is not Fault.HELD_ELSEWHERE):
            return failure
        if holder is None:
            return held_by_nobody_seen(failure)
        held = held_elsewhere(item.address, holder, failure.text)
        # For IPv4 that was looked up before; if EC2 refused it anyway, another ENI was faster.
        raced = item.address.version == 6 or failure.fault is Fault.HELD_ELSEWHERE
        movable = raced and item.takeover and not why_immovable(item.address, holder)
        return replace(held, fault=Fault.CONTENDED) if movable else held

    def without_holders(
        self, eni_id: str, looked_up: Collection[IPAddress], failure: Failure, now: float
    ) -> Plan:
        """Record that the holders of these addresses can't be looked up: EC2's first refusal stands."""

        def change(item: PlannedAddress) -> PlannedAddress:
            refusal = item.failure
            if not item.contested or refusal is None:
                return item
            text = f"{refusal.text}; its holder is not known: {failure.text}"
            phase = self._phase_after_failure(refusal)
            return replace(item, phase=phase, failure=replace(refusal, text=text, final=True), since=now)

        return self._change(eni_id, looked_up, change)

    def without_eni(self, eni_id: str, failure: Failure, now: float) -> Plan:
        """Record that the ENI carries nothing, whatever EC2 and IMDS say that it holds."""

        def change(item: PlannedAddress) -> PlannedAddress:
            if item.phase not in UNCONFIRMED:
                return item
            return replace(item, phase=self._phase_after_failure(failure), failure=failure, since=now)

        return self._change(eni_id, None, change)

    def without_describe(self, eni_id: str, failure: Failure, now: float, *, metadata: bool) -> Plan:
        """Record that the ENI can't be described, for a reason that no retry mends.

        For disputed addresses EC2's refusal stands. The others wait for IMDS, where it can still
        confirm them (`metadata`).
        """

        def change(item: PlannedAddress) -> PlannedAddress:
            if item.phase is Phase.DISPUTED:
                return replace(item, phase=self._phase_after_failure(item.failure), since=now)
            if item.phase is Phase.DOUBTFUL or (item.phase is Phase.ACCEPTED and not metadata):
                return replace(item, phase=Phase.REFUSED, failure=failure, since=now)
            return item

        return self._change(eni_id, None, change)

    def _change(self, eni_id: str, addresses: Collection[IPAddress] | None, change: _Change) -> Plan:
        return replace(
            self,
            items=tuple(
                change(item)
                if item.eni_id == eni_id and (addresses is None or item.address in addresses)
                else item
                for item in self.items
            ),
        )


def _wanted(known: PlannedAddress | None, placement: Placement, now: float) -> PlannedAddress:
    """Return what becomes of an address that is wanted; with a right that it lacked it is tried anew."""
    if known is not None and known.placement == placement:
        # A prefix in it is no news: EC2 may have said since that it is gone.
        return known
    prefix = placement.eni.prefix_of(placement.holding.address)
    if prefix is not None and (known is None or known.phase is not Phase.CONFIRMED):
        return _confirmed(PlannedAddress(placement), now, prefix)
    if known is None:
        return PlannedAddress(placement, since=now)
    held = known.phase is Phase.REFUSED and known.watched
    return (
        PlannedAddress(placement, since=now)
        if held and placement.takeover
        else replace(known, placement=placement)
    )


def _awaited(items: Iterable[PlannedAddress]) -> list[PlannedAddress]:
    """Return those that were sent and not answered yet: together with others they would wait for theirs."""
    return [item for item in items if item.failure is not None and item.failure.pending]


def _call(items: Sequence[PlannedAddress]) -> Assign | Move | TakeOver:
    eni, addresses = items[0].placement.eni, tuple(item.address for item in items)
    if addresses[0].version == 4:
        if items[0].takeover:
            return TakeOver(eni.id, eni.subnet_id, addresses)
        return Assign(eni.id, addresses, allow_reassignment=False)
    return Move(eni.id, eni.subnet_id, addresses, items[0].takeover)


def _without(item: PlannedAddress, holder: EniDetails | None, now: float) -> PlannedAddress:
    """Return what becomes of an address that is not on our ENI: free, it is assigned; else it is let go."""
    if holder is None:
        return replace(item, phase=Phase.WANTED, failure=None, since=now, prefix=None)
    if item.phase is Phase.REFUSED:
        return item
    failure = held_elsewhere(item.address, holder)
    return replace(item, phase=Phase.TAKEN, failure=failure, since=now, prefix=None)


def _lost(eni_id: str) -> Failure:
    return Failure(
        Fault.TRANSIENT, f"EC2 accepted the address, but DescribeNetworkInterfaces lacks it on {eni_id}"
    )


def _confirmed(item: PlannedAddress, now: float, prefix: IPNetwork | None = None) -> PlannedAddress:
    return replace(item, phase=Phase.CONFIRMED, failure=None, since=now, prefix=prefix)
