"""Failed writes of requests: whether others would fail as well, and what the user does next. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common.kube.errors import ApiError, HangingWrite, KubeError, Unreachable
from ipagent.assign.ec2_error_codes import Failure, Fault

NO_API_SERVER = (
    "Check that the node reaches the API server: with agent.backend=central calls to EC2 are made through it."
)
_NO_RIGHT = (
    "Let the DaemonSet patch nodeattachments/status of its own node, as the chart does with "
    "agent.backend=central: has the release been upgraded as a whole?"
)
_NOT_TAKEN = (
    "See the API server's message: where it names a webhook, let that one run, or have it leave out "
    "nodeattachments."
)
_HANGS = (
    "Look for an admission webhook whose rules have nodeattachments/status, or all resources: let it run, or "
    "have it leave them out."
)
NOT_ATTACHED = "The ENI was detached, or its NodeNetwork does not select the node any more."


@dataclass(frozen=True, slots=True)
class Unwritten:
    """A write that has failed, after so many seconds."""

    error: KubeError
    took: float


def takes_none(failed: Sequence[Unwritten], written: int, wanted: int) -> bool:
    """Whether the API server takes no write at all, as the last failure shows.

    Where it does not answer, a webhook may hang for that NodeAttachment: one more is tried.
    """
    error = failed[-1].error
    if error.of_one_object:
        return False
    if isinstance(error, Unreachable):
        silent = all(isinstance(each.error, Unreachable) for each in failed)
        return silent and not written and len(failed) == min(2, wanted)
    return True


def not_written(error: Exception, *, alone: bool) -> Failure:
    """Return the failure that a refused or unanswered write is; `alone`: the API server takes others."""
    if isinstance(error, ApiError) and error.not_found:
        return Failure(Fault.NO_ENI, str(error), remedy=NOT_ATTACHED)
    if isinstance(error, ApiError) and error.forbidden:
        return Failure(Fault.NO_PERMISSION, str(error), remedy=_NO_RIGHT)
    return Failure(Fault.UNREACHABLE, str(error), remedy=_remedy(error, alone=alone))


def _remedy(error: Exception, *, alone: bool) -> str:
    if isinstance(error, HangingWrite):
        return _HANGS
    return _NOT_TAKEN if alone else NO_API_SERVER


def not_tried(name: str, error: Exception) -> Failure:
    """Return the failure of requests left for another time, since those of others took long to fail."""
    text = f"the requests of NodeAttachment {name} wait for others, which took long to fail: {error}"
    return Failure(Fault.UNREACHABLE, text, remedy=_remedy(error, alone=True))


def may_be_withdrawn(error: Exception) -> bool:
    """Whether a write that has failed may have taken place, and is to be taken back at once.

    Not where a webhook was asked before, in vain. Nor where there was no answer: to take it back would hang
    as long, and might be overtaken. The next write replaces it, and without one it expires (MAX_AGE).
    """
    return isinstance(error, ApiError) and error.code >= 500 and "webhook" not in error.message
