"""`init` and `sidecar` with the backend `node`: send the pod's addresses, and wait for their status.

Nothing is decided here: the node agent decides which addresses count and what becomes of them.
"""

from __future__ import annotations

import select
import time

from common.agent_settings import CONTRACT, Mode
from common.exit_codes import ExitCode
from ipagent import node_protocol
from ipagent.netlink.sockets import REMEDY, KernelError
from ipagent.node_protocol import StatementKey
from ipagent.nodeclient import exits, pod_network_snapshot
from ipagent.nodeclient.session import FINAL, NoToken
from ipagent.nodeclient.signal_fd import signal_name
from ipagent.nodeclient.status_log import WAITING_SECONDS, StatusLogger
from ipagent.termination import EXIT_SECONDS, Exit, unplugged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from common.agent_settings import AgentSettings
    from ipagent.log import Log
    from ipagent.netlink.sockets import NetlinkSocket
    from ipagent.node_protocol import ClaimStatus
    from ipagent.nodeclient.session import ReconnectingSession
    from ipagent.nodeclient.signal_fd import SignalFd

LOOK_SECONDS = 5.0
"""Between tries to read the pod's addresses, when the kernel does not give them."""


class NodeClientAgent:
    """One run of the container; `pod` is its namespace, name and uid, `node` the node's name for messages.

    `restarted`: an agent of this pod has completed its first assignment before.
    """

    def __init__(  # noqa: PLR0913 - its seams, by name
        self,
        *,
        mode: Mode,
        settings: AgentSettings,
        pod: dict[str, str],
        node: str,
        kernel: NetlinkSocket,
        session: ReconnectingSession,
        stop: SignalFd,
        log: Log,
        restarted: bool = False,
    ) -> None:
        self._mode = mode
        self._settings = settings
        # Names of the networks annotation leave no interface out: network-status has the real ones.
        self._only = () if settings.guessed_interfaces else settings.interfaces
        self._pod = pod
        self._node = node
        self._kernel = kernel
        self._session = session
        self._stop = stop
        self._log = log
        self._restarted = restarted
        self._warned = False
        self._status_log = StatusLogger(log)
        self._seen: dict[str, Any] | None = None
        self._again: list[str] = []
        self._news = False
        self._changed = True
        self._look_at = 0.0
        self._trouble = ""
        self._last: ClaimStatus | None = None
        self._waiting = ""
        self._silent_at: float | None = None

    def wait_until_assigned(self, deadline: float) -> ClaimStatus:
        """Wait until every address is assigned; raises Exit if one cannot be, or not before `deadline`."""
        timeout = self._settings.timeout
        what = (
            f"Asking the node agent at {self._session.authority}; {timeout} s to assign the pod's addresses"
        )
        self._log.info("start", message=what)
        self._silent_at = time.monotonic() + WAITING_SECONDS
        while True:
            try:
                self._update()
                self._warn_of_unplugged()
                last = self._serve(deadline, self._silent_at)
            except KernelError as error:
                raise Exit(ExitCode.INTERNAL, f"{error}. {REMEDY}") from None
            except NoToken as error:
                raise exits.no_token(self._session.token_file, str(error)) from None
            if number := self._stop.take():
                raise self._exit_before_start(number)
            if last and last.state == node_protocol.ASSIGNED:
                return last
            if last and last.state == node_protocol.FAILED:
                raise Exit(last.code, last.message, **log_fields(last))
            refusal = self._session.refusal
            if refusal and refusal.status in FINAL:
                raise exits.refused(self._session.authority, refusal)
            if time.monotonic() >= deadline:
                raise self._timed_out()
            self._log_connection()
            self._log_waiting(last)

    def _log_waiting(self, last: ClaimStatus | None) -> None:
        """Log what the first assignment waits for, each thing once; silence only after a while."""
        text = last.message if last else ""
        if self._silent_at is not None and time.monotonic() >= self._silent_at:
            self._silent_at = None
            if last is None and not self._session.trouble:
                text = f"The node agent at {self._session.authority} has not answered yet"
        if text and text != self._waiting:
            self._waiting = text
            self._log.info("waiting", message=text)

    def follow(self) -> NoReturn:
        """Send changes and log statuses until SIGTERM; raises Exit."""
        self._session.slow_down()
        if self._last:
            self._status_log.set_baseline(self._last)
        while True:
            now = time.monotonic()
            try:
                if now >= self._look_at:
                    self._update()
                status = self._serve(self._look_at if self._changed else None, self._status_log.due())
                if status:
                    self._status_log.log_changes(status)
                self._status_log.log_waiting(status, time.monotonic())
            except KernelError as error:
                self._look_at = now + LOOK_SECONDS
                self._log.warning("lookup-failed", message=f"{error}. {REMEDY}")
            except NoToken as error:
                self._session.retry_later(f"its token cannot be read: {error}", now)
            self._log_connection()
            if number := self._stop.take():
                raise self._exit_after_start(number)

    def _update(self) -> None:
        """Send the pod's addresses if they have changed; raises KernelError."""
        if not self._changed:
            return
        # In this order: what happens in between wakes the next wait.
        gone = pod_network_snapshot.removed_addresses(self._kernel)
        if gone:
            self._again = [*self._again, *(each for each in gone if each not in self._again)]
            self._again = self._again[-node_protocol.MAX_AGAIN :]
            self._news = True
        named = self._settings.interfaces if self._settings.guessed_interfaces else None
        seen = pod_network_snapshot.take_snapshot(self._kernel, routes=not self._only, named=named)
        self._changed = False
        if self._news or seen != self._seen:
            self._seen = seen
            self._send_statement()

    def _warn_of_unplugged(self) -> None:
        """Warn once, in a sidecar that starts again, of interfaces that the pod had and no longer has."""
        if not self._restarted or self._seen is None or self._warned:
            return
        self._warned = True
        there = {link[StatementKey.NAME] for link in self._seen[StatementKey.LINKS]}
        if missing := [name for name in self._only if name not in there]:
            self._log.warning("interface-missing", message=unplugged(", ".join(missing)))

    def _send_statement(self, more: dict[str, Any] | None = None) -> None:
        settings = self._settings
        self._last, self._news = None, False
        self._session.set_statement(
            {
                StatementKey.CONTRACT: CONTRACT,
                StatementKey.MODE: self._mode,
                StatementKey.POD: self._pod,
                StatementKey.INTERFACES: self._only,
                StatementKey.TAKEOVER: settings.takeover,
                StatementKey.RELEASE_ON_EXIT: settings.release_on_exit,
                StatementKey.ALLOWED_CIDRS: settings.allowed_cidrs,
                StatementKey.AGAIN: self._again,
                **({StatementKey.RESTARTED: True} if self._restarted else {}),
                **({StatementKey.EIP_WAIT: True} if settings.eip_wait else {}),
                **(self._seen or {}),
                **(more or {}),
            }
        )

    def _serve(self, *until: float | None) -> ClaimStatus | None:
        """Serve the session until something happens or a time comes; returns the last statement's status."""
        session = self._session
        session.step(time.monotonic())
        poll = select.poll()
        if not self._changed:
            # While a change waits to be read, more of it would only wake.
            poll.register(self._kernel, select.POLLIN)
        poll.register(self._stop, select.POLLIN)
        line = session.watch(poll)
        ready = dict(poll.poll(_milliseconds(*until, session.due())))
        if self._kernel.fileno() in ready:
            self._changed = True
        if line in ready:
            for status in session.ready(ready[line], time.monotonic()):
                self._last = status
                # It has been read: sent again, it would release the addresses again.
                self._again = []
                session.drop_key(StatementKey.AGAIN)
        return self._last

    def _log_connection(self) -> None:
        trouble = self._session.trouble
        if trouble == self._trouble:
            return
        authority = self._session.authority
        if not trouble:
            self._log.info("reached", message=f"The node agent at {authority} answers again")
        elif self._session.refusal:
            self._log.error("refused", message=f"The node agent at {authority} refuses this pod: {trouble}")
        else:
            self._log.warning("unreachable", message=f"The node agent at {authority}: {trouble}")
        self._trouble = trouble

    def _timed_out(self) -> Exit:
        seconds = self._settings.timeout
        last = self._last
        if last is None:
            why = self._session.trouble or "it has said nothing"
            if self._session.refusal:
                return exits.not_served(self._session.authority, seconds, why)
            return exits.unreachable(self._session.authority, self._node, seconds, why)
        lost = f" (then the connection was lost: {self._session.trouble})" if self._session.trouble else ""
        return Exit(last.code, f"Not within {seconds} s: {last.message}{lost}", **log_fields(last))

    def _exit_before_start(self, number: int) -> Exit:
        """Return the exit for a signal during the first assignment."""
        by = signal_name(number)
        if self._mode is Mode.SIDECAR:
            return Exit(128 + number, f"Ended by {by}. {self._release()}")
        why = self._session.trouble or "the node agent has not answered"
        state = self._last.message if self._last else f"No address is known to be assigned: {why}."
        return Exit(128 + number, f"Ended by {by} before the end. {state}")

    def _exit_after_start(self, number: int) -> Exit:
        return Exit(ExitCode.OK, f"Ended by {signal_name(number)}. {self._release()}")

    def _release(self) -> str:
        """Have the pod's addresses released, if it asks for that; returns a sentence about the result."""
        if not self._settings.release_on_exit:
            return "No address was released."
        until = time.monotonic() + EXIT_SECONDS
        self._send_statement({StatementKey.LEAVING: True})
        try:
            while time.monotonic() < until:
                last = self._serve(until)
                if last and last.state != node_protocol.PENDING:
                    return last.message
        except NoToken as error:
            return f"The pod's addresses might not have been released: its token cannot be read: {error}."
        why = self._session.trouble or "the node agent has not confirmed it yet"
        return f"The pod's addresses might not have been released: {why}."


def log_fields(status: ClaimStatus) -> dict[str, str]:
    """Return the assigned addresses and their ENIs as fields of a log line."""
    found = [
        (address, eni)
        for (address, _), (state, eni, _) in (status.addresses or {}).items()
        if state == node_protocol.ASSIGNED
    ]
    return {
        "address": ", ".join(address for address, _ in found),
        "eni": ", ".join(dict.fromkeys(eni for _, eni in found if eni)),
    }


def _milliseconds(*times: float | None) -> int | None:
    """Return the time until the first of these, rounded up so that the loop does not spin."""
    first = min((each for each in times if each is not None), default=None)
    return None if first is None else max(0, int((first - time.monotonic()) * 1000) + 1)
