"""Matches the controller's answers to the calls. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.call_relay import RelayAnswer, RelayCall
from ipagent.node.central.attachments import RelayAttachment
from ipagent.node.central.failed_writes import NOT_ATTACHED
from ipagent.node_network_api import LEASE

_NO_CONTROLLER = (
    "Check that the controller runs and leads: its Deployment, and `kubectl get lease -A` for "
    f"{LEASE}. It needs agent.backend=central, too, which `helm upgrade` gives to both."
)
_ANSWERS_OTHERS = (
    "The controller answers others: if this one gets no answer for long, its log says why (`write-failed`, "
    "`refused`)."
)


def settled(attachment: RelayAttachment | None, session: str, calls: Sequence[RelayCall]) -> bool:
    """Whether calls are answered, or never will be: the NodeAttachment has gone."""
    return attachment is None or attachment.answers(session).keys() >= {call.id for call in calls}


def unsettled(
    known: Mapping[str, RelayAttachment], session: str, numbered: Mapping[str, Sequence[RelayCall]]
) -> dict[str, Sequence[RelayCall]]:
    """Return what is not answered, and still can be."""
    return {name: calls for name, calls in numbered.items() if not settled(known.get(name), session, calls)}


def answers_to(
    attachment: RelayAttachment | None, session: str, calls: Sequence[RelayCall]
) -> tuple[RelayAnswer, ...] | Failure:
    """Return the answers to calls, or that the NodeAttachment has gone before it had them."""
    given = {} if attachment is None else attachment.answers(session)
    if missing := [call for call in calls if call.id not in given]:
        what = f"{missing[0].action} on {missing[0].eni}"
        text = f"{what}: the node has no NodeAttachment with that ENI any more"
        return Failure(Fault.NO_ENI, text, remedy=NOT_ATTACHED)
    return tuple(given[call.id] for call in calls)


def answered(calls: Sequence[RelayCall], found: tuple[RelayAnswer, ...] | Failure) -> tuple[RelayAnswer, ...]:
    """Return the answers; a failure is the answer to each call."""
    if isinstance(found, Failure):
        return tuple(RelayAnswer(call.id, failure=found) for call in calls)
    return found


def unanswered(missing: Mapping[str, Sequence[RelayCall]], seconds: float, *, others: bool) -> Failure:
    """Return the failure that no answer is; `others`: the controller has answered others since."""
    waiting = [f"{calls[0].action} on {calls[0].eni}" for calls in missing.values()]
    text = f"{', '.join(waiting)}: the controller has not answered within {seconds:g} s"
    remedy = _ANSWERS_OTHERS if others else _NO_CONTROLLER
    return Failure(Fault.UNREACHABLE, text, remedy=remedy, lasting=True)
