"""Reconciler: makes the planned calls, confirms their effect, and retries, one step at a time.

Nothing here waits: `step` does what is due and says when more is, so the same code serves a loop that sleeps
(init) and one that listens for events (sidecar).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from common.frozen_dataclass import replace
from ipagent.assign import executor
from ipagent.assign.address_calls import Assign, Call, Move, Outcome, TakeOver
from ipagent.assign.address_state import NOT_OURS, SETTLED, UNCONFIRMED, Batch, Phase, PlannedAddress
from ipagent.assign.addresses import IPAddress
from ipagent.assign.cloud import Cloud
from ipagent.assign.ec2_error_codes import HEALING, RETRIED, Failure, Fault
from ipagent.assign.errors import Ec2Error
from ipagent.assign.holder_lookup import HolderLookup
from ipagent.assign.placement import Placement
from ipagent.assign.plan import Plan
from ipagent.assign.release import ReleaseOutcome
from ipagent.assign.retry import NOW, TURN_SECONDS, Attempt, Backoff, Timing, after_failures, remaining
from ipagent.assign.takeover import RecentTakeovers
from ipagent.assign.topology import EniDetails
from ipagent.log import Log

METADATA_PACE = Backoff(0.05, 1.0)
DESCRIBE_PACE = Backoff(1.0, 15.0)
METADATA_PATIENCE = 5.0
"""Seconds after which EC2 itself is asked, where IMDS does not show what EC2 accepted: it lags by design."""


Window = Callable[[int, Sequence[float], float], float]
"""When to call: the family (4 or 6), when its new addresses arrived, the time now -> the time of the call."""


def no_window(version: int, arrived: Sequence[float], now: float) -> float:  # noqa: ARG001 - a window
    """Wait for no further address."""
    return 0.0


class Reconciler:
    """Keeps a plan and works it off; `window` lets new addresses wait for others that go in the same call."""

    def __init__(
        self,
        cloud: Cloud,
        *,
        timing: Timing,
        log: Log,
        window: Window = no_window,
    ) -> None:
        self.plan = Plan(retried=RETRIED)
        self.asked: set[tuple[str, IPAddress]] = set()
        """What EC2 was ever asked to assign: it may have it, whatever became of the answer."""
        self.described: dict[str, EniDetails] = {}
        """What EC2 said last of the ENIs that were described."""
        self._cloud = cloud
        self._timing = timing
        self._log = log
        # One in trouble does not hold up another.
        self._calls: dict[Batch, Attempt] = {}
        self._window = window
        self._metadata = NOW
        self._describes: dict[str, Attempt] = {}
        self._takeovers = RecentTakeovers(timing.clock)
        self._holders = HolderLookup(cloud)
        # What cannot be looked up, by event and ENI: an outage is a warning once, not at each try.
        self._blind: set[tuple[str, str]] = set()

    def set_desired(self, placements: Iterable[Placement], again: Collection[IPAddress] = ()) -> None:
        """Replace the desired placements; what is new or in `again` is due when its window is over."""
        self.plan = self.plan.with_desired(placements, again, self._timing.clock())
        self._calls.update(dict.fromkeys(self.plan.arrivals(), NOW))
        wanted = {(item.eni_id, item.address) for item in self.plan.items}
        self._holders.prune({pair for pair in wanted if pair[1] not in again})

    def adopt(self, held: EniDetails) -> None:
        """Count what the ENI held when it was looked up as assigned by us, without a call."""
        self.plan = self.plan.after_adoption(held, self._timing.clock())
        self.asked.update((item.eni_id, item.address) for item in self.plan.items if item.found)

    def assigned(self, items: Iterable[PlannedAddress]) -> frozenset[tuple[str, IPAddress]]:
        """Return those of the items that EC2 may have assigned for us: asked for, and not refused since."""
        mine = (item for item in items if item.phase not in NOT_OURS and item.prefix is None)
        return frozenset({(item.eni_id, item.address) for item in mine} & self.asked)

    def retry_until_healed(self) -> None:
        """From now on also repeat what only people can mend (HEALING), as long as it takes."""
        self.plan = replace(self.plan, retried=HEALING)

    def record_release(self, outcome: ReleaseOutcome) -> None:
        """Assign anew what was refused because the ENI that it has been released from still had it."""
        address = outcome.address
        refused = self.plan.in_phases({Phase.REFUSED})
        if outcome.failure is None and any(item.address == address and item.conflict for item in refused):
            self.set_desired([item.placement for item in self.plan.items], {address})

    def step(self) -> float | None:
        """Do what is due; returns the seconds until more is due, None if nothing is left to do."""
        until = self._timing.clock() + TURN_SECONDS
        self._call(until)
        self._schedule()
        self._look_at_metadata()
        self._describe(until)
        self._schedule()
        if self.plan.settled:
            return None
        return remaining(min(self._next_times()), self._timing.clock())

    def _call(self, until: float) -> None:
        """Make the calls that are due; those for which no time is left are due in the next turn."""
        arrivals = self.plan.arrivals()
        # What has failed before may be slow to fail again, and comes last.
        for call in sorted(self.plan.calls(), key=lambda each: self._calls.get(_batch_of(each), NOW).tries):
            now = self._timing.clock()
            if now >= until or self._call_at(call, arrivals) > now:
                continue
            self.asked.update((call.eni_id, address) for address in call.addresses)
            wanted: Call = call
            if isinstance(call, TakeOver):
                wanted = replace(call, looked_up=self._takeovers.already_looked_up(call.addresses))
            for outcome in executor.run(wanted, self._cloud):
                self._record_outcome(outcome)
                self._takeovers.record(outcome)
                # Between the calls of a move its addresses are on no ENI.
                if not isinstance(call, Move) and self._timing.clock() >= until:
                    break

    def _record_outcome(self, outcome: Outcome) -> None:
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
        failure, news = outcome.failure, self._log.info if outcome.failure.pending else self._log.warning
        known = all(_known(failure, before.get(address)) for address in call.addresses)
        text = f"{failure.text}. {failure.remedy}" if failure.lasting else failure.text
        level = self._log.debug if known else news
        level("assign-failed", message=text, address=addresses, eni=call.eni_id)

    def _call_at(self, call: Assign | Move | TakeOver, arrivals: Mapping[Batch, Sequence[float]]) -> float:
        batch = _batch_of(call)
        due = self._calls.get(batch, NOW).at
        arrived = arrivals.get(batch)
        return max(due, self._window(batch[1], arrived, self._timing.clock())) if arrived else due

    def _schedule(self) -> None:
        """Put off the next call where one has failed; forget the calls and looks of what is done."""
        unsettled = [item for item in self.plan.items if item.phase not in SETTLED]
        enis, batches = {item.eni_id for item in unsettled}, {item.batch for item in unsettled}
        self._describes = {eni_id: due for eni_id, due in self._describes.items() if eni_id in enis}
        # An outage that is over must not put off what comes hours later.
        self._calls = {batch: due for batch, due in self._calls.items() if batch in batches}
        failed: dict[Batch, list[Failure]] = {}
        for item in self.plan.in_phases({Phase.WANTED}):
            if item.failure:
                failed.setdefault(item.batch, []).append(item.failure)
        now = self._timing.clock()
        for batch, failures in failed.items():
            due = self._calls.get(batch, NOW)
            if due.at <= now:
                self._calls[batch] = after_failures(failures, due, now, self._timing.random())

    def _look_at_metadata(self) -> None:
        if self._metadata.at > self._timing.clock():
            return
        accepted = self.plan.in_phases({Phase.ACCEPTED})
        enis = {item.eni_id: item.placement.eni for item in accepted}
        for eni_id, eni in enis.items():
            versions = {item.address.version for item in accepted if item.eni_id == eni_id}
            shown = self._cloud.metadata(eni, versions)
            # Without even its primary address IMDS does not show the ENI yet; that may take half a minute.
            if shown is None or (not shown and 4 in versions):
                self._describes.setdefault(eni_id, NOW)
            else:
                self.plan = self.plan.after_metadata(eni_id, shown, self._timing.clock())
        if enis:
            self._metadata = self._metadata.later(self._timing.clock(), METADATA_PACE, self._timing.random())

    def _describe(self, until: float) -> None:
        for eni_id in sorted({item.eni_id for item in self.plan.in_phases(UNCONFIRMED)}):
            due = self._describes.get(eni_id, NOW)
            now = self._timing.clock()
            if now >= until or self._describe_at(eni_id) > now:
                continue
            self._describes[eni_id] = due.later(now, DESCRIBE_PACE, self._timing.random())
            waiting = [item for item in self.plan.in_phases(UNCONFIRMED) if item.eni_id == eni_id]
            if not all(item.contested for item in waiting):
                self._describe_one(eni_id)
            for version in sorted({item.address.version for item in waiting if item.contested}):
                self._find_holders([i for i in waiting if i.contested and i.address.version == version])

    def ask_holders(self, items: Sequence[PlannedAddress]) -> Failure | None:
        """Ask EC2 which ENIs hold these addresses, of one ENI and family; returns why it can't be known."""
        eni = items[0].placement.eni
        addresses = [item.address for item in items]
        try:
            holders = self._holders.find(eni, items)
        except Ec2Error as error:
            self._log.debug("holders-failed", message=error.failure.text, eni=eni.id)
            return error.failure
        self.plan = self.plan.after_holders(eni.id, addresses, holders, self._timing.clock())
        return None

    def _describe_one(self, eni_id: str) -> None:
        try:
            held = self._cloud.describe(eni_id)
        except Ec2Error as error:
            waiting = [item for item in self.plan.in_phases(UNCONFIRMED) if item.eni_id == eni_id]
            text = f"It is not known whether {eni_id} has {_listed(waiting)}: {error.failure.text}"
            if not error.failure.pending:
                self._warn_once("describe-failed", eni_id, text)
            if error.failure.fault not in self.plan.retried:
                self._give_up_describing(eni_id, error.failure)
            return
        self.described[eni_id] = held
        self._blind.discard(("describe-failed", eni_id))
        if reason := held.why_not_here:
            failure = Failure(Fault.NO_ENI, f"EC2 has {eni_id} {reason}", final=True)
            self.plan = self.plan.without_eni(eni_id, failure, self._timing.clock())
            return
        accepted = self.plan.in_phases({Phase.ACCEPTED, Phase.DOUBTFUL})
        self.plan = self.plan.after_describe(held, self._timing.clock())
        lost = [item for item in accepted if item.eni_id == eni_id and not held.holds(item.address)]
        if lost:
            text = f"EC2 has accepted {_listed(lost)}, and does not show it on {eni_id}: assigning it again"
            self._warn_once("assign-failed", eni_id, text)
        elif accepted:
            self._blind.discard(("assign-failed", eni_id))

    def _warn_once(self, event: str, eni_id: str, text: str) -> None:
        """Log at warning level what an ENI's addresses wait for, and at debug level that it goes on."""
        level = self._log.debug if (event, eni_id) in self._blind else self._log.warning
        self._blind.add((event, eni_id))
        level(event, message=text, eni=eni_id)

    def _find_holders(self, items: Sequence[PlannedAddress]) -> None:
        """Look up who holds addresses of one ENI and family that EC2 refused."""
        failure = self.ask_holders(items)
        eni_id = items[0].eni_id
        if failure is None:
            self._blind.discard(("holders-failed", eni_id))
        elif not failure.pending:
            text = f"It is not known who holds {_listed(items)}, which EC2 refuses: {failure.text}"
            self._warn_once("holders-failed", eni_id, text)
        if failure is not None and failure.fault not in self.plan.retried:
            addresses, now = [item.address for item in items], self._timing.clock()
            self.plan = self.plan.without_holders(eni_id, addresses, failure, now)

    def _give_up_describing(self, eni_id: str, failure: Failure) -> None:
        accepted = [item for item in self.plan.in_phases({Phase.ACCEPTED}) if item.eni_id == eni_id]
        versions = {item.address.version for item in accepted}
        enis = {item.placement.eni for item in accepted}
        metadata = any(self._cloud.metadata(eni, versions) is not None for eni in enis)
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
        arrivals = self.plan.arrivals()
        times = [self._call_at(call, arrivals) for call in self.plan.calls()]
        if self.plan.in_phases({Phase.ACCEPTED}):
            times.append(self._metadata.at)
        times.extend(map(self._describe_at, {item.eni_id for item in self.plan.in_phases(UNCONFIRMED)}))
        return times


def _batch_of(call: Assign | Move | TakeOver) -> Batch:
    return call.eni_id, call.addresses[0].version, call.allow_reassignment


def _listed(items: Iterable[PlannedAddress]) -> str:
    return ", ".join(str(item.address) for item in items)


def _known(failure: Failure, before: Failure | None) -> bool:
    """Return whether a failure is what an address has failed with before; a conflict has two names.

    That an answer is out is no failure: what follows it is news.
    """
    if failure.pending and before is not None:
        return True
    if before is not None and before.pending:
        before = before.before
    if before is None:
        return False
    conflict = before.fault is Fault.CONTENDED and failure.fault in (Fault.HELD_ELSEWHERE, Fault.REFUSED)
    # That nobody answers for long has another cause than a moment's failure of the same kind.
    return conflict or (before.fault is failure.fault and (before.lasting or not failure.lasting))
