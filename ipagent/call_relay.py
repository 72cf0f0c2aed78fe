"""Relay of calls: what a node agent without any right in AWS has the controller call, and what EC2 answered.

The wire is the NodeAttachment (`agent.backend: central`). The node agent applies `status.requests` of its
node's NodeAttachments with NODE_RELAY_MANAGER, the controller applies `status.responses` with RELAY_MANAGER:

    requests:  {session, time, calls: [{id, action, eni, addresses, allowReassignment}]}
    responses: {session, calls: [{id, addresses, interfaces, failure: {fault, message, remedy}}]}

- `session` names one run of the node agent, and `id` is unique within it: an answer to a former run, or to a
  call that is not requested any more, is never taken for the answer to another call.
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

Pure. What is read here was checked by the API server against the CustomResourceDefinition, and is read
tolerantly anyway: the other side may be newer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from common.kube.timestamps import timestamp
from ipagent.assign.address_calls import Assign, Unassign, action_of
from ipagent.assign.addresses import IPAddress, parse_address, sort_key
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.eni_in_attachment import as_list, as_text, bound, interface_object, read_interface
from ipagent.assign.topology import EniDetails
from ipagent.log import printable
from ipagent.node_network_names import with_status

NODE_RELAY_MANAGER = "multus-eni-node-relay"
"""Field manager of `status.requests`."""
RELAY_MANAGER = "multus-eni-controller-relay"
"""Field manager of `status.responses`."""

MAX_CALLS = 16
MAX_ADDRESSES = 64
"""Of a call. More are divided among several calls, which may be in one request."""
MAX_INTERFACES = 64
MAX_MESSAGE = 1024
MAX_AGE = 60.0
"""Seconds after which a request is not worked off any more.

A node that lost its way to the API server can't withdraw what it wanted, and another node may have taken the
address since.
"""

_UNREADABLE = (AttributeError, KeyError, TypeError, ValueError)
_MAX_ID = 1 << 53
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_CLOCK = (
    "Set the clocks of the nodes (chrony), of this one and of those that the controller runs on: they are "
    f"more than {MAX_AGE:.0f} s apart, or the API server was away or the request waited for as long."
)
_VERSIONS = "The controller and the node agents are of different versions: upgrade both to the same."

Object = dict[str, Any]


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
            yield RelayAnswer(id_, failure=Failure(Fault.BAD_CALL, text, remedy=_VERSIONS))


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


def requests_body(attachment: str, requests: RelayRequests) -> Object:
    """Return the server-side apply of `status.requests`; raises ValueError for more than fits."""
    bound(requests.calls, MAX_CALLS)
    written = {
        "session": requests.session,
        "time": timestamp(requests.time or 0.0),
        "calls": [_call_object(call) for call in requests.calls],
    }
    return with_status("NodeAttachment", attachment, {"requests": written})


def responses_body(attachment: str, answers: RelayAnswers) -> Object:
    """Return the server-side apply of `status.responses`; raises ValueError for more than fits."""
    bound(answers.answers, MAX_CALLS)
    written = {"session": answers.session, "calls": [_answer_object(each) for each in answers.answers]}
    return with_status("NodeAttachment", attachment, {"responses": written})


def read_requests(status: Mapping[str, Any]) -> RelayRequests | None:
    """Read `status.requests` of a NodeAttachment; None if there is nothing that can be answered."""
    found = status.get("requests")
    if not isinstance(found, dict) or not (session := as_text(found.get("session"))):
        return None
    calls: list[RelayCall] = []
    unreadable: dict[int, str] = {}
    for id_, each in _entries(found):
        try:
            calls.append(_read_call(id_, each))
        except _UNREADABLE as error:
            unreadable[id_] = printable(f"{type(error).__name__}: {error}")[:MAX_MESSAGE]
    return RelayRequests(session, _read_time(found.get("time")), tuple(calls), unreadable)


def read_answers(status: Mapping[str, Any]) -> RelayAnswers:
    """Read `status.responses` of a NodeAttachment; an answer that can't be read is a failure."""
    found = status.get("responses")
    if not isinstance(found, dict):
        return RelayAnswers()
    answers = []
    for id_, each in _entries(found):
        try:
            answers.append(_read_answer(id_, each))
        except _UNREADABLE as error:
            text = printable(f"The controller's answer can't be read: {type(error).__name__}: {error}")
            answers.append(
                RelayAnswer(id_, failure=Failure(Fault.TRANSIENT, text[:MAX_MESSAGE], remedy=_VERSIONS))
            )
    return RelayAnswers(as_text(found.get("session")), tuple(answers))


def _call_object(call: RelayCall) -> Object:
    bound(call.addresses, MAX_ADDRESSES)
    found: Object = {"id": call.id, "action": call.action.value, "eni": call.eni}
    if call.addresses:
        found["addresses"] = [str(address) for address in call.addresses]
    if call.allow_reassignment:
        found["allowReassignment"] = True
    return found


def _read_call(id_: int, found: Mapping[str, Any]) -> RelayCall:
    addresses = tuple(map(parse_address, bound(as_list(found.get("addresses")), MAX_ADDRESSES)))
    action, eni = Action(found["action"]), as_text(found["eni"])
    if action is not Action.DESCRIBE and not addresses:
        raise ValueError("addresses: there is none")
    call = RelayCall(id_, action, eni, addresses, found.get("allowReassignment") is True)
    if call.change is not None and action_of(call.change) != action:
        raise ValueError(f"addresses: are not those of {action}")
    return call


def _answer_object(answer: RelayAnswer) -> Object:
    found: Object = {"id": answer.id}
    if answer.addresses:
        found["addresses"] = [str(each) for each in sorted(answer.addresses, key=sort_key)]
    if answer.interfaces:
        found["interfaces"] = [interface_object(each) for each in bound(answer.interfaces, MAX_INTERFACES)]
    if answer.failure is not None:
        found["failure"] = {
            "fault": fault_word(answer.failure.fault),
            "message": answer.failure.text[:MAX_MESSAGE],
            **({"remedy": answer.failure.remedy[:MAX_MESSAGE]} if answer.failure.remedy else {}),
        }
    return found


def _read_answer(id_: int, found: Mapping[str, Any]) -> RelayAnswer:
    failed = found.get("failure")
    return RelayAnswer(
        id_,
        frozenset(map(parse_address, as_list(found.get("addresses"))[:MAX_ADDRESSES])),
        tuple(map(read_interface, as_list(found.get("interfaces"))[:MAX_INTERFACES])),
        None if failed is None else _read_failure(failed),
    )


def fault_word(fault: Fault) -> str:
    """Return a kind of failure as the API of Kubernetes writes words: NO_ENI is NoEni."""
    return fault.name.title().replace("_", "")


_FAULTS = {fault_word(fault): fault for fault in Fault}


def _read_failure(found: Mapping[str, Any]) -> Failure:
    message, remedy = (printable(str(found.get(key) or ""))[:MAX_MESSAGE] for key in ("message", "remedy"))
    return Failure(_FAULTS.get(str(found["fault"]), Fault.UNKNOWN), message, remedy=remedy)


def _entries(found: Mapping[str, Any]) -> Iterable[tuple[int, Mapping[str, Any]]]:
    """Return the calls, or answers, that have an id."""
    for each in as_list(found.get("calls"))[:MAX_CALLS]:
        if (id_ := _id(each)) is not None:
            yield id_, each


def _id(found: object) -> int | None:
    value = found.get("id") if isinstance(found, dict) else None
    return value if type(value) is int and 0 <= value < _MAX_ID else None


def _read_time(value: object) -> float | None:
    try:
        return datetime.strptime(str(value), _TIME).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
