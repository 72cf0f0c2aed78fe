"""What a sidecar has said, so that each change is said once."""

from __future__ import annotations

from common.contract import ExitCode
from ipagent import nodeprotocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipagent.log import Log
    from ipagent.nodeprotocol import ClaimStatus


class StatusLogger:
    """Compares what the node's agent says with what it said before.

    What is pending says nothing new: a node's agent that has just started knows no address yet.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._before: dict[tuple[str, str], tuple[str, str, str]] = {}
        self._message = ""

    def begin(self, standing: ClaimStatus) -> None:
        """Take what has been said already."""
        self._before = standing.addresses or {}

    def tell(self, standing: ClaimStatus) -> None:
        """Log what is new."""
        listed = standing.addresses or {}
        if standing.state == nodeprotocol.FAILED and not listed:
            self._tell_whole(standing)
            return
        self._message = ""
        for who, said in listed.items():
            if said[0] != nodeprotocol.PENDING and self._before.get(who) != said:
                self._before[who] = said
                self._tell_one(*who, *said)
        if standing.state != nodeprotocol.PENDING and standing.addresses is not None:
            for who in [who for who in self._before if who not in listed]:
                self._tell_removed(*who, self._before.pop(who)[1])

    def _tell_whole(self, standing: ClaimStatus) -> None:
        """Tell what concerns no single address."""
        if standing.message != self._message:
            if standing.code in (ExitCode.NOT_GRANTED, ExitCode.USAGE):
                self._log.error("refused", message=standing.message)
            else:
                self._log.error("not-assigned", message=standing.message)
        self._message = standing.message

    def _tell_one(self, address: str, interface: str, state: str, eni: str, text: str) -> None:
        about = f"{address} ({interface}){f' on {eni}' if eni else ''}: {text}"
        if state == nodeprotocol.ASSIGNED:
            self._log.info("assigned", message=f"{address} is on {eni}", address=address, eni=eni)
        elif state == nodeprotocol.CONFLICT:
            self._log.error("conflict", message=about, address=address, eni=eni)
        else:
            self._log.error("not-assigned", message=f"Not assigned: {about}", address=address, eni=eni)

    def _tell_removed(self, address: str, interface: str, eni: str) -> None:
        on = f"; it was on {eni}" if eni else ""
        what = f"The pod no longer holds {address} ({interface}){on}"
        self._log.info("removed", message=what, address=address, eni=eni)
