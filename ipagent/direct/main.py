"""The container's process with the backend `direct`: the pod itself calls EC2."""

from __future__ import annotations

import time

from common.agent_settings import AgentSettings, Mode
from common.random_value import random_value
from ipagent.assign.errors import AgentError
from ipagent.assign.report import Report
from ipagent.assign.retry import Timing, remaining
from ipagent.aws.pod_cloud import PodCloud
from ipagent.direct import init
from ipagent.direct.agent import Agent
from ipagent.direct.route_diagnosis import with_route
from ipagent.interrupting_signals import InterruptingSignals, StopSignal
from ipagent.log import Log
from ipagent.netlink.namespace import Netlink
from ipagent.startup import ContainerContext, mark_started, run_container
from ipagent.termination import SIGNALLED, Exit

TIMING = Timing(time.monotonic, time.sleep, random_value)


def run(context: ContainerContext) -> int:
    """Run the mode to its end; returns the exit code."""
    return run_container(context, _run)


def _run(context: ContainerContext, settings: AgentSettings, log: Log) -> Exit:
    try:
        report = _report(context, settings, log)
    except AgentError as error:
        return Exit(error.exit_code, f"{error}. {error.remedy}")
    except StopSignal as stop:
        return Exit(SIGNALLED + stop.number, f"Ended by {stop} before the pod's addresses were read.")
    return Exit(report.exit_code, report.message, address=report.address, eni=report.eni)


def _report(context: ContainerContext, settings: AgentSettings, log: Log) -> Report:
    direct = PodCloud(context.env, settings.credentials, log, TIMING)
    with InterruptingSignals() as signals, Netlink() as netlink, direct as cloud:
        agent = Agent(settings, netlink, cloud, log, TIMING, restarted=context.restarted)
        try:
            try:
                return _work(context, agent, netlink, cloud, signals)
            finally:
                # Loops end at the deadline, when the alarm comes too: it must not come upon the end.
                signals.end()
        except StopSignal as stop:
            if stop.timed_out:
                return agent.report()
            return Report(
                SIGNALLED + stop.number, f"Ended by {stop} before the end. {agent.report().message}"
            )


def _work(
    context: ContainerContext, agent: Agent, netlink: Netlink, cloud: PodCloud, signals: InterruptingSignals
) -> Report:
    deadline = context.begun + agent.settings.timeout
    # Loops look at the clock; the alarm is for what blocks, such as a name server that is silent.
    signals.alarm(max(remaining(deadline, TIMING.clock()), 0.001))

    def first() -> Report:
        report = with_route(init.run(agent, deadline, TIMING), agent, netlink)
        if not agent.settings.eip_wait:
            return report
        from ipagent.direct import eips  # noqa: PLC0415 - few pods wait for one

        return eips.wait(agent, cloud, report, deadline)

    if context.mode is Mode.INIT:
        return first()
    # What init does not need, init does not import.
    from ipagent.direct import sidecar  # noqa: PLC0415

    return sidecar.run(agent, netlink, signals, first, lambda: mark_started(context))
