"""The frame of the injected container, whatever its backend: settings, one run of its mode, the end.

Every injected container loads this module: it imports next to nothing.
"""

from __future__ import annotations

import gc
import os

from common.agent_container import RUN_DIRECTORY
from common.agent_settings import ENV_POD_NAME, ENV_POD_NAMESPACE, AgentSettings, ContractError
from common.exit_codes import ExitCode
from ipagent.log import Log
from ipagent.termination import READ_HELP, REPORT_BUG, Exit, crash_text, restart_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from common.agent_settings import Mode

COLLECT_AT_WORK = 700
"""As in `common/python_gc.py`, without its import; `cli` begins the start."""
MAX_BYTES = 4096
"""Kubernetes takes no more ("Determine the Reason for Pod Failure": Customizing the termination message)."""


class ContainerContext:
    """What the run of a container is given: mode, environment, monotonic start in seconds, and paths.

    It writes `started_file` and `termination_log`, and reads `token_file` with the backend `node` alone.
    `restarted`: a sidecar of this pod has completed its first assignment before.
    """

    __slots__ = ("begun", "env", "mode", "restarted", "started_file", "termination_log", "token_file")

    def __init__(  # noqa: PLR0913 - one keyword a field
        self,
        *,
        mode: Mode,
        env: Mapping[str, str],
        begun: float,
        started_file: str,
        termination_log: str,
        token_file: str,
        restarted: bool = False,
    ) -> None:
        self.mode = mode
        self.env = env
        self.begun = begun
        self.started_file = started_file
        self.termination_log = termination_log
        self.token_file = token_file
        self.restarted = restarted


def run_container(
    context: ContainerContext, run: Callable[[ContainerContext, AgentSettings, Log], Exit]
) -> int:
    """Run the container to its end: `run` returns or raises its Exit. Returns the exit code.

    The end is logged and is the termination message, whatever ended it.
    """
    env = context.env
    who = (env.get(ENV_POD_NAMESPACE, ""), env.get(ENV_POD_NAME, ""))
    log = Log(*who)
    policy = None
    try:
        settings = AgentSettings.from_env(env)
        policy = settings.restart_policy
        log = Log(*who, settings.log_level, settings.log_format)
        end = run(context, settings, log)
    except ContractError as error:
        end = Exit(ExitCode.USAGE, f"{error}. {READ_HELP}")
    except Exit as raised:
        end = raised
    except Exception as error:  # noqa: BLE001 - the last resort: a sentence, where the user looks for it
        end = Exit(ExitCode.INTERNAL, f"{crash_text(error, log)}. {REPORT_BUG}")
    message = end.message + restart_text(end.code, context.mode, policy)
    write_message(context.termination_log, message)
    if end.code == ExitCode.OK:
        log.info("done", message=message, address=end.address, eni=end.eni)
    else:
        log.error("failed", message=message, address=end.address, eni=end.eni)
    return end.code


def write_message(path: str, text: str) -> None:
    """Write the termination message into an existing file; without one, outside Kubernetes, do nothing."""
    data = text.encode("utf-8", "replace")
    if len(data) > MAX_BYTES:
        from common.shorten import without_middle  # noqa: PLC0415 - few messages are that long

        data = without_middle(text, MAX_BYTES).encode("utf-8", "replace")
    try:
        # Never created: a stray file in /dev helps nobody.
        file = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.write(file, data)
    except OSError:
        return
    finally:
        os.close(file)


def mark_started(context: ContainerContext) -> None:
    """Report to the startup probe that the sidecar has started (`ipagent started`); raises Exit."""
    path = context.started_file
    try:
        with open(path, "wb"):  # noqa: PTH123 - as short, and the probe asks by the same text
            pass
    except OSError as error:
        raise Exit(
            ExitCode.USAGE,
            f"The sidecar cannot report that it has started: {path} cannot be written: {error.strerror}. "
            f"Mount an emptyDir on {RUN_DIRECTORY}, as the webhook does.",
        ) from None
    gc.freeze()
    gc.set_threshold(COLLECT_AT_WORK)
