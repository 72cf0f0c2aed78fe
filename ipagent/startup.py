"""What the agent's processes share: their inputs, the file for the startup probe, and the text of a crash.

Every injected container loads this module: it imports next to nothing.
"""

from __future__ import annotations

import gc

from common import contract
from common.contract import ExitCode, Mode, RestartPolicy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipagent.log import Log

GC_THRESHOLDS = (700, 10, 10)
"""Python's own (`gc.set_threshold`); `cli` raises them for the start."""

SIGNALLED = 128
"""Exit codes above it are those of signals."""

REPORT_BUG = "This is a bug in the agent: please report it and include this message."
"""The remedy for what nobody has foreseen."""


class Process:
    """What a container's process is given: mode, environment, monotonic start in seconds, and paths.

    It writes `started_file` and `termination_log`, and reads `token_file` with the backend `node` alone.
    """

    __slots__ = ("begun", "env", "mode", "started_file", "termination_log", "token_file")

    def __init__(  # noqa: PLR0913 - one keyword a field
        self,
        *,
        mode: Mode,
        env: Mapping[str, str],
        begun: float,
        started_file: str,
        termination_log: str,
        token_file: str,
    ) -> None:
        self.mode = mode
        self.env = env
        self.begun = begun
        self.started_file = started_file
        self.termination_log = termination_log
        self.token_file = token_file


def restart_text(code: int, mode: Mode, policy: RestartPolicy | None) -> str:
    """Return what becomes of the pod after this exit code, with a space before it; empty where it is no news.

    A native sidecar is restarted whatever the policy, an init container only where it is not Never
    (Kubernetes documentation, "Init Containers" and "Sidecar Containers").
    """
    if code == ExitCode.OK or code > SIGNALLED:
        return ""
    if policy is RestartPolicy.NEVER and mode is Mode.INIT:
        return (
            " The pod has restartPolicy Never: it has failed for good, and its owner, such as a Job, decides "
            f"about another. The annotation {contract.TIMEOUT} in its template gives it more time than "
            "the agent had."
        )
    if code != ExitCode.DEADLINE:
        return ""
    if policy is None and mode is Mode.INIT:
        return " The container starts again by itself, unless the pod has restartPolicy Never."
    return " The container starts again by itself."


class StartedFileError(Exception):
    """The file for the startup probe cannot be written; `remedy` says what the user does next."""

    remedy = f"Mount an emptyDir on {contract.RUN_DIRECTORY}, as the webhook does."


def mark_started(path: str) -> None:
    """Create the file that the startup probe looks for (`ipagent started`); raises StartedFileError."""
    try:
        with open(path, "wb"):  # noqa: PTH123 - as short, and the probe asks by the same text
            pass
    except OSError as error:
        raise StartedFileError(
            f"The sidecar cannot report that it has started: {path} cannot be written: {error.strerror}"
        ) from None


def end_startup() -> None:
    """Exempt what the start has created from garbage collection, and restore the collector's thresholds."""
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def crash_text(error: Exception, log: Log) -> str:
    """Return an unforeseen error with its place in the code; log its traceback."""
    import traceback  # noqa: PLC0415 - expensive, and hardly ever needed

    log.debug("traceback", message="".join(traceback.format_exception(error)))
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {frame.filename.rpartition('/')[2]}:{frame.lineno}: {error}"
