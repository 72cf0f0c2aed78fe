"""Assign the pod's addresses once, before its containers start."""

from __future__ import annotations

from ipagent.assign.addresses import Holding, sort_key
from ipagent.assign.ec2_error_codes import RETRIED
from ipagent.assign.errors import AgentError, Ec2Unreachable, NoImds
from ipagent.assign.release import ReleaseQueue
from ipagent.assign.report import Report
from ipagent.assign.retry import SOON, Timing, remaining
from ipagent.direct.agent import Agent, deadline_after
from ipagent.interrupting_signals import StopSignal

LOOK_SECONDS = 0.1
"""Between looks at addresses that are tentative."""
LAST_LOOK_SECONDS = 1.0
"""Before the time is up the ENIs are looked for once more, whatever the backoff says."""
SILENT_IMDS_SECONDS = 10.0
"""For how long an IMDS that has not answered once is tried again.

A NetworkPolicy of the VPC CNI's strict mode allows a new pod's packets after seconds; a hop limit never does.
"""


def run(agent: Agent, deadline: float, timing: Timing) -> Report:
    """Work until every address is assigned or refused, or until the deadline on the clock.

    Raises StopSignal for a signal from outside.
    """
    ended = agent.reconciler.record_release
    releases = ReleaseQueue(agent.cloud, timing, agent.log, ended, retried=RETRIED)
    try:
        _begin(agent, deadline, timing)
        logged: set[Holding] = set()
        while delays := _step(agent, releases):
            _log_pending(agent, logged)
            if timing.clock() >= deadline:
                break
            timing.sleep(min(*delays, remaining(deadline, timing.clock())))
    except AgentError as error:
        return agent.failed(error)
    except StopSignal as stop:
        if not stop.timed_out:
            raise
        if not agent.placed and agent.detection_seconds() is None:
            return agent.failed(_not_found(agent, stop.waiting_for))
    return agent.report()


def _step(agent: Agent, releases: ReleaseQueue) -> list[float]:
    """Do what is due; returns the seconds until more is due, one entry for each reason."""
    recheck = agent.recheck()
    agent.enqueue_moved(releases)
    # First what is on another ENI: EC2 may refuse to assign it here.
    release, assign = releases.step(), agent.reconciler.step()
    if agent.all_assigned:
        # What is assigned here is on no other ENI any more.
        release = None
    return [delay for delay in (recheck, release, assign) if delay is not None]


def _log_pending(agent: Agent, logged: set[Holding]) -> None:
    """Log once of each address that waits for its ENI what it waits for: it may go on for minutes."""
    for each in agent.pending:
        if each.holding not in logged:
            logged.add(each.holding)
            who, why = f"{each.holding.address} ({each.holding.interface})", each.reason
            text = f"{who} waits for its ENI: {why}" + (f". {each.error}" if each.error else "")
            agent.log.warning("lookup-failed", message=text, address=str(each.holding.address))


def _not_found(agent: Agent, waiting_for: str) -> AgentError:
    within = f"within {agent.settings.timeout} s"
    if isinstance(agent.lookup_failure, NoImds):
        return agent.lookup_failure
    if agent.lookup_failure is not None:
        return deadline_after(agent.lookup_failure, f"The ENIs were not found {within}")
    # The first look has not even failed yet.
    if waiting_for == "EC2":
        return Ec2Unreachable(f"EC2 has not answered {within} which ENI has the interface's MAC")
    return NoImds(f"IMDS has not answered {within} which ENIs the node has")


def _tentative(agent: Agent) -> str:
    listed = sorted(agent.selection.tentative, key=lambda holding: sort_key(holding.address))
    return ", ".join(f"{holding.address} ({holding.interface})" for holding in listed)


def _begin(agent: Agent, deadline: float, timing: Timing) -> None:
    """Find addresses and ENIs; what may pass by itself is tried again until the deadline."""
    selection = agent.read_addresses()
    agent.require_interfaces()
    while (seconds := agent.detection_seconds()) is not None and timing.clock() < deadline:
        timing.sleep(min(seconds, LOOK_SECONDS, remaining(deadline, timing.clock())))
        selection = agent.read_addresses()
    if selection.tentative:
        what = f"{_tentative(agent)}: duplicate address detection has not ended, assigning anyway"
        agent.log.warning("tentative", message=what)
    held = ", ".join(f"{holding.address} ({holding.interface})" for holding in selection.holdings)
    what = f"The pod holds {held or 'no addresses that count'}"
    if selection.bare:
        what += f", none on {', '.join(selection.bare)}"
    agent.log.info("start", message=f"{what}; {agent.settings.timeout} s to assign them")
    tries, early_until = 0, min(deadline, timing.clock() + SILENT_IMDS_SECONDS)
    while True:
        try:
            agent.place()
        except AgentError as error:
            until = deadline if error.transient else early_until if error.early else 0.0
            left = remaining(until - LAST_LOOK_SECONDS, timing.clock())
            if not left:
                raise
            delay = min(SOON.delay(tries, timing.random()), left)
            agent.lookup_failure = error
            agent.log.warning("lookup-failed", message=str(error))
            timing.sleep(delay)
            tries += 1
        else:
            return
