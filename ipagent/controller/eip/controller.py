"""Controller of Elastic IPs, without I/O: its state, the answers to its calls, and the next calls.

Not for several threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ipagent.controller.eip.decide import decide
from ipagent.controller.model.actions import Call
from ipagent.controller.model.eip_calls import (
    Addresses,
    Associate,
    Associated,
    DescribeAddresses,
    DescribeHolders,
    Disassociate,
    EipChange,
    EipPlan,
    Holders,
    TagEip,
    UntagEip,
)
from ipagent.controller.model.eips import EipPod, EipState, ElasticIp, Grants, Holder
from ipagent.controller.model.state import State
from ipagent.controller.reconcile.ec2_answers import Answer, Done, Refused
from ipagent.controller.reconcile.ec2_error_conditions import Kind

STALE = frozenset({Kind.ASSOCIATED, Kind.EIP_GONE, Kind.ASSOCIATION_GONE})
"""Refusals that show that the EIPs have changed since they were described."""
MOVED = frozenset({Kind.NO_SUCH_ADDRESS, Kind.ENI_GONE})
"""Refusals that show that the private address is elsewhere."""


class EipController:
    """Turns pods and EIPs into plans."""

    def __init__(self, grants: Grants) -> None:
        self.state = EipState(grants)
        self._started: dict[str, float] = {}

    def observe(self, pods: Mapping[str, EipPod]) -> None:
        """Replace what the API server says."""
        self.state = replace(self.state, pods=pods)

    def plan(self, cluster: State, now: float) -> EipPlan:
        """Decide; `cluster` has the nodes, refusals, and calls that have no answer."""
        pods, known = self.state.pods.values(), self.state.held
        here = [(pod.uid, address) for pod in pods for address in pod.addresses.values()]
        self.state = replace(self.state, held={each: known.get(each, now) for each in here})
        plan = decide(self.state, cluster, now)
        gone = {eip: self.state.gone.get(eip, now) for eip in plan.gone}
        self.state = replace(self.state, gone=gone)
        return plan

    def started(self, call: Call, now: float) -> None:
        """Note that a call is sent."""
        if isinstance(call, DescribeAddresses):
            self._started[call.key] = now

    def answered(self, call: Call, answer: Answer, now: float) -> None:
        """Record the answer to a call; those of others change nothing."""
        match call:
            case DescribeAddresses():
                self._described(answer, self._started.pop(call.key, now))
            case DescribeHolders():
                self._found(call, answer, now)
            case Associate() | Disassociate() | TagEip() | UntagEip():
                self._changed(call, answer, now)

    def _described(self, answer: Answer, started: float) -> None:
        if not isinstance(answer, Addresses):
            return
        # What was changed since the call was sent is out of date in its answer.
        newer = {eip for eip, at in self.state.changed.items() if at >= started}
        eips = {each.id: replace(each, seen=started) for each in answer.eips if each.id not in newer}
        eips |= {eip: self.state.eips[eip] for eip in newer if eip in self.state.eips}
        changed = {eip: self.state.changed[eip] for eip in newer}
        self.state = replace(self.state, eips=eips, read_at=started, changed=changed)

    def _found(self, call: DescribeHolders, answer: Answer, now: float) -> None:
        if not isinstance(answer, Holders):
            return
        holders = {key: each for key, each in self.state.holders.items() if now - each.at < 600.0}
        for address in call.addresses:
            eni, instance = answer.enis.get(address, ("", ""))
            before = holders.get(address)
            since = before.since if before is not None and not before.eni and not eni else now
            holders[address] = Holder(now, since, eni, instance)
        self.state = replace(self.state, holders=holders)

    def _changed(self, call: EipChange, answer: Answer, now: float) -> None:
        if isinstance(answer, Refused):
            self._refused(call, answer)
            return
        eip = self.state.eips.get(call.eip)
        if eip is None:
            return
        eips = {**self.state.eips, eip.id: _after(eip, call, answer, now)}
        self.state = replace(self.state, eips=eips, changed={**self.state.changed, eip.id: now})

    def _refused(self, call: EipChange, answer: Refused) -> None:
        if answer.kind in STALE:
            self.state = replace(self.state, read_at=float("-inf"))
        if isinstance(call, Associate) and answer.kind in MOVED:
            holders = {key: each for key, each in self.state.holders.items() if key != call.private}
            self.state = replace(self.state, holders=holders)


def _after(eip: ElasticIp, call: EipChange, answer: Answer, now: float) -> ElasticIp:
    match call:
        case Associate():
            association = answer.id if isinstance(answer, Associated) else ""
            return replace(eip, association=association, eni=call.eni, private=call.private, seen=now)
        case Disassociate():
            return replace(eip, association="", eni="", private="")
        case TagEip():
            return replace(eip, tags={**eip.tags, **dict(call.tags)})
        case UntagEip():
            assert isinstance(answer, Done)  # noqa: S101 - by the executor
            gone = {key for key, value in call.tags if eip.tags.get(key) == value}
            return replace(eip, tags={key: value for key, value in eip.tags.items() if key not in gone})
