"""One run of the agent as a process: environment in; work, last words, exit code out."""

from __future__ import annotations

import random
import time
from contextlib import closing
from functools import partial

from common import contract
from common.contract import AgentSettings, ContractError, ExitCode, Mode
from ipagent.assign.errors import AgentError, Usage
from ipagent.assign.report import Report
from ipagent.assign.retry import Clock, remaining
from ipagent.aws.pod_cloud import PodCloud
from ipagent.log import Log
from ipagent.netlink.namespace import Netlink
from ipagent.pod import init
from ipagent.pod.agent import Agent
from ipagent.pod.route import with_route
from ipagent.signals import Signals, Stop
from ipagent.startup import Process, StartedFileError, crash_text, end_startup, mark_started, restart_text
from ipagent.termination import write_message

TIMING = Clock(time.monotonic, time.sleep, random.random)


def work(process: Process) -> int:
    """Run the mode to its end; returns the exit code."""
    env = process.env
    who = (env.get(contract.ENV_POD_NAMESPACE, ""), env.get(contract.ENV_POD_NAME, ""))
    log = Log(*who)
    policy = None
    try:
        settings = AgentSettings.from_env(env)
        policy = settings.restart_policy
        log = Log(*who, settings.log_level, settings.log_format)
        report = _run(process, settings, log)
    except ContractError as error:
        report = _ended(Usage(str(error)))
    except AgentError as error:
        report = _ended(error)
    except Exception as error:  # noqa: BLE001 - the last resort: a sentence, where the user looks for it
        report = _ended(AgentError(crash_text(error, log)))
    restart = restart_text(report.exit_code, process.mode, policy)
    report = report.followed_by(restart)
    write_message(process.termination_log, report.message)
    if report.exit_code == ExitCode.OK:
        log.info("done", message=report.message, address=report.address, eni=report.eni)
    else:
        log.error("failed", message=report.message, address=report.address, eni=report.eni)
    return report.exit_code


def _run(process: Process, settings: AgentSettings, log: Log) -> Report:
    deadline = process.begun + settings.timeout
    direct = PodCloud(process.env, settings.credentials, log, TIMING)
    with Signals() as signals, Netlink() as netlink, closing(direct) as cloud:
        # Loops look at the clock; the alarm is for what blocks, such as a name server that is silent.
        signals.alarm(max(remaining(deadline, TIMING.clock()), 0.001))
        agent = Agent(settings, netlink, cloud, log, TIMING)

        def first() -> Report:
            return with_route(init.run(agent, deadline, TIMING), agent, netlink)

        try:
            if process.mode is Mode.INIT:
                return first()
            # What init does not need, init does not import.
            from ipagent.pod import sidecar  # noqa: PLC0415

            return sidecar.run(agent, netlink, signals, first, partial(_begin_life, process.started_file))
        except Stop as stop:
            if stop.timed_out:
                return agent.report()
            return Report(128 + stop.number, f"Ended by {stop} before the end. {agent.report().message}")


def _begin_life(started_file: str) -> None:
    try:
        mark_started(started_file)
    except StartedFileError as error:
        raise Usage(str(error), error.remedy) from None
    end_startup()


def _ended(error: AgentError) -> Report:
    return Report(error.exit_code, f"{error}. {error.remedy}")
