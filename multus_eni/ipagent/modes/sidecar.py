"""Keep the pod's addresses assigned for its life: what init does, then every address that appears.

After the start nothing of AWS ends the sidecar: it goes on trying, and says so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import NoReturn, Protocol

from multus_eni.contract import ExitCode
from multus_eni.ipagent import apply
from multus_eni.ipagent.addresses import IPAddress
from multus_eni.ipagent.agent import Agent
from multus_eni.ipagent.errors import AgentError
from multus_eni.ipagent.plan import Phase, Unassign, releases
from multus_eni.ipagent.report import Problem, Report
from multus_eni.ipagent.retry import Fault, Pace, left
from multus_eni.ipagent.signals import Signals, Stop

RELEASE_SECONDS = 2.0
"""Native sidecars are stopped last, and may have no more of the grace period than its least: 2 s.

Kubernetes, `pkg/kubelet/kuberuntime`, minimumGracePeriodInSeconds.
"""

LOOKUP_PACE = Pace(1.0, 60.0)


class Events(Protocol):
    """Tells of changes to the pod's addresses."""

    def wait(self, seconds: float | None, wakeup: int) -> bool:
        """Sleep until addresses change or `wakeup` is readable; tells whether they changed."""

    def removed(self) -> frozenset[IPAddress]:
        """Take what has happened; gives the addresses that went away, if only for a moment."""


def run(
    agent: Agent,
    events: Events,
    signals: Signals,
    first: Callable[[], Report],
    started: Callable[[], None],
) -> Report:
    """Do the `first` assignment, say that it is `started`, and go on until SIGTERM."""
    begun = False
    try:
        report = first()
        if report.exit_code != ExitCode.OK:
            return report
        signals.alarm(0)
        started()
        begun = True
        agent.log.info("started", message=report.message, address=report.address, eni=report.eni)
        _Life(agent, events, signals).run()
    except Stop as stop:
        if stop.timed_out:
            return agent.report()
        said = _release(agent) if agent.settings.release_on_exit else "No address was released"
        return Report(ExitCode.OK if begun else 128 + stop.number, f"Ended by {stop}. {said}.")


class _Life:
    """The time after the start: sleeps until something changes, or until a try is due."""

    def __init__(self, agent: Agent, events: Events, signals: Signals) -> None:
        self._agent = agent
        self._events = events
        self._signals = signals
        self._timing = agent.timing
        # What changed during the first assignment waits in the socket and wakes the first wait.
        self._outdated = False
        self._again: frozenset[IPAddress] = frozenset()
        self._lookup_at = 0.0
        self._lookups = 0
        self._assigned = self._confirmed()
        self._problems: frozenset[str] = frozenset()

    def run(self) -> NoReturn:
        """Go on until `Stop`, or until the kernel can't be asked any more (AgentError)."""
        self._agent.reconciler.be_patient()
        while True:
            if self._outdated and self._lookup_at <= self._timing.clock():
                self._update()
            delays = [self._agent.reconciler.step()]
            if self._outdated:
                delays.append(left(self._lookup_at, self._timing.clock()))
            self._tell()
            pause = min((delay for delay in delays if delay is not None), default=None)
            if self._events.wait(pause, self._signals.wakeup):
                self._outdated = True
                self._lookup_at = 0.0
            self._signals.check()

    def _update(self) -> None:
        # Events are taken here and nowhere else: what comes later wakes the next wait.
        self._again |= self._events.removed()
        try:
            self._agent.look()
            self._agent.place(self._again)
        except AgentError as error:
            self._lookup_at = self._timing.clock() + LOOKUP_PACE.delay(self._lookups, self._timing.random())
            self._lookups += 1
            self._agent.log.warning("lookup-failed", message=f"{error}. {error.remedy}")
        else:
            self._outdated = False
            self._again = frozenset()
            self._lookups = 0

    def _tell(self) -> None:
        """Log what is new since the last time."""
        assigned = self._confirmed()
        log = self._agent.log
        for eni, address in sorted(assigned - self._assigned, key=str):
            log.info("assigned", message=f"{address} is on {eni}", address=str(address), eni=eni)
        for eni, address in sorted(self._assigned - assigned, key=str):
            if address not in {holding.address for holding in self._agent.selection.holdings}:
                text = f"The pod no longer holds {address}; it stays on {eni}"
                log.info("removed", message=text, address=str(address), eni=eni)
        self._assigned = assigned
        problems = {_sentence(problem): problem for problem in self._agent.problems(settled=True)}
        for sentence, problem in problems.items():
            if sentence not in self._problems:
                log.error(
                    "not-assigned", message=sentence, address=str(problem.holding.address), eni=problem.eni_id
                )
        self._problems = frozenset(problems)

    def _confirmed(self) -> frozenset[tuple[str, IPAddress]]:
        items = self._agent.reconciler.plan.in_phases({Phase.CONFIRMED})
        return frozenset((item.eni_id, item.address) for item in items)


def _sentence(problem: Problem) -> str:
    who = f"{problem.holding.address} ({problem.holding.interface})"
    on = f" on {problem.eni_id}" if problem.eni_id else ""
    return f"Not assigned: {who}{on}: {problem.text}. {problem.error.remedy}"


def _release(agent: Agent) -> str:
    """Take the addresses that the pod still holds off their ENIs, all at once; says what became of them."""
    until = agent.timing.clock() + RELEASE_SECONDS
    calls = releases(_to_release(agent))
    if not calls:
        return "There was no address to release"
    done: dict[IPAddress, str] = {}
    # One hanging call must not cost the others their time.
    threads = [threading.Thread(target=_release_one, args=(call, agent, done), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(left(until, agent.timing.clock()))
    return "; ".join(_ending(call.eni_id, address, done) for call in calls for address in call.addresses)


def _ending(eni: str, address: IPAddress, done: Mapping[IPAddress, str]) -> str:
    why = done.get(address, f"no answer within {RELEASE_SECONDS:g} s")
    return f"{address} could not be taken off {eni}: {why}" if why else f"{address} was taken off {eni}"


def _release_one(call: Unassign, agent: Agent, done: dict[IPAddress, str]) -> None:
    for outcome in apply.run(call, agent.cloud):
        failure = outcome.failure
        why = "" if failure is None or failure.fault is Fault.NOT_HELD else failure.text
        done.update(dict.fromkeys(outcome.call.addresses, why))


def _to_release(agent: Agent) -> set[tuple[str, IPAddress]]:
    """Give what EC2 was asked to assign, was not refused, and is on the pod at this moment.

    What left the pod earlier may be another pod's on the same ENI by now.
    """
    try:
        agent.look()
    except AgentError as error:
        agent.log.warning("lookup-failed", message=str(error))
    held = {holding.address for holding in agent.selection.holdings}
    items = agent.reconciler.plan.items
    wanted = {(item.eni_id, item.address) for item in items if item.phase is not Phase.REFUSED}
    return {(eni, address) for eni, address in wanted & agent.reconciler.asked if address in held}
