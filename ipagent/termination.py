"""How a process of the agent ends: exit code and message, and the texts that all modes share; pure.

Every injected container loads this module: it imports next to nothing.
"""

from __future__ import annotations

from common.agent_settings import Mode, RestartPolicy
from common.exit_codes import ExitCode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipagent.log import Log

SIGNALLED = 128
"""Exit codes above it are those of signals."""
EXIT_SECONDS = 2.0
"""What a terminating agent takes at most to release its addresses.

Native sidecars are stopped last, and may have no more of the grace period than its least, 2 s (Kubernetes,
`pkg/kubelet/kuberuntime`, minimumGracePeriodInSeconds).
"""

READ_HELP = "`ipagent --help` lists the modes and every variable."
"""The remedy for a wrong environment."""
REPORT_BUG = "This is a bug in the agent: please report it and include this message."
"""The remedy for what nobody has foreseen."""


class Exit(Exception):
    """The process ends with this exit code and message; `address` and `eni` name what is assigned."""

    def __init__(self, code: int, message: str, *, address: str = "", eni: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.address = address
        self.eni = eni


_TRIED_AGAIN = frozenset(
    {
        ExitCode.NO_IMDS,
        ExitCode.NO_PERMISSION,
        ExitCode.ENI_FULL,
        ExitCode.HELD_ELSEWHERE,
        ExitCode.DEADLINE,
        ExitCode.EC2_UNREACHABLE,
        ExitCode.NODE_AGENT_UNREACHABLE,
    }
)
"""Codes of causes outside of the pod alone: once they are gone, the container's next start succeeds."""
_TIMED = frozenset({ExitCode.DEADLINE, ExitCode.EC2_UNREACHABLE, ExitCode.NODE_AGENT_UNREACHABLE})
"""Codes of what the agent tries until its time is up."""


def restart_text(code: int, mode: Mode, policy: RestartPolicy | None) -> str:
    """Return what becomes of the pod after this exit code, with a space before it; empty where it is no news.

    A native sidecar is restarted whatever the policy, an init container only where it is not Never
    (Kubernetes documentation, "Init Containers" and "Sidecar Containers").
    """
    if code == ExitCode.OK or code > SIGNALLED:
        return ""
    if policy is RestartPolicy.NEVER and mode is Mode.INIT:
        # Late: few containers end so, and all others would pay for the keys.
        from common.pod_keys import TIMEOUT  # noqa: PLC0415

        failed = (
            " The pod has restartPolicy Never: it has failed for good. Its owner, such as a Job or a virtual "
            "machine, decides about another; a pod without an owner has to be created again."
        )
        more = f" The annotation {TIMEOUT}, where the new pod has it, gives it more time than this one had."
        return failed + (more if code in _TIMED else "")
    if code not in _TRIED_AGAIN:
        return ""
    if policy is None and mode is Mode.INIT:
        return " The container starts again by itself, unless the pod has restartPolicy Never."
    return " The container starts again by itself."


def unplugged(interfaces: str) -> str:
    """Return the warning of a restarted sidecar about interfaces that the pod had at its first start."""
    return (
        f"The pod no longer has the interface {interfaces}, which it had when its first agent started. The "
        "agent goes on with the others, and assigns the missing addresses once the interface is plugged in "
        "again. If nobody unplugged it, delete the pod, so that Multus attaches its networks again."
    )


def crash_text(error: Exception, log: Log) -> str:
    """Return an unforeseen error with its place in the code; log its traceback."""
    import traceback  # noqa: PLC0415 - expensive, and hardly ever needed

    log.debug("traceback", message="".join(traceback.format_exception(error)))
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {frame.filename.rpartition('/')[2]}:{frame.lineno}: {error}"
