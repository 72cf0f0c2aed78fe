"""Exits of the backend `node` alone: the node agent is unreachable, does not answer, or refuses the pod."""

from __future__ import annotations

from common.agent_container import CONTAINER_NAME, TOKEN_VOLUME
from common.exit_codes import ExitCode
from ipagent.termination import Exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipagent.node_protocol import Refusal


def unreachable(authority: str, node: str, seconds: int, why: str) -> Exit:
    """Return the exit where nobody has answered in time."""
    on = f" of {node}" if node else ""
    port = authority.rpartition(":")[2]
    return Exit(
        ExitCode.NODE_AGENT_UNREACHABLE,
        f"The node agent{on} at {authority} could not be reached within {seconds} s: {why}. Check that the "
        "DaemonSet of the node agent has a ready pod on this node, and that it listens on that port "
        f"({port}/TCP). If so, look for the cause in the pod: a NetworkPolicy that blocks egress to the "
        "node's address, a service mesh that redirects before its own container runs, or a default route on "
        "a Multus network.",
    )


def not_served(authority: str, seconds: int, why: str) -> Exit:
    """Return the exit where the node agent answers, but has not served the pod in time."""
    return Exit(
        ExitCode.DEADLINE,
        f"The node agent at {authority} has not served this pod within {seconds} s: {why}. The log of its "
        "pod on this node says more.",
    )


def refused(authority: str, refusal: Refusal) -> Exit:
    """Return the exit where the node agent refuses this pod, with the remedy that the refusal names."""
    what = f"The node agent at {authority} refuses this pod ({refusal.status}): {refusal.text.rstrip('.')}."
    if refusal.status in (401, 403):
        remedy = refusal.remedy or "Check that what listens there is the node agent: its log says more."
        return Exit(ExitCode.NOT_GRANTED, f"{what} {remedy}")
    remedy = refusal.remedy or "Check that the node agent is at least as new as the image of this container."
    return Exit(ExitCode.USAGE, f"{what} {remedy}")


def no_token(path: str, why: str) -> Exit:
    """Return the exit where the pod's token cannot be read."""
    return Exit(
        ExitCode.USAGE,
        f"The token by which the node agent knows this pod cannot be read: {path}: {why}. Check that "
        f"{CONTAINER_NAME} mounts the volume {TOKEN_VOLUME}, as the webhook writes it, or create the pod "
        "again.",
    )
