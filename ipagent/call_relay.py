"""Relay of calls: what a node agent without any right in AWS has the controller call, and what EC2 answered.

The wire is the NodeAttachment (`agent.backend: central`). The node agent applies `status.requests` of its
node's NodeAttachments with NODE_RELAY_MANAGER, the controller applies `status.responses` with RELAY_MANAGER:

    requests:  {session, time, calls: [{id, action, eni, addresses, allowReassignment}]}
    responses: {session, calls: [{id, addresses, interfaces, failure: {fault, message, remedy}}]}

- `session` names one run of the node agent, and `id` is unique within it, over all NodeAttachments: an
  answer to a former run, to a call that is not requested any more, or to one of a NodeAttachment that had the
  same name before, is never taken for the answer to another call. Keys need no UID.
- Each apply replaces the whole list. A call that is no longer in it is withdrawn: the controller makes it no
  more if it has not begun, and drops its answer.
- A call is made once, unless its answer could not be written. All calls are idempotent: assigned again to
  the same ENI, an address stays; unassigned again, the answer is Fault.NOT_HELD.
- `eni` says which ENI the call is about. It is the NodeAttachment's own, or else the answer is Fault.NO_ENI.
  Unassign alone may name another ENI of the subnet, to take an address over.
- Whether an address may be taken from another ENI (Unassign there, `allowReassignment`) is decided by the
  node agent, and looked at once more by the controller (`why_immovable`), which does not trust nodes.
- A refusal Fault.HELD_ELSEWHERE of a call that assigns comes with the ENIs that hold the addresses, as far
  as the controller could look them up: they need not be asked for by another request.
- A failure has EC2's code and message in its text, and the class and remedy that a node agent with rights of
  its own would have found: pods see no difference.

Pure. `call_relay_status.py` writes both parts of the status, and reads them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from common.kube.timestamps import timestamp
from ipagent.assign.address_calls import Assign, Unassign
from ipagent.assign.addresses import IPAddress
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.topology import EniDetails

MAX_CALLS = 16
MAX_ADDRESSES = 64
"""Of a call. More are divided among several calls, which may be in one request."""
MAX_INTERFACES = 64
MAX_AGE = 60.0
"""Seconds after which a request is not worked off any more.

A node that lost its way to the API server can't withdraw what it wanted, and another node may have taken the
address since.
"""

_CLOCK = (
    "Set the clocks of the nodes (chrony), of this one and of those that the controller runs on: they are "
    f"more than {MAX_AGE:.0f} s apart, or the API server was away or the request waited for as long."
)
VERSIONS = "The controller and the node agents are of different versions: upgrade both to the same."


class Action(StrEnum):
    """What is asked for: calls of the EC2 API by their names, and two looks by DescribeNetworkInterfaces."""

    ASSIGN_IPV4 = "AssignPrivateIpAddresses"
    ASSIGN_IPV6 = "AssignIpv6Addresses"
    UNASSIGN_IPV4 = "UnassignPrivateIpAddresses"
    UNASSIGN_IPV6 = "UnassignIpv6Addresses"
    DESCRIBE = "DescribeNetworkInterfaces"
    """The ENI with all that it holds."""
    HOLDERS = "DescribeHolders"
    """The ENIs of the ENI's subnet that hold any of the addresses as their own."""
    PREFIX_HOLDERS = "DescribePrefixHolders"
    """The ENIs of the ENI's subnet that hold any of the addresses, also in a prefix: all are listed."""


ASSIGNS = (Action.ASSIGN_IPV4, Action.ASSIGN_IPV6)
UNASSIGNS = (Action.UNASSIGN_IPV4, Action.UNASSIGN_IPV6)


@dataclass(frozen=True, slots=True)
class RelayCall:
    """A call that the node agent asks for; the addresses are of one family unless only looked for."""

    id: int
    action: Action
    eni: str
    addresses: tuple[IPAddress, ...] = ()
    allow_reassignment: bool = False

    @property
    def change(self) -> Assign | Unassign | None:
        """The call in the engine's terms, None if it only looks."""
        if self.action in ASSIGNS:
            return Assign(self.eni, self.addresses, self.allow_reassignment)
        return Unassign(self.eni, self.addresses) if self.action in UNASSIGNS else None


@dataclass(frozen=True, slots=True)
class RelayAnswer:
    """How a call went.

    `addresses` are those that EC2's answer to a call that assigns lists. `interfaces` are what a look has
    found; beside a failure, the ENIs that hold the addresses.
    """

    id: int
    addresses: frozenset[IPAddress] = frozenset()
    interfaces: tuple[EniDetails, ...] = ()
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class RelayAnswers:
    """The answers to the calls of one session."""

    session: str = ""
    answers: tuple[RelayAnswer, ...] = ()

    def of(self, session: str) -> Mapping[int, RelayAnswer]:
        """Return the answers by id, if they are of this session."""
        return {each.id: each for each in self.answers} if session == self.session else {}


@dataclass(frozen=True, slots=True)
class RelayRequests:
    """The calls that one run of a node agent asks for, written at `time` (seconds since 1970).

    `unreadable`: id -> why the call can't be read, where it has an id.
    """

    session: str
    time: float | None = None
    calls: tuple[RelayCall, ...] = ()
    unreadable: Mapping[int, str] = field(default_factory=dict)

    def unanswered(self, answers: RelayAnswers) -> tuple[RelayCall, ...]:
        """Return the calls that have no answer yet."""
        known = answers.of(self.session)
        return tuple(call for call in self.calls if call.id not in known)

    def retained(self, answers: RelayAnswers) -> RelayAnswers:
        """Return the answers to what is still requested, those to unreadable calls included."""
        wanted = {call.id for call in self.calls}
        kept = [each for id_, each in answers.of(self.session).items() if id_ in wanted]
        return RelayAnswers(self.session, (*kept, *self._refusals()))

    def expired(self, now: float) -> Failure | None:
        """Return why the request is too old to be worked off; None if it is not."""
        if self.time is not None and abs(now - self.time) <= MAX_AGE:
            return None
        written = "at an unknown time" if self.time is None else f"at {timestamp(self.time)}"
        clock = f"the controller's clock says {timestamp(now)}"
        text = f"The node agent's request was written {written}, and {clock}"
        return Failure(Fault.TRANSIENT, text, remedy=_CLOCK)

    def _refusals(self) -> Iterable[RelayAnswer]:
        for id_, why in self.unreadable.items():
            text = f"The controller can't read the node agent's request: {why}"
            yield RelayAnswer(id_, failure=Failure(Fault.BAD_CALL, text, remedy=VERSIONS))


def holding_only(enis: Iterable[EniDetails], addresses: Collection[IPAddress]) -> tuple[EniDetails, ...]:
    """Return the ENIs that hold any of the addresses, with these and the prefixes they lie in alone.

    So that an answer stays small, whatever else the ENIs hold. Primary addresses stay.
    """
    return tuple(_only(eni, addresses) for eni in enis if any(eni.holds(address) for address in addresses))


def _only(eni: EniDetails, addresses: Collection[IPAddress]) -> EniDetails:
    prefixes = {eni.prefix_of(address) for address in addresses}
    return replace(
        eni,
        secondaries=tuple(address for address in eni.secondaries if address in addresses),
        prefixes=tuple(prefix for prefix in eni.prefixes if prefix in prefixes),
    )
