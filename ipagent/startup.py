"""What the agent's processes share: their inputs, the file for the startup probe, and the text of a crash.

Every injected container loads this module: it imports next to nothing.
"""

from __future__ import annotations

import gc

from common import contract

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from common.contract import Mode
    from ipagent.log import Log

GC_THRESHOLDS = (700, 10, 10)
"""Python's own (`gc.set_threshold`); `cli` raises them for the start."""

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
