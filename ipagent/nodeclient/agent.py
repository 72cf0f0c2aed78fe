"""`init` and `sidecar` where the agent of the node does the work: state what is seen, and wait for its word.

Nothing is decided here: which addresses count, and what becomes of them, is the node's to say.
"""

from __future__ import annotations

import select
import time

from common import contract
from common.contract import ExitCode, Mode
from ipagent import nodeprotocol
from ipagent.netlink.sockets import REMEDY, KernelError
from ipagent.nodeclient import exits, signals, snapshot
from ipagent.nodeclient.exits import Exit
from ipagent.nodeclient.session import FINAL, NoToken
from ipagent.nodeclient.status_log import StatusLogger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from common.contract import AgentSettings
    from ipagent.log import Log
    from ipagent.netlink.sockets import NetlinkSocket
    from ipagent.nodeclient.session import ReconnectingSession
    from ipagent.nodeclient.signals import SignalFd
    from ipagent.nodeprotocol import ClaimStatus

LOOK_SECONDS = 5.0
"""Between tries to read the pod's addresses, when the kernel does not give them."""
LEAVE_SECONDS = 2.0
"""Native sidecars are stopped last, and may have no more of the grace period than its least: 2 s.

Kubernetes, `pkg/kubelet/kuberuntime`, minimumGracePeriodInSeconds.
"""


class NodeClientAgent:
    """One container's life; `pod` is its namespace, name and uid, `node` the node's name for messages."""

    def __init__(  # noqa: PLR0913 - its seams, by name
        self,
        *,
        mode: Mode,
        settings: AgentSettings,
        pod: dict[str, str],
        node: str,
        kernel: NetlinkSocket,
        talk: ReconnectingSession,
        stop: SignalFd,
        log: Log,
    ) -> None:
        self._mode = mode
        self._settings = settings
        self._pod = pod
        self._node = node
        self._kernel = kernel
        self._talk = talk
        self._stop = stop
        self._log = log
        self._told = StatusLogger(log)
        self._seen: dict[str, Any] | None = None
        self._again: list[str] = []
        self._news = False
        self._changed = True
        self._look_at = 0.0
        self._trouble = ""
        self._last: ClaimStatus | None = None

    def first(self, deadline: float) -> ClaimStatus:
        """Wait until every address is assigned; raises Exit where that can't be, or not in time."""
        timeout = self._settings.timeout
        what = f"Asking the node's agent at {self._talk.authority}; {timeout} s to assign the pod's addresses"
        self._log.info("start", message=what)
        waiting = ""
        while True:
            try:
                self._update()
                last = self._turn(deadline)
            except KernelError as error:
                raise Exit(ExitCode.INTERNAL, f"{error}. {REMEDY}") from None
            except NoToken as error:
                raise exits.no_token(self._talk.token_file, str(error)) from None
            if number := self._stop.taken():
                raise self._stopped(number)
            if last and last.state == nodeprotocol.ASSIGNED:
                return last
            if last and last.state == nodeprotocol.FAILED:
                raise Exit(last.code, last.message, **log_fields(last))
            refusal = self._talk.refusal
            if refusal and refusal.status in FINAL:
                raise exits.refused(self._talk.authority, refusal.status, refusal.text)
            if time.monotonic() >= deadline:
                raise self._late()
            self._tell_trouble()
            if last and last.message != waiting:
                waiting = last.message
                self._log.info("waiting", message=waiting)

    def live(self) -> NoReturn:
        """Go on until SIGTERM, and say what changes; raises Exit."""
        self._talk.be_patient()
        if self._last:
            self._told.begin(self._last)
        while True:
            now = time.monotonic()
            try:
                if now >= self._look_at:
                    self._update()
                if standing := self._turn(self._look_at if self._changed else None):
                    self._told.tell(standing)
            except KernelError as error:
                self._look_at = now + LOOK_SECONDS
                self._log.warning("lookup-failed", message=f"{error}. {REMEDY}")
            except NoToken as error:
                self._talk.put_off(f"its token can't be read: {error}", now)
            self._tell_trouble()
            if number := self._stop.taken():
                raise self._left(number)

    def _update(self) -> None:
        """State what is seen, if that is new; raises KernelError."""
        if not self._changed:
            return
        # In this order: what happens in between wakes the next wait.
        gone = snapshot.removed_addresses(self._kernel)
        if gone:
            self._again = [*self._again, *(each for each in gone if each not in self._again)]
            self._again = self._again[-nodeprotocol.MAX_AGAIN :]
            self._news = True
        seen = snapshot.take_snapshot(self._kernel, routes=not self._settings.interfaces)
        self._changed = False
        if self._news or seen != self._seen:
            self._seen = seen
            self._state()

    def _state(self, **more: object) -> None:
        settings = self._settings
        self._last, self._news = None, False
        self._talk.state(
            {
                "contract": contract.CONTRACT,
                "mode": self._mode,
                "pod": self._pod,
                "interfaces": settings.interfaces,
                "takeover": settings.takeover,
                "releaseOnExit": settings.release_on_exit,
                "allowedCidrs": settings.allowed_cidrs,
                "again": self._again,
                **(self._seen or {}),
                **more,
            }
        )

    def _turn(self, until: float | None) -> ClaimStatus | None:
        """Serve the session until something happens or `until`; returns the status of the last statement."""
        talk = self._talk
        talk.step(time.monotonic())
        poll = select.poll()
        if not self._changed:
            # While a change waits to be read, more of it would only wake.
            poll.register(self._kernel, select.POLLIN)
        poll.register(self._stop, select.POLLIN)
        line = talk.watch(poll)
        ready = dict(poll.poll(_milliseconds(until, talk.due())))
        if self._kernel.fileno() in ready:
            self._changed = True
        if line in ready:
            for standing in talk.ready(ready[line], time.monotonic()):
                self._last = standing
                # It has been heard: what is stated again must not take addresses back again.
                self._again = []
                talk.forget("again")
        return self._last

    def _tell_trouble(self) -> None:
        trouble = self._talk.trouble
        if trouble == self._trouble:
            return
        authority = self._talk.authority
        if not trouble:
            self._log.info("reached", message=f"The node's agent at {authority} answers again")
        elif self._talk.refusal:
            self._log.error("refused", message=f"The node's agent at {authority} refuses this pod: {trouble}")
        else:
            self._log.warning("unreachable", message=f"The node's agent at {authority}: {trouble}")
        self._trouble = trouble

    def _late(self) -> Exit:
        seconds = self._settings.timeout
        last = self._last
        if last is None:
            why = self._talk.trouble or "it has said nothing"
            if self._talk.refusal:
                return exits.not_served(self._talk.authority, seconds, why)
            return exits.unreachable(self._talk.authority, self._node, seconds, why)
        lost = f" (then the connection was lost: {self._talk.trouble})" if self._talk.trouble else ""
        return Exit(last.code, f"Not within {seconds} s: {last.message}{lost}", **log_fields(last))

    def _stopped(self, number: int) -> Exit:
        """Give the end by a signal during the first assignment."""
        by = signals.name(number)
        if self._mode is Mode.SIDECAR:
            return Exit(128 + number, f"Ended by {by}. {self._leave()}")
        why = self._talk.trouble or "the node's agent has said nothing"
        said = self._last.message if self._last else f"Nothing is known to be assigned: {why}."
        return Exit(128 + number, f"Ended by {by} before the end. {said}")

    def _left(self, number: int) -> Exit:
        return Exit(ExitCode.OK, f"Ended by {signals.name(number)}. {self._leave()}")

    def _leave(self) -> str:
        """Let the pod's addresses be given back, if they are to be; says what became of it."""
        if not self._settings.release_on_exit:
            return "No address was released."
        until = time.monotonic() + LEAVE_SECONDS
        self._state(leaving=True)
        try:
            while time.monotonic() < until:
                last = self._turn(until)
                if last and last.state != nodeprotocol.PENDING:
                    return last.message
        except NoToken as error:
            return f"Its addresses may not be released: its token can't be read: {error}."
        why = self._talk.trouble or "the node's agent has not said so yet"
        return f"Its addresses may not be released: {why}."


def log_fields(standing: ClaimStatus) -> dict[str, str]:
    """Name the addresses that are assigned, and their ENIs, for a log line."""
    found = [
        (address, eni)
        for (address, _), (state, eni, _) in (standing.addresses or {}).items()
        if state == nodeprotocol.ASSIGNED
    ]
    return {
        "address": ", ".join(address for address, _ in found),
        "eni": ", ".join(dict.fromkeys(eni for _, eni in found if eni)),
    }


def _milliseconds(*times: float | None) -> int | None:
    """Give how long to sleep until the first of these, rounded up so that no loop spins."""
    first = min((each for each in times if each is not None), default=None)
    return None if first is None else max(0, int((first - time.monotonic()) * 1000) + 1)
