"""Relayed calls in a NodeAttachment's status: written by one side, read by the other. Pure.

`ipagent/call_relay.py` says what they mean. What is read here was checked by the API server against the
CustomResourceDefinition, and is read tolerantly anyway: the other side may be newer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any, TypeVar

from common.kube.timestamps import timestamp
from common.object_fields import as_list, as_text
from common.shorten import shortened
from ipagent.assign.address_calls import action_of
from ipagent.assign.addresses import canonical_mac, parse_address, sort_key
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.topology import EniDetails
from ipagent.call_relay import (
    MAX_ADDRESSES,
    MAX_CALLS,
    MAX_INTERFACES,
    VERSIONS,
    Action,
    RelayAnswer,
    RelayAnswers,
    RelayCall,
    RelayRequests,
)
from ipagent.log import printable
from ipagent.node_network_api import with_status

NODE_RELAY_MANAGER = "multus-eni-node-relay"
"""Field manager of `status.requests`."""
RELAY_MANAGER = "multus-eni-controller-relay"
"""Field manager of `status.responses`."""

MAX_HELD = 256
"""Addresses, or prefixes, of an ENI."""
MAX_MESSAGE = 1024
MAX_WORD = 64
"""Characters of an id, a MAC or a session, as the schema has it."""

_UNREADABLE = (AttributeError, KeyError, TypeError, ValueError)
_MAX_ID = 1 << 53
_TIME = "%Y-%m-%dT%H:%M:%SZ"

Object = dict[str, Any]
Values = TypeVar("Values", bound=Sized)


def requests_body(attachment: str, requests: RelayRequests) -> Object:
    """Return the server-side apply of `status.requests`; raises ValueError for more than fits."""
    _bound(requests.calls, MAX_CALLS)
    written = {
        "session": requests.session,
        "time": timestamp(requests.time or 0.0),
        "calls": [_call_object(call) for call in requests.calls],
    }
    return with_status("NodeAttachment", attachment, {"requests": written})


def responses_body(attachment: str, answers: RelayAnswers) -> Object:
    """Return the server-side apply of `status.responses`; raises ValueError for more than fits."""
    _bound(answers.answers, MAX_CALLS)
    written = {"session": answers.session, "calls": [_answer_object(each) for each in answers.answers]}
    return with_status("NodeAttachment", attachment, {"responses": written})


def read_requests(status: Mapping[str, Any]) -> RelayRequests | None:
    """Read `status.requests` of a NodeAttachment; None if there is nothing that can be answered."""
    found = status.get("requests")
    if not isinstance(found, dict) or not (session := _word(found.get("session"))):
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
                RelayAnswer(id_, failure=Failure(Fault.TRANSIENT, text[:MAX_MESSAGE], remedy=VERSIONS))
            )
    return RelayAnswers(_word(found.get("session")), tuple(answers))


def _call_object(call: RelayCall) -> Object:
    _bound(call.addresses, MAX_ADDRESSES)
    found: Object = {"id": call.id, "action": call.action.value, "eni": call.eni}
    if call.addresses:
        found["addresses"] = [str(address) for address in call.addresses]
    if call.allow_reassignment:
        found["allowReassignment"] = True
    return found


def _read_call(id_: int, found: Mapping[str, Any]) -> RelayCall:
    addresses = tuple(map(parse_address, _bound(as_list(found.get("addresses")), MAX_ADDRESSES)))
    action, eni = Action(found["action"]), _word(found["eni"])
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
        found["interfaces"] = [_interface_object(each) for each in _bound(answer.interfaces, MAX_INTERFACES)]
    if answer.failure is not None:
        found["failure"] = {
            "fault": fault_word(answer.failure.fault),
            "message": shortened(answer.failure.text, MAX_MESSAGE),
            **({"remedy": shortened(answer.failure.remedy, MAX_MESSAGE)} if answer.failure.remedy else {}),
        }
    return found


def _read_answer(id_: int, found: Mapping[str, Any]) -> RelayAnswer:
    failed = found.get("failure")
    return RelayAnswer(
        id_,
        frozenset(map(parse_address, as_list(found.get("addresses"))[:MAX_ADDRESSES])),
        tuple(map(_read_interface, as_list(found.get("interfaces"))[:MAX_INTERFACES])),
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


def _interface_object(eni: EniDetails) -> dict[str, Any]:
    """Return the ENI as an object; raises ValueError for more addresses or prefixes than MAX_HELD."""
    found = {
        "id": eni.eni_id,
        "mac": eni.mac,
        "subnet": eni.subnet_id,
        "vpc": eni.vpc_id,
        "instance": eni.instance_id,
        "device": eni.device_number,
        "card": eni.network_card,
        "type": eni.interface_type,
        "description": eni.description,
        "managed": eni.managed,
        "noManage": eni.no_manage,
        "ownerTag": eni.owner_tag,
        "detaching": eni.detaching,
        "primary": None if eni.primary is None else str(eni.primary),
        "primaryIPv6": None if eni.primary_ipv6 is None else str(eni.primary_ipv6),
        "secondaries": [str(each) for each in _bound(eni.secondaries, MAX_HELD)],
        "prefixes": [str(each) for each in _bound(eni.prefixes, MAX_HELD)],
    }
    # 0 is False, too, and the device index of an instance's primary interface.
    return {key: value for key, value in found.items() if value is not False and value not in (None, "", [])}


def _read_interface(found: Mapping[str, Any]) -> EniDetails:
    """Read such an object; raises AttributeError, KeyError, TypeError or ValueError for anything else."""
    primary, primary_ipv6 = found.get("primary"), found.get("primaryIPv6")
    device = found.get("device")
    return EniDetails(
        _word(found["id"]),
        parse_address(primary) if primary else None,
        tuple(map(parse_address, as_list(found.get("secondaries"))[:MAX_HELD])),
        parse_address(primary_ipv6) if primary_ipv6 else None,
        instance_id=_word(found.get("instance")),
        device_number=None if device is None else int(device),
        description=printable(str(found.get("description") or ""))[:MAX_MESSAGE],
        managed=found.get("managed") is True,
        mac=canonical_mac(_word(found.get("mac"))),
        subnet_id=_word(found.get("subnet")),
        vpc_id=_word(found.get("vpc")),
        no_manage=found.get("noManage") is True,
        prefixes=tuple(map(ip_network, as_list(found.get("prefixes"))[:MAX_HELD])),
        network_card=int(found.get("card") or 0),
        interface_type=_word(found.get("type")) or "interface",
        owner_tag=printable(str(found.get("ownerTag") or ""))[:MAX_MESSAGE],
        detaching=found.get("detaching") is True,
    )


def _word(value: object) -> str:
    return as_text(value, MAX_WORD)


def _bound(values: Values, limit: int) -> Values:
    """Return the values; raises ValueError if there are more than `limit`."""
    if len(values) > limit:
        raise ValueError(f"{len(values)} where at most {limit} fit")
    return values
