"""EC2 client that calls through the controller: the same calls, failures and messages as `ipagent.aws`.

Thread: the main loop's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from ipagent.assign.address_calls import Assign, Unassign, action_of
from ipagent.assign.addresses import IPAddress, IPNetwork, sort_key
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.errors import Ec2Error
from ipagent.assign.retry import Timing
from ipagent.assign.topology import EniDetails
from ipagent.call_relay import ASSIGNS, MAX_ADDRESSES, MAX_CALLS, Action, RelayAnswer, RelayCall
from ipagent.node.central.attachments import RelayAttachment, Wanted

OK = "ok"
FRESH = 2.0
"""Seconds for which the holders count that came with a refusal."""

_NEEDS_NETWORK = (
    "With agent.backend=central pods have ENIs of NodeNetworks alone: make a NodeNetwork that selects the "
    "node, with `source: Adopt` for ENIs that exist already, and see its conditions (kubectl get "
    "nodenetworks)."
)
_CONTROLLERS_RIGHTS = (
    "Allow the role of the controller's ServiceAccount what examples/iam/controller.json has: with "
    "agent.backend=central the nodes have no rights, and need none."
)


class Relay(Protocol):
    """Has the controller make calls."""

    node: str

    def attachments(self) -> Mapping[str, RelayAttachment]:
        """Return the node's NodeAttachments that have an ENI, by name; raises Ec2Error."""

    def failing(self, name: str) -> bool:
        """Whether nothing could be asked by this NodeAttachment the last time."""

    def standing(self, name: str) -> Sequence[RelayCall]:
        """Return the calls of a change by this NodeAttachment that is still to be answered."""

    def ask(self, wanted: Wanted) -> Mapping[str, tuple[RelayAnswer, ...]]:
        """Ask for calls, and return the answers in their order; raises Ec2Error where there is none."""


class RelayClient:
    """Calls for the ENIs of the node's NodeAttachments; every method raises Ec2Error only."""

    def __init__(self, relay: Relay, timing: Timing) -> None:
        self.calls: Counter[tuple[str, str]] = Counter()
        """How many calls were asked for, by action and result: OK, or the fault in small letters."""
        self._relay = relay
        self._timing = timing
        # When it was refused, what was asked for, and the holders that came with the refusal.
        self._refused: tuple[float, frozenset[IPAddress], tuple[EniDetails, ...]] | None = None
        self.unread: tuple[tuple[RelayAttachment, Failure], ...] = ()
        """NodeAttachments whose ENIs the last look at all of them has not shown, and why."""
        # ENIs of other nodes that were found to hold addresses -> the NodeAttachment by which they were.
        self._found_by: dict[str, RelayAttachment] = {}

    def close(self) -> None:
        """Close nothing: the relay has an end of its own."""

    def instance_id(self) -> str:
        """Return the id of the node's instance; empty as long as there is no NodeAttachment."""
        known = sorted(self._relay.attachments().values(), key=lambda each: each.leaving)
        return known[0].instance if known else ""

    def assign(self, call: Assign) -> frozenset[IPAddress]:
        """Assign the addresses; returns those that EC2's answer lists."""
        via = self._of_eni(call.eni_id)
        if via.leaving:
            text = (
                f"NodeAttachment {via.name} is being deleted, and {via.eni} with it is no more for new pods"
            )
            raise _no_eni(text)
        answers = self._change(call, via)
        if len(answers) == 1 and answers[0].failure is not None and answers[0].interfaces:
            self._refused = self._timing.clock(), frozenset(call.addresses), answers[0].interfaces
        _raise_first(answers)
        return frozenset[IPAddress]().union(*(each.addresses for each in answers))

    def unassign(self, call: Unassign) -> None:
        """Unassign the addresses; those of another node's ENI once they were found there."""
        via = self._own(call.eni_id) or self._found_by.get(call.eni_id)
        _raise_first(self._change(call, via or self._of_eni(call.eni_id)))

    def describe(self, eni_id: str) -> EniDetails:
        """Describe one ENI of the node."""
        via = self._of_eni(eni_id)
        found = self._described([via])[via.eni]
        if isinstance(found, Failure):
            raise Ec2Error(found)
        return found

    def attached(self, instance_id: str) -> tuple[EniDetails, ...]:  # noqa: ARG002 - it is the node's
        """Describe the ENIs of all NodeAttachments, by one round trip.

        Those that EC2 does not know are left out, and so are those in `unread`; raises Ec2Error if it is all.
        """
        known = [*self._relay.attachments().values()]
        if not known:
            text = f"No NodeNetwork has an ENI on node {self._relay.node}"
            raise _no_eni(text)
        found = self._described(known)
        failed = {eni: each for eni, each in found.items() if isinstance(each, Failure)}
        unread = {eni: each for eni, each in failed.items() if each.fault is not Fault.NO_ENI}
        self.unread = tuple((via, unread[via.eni]) for via in known if via.eni in unread)
        if len(failed) < len(found):
            return tuple(each for each in found.values() if not isinstance(each, Failure))
        if unread or len(failed) == 1:
            raise Ec2Error(next(iter((unread or failed).values())))
        text = f"EC2 shows none of the node's ENIs: {', '.join(each.eni for each in known)}"
        raise _no_eni(text)

    def by_mac(self, macs: Collection[str]) -> tuple[EniDetails, ...]:
        """Describe those ENIs of the node that have these MACs."""
        return tuple(eni for eni in self.attached("") if eni.mac in macs)

    def holders(self, addresses: Collection[IPAddress], subnet_id: str) -> tuple[EniDetails, ...]:
        """Find the ENIs of the subnet that hold any of the addresses as their own."""
        if known := self._refusal_of(addresses):
            return self._remember(known, self._of_subnet(subnet_id))
        if {*addresses} <= self._assigning(subnet_id):
            # None had them when they were sent: until that is answered each try would look again.
            return ()
        return self._look(Action.HOLDERS, addresses, subnet_id)

    def prefix_holders(self, addresses: Collection[IPAddress], subnet_id: str) -> tuple[EniDetails, ...]:
        """Find the ENIs of the subnet that hold any of the addresses, also in a prefix."""
        return self._look(Action.PREFIX_HOLDERS, addresses, subnet_id)

    def subnet_cidrs(self, subnet_ids: Collection[str]) -> dict[str, tuple[IPNetwork, ...]]:
        """Return the ranges of subnets that the controller has found."""
        known = self._relay.attachments().values()
        return {each.subnet: each.cidrs for each in known if each.subnet in subnet_ids and each.cidrs}

    def _change(self, call: Assign | Unassign, via: RelayAttachment) -> tuple[RelayAnswer, ...]:
        action, reassigned = Action(action_of(call)), isinstance(call, Assign) and call.allow_reassignment
        # What was asked for before is asked for in the same parts: then its answer is that of the first time.
        before = [
            each
            for each in self._relay.standing(via.name)
            if (each.action, each.eni, each.allow_reassignment) == (action, call.eni_id, reassigned)
            and {*each.addresses} <= {*call.addresses}
        ]
        sent = {address for each in before for address in each.addresses}
        parts = [each.addresses for each in before]
        parts += _parts([address for address in call.addresses if address not in sent])
        return self._ask(via, [RelayCall(0, action, call.eni_id, part, reassigned) for part in parts])

    def _look(
        self, action: Action, addresses: Collection[IPAddress], subnet_id: str
    ) -> tuple[EniDetails, ...]:
        via = self._of_subnet(subnet_id)
        parts = _parts(sorted(addresses, key=sort_key))
        answers = self._ask(via, [RelayCall(0, action, via.eni, part) for part in parts])
        _raise_first(answers)
        return self._remember([eni for each in answers for eni in each.interfaces], via)

    def _remember(self, enis: Sequence[EniDetails], via: RelayAttachment) -> tuple[EniDetails, ...]:
        found = {eni.eni_id: eni for eni in enis}
        self._found_by = dict.fromkeys(found.keys() - {via.eni}, via)
        return tuple(found.values())

    def _refusal_of(self, addresses: Collection[IPAddress]) -> tuple[EniDetails, ...]:
        """Return the holders that came with the refusal of these addresses a moment ago; once."""
        refused, self._refused = self._refused, None
        if refused is None or self._timing.clock() - refused[0] > FRESH:
            return ()
        return refused[2] if refused[1].issuperset(addresses) else ()

    def _described(self, via: Sequence[RelayAttachment]) -> dict[str, EniDetails | Failure]:
        """Describe the ENIs of these NodeAttachments; returns what each is, or why it is unknown."""
        wanted = {each.name: [RelayCall(0, Action.DESCRIBE, each.eni)] for each in via}
        answers = self._relayed(Action.DESCRIBE, wanted)
        standing = self._relay.standing
        return {each.eni: _shown(each, answers[each.name][0], standing(each.name)) for each in via}

    def _ask(self, via: RelayAttachment, calls: Sequence[RelayCall]) -> tuple[RelayAnswer, ...]:
        return self._relayed(calls[0].action, {via.name: calls})[via.name]

    def _relayed(self, action: Action, wanted: Wanted) -> Mapping[str, tuple[RelayAnswer, ...]]:
        try:
            answers = self._relay.ask(wanted)
        except Ec2Error as error:
            if not error.failure.pending:
                self.calls[action.value, error.failure.fault.name.lower()] += 1
            raise
        found = {name: tuple(map(_with_remedy, answers[name])) for name in wanted}
        self._count(action, [each for given in found.values() for each in given])
        return found

    def _count(self, action: Action, answers: Sequence[RelayAnswer]) -> None:
        for each in answers:
            result = OK if each.failure is None else each.failure.fault.name.lower()
            self.calls[action.value, result] += 1

    def _own(self, eni_id: str) -> RelayAttachment | None:
        return next((each for each in self._relay.attachments().values() if each.eni == eni_id), None)

    def _of_eni(self, eni_id: str) -> RelayAttachment:
        if found := self._own(eni_id):
            return found
        raise _no_eni(f"No NodeNetwork has {eni_id} on node {self._relay.node}")

    def _assigning(self, subnet_id: str) -> set[IPAddress]:
        """Return the IPv6 addresses of the subnet whose assignment was sent and is not answered yet."""
        known = self._relay.attachments().values()
        calls = [c for each in known if each.subnet == subnet_id for c in self._relay.standing(each.name)]
        return {address for c in calls if c.action is Action.ASSIGN_IPV6 for address in c.addresses}

    def _of_subnet(self, subnet_id: str) -> RelayAttachment:
        found = [each for each in self._relay.attachments().values() if each.subnet == subnet_id]
        if not found:
            text = f"No NodeNetwork has an ENI in {subnet_id} on node {self._relay.node}"
            raise _no_eni(text)
        # By one that fails, nothing would be learned about the addresses of the subnet's other ENIs.
        return min(found, key=lambda each: (self._relay.failing(each.name), each.leaving))


def _no_eni(text: str) -> Ec2Error:
    return Ec2Error(Failure(Fault.NO_ENI, text, remedy=_NEEDS_NETWORK))


def _parts(addresses: Sequence[IPAddress]) -> list[tuple[IPAddress, ...]]:
    """Divide addresses among the calls of one request; more than it has room for no ENI can have."""
    starts = range(0, min(len(addresses), MAX_CALLS * MAX_ADDRESSES), MAX_ADDRESSES)
    return [tuple(addresses[start : start + MAX_ADDRESSES]) for start in starts]


def _shown(via: RelayAttachment, answer: RelayAnswer, standing: Sequence[RelayCall]) -> EniDetails | Failure:
    """Return the described ENI, or why there is none.

    One whose NodeAttachment is being deleted counts as being detached: it gets no further addresses.
    """
    if answer.failure is not None:
        return answer.failure
    found = next((eni for eni in answer.interfaces if eni.eni_id == via.eni), None)
    if found is None:
        return Failure(Fault.NO_ENI, f"DescribeNetworkInterfaces of {via.eni}: EC2 does not show it")
    arriving = tuple(address for call in standing if call.action in ASSIGNS for address in call.addresses)
    return replace(found, detaching=found.detaching or via.leaving, arriving=arriving)


def _raise_first(answers: Sequence[RelayAnswer]) -> None:
    for each in answers:
        if each.failure is not None:
            raise Ec2Error(each.failure)


def _with_remedy(answer: RelayAnswer) -> RelayAnswer:
    """Say whose rights are missing, where a failure has no remedy of its own."""
    failure = answer.failure
    if failure is None or failure.remedy or failure.fault not in (Fault.NO_PERMISSION, Fault.NO_CREDENTIALS):
        return answer
    return replace(answer, failure=replace(failure, remedy=_CONTROLLERS_RIGHTS))
