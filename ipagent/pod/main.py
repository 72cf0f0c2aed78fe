"""One run of the agent as a process: environment in; work, last words, exit code out."""

from __future__ import annotations

import gc
import random
import time
import traceback
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath

from common import contract
from common.contract import AgentSettings, ContractError, ExitCode, Mode
from ipagent.assign.errors import AgentError, Usage
from ipagent.assign.faults import Clock, remaining
from ipagent.assign.report import Report
from ipagent.aws.pod_cloud import PodCloud
from ipagent.log import Log
from ipagent.netlink.namespace import Netlink
from ipagent.pod import init
from ipagent.pod.agent import Agent
from ipagent.signals import Signals, Stop
from ipagent.termination import write_message

TIMING = Clock(time.monotonic, time.sleep, random.random)

COLLECT = (700, 10, 10)
"""Python's own thresholds (`gc.set_threshold`), which `cli` changes for the start."""


@dataclass(frozen=True)
class Process:
    """What a process is given: the mode, its environment, its monotonic start, and two files to write."""

    mode: Mode
    env: Mapping[str, str]
    begun: float
    started_file: str
    termination_log: str


def work(process: Process) -> int:
    """Run the mode to its end; returns the exit code."""
    env = process.env
    who = (env.get(contract.ENV_POD_NAMESPACE, ""), env.get(contract.ENV_POD_NAME, ""))
    log = Log(*who)
    try:
        settings = AgentSettings.from_env(env)
        log = Log(*who, settings.log_level, settings.log_format)
        report = _run(process, settings, log)
    except ContractError as error:
        report = _ended(Usage(str(error)))
    except AgentError as error:
        report = _ended(error)
    except Exception as error:  # noqa: BLE001 - the last resort: a sentence, where the user looks for it
        log.debug("traceback", message="".join(traceback.format_exception(error)))
        report = _ended(fault(error))
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
        first = partial(init.run, agent, deadline, TIMING)
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
    _tell_started(started_file)
    # What the start has made stays: never to be looked through again. From now on garbage is garbage.
    gc.freeze()
    gc.set_threshold(*COLLECT)


def _tell_started(path: str) -> None:
    try:
        with open(path, "wb"):  # noqa: PTH123 - as short, and the probe asks by the same text
            pass
    except OSError as error:
        raise Usage(
            f"The sidecar can't say that it has started: {path} can't be written: {error.strerror}",
            f"Mount an emptyDir on {contract.RUN_DIRECTORY}, as the webhook does.",
        ) from None


def _ended(error: AgentError) -> Report:
    return Report(error.exit_code, f"{error}. {error.remedy}")


def fault(error: Exception) -> AgentError:
    """Give what nobody has foreseen as an error of the agent, with its place in the code."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{PurePath(frame.filename).name}:{frame.lineno}"
    return AgentError(f"{type(error).__name__} at {place}: {error}")
