"""The container's process with the backend `node`: from its environment to its exit code."""

from __future__ import annotations

import _socket as socket  # socket would make enums of its constants: a tenth of the start

from common.agent_settings import (
    DOWNWARD_API,
    ENV_HOST_IP,
    ENV_NODE_NAME,
    ENV_POD_NAME,
    ENV_POD_NAMESPACE,
    ENV_POD_UID,
    AgentSettings,
    ContractError,
    Mode,
)
from common.exit_codes import ExitCode
from common.version import VERSION
from ipagent.log import Log
from ipagent.netlink.sockets import REMEDY, KernelError, NetlinkSocket
from ipagent.node_protocol import StatementKey
from ipagent.nodeclient.agent import NodeClientAgent, log_fields
from ipagent.nodeclient.session import ReconnectingSession
from ipagent.nodeclient.signal_fd import SignalFd
from ipagent.startup import ContainerContext, mark_started, run_container
from ipagent.termination import Exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

POD = {
    StatementKey.NAMESPACE: ENV_POD_NAMESPACE,
    StatementKey.NAME: ENV_POD_NAME,
    StatementKey.UID: ENV_POD_UID,
}
"""Environment variables that identify the pod."""


def run(context: ContainerContext) -> int:
    """Run the mode to its end; returns the exit code."""
    return run_container(context, _run)


def _run(context: ContainerContext, settings: AgentSettings, log: Log) -> Exit:
    env = context.env
    pod = {part: _needed(env, name) for part, name in POD.items()}
    session = ReconnectingSession(_host(env), settings.node_port, context.token_file, VERSION)
    try:
        with SignalFd() as stop, NetlinkSocket() as kernel:
            client = NodeClientAgent(
                mode=context.mode,
                settings=settings,
                pod=pod,
                node=env.get(ENV_NODE_NAME, ""),
                kernel=kernel,
                session=session,
                stop=stop,
                log=log,
                restarted=context.restarted,
            )
            last = client.wait_until_assigned(context.begun + settings.timeout)
            if context.mode is Mode.INIT:
                return Exit(ExitCode.OK, last.message, **log_fields(last))
            mark_started(context)
            log.info("started", message=last.message, **log_fields(last))
            client.follow()
    except KernelError as error:
        return Exit(ExitCode.INTERNAL, f"{error}. {REMEDY}")
    finally:
        session.close()


def _needed(env: Mapping[str, str], name: str) -> str:
    if value := env.get(name, ""):
        return value
    field = DOWNWARD_API[name]
    raise ContractError(f"{name} is missing; the webhook sets it from the pod's {field}")


def _host(env: Mapping[str, str]) -> str:
    host = _needed(env, ENV_HOST_IP)
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    except OSError:
        # A name would be looked up, which blocks.
        raise ContractError(f"{ENV_HOST_IP}: {host!r} is not an IP address") from None
    return host
