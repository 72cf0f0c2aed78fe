"""Asks the controller for calls by the node's NodeAttachments, and waits for its answers.

Threads: the main loop asks; the informer's wakes it as soon as an answer is there.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from common.kube.client import Client
from common.kube.errors import ApiError, ClusterError, Unreachable
from common.kube.informer import Informer
from common.kube.reflector import Target
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.errors import Ec2Error
from ipagent.assign.retry import Clock
from ipagent.call_relay import RelayAnswer, RelayCall, RelayRequests
from ipagent.call_relay_status import NODE_RELAY_MANAGER, requests_body
from ipagent.log import Log
from ipagent.node.central.attachments import RelayAttachment, Wanted, read_attachment
from ipagent.node_network_names import ATTACHMENTS, LEASE, of_node

PATIENCE = 20.0
"""Seconds to wait for an answer.

The controller makes throttled calls again for 15 s, and another replica leads 15 s after a leader's death.
"""
UNANSWERED_PAUSE = 1.0
"""Seconds after a wait in vain during which nothing is asked: one turn of the loop waits once."""

EVERY = ""
"""In place of a NodeAttachment's name: all of them."""

GONE, FORBIDDEN = 404, 403

_NO_CONTROLLER = (
    "Check that the controller runs and leads: its Deployment, and `kubectl get lease -A` for "
    f"{LEASE}. It needs agent.backend=central, too, which `helm upgrade` gives to both."
)
_NO_API_SERVER = (
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
_NOT_ATTACHED = "The ENI was detached, or its NodeNetwork does not select the node any more."


class CallRelay:
    """Relays calls between `start` and `stop`. `wall` returns seconds since 1970."""

    def __init__(  # noqa: PLR0913 - one argument a collaborator
        self,
        client: Client,
        node: str,
        log: Log,
        timing: Clock,
        wall: Callable[[], float],
        *,
        patience: float = PATIENCE,
    ) -> None:
        self.node = node
        self._client = client
        self._timing = timing
        self._wall = wall
        self._patience = patience
        self._session = secrets.token_hex(8)
        self._last_id = 0
        # Until when nothing is asked, and why: by the NodeAttachment, or by EVERY.
        self._paused: dict[str, tuple[float, Failure]] = {}
        self._changed = threading.Condition()
        target = Target(ATTACHMENTS, f"the NodeAttachments of node {node}", of_node(node))
        self._informer = Informer(client, target, read_attachment, self._notify, log)

    def start(self) -> None:
        """Begin to follow the NodeAttachments."""
        self._informer.start()

    def stop(self) -> None:
        """Let it end; join it afterwards."""
        self._informer.stop()

    def join(self, timeout: float) -> None:
        """Wait so many seconds for the end of the informer's thread."""
        self._informer.join(timeout)

    @property
    def alive(self) -> bool:
        """Whether answers would be noticed."""
        return self._informer.alive

    def attachments(self) -> Mapping[str, RelayAttachment]:
        """Return the node's NodeAttachments that have an ENI, by name; raises Ec2Error as long as unknown."""
        if not self._informer.synced:
            self._refuse_while_paused()
        if not self._informer.synced and not self._wait(lambda: self._informer.synced):
            text = f"The NodeAttachments of node {self.node} can't be read from the API server"
            raise self._pause_after(Failure(Fault.UNREACHABLE, text, remedy=_NO_API_SERVER))
        return self._informer.items()

    def ask(self, wanted: Wanted) -> Mapping[str, tuple[RelayAnswer, ...]]:
        """Ask for calls, all at once, and return the answers in their order.

        Raises Ec2Error where there is none: what EC2 says is in the answers.
        """
        self._refuse_while_paused(wanted)
        numbered = {name: self._numbered(calls) for name, calls in wanted.items()}
        self._write_all(numbered)
        if not self._wait(lambda: not self._unsettled(numbered)):
            self._withdraw(numbered)
            raise self._pause_after(self._unanswered(numbered))
        known = self._informer.items()
        found = {name: self._answers(known.get(name), calls) for name, calls in numbered.items()}
        failures = [each.failure for given in found.values() for each in given if each.failure is not None]
        # The controller has made a throttled call again for long: a turn waits for that once.
        if throttled := next((each for each in failures if each.fault is Fault.THROTTLED), None):
            self._pause_after(throttled)
        return found

    def _write_all(self, numbered: Mapping[str, Sequence[RelayCall]]) -> None:
        for name, calls in numbered.items():
            try:
                self._apply(name, calls)
            except (ApiError, Unreachable, ClusterError) as error:
                # It may have been written anyway, and those before it are.
                self._withdraw(numbered)
                raise self._failed(name, error) from None

    def _failed(self, name: str, error: Exception) -> Ec2Error:
        """Return the failure of a write; what concerns one NodeAttachment lets calls of others be asked."""
        failure = _not_written(error)
        if failure.fault is not Fault.UNREACHABLE:
            return Ec2Error(failure)
        return self._pause_after(failure, name if _alone(error) else EVERY)

    def _numbered(self, calls: Sequence[RelayCall]) -> tuple[RelayCall, ...]:
        first = self._last_id + 1
        self._last_id += len(calls)
        return tuple(replace(call, id=first + number) for number, call in enumerate(calls))

    def _apply(self, name: str, calls: Sequence[RelayCall]) -> None:
        requests = RelayRequests(self._session, self._wall(), tuple(calls))
        path, what = f"{ATTACHMENTS}/{name}/status", f"write the requests of NodeAttachment {name}"
        self._client.apply(path, what, requests_body(name, requests), manager=NODE_RELAY_MANAGER, force=True)

    def _unsettled(self, numbered: Mapping[str, Sequence[RelayCall]]) -> dict[str, Sequence[RelayCall]]:
        """Return what is not answered, and still can be."""
        known = self._informer.items()
        return {
            name: calls
            for name, calls in numbered.items()
            if not _settled(known.get(name), self._session, calls)
        }

    def _answers(
        self, attachment: RelayAttachment | None, calls: Sequence[RelayCall]
    ) -> tuple[RelayAnswer, ...]:
        given = {} if attachment is None else attachment.answers(self._session)
        if missing := [call for call in calls if call.id not in given]:
            what = f"{missing[0].action} on {missing[0].eni}"
            text = f"{what}: the node has no NodeAttachment with that ENI any more"
            raise Ec2Error(Failure(Fault.NO_ENI, text, remedy=_NOT_ATTACHED))
        return tuple(given[call.id] for call in calls)

    def _withdraw(self, numbered: Mapping[str, Sequence[RelayCall]]) -> None:
        """Take back what has not been answered: the node may want something else by then."""
        for name in self._unsettled(numbered):
            try:
                self._apply(name, ())
            except ApiError:
                continue
            except (Unreachable, ClusterError):
                # Each write that nobody answers takes a timeout: what is left expires (MAX_AGE).
                return

    def _unanswered(self, numbered: Mapping[str, Sequence[RelayCall]]) -> Failure:
        waiting = [f"{calls[0].action} on {calls[0].eni}" for calls in self._unsettled(numbered).values()]
        text = f"{', '.join(waiting)}: the controller has not answered within {self._patience:g} s"
        return Failure(Fault.UNREACHABLE, text, remedy=_NO_CONTROLLER)

    def _pause_after(self, failure: Failure, name: str = EVERY) -> Ec2Error:
        self._paused[name] = self._timing.clock() + UNANSWERED_PAUSE, failure
        return Ec2Error(failure)

    def _refuse_while_paused(self, names: Collection[str] = ()) -> None:
        now = self._timing.clock()
        self._paused = {name: each for name, each in self._paused.items() if now < each[0]}
        for name in (EVERY, *names):
            if name in self._paused:
                raise Ec2Error(self._paused[name][1])

    def _wait(self, until: Callable[[], bool]) -> bool:
        with self._changed:
            return self._changed.wait_for(until, self._patience)

    def _notify(self, _names: Collection[str]) -> None:
        with self._changed:
            self._changed.notify_all()


def _settled(attachment: RelayAttachment | None, session: str, calls: Sequence[RelayCall]) -> bool:
    """Whether calls are answered, or never will be: the NodeAttachment has gone."""
    return attachment is None or attachment.answers(session).keys() >= {call.id for call in calls}


def _not_written(error: Exception) -> Failure:
    """Return the failure that a refused or unanswered write is."""
    code = error.code if isinstance(error, ApiError) else 0
    if code == GONE:
        return Failure(Fault.NO_ENI, str(error), remedy=_NOT_ATTACHED)
    if code == FORBIDDEN:
        return Failure(Fault.NO_PERMISSION, str(error), remedy=_NO_RIGHT)
    return Failure(Fault.UNREACHABLE, str(error), remedy=_NOT_TAKEN if _alone(error) else _NO_API_SERVER)


def _alone(error: Exception) -> bool:
    """Whether a failed write may concern its NodeAttachment alone."""
    return isinstance(error, ApiError) and error.of_one_object
