"""Report of a run: the outcome of every address, as one message and one exit code."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from common.exit_codes import ExitCode
from common.frozen_dataclass import dataclass, field
from ipagent.assign.address_state import SETTLED, Phase, PlannedAddress
from ipagent.assign.addresses import Holding, IPAddress
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.errors import (
    AddressRefused,
    AgentError,
    Deadline,
    Ec2Unreachable,
    EniFull,
    HeldElsewhere,
    NoCredentials,
    NoEni,
    NoImds,
    NoPermission,
    NotGranted,
    error_of,
)
from ipagent.assign.placement import Unplaced
from ipagent.assign.plan import Plan
from ipagent.assign.selection import Refusal
from ipagent.assign.topology import EniDetails

MAX_LISTED = 60
"""Addresses of a full ENI that a message names; the largest instance types have 50 on one."""


@dataclass(frozen=True)
class Report:
    """How it went; `address` and `eni` name those that are assigned."""

    exit_code: int
    message: str
    address: str = ""
    eni: str = ""

    def followed_by(self, text: str) -> Report:
        """Return the report with more text at the end of its message."""
        return Report(self.exit_code, self.message + text, self.address, self.eni)


@dataclass(frozen=True)
class Problem:
    """An address that is not assigned. `eni_id` is empty where no ENI was found."""

    holding: Holding
    eni_id: str
    text: str
    error: AgentError


@dataclass(frozen=True)
class Ec2View:
    """What is known of EC2 beside the plan.

    `described` are ENIs by id, as EC2 said last; `asked` the ENIs and addresses of which it was asked,
    whether or not it has answered.
    """

    described: Mapping[str, EniDetails] = field(default_factory=dict)
    asked: Collection[tuple[str, IPAddress]] = ()


# With several problems the exit code is that of the first kind here: the one that stands before the others.
_ORDER = (
    NoImds,
    NoCredentials,
    NoPermission,
    Ec2Unreachable,
    NoEni,
    EniFull,
    HeldElsewhere,
    NotGranted,
    AddressRefused,
    Deadline,
)


def problems(
    plan: Plan,
    refused: Iterable[Refusal],
    unplaced: Iterable[Unplaced],
    seen: Ec2View,
    timeout: int,
) -> tuple[Problem, ...]:
    """List every address that is not confirmed; `timeout` in seconds is how long was waited."""
    return (
        *(Problem(r.holding, "", r.reason, AddressRefused(r.reason)) for r in refused),
        *(_unplaced(each, timeout) for each in unplaced),
        *(_problem(item, seen, timeout) for item in plan.items if item.phase is not Phase.CONFIRMED),
    )


def _unplaced(unplaced: Unplaced, timeout: int) -> Problem:
    text = unplaced.reason
    if unplaced.pending:
        text = f"not within {timeout} s: {text}"
    if unplaced.error is not None:
        text = f"{text}; {unplaced.error}"
    return Problem(unplaced.holding, "", text, unplaced.error or NoEni(text))


def undetected(holding: Holding) -> Problem:
    """Return the problem of an address that is still tentative."""
    text = "duplicate address detection has not ended"
    return Problem(holding, "", text, Deadline(text))


def report(plan: Plan, found: tuple[Problem, ...], bare: Iterable[str] = ()) -> Report:
    """Say in one sentence what is assigned, what not, and what to do; exit code 0 only without problems."""
    confirmed = plan.in_phases({Phase.CONFIRMED})
    by_eni: dict[str, list[IPAddress]] = {}
    for item in confirmed:
        by_eni.setdefault(item.eni_id, []).append(item.address)
    parts = _not_assigned(found)
    remedies = dict.fromkeys(each.error.remedy for each in sorted(found, key=lambda each: _rank(each.error)))
    code = ExitCode.OK if not parts else worst(problem.error for problem in found).exit_code
    if by_eni:
        done = "; ".join(f"{_join(addresses)} on {eni}" for eni, addresses in by_eni.items())
        parts.append(f"{'Assigned' if not parts else 'Assigned anyway'}: {done}.")
    elif not parts:
        where = f" on {_join(bare)}" if bare else ""
        parts.append(f"Nothing to assign: the pod has no addresses that count{where}.")
    # Last: of a message that is too long the middle is left out.
    message = " ".join((*parts, *remedies))
    return Report(code, message, _join(item.address for item in confirmed), _join(by_eni))


def worst(errors: Iterable[AgentError]) -> AgentError:
    """Return the error that stands for several of those that addresses have."""
    return min(errors, key=_rank)


def _rank(error: AgentError) -> int:
    return min(rank for rank, kind in enumerate(_ORDER) if kind in type(error).__mro__)


def _not_assigned(found: tuple[Problem, ...]) -> list[str]:
    groups: dict[tuple[str, str], list[Problem]] = {}
    for problem in found:
        groups.setdefault((problem.eni_id, problem.text), []).append(problem)
    sentences = []
    for (eni_id, text), members in groups.items():
        who = _join(f"{member.holding.address} ({member.holding.interface})" for member in members)
        sentences.append(f"Not assigned: {who}{f' on {eni_id}' if eni_id else ''}: {text}.")
    return sentences


def _problem(item: PlannedAddress, seen: Ec2View, timeout: int) -> Problem:
    holding = item.placement.holding
    failure = item.failure
    if failure is None:
        error = _waiting(item, timeout, asked=(item.eni_id, item.address) in seen.asked)
        return Problem(holding, item.eni_id, str(error), error)
    text = explained(failure, seen.described.get(item.eni_id), item.address.version)
    if item.phase not in SETTLED:
        text = f"not within {timeout} s: {text}"
    return Problem(holding, item.eni_id, text, error_of(failure))


def _waiting(item: PlannedAddress, timeout: int, *, asked: bool) -> AgentError:
    """Say what an address waits for that nothing has gone wrong with."""
    if item.phase is not Phase.WANTED:
        shown = "EC2 accepted it, but neither IMDS nor DescribeNetworkInterfaces shows it"
        return Deadline(f"{shown} after {timeout} s")
    if asked:
        return Ec2Unreachable(f"EC2 has not answered after {timeout} s")
    return Deadline(f"EC2 has not been asked yet after {timeout} s")


def explained(failure: Failure, held: EniDetails | None, version: int) -> str:
    """Say why an address of a family is not assigned; of a full ENI also what it holds."""
    if failure.fault is not Fault.ENI_FULL or held is None:
        return failure.text
    mine = [address for address in held.secondaries if address.version == version]
    listed = _join(mine[:MAX_LISTED])
    more = len(mine) - MAX_LISTED
    return f"{failure.text}; its secondary addresses are {listed}{f' and {more} more' if more > 0 else ''}"


def _join(parts: Iterable[object]) -> str:
    return ", ".join(map(str, parts))
