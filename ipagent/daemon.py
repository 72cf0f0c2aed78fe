"""The frame of the programs that serve a node: they work until a signal, and end with a sentence."""

from __future__ import annotations

from collections.abc import Callable

from common.contract import ExitCode
from common.kube.errors import ClusterError
from ipagent.assign.errors import AgentError, Usage
from ipagent.log import Log
from ipagent.signals import Signals, Stop
from ipagent.termination import crash_text


def run_daemon(log: Log, run: Callable[[Signals], None], what_stays: str) -> int:
    """Run until `Stop`; returns the exit code. `what_stays` ends the sentence that is logged then."""
    try:
        with Signals() as signals:
            try:
                run(signals)
            except Stop as stop:
                log.info("stopped", message=f"Ended by {stop}; {what_stays}")
    except Exception as error:  # noqa: BLE001 - the last resort: a sentence, where the user looks for it
        return end_with(log, error)
    return ExitCode.OK


def end_with(log: Log, error: Exception) -> int:
    """Log why the program ends, with the remedy; returns the exit code."""
    if isinstance(error, ClusterError):
        failure: AgentError = Usage(str(error), "Run it in a pod with a ServiceAccount, or set KUBECONFIG.")
    elif isinstance(error, AgentError):
        failure = error
    else:
        failure = AgentError(crash_text(error, log))
    log.error("failed", message=f"{failure}. {failure.remedy}")
    return failure.exit_code
