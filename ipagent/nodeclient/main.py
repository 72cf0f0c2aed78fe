"""The container's process with the backend `node`: from its environment to its exit code."""

from __future__ import annotations

import socket

from common import contract
from common.contract import AgentSettings, ContractError, ExitCode, Mode
from common.version import VERSION
from ipagent.log import Log
from ipagent.netlink.sockets import REMEDY, KernelError, NetlinkSocket
from ipagent.nodeclient.agent import NodeClientAgent, log_fields
from ipagent.nodeclient.exits import USAGE, Exit
from ipagent.nodeclient.session import ReconnectingSession
from ipagent.nodeclient.signals import SignalFd
from ipagent.startup import (
    REPORT_BUG,
    Process,
    StartedFileError,
    crash_text,
    end_startup,
    mark_started,
    restart_text,
)
from ipagent.termination import write_message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

POD = {"namespace": contract.ENV_POD_NAMESPACE, "name": contract.ENV_POD_NAME, "uid": contract.ENV_POD_UID}
"""Environment variables that identify the pod."""


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
        end = _run(process, settings, log)
    except ContractError as error:
        end = Exit(ExitCode.USAGE, f"{error}. {USAGE}")
    except Exception as error:  # noqa: BLE001 - the last resort: a sentence, where the user looks for it
        end = Exit(ExitCode.INTERNAL, f"{crash_text(error, log)}. {REPORT_BUG}")
    end.message += restart_text(end.code, process.mode, policy)
    write_message(process.termination_log, end.message)
    if end.code == ExitCode.OK:
        log.info("done", message=end.message, address=end.address, eni=end.eni)
    else:
        log.error("failed", message=end.message, address=end.address, eni=end.eni)
    return end.code


def _run(process: Process, settings: AgentSettings, log: Log) -> Exit:
    env = process.env
    pod = {part: _needed(env, name) for part, name in POD.items()}
    session = ReconnectingSession(_host(env), settings.node_port, process.token_file, VERSION)
    try:
        with SignalFd() as stop, NetlinkSocket() as kernel:
            client = NodeClientAgent(
                mode=process.mode,
                settings=settings,
                pod=pod,
                node=env.get(contract.ENV_NODE_NAME, ""),
                kernel=kernel,
                session=session,
                stop=stop,
                log=log,
            )
            last = client.wait_until_assigned(process.begun + settings.timeout)
            if process.mode is Mode.INIT:
                return Exit(ExitCode.OK, last.message, **log_fields(last))
            begin_life(process.started_file)
            log.info("started", message=last.message, **log_fields(last))
            client.follow()
    except KernelError as error:
        return Exit(ExitCode.INTERNAL, f"{error}. {REMEDY}")
    except Exit as end:
        return end
    finally:
        session.close()


def _needed(env: Mapping[str, str], name: str) -> str:
    if value := env.get(name, ""):
        return value
    field = contract.DOWNWARD_API[name]
    raise ContractError(f"{name} is missing; the webhook sets it from the pod's {field}")


def _host(env: Mapping[str, str]) -> str:
    host = _needed(env, contract.ENV_HOST_IP)
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    except OSError:
        # A name would be looked up, which blocks.
        raise ContractError(f"{contract.ENV_HOST_IP}: {host!r} is not an IP address") from None
    return host


def begin_life(started_file: str) -> None:
    """Report to the startup probe that the sidecar has started; raises Exit."""
    try:
        mark_started(started_file)
    except StartedFileError as error:
        raise Exit(ExitCode.USAGE, f"{error}. {error.remedy}") from None
    end_startup()
