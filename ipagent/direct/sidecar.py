"""Keep the pod's addresses assigned for its life: what init does, then every address that appears.

After the start no failure of AWS ends the sidecar: it keeps trying and logs that.
"""

from __future__ import annotations

from collections.abc import Callable

from common.exit_codes import ExitCode
from common.lean_typing import Protocol
from ipagent.assign.addresses import IPAddress
from ipagent.assign.engine import AddressEngine
from ipagent.assign.errors import AgentError
from ipagent.assign.plan import Plan
from ipagent.assign.release import Pair, release_at_exit
from ipagent.assign.report import Report
from ipagent.assign.retry import Backoff, remaining
from ipagent.direct.agent import Agent
from ipagent.direct.change_log import ChangeLog
from ipagent.interrupting_signals import InterruptingSignals, StopSignal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

LOOKUP_PACE = Backoff(1.0, 60.0)


class Events(Protocol):
    """Reports changes of the pod's addresses."""

    def wait(self, seconds: float | None, wakeup: int) -> bool:
        """Sleep until addresses change or `wakeup` is readable; returns whether they changed."""

    def removed(self) -> frozenset[IPAddress]:
        """Consume the events; returns the addresses that went away, if only for a moment."""


def run(
    agent: Agent,
    events: Events,
    signals: InterruptingSignals,
    first: Callable[[], Report],
    started: Callable[[], None],
) -> Report:
    """Run the `first` assignment, call `started`, and follow the addresses until SIGTERM."""
    follower: Follower | None = None
    try:
        report = first()
        if report.exit_code != ExitCode.OK:
            return report
        signals.alarm(0)
        started()
        agent.log.info("started", message=report.message, address=report.address, eni=report.eni)
        follower = Follower(agent, events)
        _follow(follower, events, signals)
    except StopSignal as stop:
        if stop.timed_out:
            return agent.report()
        outcome = "No address was released"
        if agent.settings.release_on_exit:
            releasable = (follower or Follower(agent, events)).releasable
            outcome = release_at_exit(releasable, agent.cloud, agent.timing, agent.log)
        return Report(ExitCode.OK if follower else 128 + stop.number, f"Ended by {stop}. {outcome}.")


def _follow(follower: Follower, events: Events, signals: InterruptingSignals) -> NoReturn:
    """Follow the addresses until `StopSignal`, or until the kernel can't be asked any more (AgentError)."""
    while True:
        pause = follower.step()
        if events.wait(pause, signals.wakeup):
            follower.mark_changed()
        signals.check()


class Follower:
    """Follows the pod's addresses after the first assignment, in steps that never wait."""

    def __init__(self, agent: Agent, events: Events) -> None:
        self._agent = agent
        self._events = events
        self._timing = agent.timing
        self._engine = AddressEngine(agent.reconciler, agent.cloud, agent.timing, agent.log)
        # What changed during the first assignment waits in the socket and wakes the first wait.
        self._outdated = False
        self._again: frozenset[IPAddress] = frozenset()
        self._lookup_at = 0.0
        self._lookups = 0
        self._change_log = ChangeLog(agent)
        agent.reconciler.retry_until_healed()

    @property
    def releasable(self) -> frozenset[Pair]:
        """What may be assigned for the pod, and what has left it and is to be released."""
        items = self._agent.reconciler.plan.items
        assigned = self._agent.reconciler.assigned(items) | self._agent.misplaced
        return assigned | self._engine.releases.pending

    def mark_changed(self) -> None:
        """Note that the pod's addresses have changed: the next step reads them."""
        self._outdated = True
        self._lookup_at = 0.0

    def step(self) -> float | None:
        """Do what is due; returns the seconds until more is due, None if nothing is."""
        if self._outdated and self._lookup_at <= self._timing.clock():
            self._update()
        delays = [self._agent.recheck(living=True)]
        self._agent.enqueue_moved(self._engine.releases)
        delays.append(self._engine.step())
        if self._outdated:
            delays.append(remaining(self._lookup_at, self._timing.clock()))
        self._change_log.log_changes()
        return min((delay for delay in delays if delay is not None), default=None)

    def _update(self) -> None:
        # Events are taken here and nowhere else: what comes later wakes the next wait.
        self._again |= self._events.removed()
        agent, before = self._agent, self._agent.reconciler.plan
        try:
            agent.read_addresses()
            agent.place_changed(self._again)
        except AgentError as error:
            self._lookup_at = self._timing.clock() + LOOKUP_PACE.delay(self._lookups, self._timing.random())
            self._lookups += 1
            agent.log.warning("lookup-failed", message=f"{error}. {error.remedy}")
            # What has left the pod has left the plan as well: the next update does not find it there.
            self._release_removed(before)
            return
        self._again = frozenset()
        self._lookups = 0
        detecting = agent.detection_seconds()
        self._outdated = detecting is not None
        self._lookup_at = self._timing.clock() + (detecting or 0.0)
        self._release_removed(before)

    def _release_removed(self, before: Plan) -> None:
        """With release-on-exit release what was assigned `before` and is no longer on the pod.

        At once: the sooner, the less likely another pod on this ENI has been given the address by then. If
        one has, its own agent finds that out.
        """
        agent = self._agent
        if not agent.settings.release_on_exit:
            return
        wanted = {(item.eni_id, item.address) for item in agent.reconciler.plan.items}
        held = {holding.address for holding in agent.held()}
        gone = agent.reconciler.assigned(item for item in before.items if item.address not in held)
        self._engine.releases.enqueue(gone, wanted)
