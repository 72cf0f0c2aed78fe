"""Claim status: the state of a pod's addresses -> one state with an exit code and a message.

Pure. Thread: the main loop's, through ClaimStatusReporter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from common.exit_codes import ExitCode
from ipagent.assign.address_state import Phase, PlannedAddress
from ipagent.assign.addresses import IPAddress
from ipagent.assign.ec2_error_codes import RETRIED, Fault
from ipagent.assign.errors import AgentError, Deadline, HeldElsewhere, NoEni, error_of
from ipagent.assign.plan import Plan
from ipagent.assign.release import ReleaseOutcome
from ipagent.assign.report import Problem, explained, report, worst
from ipagent.assign.topology import EniDetails
from ipagent.node.model.claim import AddressState, AddressStatus, ClaimState, ClaimStatus
from ipagent.node.model.remedies import of_node_agent
from ipagent.node.reconcile.conflicts import Conflict
from ipagent.node.reconcile.desired import LOOKED_FOR, PodDesired

UNSEEN = ClaimStatus(
    ClaimState.PENDING,
    ExitCode.DEADLINE,
    "The node agent has not seen this pod at the API server yet.",
)

NO_TAKEOVER = (
    "If no living pod uses it there, free it with `ipagent release ADDRESS --eni ENI`, with that address and "
    "that ENI, or let this pod take it: the grant for its namespace must allow the takeover (chart value "
    "nodeAgent.grants), and the pod must not forbid it (multus-eni.io/takeover: never). If another pod does, "
    "two nodes hand out the same range: give each its own, or use an IPAM for the whole cluster."
)
GIVEN_AWAY = (
    "The pod is being deleted, and IPAM may have given the address to a pod there: this one does not take it "
    "over. There is nothing to do."
)

_FINAL = {
    Phase.CONFIRMED: AddressState.ASSIGNED,
    Phase.TAKEN: AddressState.CONFLICT,
    Phase.REFUSED: AddressState.FAILED,
}


@dataclass(frozen=True)
class StatusContext:
    """What a status depends on beside the pod's own addresses."""

    described: Mapping[str, EniDetails] = field(default_factory=dict)
    """What EC2 said last of ENIs, by id."""
    reclaiming: frozenset[str] = frozenset()
    """Full ENIs that are about to be swept."""
    looking: bool = False
    """Whether an ENI may appear that carries what none can carry now."""
    lookup_error: AgentError | None = None
    """Why the last read of the ENIs has failed."""
    leaving: bool = False
    """Whether the pod takes over nothing that it has from IPAM as it is being deleted, and else would."""
    remade: bool = False
    """Whether its sandbox is made anew, and it lives on: until then it takes over nothing of that, either."""


def pending(item: PlannedAddress, context: StatusContext) -> bool:
    """Whether more is to come of an address within seconds."""
    if context.remade and item.phase is Phase.REFUSED and item.conflict:
        return not item.takeover
    if item.phase in _FINAL:
        return False
    if item.phase is not Phase.WANTED or item.failure is None or item.failure.fault in RETRIED:
        return True
    return item.failure.fault is Fault.ENI_FULL and item.eni_id in context.reclaiming


def problem_of(item: PlannedAddress, context: StatusContext) -> Problem:
    """Say why an address is not assigned, or not yet."""
    holding, failure = item.placement.holding, item.failure and item.failure.told
    if item.phase is Phase.TAKEN:
        why = failure.text if failure else "another ENI has it"
        text = f"it was taken off {item.eni_id} while the pod still holds it: {why}"
        remedy = (
            "It is left there: remove it from the pod that should not have it. This pod takes it over when "
            "it is added to the interface again."
        )
        return Problem(holding, item.eni_id, text, HeldElsewhere(text, remedy))
    if failure is None:
        text = "EC2 has not answered yet" if item.phase is Phase.WANTED else "EC2 does not show it there yet"
        return Problem(holding, item.eni_id, text, Deadline(text))
    text = explained(failure, context.described.get(item.eni_id), item.address.version)
    error = of_node_agent(error_of(failure))
    if failure.fault is Fault.HELD_ELSEWHERE and not item.takeover:
        error = HeldElsewhere(failure.text, GIVEN_AWAY if context.leaving else NO_TAKEOVER)
    return Problem(holding, item.eni_id, text, error)


def claim_status(
    each: PodDesired, items: Sequence[PlannedAddress], conflicts: Collection[Conflict], context: StatusContext
) -> ClaimStatus:
    """Say how far the addresses of a living pod are; `items` are those that are its own."""
    waiting = [problem_of(item, context) for item in items if pending(item, context)]
    waiting += [Problem(holding, "", why, Deadline(why)) for holding, why in each.held_back.items()]
    waiting += [conflict.problem for conflict in conflicts if conflict.transient]
    refused = [problem_of(item, context) for item in items if not _good(item) and not pending(item, context)]
    refused += [*each.problems, *(conflict.problem for conflict in conflicts if not conflict.transient)]
    (waiting if context.looking else refused).extend(each.unplaced)
    listed = [
        *(_item_status(item, context) for item in items),
        *(_problem_status(problem, AddressState.PENDING) for problem in waiting if not problem.eni_id),
        *(_problem_status(problem, AddressState.FAILED) for problem in refused if not problem.eni_id),
    ]
    state, code, message = _verdict(each, items, waiting, refused, context)
    return ClaimStatus(state, code, message, tuple(listed))


def waiting_for_eips(status: ClaimStatus, why: str) -> ClaimStatus:
    """Return the status of a pod that waits for its Elastic IPs once its addresses are assigned."""
    if status.state is not ClaimState.ASSIGNED:
        return status
    text = f"Waiting: the pod's Elastic IPs: {why}."
    return replace(status, state=ClaimState.PENDING, code=ExitCode.DEADLINE, message=text)


def _verdict(
    each: PodDesired,
    items: Sequence[PlannedAddress],
    waiting: list[Problem],
    refused: list[Problem],
    context: StatusContext,
) -> tuple[ClaimState, ExitCode, str]:
    if each.pod.waiting:
        text = "Multus has not written the pod's network-status yet"
        return ClaimState.PENDING, ExitCode.DEADLINE, _waiting(waiting, text)
    if waiting:
        code = worst(problem.error for problem in waiting).exit_code
        # What has its ENI, or waits for something else, is not concerned.
        failed = _why_looked_for(each, context)
        if failed is None:
            return ClaimState.PENDING, code, _waiting(waiting, "")
        text = _waiting(waiting, f"cannot determine the node's ENIs: {failed}")
        return ClaimState.PENDING, code, f"{text} {of_node_agent(failed).remedy}"
    if each.error is not None:
        error = of_node_agent(each.error)
        return ClaimState.FAILED, error.exit_code, f"{error}. {error.remedy}"
    confirmed = tuple(item for item in items if _good(item))
    found = report(Plan(frozenset(), items=confirmed), tuple(refused), each.bare)
    state = ClaimState.FAILED if refused else ClaimState.ASSIGNED
    return state, ExitCode(found.exit_code), found.message


def _why_looked_for(each: PodDesired, context: StatusContext) -> AgentError | None:
    """Return what keeps the ENI of an address from being found; None if none is being looked for."""
    if not (LOOKED_FOR in each.held_back.values() or (context.looking and each.unplaced)):
        return None
    # That of the pod's own ENI, where several can't be read.
    mine = (problem.error for problem in each.unplaced if not isinstance(problem.error, NoEni))
    return next(mine, context.lookup_error)


def _waiting(problems: Iterable[Problem], text: str) -> str:
    parts = [text] if text else []
    for problem in problems:
        on = f" on {problem.eni_id}" if problem.eni_id else ""
        parts.append(f"{problem.holding.address} ({problem.holding.interface}){on}: {problem.text}")
    return f"Waiting: {'; '.join(parts)}."


def release_status(releasing: Sequence[IPAddress], outcomes: Sequence[ReleaseOutcome]) -> ClaimStatus:
    """Say what becomes of the addresses of a pod that ends."""
    if releasing:
        listed = ", ".join(map(str, releasing))
        return ClaimStatus(ClaimState.PENDING, ExitCode.DEADLINE, f"Waiting: {listed} is being released.")
    text = "; ".join(outcome.text for outcome in outcomes) or "There was no address to release"
    failed = [of_node_agent(error_of(outcome.failure)) for outcome in outcomes if outcome.failure]
    if failed:
        error = worst(failed)
        return ClaimStatus(ClaimState.FAILED, error.exit_code, f"{text}. {error.remedy}")
    return ClaimStatus(ClaimState.ASSIGNED, ExitCode.OK, f"{text}.")


def _good(item: PlannedAddress) -> bool:
    return item.phase is Phase.CONFIRMED


def _item_status(item: PlannedAddress, context: StatusContext) -> AddressStatus:
    holding = item.placement.holding
    phase = AddressState.PENDING if pending(item, context) else _FINAL.get(item.phase, AddressState.FAILED)
    text = "" if _good(item) else problem_of(item, context).text
    return AddressStatus(holding.address, holding.interface, phase, item.eni_id, text)


def _problem_status(problem: Problem, phase: AddressState) -> AddressStatus:
    return AddressStatus(problem.holding.address, problem.holding.interface, phase, text=problem.text)
