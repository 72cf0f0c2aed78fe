"""`ipagent init --dry-run`: which calls would be made and what would come of them; nothing is changed."""

from __future__ import annotations

import io
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from common.agent_settings import AgentSettings, LogFormat, LogLevel, Mode, Takeover
from common.exit_codes import ExitCode
from common.pod_keys import INTERFACES
from ipagent.assign.address_calls import Assign, action_of
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.errors import AgentError, BadUsage, NoInterface
from ipagent.assign.holders import name
from ipagent.assign.placement import place
from ipagent.assign.reconciler import Reconciler
from ipagent.assign.report import Ec2View, Problem, problems, report
from ipagent.assign.topology import Topology
from ipagent.commands import addresses
from ipagent.commands.addresses import PodView
from ipagent.commands.inventory import AddressLocation
from ipagent.commands.render import Cell, Palette, Style, error_lines, sentence, table
from ipagent.commands.simulated_cloud import Change, SimulatedClock, SimulatedCloud
from ipagent.log import Log

CALLS = ("CALL", "ENI", "ADDRESSES", "FROM OTHER ENIS")
HEADERS = ("INTERFACE", "ADDRESS", "WOULD", "ENI", "WHY")


class Expected(StrEnum):
    """What would become of an address."""

    ASSIGN = "assign"
    KEEP = "keep"
    """It is there; EC2 is asked anyway, since what it shows may be old."""
    TAKE_OVER = "takeOver"
    FAIL = "fail"
    LEAVE = "leave"
    """It does not count."""


@dataclass(frozen=True)
class DryRun:
    """The answer: the calls that would change something, and the exit code and message of the end.

    As far as can be seen: full ENIs, rights to change, and what changes meanwhile show only when it is done.
    """

    mode: Mode
    settings: AgentSettings
    view: PodView
    calls: tuple[Change, ...] = ()
    found: tuple[Problem, ...] = ()
    exit_code: int = ExitCode.OK
    failure: str = ""

    def expected(self, one: AddressLocation) -> Expected:
        """Return what would become of an address."""
        if any(problem.holding == one.held.holding for problem in self.found):
            return Expected.FAIL
        if not one.held.counts:
            return Expected.LEAVE
        if self.failure and not self.calls:
            return Expected.FAIL
        if one.elsewhere:
            return Expected.TAKE_OVER
        return Expected.KEEP if one.in_ec2 else Expected.ASSIGN


def forecast(mode: Mode, settings: AgentSettings, view: PodView) -> DryRun:
    """Let the reconciler of a run work on what was seen, in memory; the first assignment ends it."""
    stop = _what_ends_it(view)
    if stop is not None:
        return DryRun(mode, settings, view, (), (), stop.exit_code, f"{stop}. {stop.remedy}")
    clock = SimulatedClock()
    unseen = Failure(Fault.NO_PERMISSION, str(view.ec2_error)) if view.ec2_error else None
    cloud = SimulatedCloud(view.nodes.enis, view.described, unseen)
    log = Log(level=LogLevel.ERROR, form=LogFormat.JSON, stream=io.StringIO())
    reconciler = Reconciler(cloud, timing=clock.timing, log=log)
    placed = place(
        view.selection.holdings,
        Topology(view.nodes.enis),
        takeover=settings.takeover is Takeover.ALWAYS,
    )
    reconciler.set_desired(placed.placements)
    while (delay := reconciler.step()) is not None and clock.now < settings.timeout:
        clock.sleep(min(delay, settings.timeout - clock.now))
    found = problems(
        reconciler.plan,
        view.selection.refused,
        placed.unplaced,
        Ec2View(reconciler.described, reconciler.asked),
        settings.timeout,
    )
    ended = report(reconciler.plan, found, view.selection.bare)
    failure = ended.message if ended.exit_code else ""
    return DryRun(mode, settings, view, tuple(cloud.changes), found, ended.exit_code, failure)


def _what_ends_it(view: PodView) -> AgentError | None:
    """Return what would end the run before any call."""
    if view.undecided:
        return BadUsage(
            "It is not known which of the pod's interfaces is the cluster's default one",
            f"Name the Multus interfaces in the annotation {INTERFACES}.",
        )
    if missing := ", ".join(view.selection.missing):
        return NoInterface(f"The pod has no interface {missing}")
    if view.nodes.error is not None:
        return view.nodes.error
    # Without the right to describe, the run may succeed anyway.
    if view.ec2_error is not None and view.ec2_error.exit_code != ExitCode.NO_PERMISSION:
        return view.ec2_error
    return None


def as_document(answer: DryRun) -> dict[str, Any]:
    """Write the answer for programs."""
    document = addresses.as_document(answer.view)
    for entry, one in zip(document["addresses"], answer.view.addresses, strict=True):
        entry["would"] = str(answer.expected(one))
    return {
        "mode": str(answer.mode),
        "takeover": str(answer.settings.takeover),
        "releaseOnExit": answer.settings.release_on_exit,
        "calls": [_call_document(call) for call in answer.calls],
        "exitCode": int(answer.exit_code),
        "message": answer.failure,
        **document,
    }


def _reassigns(call: Change) -> bool | None:
    """Return what the call says of AllowReassignment; None where EC2 has no such parameter."""
    if not isinstance(call, Assign) or call.addresses[0].version == 6:
        return None
    return call.allow_reassignment


def _call_document(call: Change) -> dict[str, Any]:
    written: dict[str, Any] = {
        "action": action_of(call),
        "eni": call.eni_id,
        "addresses": list(map(str, call.addresses)),
    }
    if _reassigns(call) is not None:
        written["allowReassignment"] = _reassigns(call)
    return written


def as_text(answer: DryRun, palette: Palette) -> str:
    """Write the answer for people."""
    view = answer.view
    parts = []
    if view.addresses:
        parts.append(table(HEADERS, [_cells(answer, one) for one in view.addresses], palette))
    if answer.calls:
        parts += ["\n", table(CALLS, [_call_cells(call) for call in answer.calls], palette)]
    parts.append("\n")
    if answer.failure:
        parts.append(
            sentence(f"Expected end with {int(answer.exit_code)}", answer.failure, palette, Style.BAD)
        )
    else:
        parts.append(sentence("Expected end with 0", _good(answer), palette, Style.GOOD))
    parts.append("Nothing was changed.\n")
    parts += error_lines(None, None if answer.failure else view.ec2_error, view.warnings, palette)
    return "".join(parts)


def _good(answer: DryRun) -> str:
    if not answer.calls:
        return "there is nothing to assign"
    if answer.mode is Mode.INIT:
        return "once EC2 has confirmed the addresses"
    release = "takes them off" if answer.settings.release_on_exit else "leaves them"
    return f"assigns what appears on the pod's interfaces until SIGTERM, and {release} at the end"


_WORDS = {
    Expected.ASSIGN: Cell("assign", Style.GOOD),
    Expected.KEEP: Cell("assign (is there)", Style.GOOD),
    Expected.TAKE_OVER: Cell("take over", Style.DOUBTFUL),
    Expected.FAIL: Cell("fail", Style.BAD),
    Expected.LEAVE: Cell("leave out"),
}


def _cells(answer: DryRun, one: AddressLocation) -> list[Cell]:
    would = answer.expected(one)
    eni = one.target.eni.id if one.target and one.target.eni else ""
    problem = next((p.text for p in answer.found if p.holding == one.held.holding), "")
    why = problem or one.held.why
    if would is Expected.TAKE_OVER and one.elsewhere:
        why = f"from {name(one.elsewhere)}"
    return [
        Cell(one.held.holding.interface),
        Cell(str(one.held.holding.address)),
        _WORDS[would],
        Cell(eni),
        Cell(why),
    ]


def _call_cells(call: Change) -> list[Cell]:
    allowed = {True: "yes", False: "no", None: ""}[_reassigns(call)]
    return [
        Cell(action_of(call)),
        Cell(call.eni_id),
        Cell(", ".join(map(str, call.addresses))),
        Cell(allowed),
    ]
