"""Brings ENIs to what is wanted: calls, looks whether it came true, and tries again, one step at a time.

Nothing here waits: `step` does what is due and says when more is, so the same code serves a loop that sleeps
(init) and one that listens for events (sidecar).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from multus_eni.ipagent import apply
from multus_eni.ipagent.addresses import IPAddress
from multus_eni.ipagent.apply import Ec2
from multus_eni.ipagent.errors import Ec2Error
from multus_eni.ipagent.log import Log
from multus_eni.ipagent.plan import SETTLED, UNCONFIRMED, Item, Outcome, Phase, Plan
from multus_eni.ipagent.retry import HEALING, RETRIED, Failure, Pace, Timing, left, pace
from multus_eni.ipagent.topology import Eni, EniAddresses, Placement, Topology

METADATA_PACE = Pace(0.05, 1.0)
DESCRIBE_PACE = Pace(1.0, 15.0)
METADATA_PATIENCE = 5.0
"""Seconds after which EC2 itself is asked, where IMDS does not show what EC2 accepted: it lags by design."""


class Cloud(Ec2, Protocol):
    """What the agent needs of AWS."""

    def topology(self, macs: Collection[str], *, fresh: bool = False) -> Topology:
        """Give the node's ENIs, at least those with these MACs, if there are such; raises AgentError.

        `fresh` asks for all of them again; otherwise an earlier answer may serve.
        """

    def metadata(self, eni: Eni) -> frozenset[IPAddress] | None:
        """Give the addresses that IMDS shows on the ENI; None where it does not answer."""

    def describe(self, eni_id: str) -> EniAddresses:
        """Give what EC2 says that the ENI holds; raises Ec2Error."""


@dataclass(frozen=True)
class Due:
    """When the next try is to be made, and how many there were."""

    at: float = 0.0
    tries: int = 0

    def later(self, now: float, delays: Pace, random: float) -> Due:
        """Give the try after one more."""
        return Due(now + delays.delay(self.tries, random), self.tries + 1)


NOW = Due()


class Reconciler:
    """Keeps a plan and works it off."""

    def __init__(
        self,
        cloud: Cloud,
        *,
        takeover: bool,
        timing: Timing,
        log: Log,
    ) -> None:
        self.plan = Plan(retried=RETRIED, takeover=takeover)
        self.asked: set[tuple[str, IPAddress]] = set()
        """What EC2 was ever asked to assign: it may have it, whatever became of the answer."""
        self.described: dict[str, EniAddresses] = {}
        """What EC2 said last of the ENIs that were described."""
        self._cloud = cloud
        self._timing = timing
        self._log = log
        self._calls: dict[str, Due] = {}
        self._metadata = NOW
        self._describes: dict[str, Due] = {}

    def want(self, placements: Iterable[Placement], again: Collection[IPAddress] = ()) -> None:
        """Want exactly these placements; what is new, or named in `again`, is due at once."""
        self.plan = self.plan.wanting(placements, again)
        for item in self.plan.in_phases({Phase.WANTED}):
            if item.failure is None:
                self._calls[item.eni_id] = NOW

    def be_patient(self) -> None:
        """From now on also repeat what only people can mend, as long as it takes."""
        self.plan = replace(self.plan, retried=HEALING)

    def step(self) -> float | None:
        """Do what is due; returns the seconds until more is due, None if nothing is left to do."""
        self._call()
        self._schedule()
        self._look_at_metadata()
        self._describe()
        self._schedule()
        if self.plan.settled:
            return None
        return left(min(self._next_times()), self._timing.clock())

    def _call(self) -> None:
        for call in self.plan.calls():
            if self._calls.get(call.eni_id, NOW).at > self._timing.clock():
                continue
            self.asked.update((call.eni_id, address) for address in call.addresses)
            for outcome in apply.run(call, self._cloud):
                self._take_in(outcome)

    def _take_in(self, outcome: Outcome) -> None:
        call = outcome.call
        addresses = ",".join(map(str, call.addresses))
        before = {item.address: item.failure for item in self.plan.items if item.eni_id == call.eni_id}
        self.plan = self.plan.after_call(outcome, self._timing.clock())
        if outcome.failure is None:
            self._metadata = NOW
            self._log.debug(
                "accepted", message="EC2 accepted the addresses", address=addresses, eni=call.eni_id
            )
            return
        # Only news is news: the same failure again, in an outage of an hour, is none.
        known = all(_kind(before.get(address)) is outcome.failure.fault for address in call.addresses)
        level = self._log.debug if known else self._log.warning
        level("assign-failed", message=outcome.failure.text, address=addresses, eni=call.eni_id)

    def _schedule(self) -> None:
        """Put off the next call for ENIs where one has failed; forget the looks at those that are done."""
        by_eni: dict[str, list[Item]] = {}
        for item in self.plan.items:
            by_eni.setdefault(item.eni_id, []).append(item)
        for eni_id, items in by_eni.items():
            if all(item.phase in SETTLED for item in items):
                self._describes.pop(eni_id, None)
                continue
            failed = [
                pace(item.failure.fault) for item in items if item.phase is Phase.WANTED and item.failure
            ]
            due = self._calls.get(eni_id, NOW)
            if failed and due.at <= self._timing.clock():
                delays = min(failed, key=lambda delays: delays.base)
                self._calls[eni_id] = due.later(self._timing.clock(), delays, self._timing.random())

    def _look_at_metadata(self) -> None:
        if self._metadata.at > self._timing.clock():
            return
        enis = {item.eni_id: item.placement.eni for item in self.plan.in_phases({Phase.ACCEPTED})}
        for eni_id, eni in enis.items():
            shown = self._cloud.metadata(eni)
            if shown is None:
                self._describes.setdefault(eni_id, NOW)
            else:
                self.plan = self.plan.after_metadata(eni_id, shown, self._timing.clock())
        if enis:
            self._metadata = self._metadata.later(self._timing.clock(), METADATA_PACE, self._timing.random())

    def _describe(self) -> None:
        for eni_id in sorted({item.eni_id for item in self.plan.in_phases(UNCONFIRMED)}):
            if self._describe_at(eni_id) <= self._timing.clock():
                self._describe_one(eni_id)

    def _describe_one(self, eni_id: str) -> None:
        due = self._describes.get(eni_id, NOW)
        self._describes[eni_id] = due.later(self._timing.clock(), DESCRIBE_PACE, self._timing.random())
        try:
            held = self._cloud.describe(eni_id)
        except Ec2Error as error:
            self._log.debug("describe-failed", message=error.failure.text, eni=eni_id)
            if error.failure.fault not in self.plan.retried:
                self._give_up_describing(eni_id, error.failure)
            return
        self.described[eni_id] = held
        self.plan = self.plan.after_describe(held, self._timing.clock())

    def _give_up_describing(self, eni_id: str, failure: Failure) -> None:
        enis = {item.placement.eni for item in self.plan.items if item.eni_id == eni_id}
        metadata = any(self._cloud.metadata(eni) is not None for eni in enis)
        self.plan = self.plan.without_describe(eni_id, failure, self._timing.clock(), metadata=metadata)

    def _describe_at(self, eni_id: str) -> float:
        """When the ENI is to be described: at once where only that helps, later where IMDS may do."""
        due = self._describes.get(eni_id)
        if due is not None:
            return due.at
        mine = [item for item in self.plan.in_phases(UNCONFIRMED) if item.eni_id == eni_id]
        if any(item.phase is not Phase.ACCEPTED for item in mine):
            return 0.0
        return min(item.since for item in mine) + METADATA_PATIENCE

    def _next_times(self) -> list[float]:
        times = [self._calls.get(call.eni_id, NOW).at for call in self.plan.calls()]
        if self.plan.in_phases({Phase.ACCEPTED}):
            times.append(self._metadata.at)
        times.extend(map(self._describe_at, {item.eni_id for item in self.plan.in_phases(UNCONFIRMED)}))
        return times


def _kind(failure: Failure | None) -> object:
    return failure and failure.fault
