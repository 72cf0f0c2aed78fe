"""Controller of the calls that node agents ask for, without I/O. Not thread-safe."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate

from common.token_bucket import BucketsByKey
from ipagent.assign.addresses import IPNetwork
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.topology import EniDetails
from ipagent.call_relay import Action, RelayAnswer, holding_only
from ipagent.controller.model.actions import Call
from ipagent.controller.model.relay import (
    BUCKETS,
    HeldElsewhere,
    Histogram,
    HolderAnswer,
    RelayPlan,
    RelayState,
    Throttled,
)
from ipagent.controller.model.relay_calls import (
    AddressCall,
    AddressChange,
    AssignAddresses,
    Assigned,
    DescribeAttached,
    DescribeSubnetHolders,
    Interfaces,
    LookUpHolders,
    RequestKey,
    requests_of,
)
from ipagent.controller.model.state import State
from ipagent.controller.reconcile.ec2_answers import Answer, Refused
from ipagent.controller.reconcile.ec2_error_conditions import Kind, remedy, retry_after
from ipagent.controller.relay.decide import PACE, TAKEN_SECONDS, decide

KEEP = 30.0
"""Seconds for which lookups are kept, longer than any call takes; and whom a call was made for last."""
OURS = frozenset({Kind.NOT_PERMITTED, Kind.NO_CREDENTIALS, Kind.UNREACHABLE})
"""Refusals whose remedy is the controller's, and not that of a node agent with rights of its own."""


@dataclass(slots=True)
class Durations:
    """How long requests took until they were answered."""

    counts: Counter[tuple[Action, int]] = field(default_factory=Counter)
    """By action and bucket; the last bucket is for all that took longer."""
    sums: dict[Action, float] = field(default_factory=dict)

    def record(self, action: Action, seconds: float) -> None:
        """Count one."""
        self.counts[action, bisect_left(BUCKETS, seconds)] += 1
        self.sums[action] = self.sums.get(action, 0.0) + seconds

    def histograms(self) -> dict[str, Histogram]:
        """Return, by action, how many took at most so long, and the sum of all."""
        found = {}
        for action in tuple(self.sums):
            counts = [self.counts[action, number] for number in range(len(BUCKETS) + 1)]
            found[action.value] = Histogram(tuple(accumulate(counts)), self.sums[action])
        return found


class RelayController:
    """Turns requests of node agents into calls and answers.

    Outside of the CIDRs `allowed` no pod gets an address; empty: no limit.
    """

    def __init__(self, allowed: tuple[IPNetwork, ...] = ()) -> None:
        self.state = RelayState(allowed)
        self.durations = Durations()
        self.unanswered: Counter[Action] = Counter()
        """Requests that were withdrawn before they had an answer."""
        self.waiting: Mapping[RequestKey, Action] = {}
        """Requests without an answer."""
        self._started: dict[str, float] = {}
        self._paces: BucketsByKey[str] = BucketsByKey(PACE)

    def plan(self, cluster: State, now: float, wall: float) -> RelayPlan:
        """Decide; `cluster` has NodeAttachments, ENIs, and the calls that have no answer yet."""
        plan = decide(self.state, self._paces, cluster, now, wall)
        before, there = self.state, plan.requested
        seen = {key: before.seen.get(key, now) for key in there}
        waiting = {key: each for key, each in plan.waiting.items() if key not in plan.answers}
        for key, action in {**self.waiting, **plan.waiting}.items():
            if key not in there:
                self.unanswered[action] += 1
            elif key not in waiting:
                self.durations.record(action, now - seen[key])
        self.waiting = waiting
        self.state = replace(
            before,
            seen=seen,
            answers={key: each for key, each in {**before.answers, **plan.answers}.items() if key in there},
            throttled={key: each for key, each in before.throttled.items() if key in there},
            held={key: each for key, each in before.held.items() if key in there},
            lookups={place: each for place, each in before.lookups.items() if now - each.at < KEEP},
            taken={place: at for place, at in before.taken.items() if now - at < TAKEN_SECONDS},
            served={node: at for node, at in before.served.items() if now - at < KEEP},
        )
        return plan

    def started(self, call: Call, now: float) -> None:
        """Note that a call is sent."""
        if not isinstance(call, AddressCall):
            return
        self._started[call.key] = now
        for key in requests_of(call):
            self._paces.of(key.attachment).charge(1, now)
        if isinstance(call, AddressChange):
            self.state = replace(self.state, served={**self.state.served, call.node: now})

    def answered(self, call: Call, answer: Answer, now: float) -> None:
        """Record the answer to a call; those of others change nothing."""
        if not isinstance(call, AddressCall):
            return
        started = self._started.pop(call.key, now)
        if isinstance(answer, Refused):
            self._refused(call, answer, started, now)
            return
        match call:
            case DescribeAttached():
                self._described(call, _interfaces(answer))
            case LookUpHolders():
                enis = _interfaces(answer)
                lookups = {
                    (subnet, address): HolderAnswer(
                        started,
                        tuple(each for each in enis if each.subnet_id == subnet and each.holds(address)),
                    )
                    for subnet, address in call.places
                }
                self.state = replace(self.state, lookups={**self.state.lookups, **lookups})
            case DescribeSubnetHolders():
                enis = _interfaces(answer)
                self._answer(
                    {
                        key: RelayAnswer(key.call, interfaces=holding_only(enis, addresses))
                        for key, addresses in call.requests
                    }
                )
            case _:
                self._changed(call, answer, now)

    def _described(self, call: DescribeAttached, enis: tuple[EniDetails, ...]) -> None:
        shown = {eni.eni_id: eni for eni in enis}
        gone = {eni: Failure(Fault.NO_ENI, f"EC2 does not show {eni}") for _, eni in call.requests}
        self._answer(
            {
                key: RelayAnswer(key.call, interfaces=(shown[eni],))
                if eni in shown
                else RelayAnswer(key.call, failure=gone[eni])
                for key, eni in call.requests
            }
        )

    def _changed(self, call: AddressChange, answer: Answer, now: float) -> None:
        listed = answer.addresses if isinstance(answer, Assigned) else frozenset()
        self._answer({call.request: RelayAnswer(call.request.call, addresses=listed)})
        places = [(call.subnet, address) for address in call.addresses]
        lookups = {place: each for place, each in self.state.lookups.items() if place not in places}
        taken = dict(self.state.taken)
        if isinstance(call, AssignAddresses) and call.reassign:
            # A takeover without a look does not prolong the time.
            taken = {**dict.fromkeys(places, now), **taken}
        self.state = replace(self.state, lookups=lookups, taken=taken)

    def _refused(self, call: AddressCall, answer: Refused, started: float, now: float) -> None:
        if not answer.action:
            # It was not made: this replica does not lead any more.
            return
        failure = _failure(answer)
        if answer.kind is Kind.THROTTLED:
            self._throttled(call, failure, now)
        elif isinstance(call, LookUpHolders):
            lookups = {place: HolderAnswer(started, failure=failure) for place in call.places}
            self.state = replace(self.state, lookups={**self.state.lookups, **lookups})
        elif isinstance(call, AssignAddresses) and failure.fault is Fault.HELD_ELSEWHERE:
            held = {**self.state.held, call.request: HeldElsewhere(now, failure)}
            self.state = replace(self.state, held=held)
        else:
            self._answer({key: RelayAnswer(key.call, failure=failure) for key in requests_of(call)})

    def _throttled(self, call: AddressCall, failure: Failure, now: float) -> None:
        throttled = dict(self.state.throttled)
        for key in requests_of(call):
            before = throttled.get(key)
            count = before.count + 1 if before is not None else 1
            throttled[key] = Throttled(now + retry_after(Kind.THROTTLED, count), count, failure)
        self.state = replace(self.state, throttled=throttled)

    def _answer(self, answers: Mapping[RequestKey, RelayAnswer]) -> None:
        self.state = replace(self.state, answers={**self.state.answers, **answers})


def _interfaces(answer: Answer) -> tuple[EniDetails, ...]:
    assert isinstance(answer, Interfaces)  # noqa: S101 - by the executor
    return answer.enis


def _failure(answer: Refused) -> Failure:
    failure = answer.failure or Failure(Fault.UNKNOWN, answer.text)
    if answer.kind not in OURS:
        return failure
    todo = remedy(answer.kind)
    return replace(failure, remedy=f"{todo[:1].upper()}{todo[1:]}.")
