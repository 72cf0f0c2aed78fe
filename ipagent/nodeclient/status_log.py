"""The sidecar's log of statuses: each change is logged once."""

from __future__ import annotations

from common.exit_codes import ExitCode
from ipagent import node_protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipagent.log import Log
    from ipagent.node_protocol import ClaimStatus


WAITING_SECONDS = 10.0
"""How long a status is pending before that is logged: a node agent that has just started knows none yet."""


class StatusLogger:
    """Compares each status with the one before.

    A pending address is not a change. What is pending for WAITING_SECONDS is logged, with what it waits for.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._before: dict[tuple[str, str], tuple[str, str, str]] = {}
        self._message = ""
        self._waiting = self._waiting_logged = ""
        self._waiting_at = 0.0

    def set_baseline(self, status: ClaimStatus) -> None:
        """Record the status that has been logged already."""
        self._before = status.addresses or {}

    def due(self) -> float | None:
        """Return when `log_waiting` has something to log (monotonic), None if it has nothing."""
        return self._waiting_at if self._waiting != self._waiting_logged else None

    def log_waiting(self, status: ClaimStatus | None, now: float) -> None:
        """Log what a pod waits for once it has waited for a while; `status` is the last one, if any."""
        if status is None or status.state != node_protocol.PENDING:
            self._waiting = self._waiting_logged = ""
            return
        if not self._waiting:
            self._waiting_at = now + WAITING_SECONDS
        self._waiting = status.message
        if self._waiting != self._waiting_logged and now >= self._waiting_at:
            self._waiting_logged = self._waiting
            self._log.info("waiting", message=self._waiting)

    def log_changes(self, status: ClaimStatus) -> None:
        """Log what differs from the status before."""
        listed = status.addresses or {}
        if status.state == node_protocol.FAILED and not listed:
            self._log_failure(status)
            return
        self._message = ""
        for who, found in listed.items():
            if found[0] != node_protocol.PENDING and self._before.get(who) != found:
                self._before[who] = found
                self._log_address(*who, *found)
        if status.state != node_protocol.PENDING and status.addresses is not None:
            for who in [who for who in self._before if who not in listed]:
                self._log_removed(*who, self._before.pop(who)[1])

    def _log_failure(self, status: ClaimStatus) -> None:
        """Log a failure that concerns no single address."""
        if status.message != self._message:
            if status.code in (ExitCode.NOT_GRANTED, ExitCode.USAGE):
                self._log.error("refused", message=status.message)
            else:
                self._log.error("not-assigned", message=status.message)
        self._message = status.message

    def _log_address(self, address: str, interface: str, state: str, eni: str, text: str) -> None:
        about = f"{address} ({interface}){f' on {eni}' if eni else ''}: {text}"
        if state == node_protocol.ASSIGNED:
            self._log.info("assigned", message=f"{address} is on {eni}", address=address, eni=eni)
        elif state == node_protocol.CONFLICT:
            self._log.error("conflict", message=about, address=address, eni=eni)
        else:
            self._log.error("not-assigned", message=f"Not assigned: {about}", address=address, eni=eni)

    def _log_removed(self, address: str, interface: str, eni: str) -> None:
        on = f"; it was on {eni}" if eni else ""
        what = f"The pod no longer holds {address} ({interface}){on}"
        self._log.info("removed", message=what, address=address, eni=eni)
