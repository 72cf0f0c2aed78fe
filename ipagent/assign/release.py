"""Releases addresses: those that leave the pod, and at its end all others.

Unassign names the ENI, so a release that comes late hurts no address that has moved to another one, and EC2
itself refuses a primary address and what the ENI does not have.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from common.frozen_dataclass import dataclass
from common.lean_typing import Generic, TypeVar
from common.token_bucket import BucketsByKey, Rate
from ipagent.assign import executor
from ipagent.assign.address_calls import Unassign, unassign_calls
from ipagent.assign.addresses import IPAddress
from ipagent.assign.cloud import Cloud
from ipagent.assign.ec2_error_codes import HEALING, Failure, Fault
from ipagent.assign.errors import Ec2Error
from ipagent.assign.retry import (
    NOW,
    PENDING_SECONDS,
    TURN_SECONDS,
    Attempt,
    Timing,
    remaining,
    shortest_backoff,
)
from ipagent.assign.topology import EniDetails
from ipagent.log import Log
from ipagent.termination import EXIT_SECONDS

Pair = tuple[str, IPAddress]
"""An ENI's id and an address."""
Owner = TypeVar("Owner")


@dataclass(frozen=True)
class ReleaseOutcome:
    """What became of an address that was to be released; `failure` where it may still be there."""

    eni_id: str
    address: IPAddress
    text: str
    failure: Failure | None = None


def release_at_exit(pairs: Collection[Pair], cloud: Cloud, timing: Timing, log: Log) -> str:
    """Release all at once, within EXIT_SECONDS; return a summary, and log what was not released.

    Without a look first: that would cost half of the time.
    """
    calls = unassign_calls(pairs)
    if not calls:
        return "There was no address to release"
    import threading  # noqa: PLC0415 - at the end of few pods

    until = timing.clock() + EXIT_SECONDS
    done: dict[Pair, ReleaseOutcome] = {}

    def work(call: Unassign) -> None:
        done.update({(outcome.eni_id, outcome.address): outcome for outcome in _unassign(call, None, cloud)})

    # One hanging call must not cost the others their time.
    threads = [threading.Thread(target=work, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(remaining(until, timing.clock()))
    silent = Failure(Fault.UNREACHABLE, f"no answer within {EXIT_SECONDS:g} s")
    wanted = [(call.eni_id, address) for call in calls for address in call.addresses]
    outcomes = [done.get(pair) or _failed(*pair, silent) for pair in wanted]
    for outcome in outcomes:
        if outcome.failure:
            _log_failure(log, outcome)
    return "; ".join(outcome.text for outcome in outcomes)


def release(call: Unassign, cloud: Cloud) -> list[ReleaseOutcome]:
    """Take addresses of one family off an ENI, as far as it has them."""
    try:
        held = cloud.describe(call.eni_id)
    except Ec2Error as error:
        if error.failure.fault is Fault.NO_ENI:
            return [_outcome(call.eni_id, address, error.failure) for address in call.addresses]
        if error.failure.lasting:
            # The call would not be asked for in this turn, and its failure not say for how long that is so.
            return [_failed(call.eni_id, address, error.failure) for address in call.addresses]
        # Without the look EC2 refuses what is not there, which costs calls and no more.
        held = None
    return _unassign(call, held, cloud)


def _unassign(call: Unassign, held: EniDetails | None, cloud: Cloud) -> list[ReleaseOutcome]:
    wanted, outcomes = _divide(call, held)
    if wanted:
        for part in executor.run(Unassign(call.eni_id, wanted), cloud):
            outcomes += [_outcome(call.eni_id, a, part.failure) for a in part.call.addresses]
    return outcomes


def _divide(call: Unassign, held: EniDetails | None) -> tuple[tuple[IPAddress, ...], list[ReleaseOutcome]]:
    """Return the addresses to unassign, and the outcomes of those that are absent or have to stay."""
    if held is None:
        return call.addresses, []
    wanted, outcomes = [], []
    for address in call.addresses:
        if held.holds_as_primary(address):
            text = f"{address} stays on {call.eni_id}, whose primary address it is"
            outcomes.append(ReleaseOutcome(call.eni_id, address, text))
        elif prefix := held.prefix_of(address):
            text = f"{address} stays on {call.eni_id}: it lies in that ENI's prefix {prefix}"
            outcomes.append(ReleaseOutcome(call.eni_id, address, text))
        elif not held.holds(address) and address not in held.arriving:
            outcomes.append(_outcome(call.eni_id, address, Failure(Fault.NOT_HELD, "")))
        else:
            wanted.append(address)
    return tuple(wanted), outcomes


def _outcome(eni_id: str, address: IPAddress, failure: Failure | None) -> ReleaseOutcome:
    if failure is None:
        return ReleaseOutcome(eni_id, address, f"{address} was taken off {eni_id}")
    if failure.fault is Fault.NO_ENI:
        return ReleaseOutcome(eni_id, address, f"{address} went with {eni_id}")
    if failure.fault is Fault.NOT_HELD:
        return ReleaseOutcome(eni_id, address, f"{address} was no longer on {eni_id}")
    return _failed(eni_id, address, failure)


def _failed(eni_id: str, address: IPAddress, failure: Failure) -> ReleaseOutcome:
    text = f"{address} could not be taken off {eni_id}: {failure.text}"
    return ReleaseOutcome(eni_id, address, text, failure)


def _log_failure(log: Log, outcome: ReleaseOutcome) -> None:
    log.error("not-released", message=outcome.text, address=str(outcome.address), eni=outcome.eni_id)


class MisplacedAddresses(Generic[Owner]):
    """What was assigned on ENIs that its owner's address has left since, as long as the owner holds it.

    An ENI that carries an address may be shown late: until then the address goes to another one, or to none.
    Only what this process has assigned is known here; what it finds on an ENI may be anybody's.
    """

    def __init__(self) -> None:
        self._left: dict[Pair, Owner] = {}

    @property
    def pairs(self) -> frozenset[Pair]:
        """What may still be assigned."""
        return frozenset(self._left)

    def update(
        self,
        left: Mapping[Pair, Owner],
        wanted: Mapping[Pair, Owner],
        holds: Callable[[Owner, IPAddress], bool],
    ) -> frozenset[Pair]:
        """Record what was assigned and is not `wanted` there; returns what is wanted on another ENI by now.

        That has to be released. What its owner does not hold any more is not misplaced.
        """
        known = {
            pair: owner
            for pair, owner in {**self._left, **left}.items()
            if pair not in wanted and holds(owner, pair[1])
        }
        placed = {(owner, address) for (_, address), owner in wanted.items()}
        moved = frozenset(pair for pair, owner in known.items() if (owner, pair[1]) in placed)
        self._left = {pair: owner for pair, owner in known.items() if pair not in moved}
        return moved


def _key(call: Unassign) -> tuple[str, int]:
    return call.eni_id, call.addresses[0].version


class ReleaseQueue:
    """Addresses that have left the pod, until they are off their ENIs; like the reconciler it never waits.

    `ended` is called with the final outcome of each. With `rate`, what leaves an ENI faster waits and goes in
    one call. `retried` are the failures after which a release is repeated.
    """

    def __init__(  # noqa: PLR0913 - one argument a collaborator
        self,
        cloud: Cloud,
        timing: Timing,
        log: Log,
        ended: Callable[[ReleaseOutcome], None] = lambda _: None,
        *,
        rate: Rate | None = None,
        retried: Collection[Fault] = HEALING,
    ) -> None:
        self.pending: frozenset[Pair] = frozenset()
        self._buckets: BucketsByKey[tuple[str, int]] | None = BucketsByKey(rate) if rate else None
        self._cloud = cloud
        self._timing = timing
        self._log = log
        self._due = NOW
        self._failing = False
        # When calls failed last, by ENI and family: who is not answered comes after the others.
        self._failed_at: dict[tuple[str, int], float] = {}
        self._ended = ended
        self._retried = retried

    def enqueue(self, pairs: Iterable[Pair], kept: Collection[Pair]) -> None:
        """Release these, too; drop what is `kept` from the queue."""
        fresh = frozenset(pairs) - self.pending
        if fresh:
            self._due = NOW
        self.pending = (self.pending | fresh) - frozenset(kept)

    def step(self) -> float | None:
        """Do what is due; returns the seconds until more is due, None if nothing is left to do."""
        if self.pending and self._due.at <= self._timing.clock():
            calls = sorted(
                unassign_calls(self.pending), key=lambda each: self._failed_at.get(_key(each), 0.0)
            )
            until = self._timing.clock() + TURN_SECONDS
            due: list[Unassign] = []
            failures: list[Failure] = []
            for call in calls:
                if self._timing.clock() < until and not self._wait(call):
                    due.append(call)
                    failure = self._release(call)
                    if self._buckets is not None and not (failure and failure.unsent):
                        self._buckets.of(_key(call)).take(self._timing.clock())
                    if failure:
                        failures.append(failure)
                        if not failure.pending:
                            self._failed_at[_key(call)] = self._timing.clock()
            keys = {*map(_key, calls)}
            self._failed_at = {key: at for key, at in self._failed_at.items() if key in keys}
            if failures:
                self._due = self._after(failures)
            else:
                waits = [self._wait(call) for call in calls if call not in due]
                # Where all wait for their turn, nothing has succeeded.
                tries = 0 if due else self._due.tries
                self._due = Attempt(self._timing.clock() + min(waits), tries) if waits else Attempt()
                self._failing = self._failing and not due
        return remaining(self._due.at, self._timing.clock()) if self.pending else None

    def _after(self, failures: Collection[Failure]) -> Attempt:
        """Return the next try. What waits for another call was not sent: there is no answer to ask for."""
        now, sent = self._timing.clock(), [each for each in failures if not each.unsent]
        if not sent:
            return Attempt(now + PENDING_SECONDS, self._due.tries)
        return self._due.later(now, shortest_backoff(sent), self._timing.random())

    def _wait(self, call: Unassign) -> float:
        """Return the seconds until a call may be made."""
        if self._buckets is None:
            return 0.0
        return self._buckets.of(_key(call)).wait(self._timing.clock())

    def _release(self, call: Unassign) -> Failure | None:
        """Release, and say what became of it; returns the failure after which it is to be tried again."""
        again: Failure | None = None
        for outcome in release(call, self._cloud):
            if outcome.failure and outcome.failure.fault in self._retried:
                again = outcome.failure
                # An outage is said once, not at each try, and to wait for another call is none.
                if not self._failing and not outcome.failure.pending:
                    self._failing = True
                    _log_failure(self._log, outcome)
                continue
            self.pending -= {(outcome.eni_id, outcome.address)}
            self._ended(outcome)
            if outcome.failure:
                _log_failure(self._log, outcome)
            else:
                self._log.info(
                    "released", message=outcome.text, address=str(outcome.address), eni=outcome.eni_id
                )
        return again
