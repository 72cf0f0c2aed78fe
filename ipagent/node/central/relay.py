"""Asks the controller for calls by the node's NodeAttachments, and waits for its answers.

Threads: the main loop asks; the informer's wakes it as soon as an answer is there.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from common.kube.backoff import MAX_SLOW, SLOW
from common.kube.client import Client
from common.kube.errors import ApiError, KubeError
from common.kube.informer import Informer
from common.kube.reflector import Target
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.errors import Ec2Error
from ipagent.assign.retry import Timing
from ipagent.call_relay import RelayAnswer, RelayCall, RelayRequests
from ipagent.call_relay_status import NODE_RELAY_MANAGER, requests_body
from ipagent.log import Log
from ipagent.node.central.answers import answered, answers_to, settled, unanswered, unsettled
from ipagent.node.central.attachments import RelayAttachment, Wanted, read_attachment
from ipagent.node.central.failed_writes import (
    NO_API_SERVER,
    Unwritten,
    may_be_withdrawn,
    not_tried,
    not_written,
    takes_none,
)
from ipagent.node.central.pauses import Pauses, Silence
from ipagent.node.central.standing_changes import GRACE, StandingChanges, may_pass
from ipagent.node_network_api import ATTACHMENTS, of_node

PATIENCE = 20.0
"""Seconds to wait for an answer.

The controller makes throttled calls again for 15 s, and another replica leads 15 s after a leader's death.
"""
LATE = 5.0
"""Seconds to wait for the last of several answers once there is a first one."""


class CallRelay:
    """Relays calls between `start` and `stop`. `wall` returns seconds since 1970."""

    def __init__(  # noqa: PLR0913 - one argument a collaborator
        self,
        client: Client,
        node: str,
        log: Log,
        timing: Timing,
        wall: Callable[[], float],
        *,
        patience: float = PATIENCE,
        grace: float = GRACE,
    ) -> None:
        self.node = node
        self._client = client
        self._timing = timing
        self._wall = wall
        self._patience = patience
        self._session = secrets.token_hex(8)
        self._last_id = 0
        self._pauses = Pauses(timing.clock)
        self._standing = StandingChanges(grace)
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
        if not self._informer.synced and not self._wait(lambda: self._informer.synced, self._patience):
            text = f"The NodeAttachments of node {self.node} can't be read from the API server"
            raise self._pause_all(Failure(Fault.UNREACHABLE, text, remedy=NO_API_SERVER))
        return self._informer.items()

    @property
    def silences(self) -> Mapping[str, Silence]:
        """The NodeAttachments whose requests the controller does not answer. Thread: any."""
        return self._pauses.silences

    def failing(self, name: str) -> bool:
        """Whether nothing could be asked by this NodeAttachment the last time."""
        return self._pauses.failing(name)

    def ask(self, wanted: Wanted) -> Mapping[str, tuple[RelayAnswer, ...]]:
        """Ask for calls, all at once, and return the answers in their order.

        Where nothing can be asked by some NodeAttachments, or nothing is answered, their answers are that
        failure. Raises Ec2Error where it is so for all, also while a change is still to be answered.
        """
        known = self._informer.items().keys()
        self._pauses.prune(known)
        self._standing.prune(known)
        self._standing.expire(self._timing.clock())
        answers = {name: self._standing_answers(name, calls) for name, calls in wanted.items()}
        left = {name: calls[len(answers[name]) :] for name, calls in wanted.items()}
        if left := {name: calls for name, calls in left.items() if calls}:
            # Once a part is answered, the rest is waited for: they are told together.
            given = self._ask(left, stand=not any(answers.values()))
            answers = {name: (*answers[name], *given.get(name, ())) for name in wanted}
        for name, calls in wanted.items():
            self._standing.record(name, calls, answers[name], self._timing.clock())
        failures = [each.failure for found in answers.values() for each in found if each.failure is not None]
        # The controller has made a throttled call again for long: a turn waits for that once.
        if throttled := next((each for each in failures if each.fault is Fault.THROTTLED), None):
            self._pause_all(throttled)
        return answers

    def standing(self, name: str) -> Sequence[RelayCall]:
        """Return the calls of a change by this NodeAttachment that is still to be answered."""
        self._standing.expire(self._timing.clock())
        return self._standing.calls(name)

    def _standing_answers(self, name: str, calls: Sequence[RelayCall]) -> tuple[RelayAnswer, ...]:
        """Return the answers to the first of these calls, as far as they were asked for before.

        Raises Ec2Error where these calls have to wait for what was asked for before.
        """
        found = self._standing.of(name)
        if found is None:
            return ()
        attachment, now = self._informer.items().get(name), self._timing.clock()
        age = now - found.since
        done = settled(attachment, self._session, found.calls)
        if may_pass(calls) and (done or age < self._patience + LATE):
            # Its answer is for whoever asks for it again, a look later.
            return ()
        if done:
            if self._standing.is_kept(name, calls, now):
                raise Ec2Error(found.pending())
            self._standing.end(name, now)
            self._pauses.record_answers({name}, {}, 0.0)
            given = answered(found.calls, answers_to(attachment, self._session, found.calls))
            return found.answers_for(calls, given)
        if age < self._patience:
            raise Ec2Error(found.pending())
        self._standing.end(name)
        failure = self._unanswered({name: found.calls})
        self._pauses.record_unawaited(name, failure, age)
        if not found.leads(calls):
            # What is written next withdraws it.
            return ()
        if self._pauses.of_all() is None:
            self._withdraw({name: found.calls})
        raise Ec2Error(failure)

    def _ask(self, wanted: Wanted, *, stand: bool) -> Mapping[str, tuple[RelayAnswer, ...]]:
        self._refuse_while_paused(wanted)
        began = self._timing.clock()
        numbered = {name: self._numbered(calls) for name, calls in wanted.items()}
        resting = {name: self._pauses.of(name) or self._pauses.behind(name) for name in wanted}
        failed = {name: failure for name, failure in resting.items() if failure is not None}
        unwritten = self._write_all({name: calls for name, calls in numbered.items() if name not in failed})
        slow = [*unwritten.values()] if self._timing.clock() - began >= SLOW else []
        failed |= unwritten
        try:
            asked = {name: calls for name, calls in numbered.items() if name not in failed}
            given = self._await(asked, stand=stand)
        finally:
            # Each of the others may take as long: a turn waits for that once.
            if slow:
                self._pauses.end_turn(slow[0])
        found = {**failed, **given}
        if all(isinstance(each, Failure) for each in found.values()):
            raise Ec2Error(next(each for each in found.values() if isinstance(each, Failure)))
        return {name: answered(calls, found[name]) for name, calls in numbered.items()}

    def _write_all(self, numbered: Mapping[str, Sequence[RelayCall]]) -> dict[str, Failure]:
        """Write requests; returns why some could not be. Raises Ec2Error where the API server takes none."""
        failed: dict[str, Unwritten] = {}
        # What has failed before comes last: the others show whether the API server answers.
        names = sorted(numbered, key=self._pauses.failed_at)
        untried: dict[str, Failure] = {}
        for number, name in enumerate(names):
            found = self._write(name, numbered[name])
            if found is None:
                self._pauses.end(name)
                continue
            failed[name] = found
            if takes_none([*failed.values()], number + 1 - len(failed), len(names)):
                raise self._pause_all(not_written(found.error, alone=False))
            if sum(each.took >= SLOW for each in failed.values()) == MAX_SLOW:
                untried = {each: not_tried(each, found.error) for each in names[number + 1 :]}
                break
        failures = {name: not_written(each.error, alone=True) for name, each in failed.items()} | untried
        for name, failure in failures.items():
            self._pauses.pause(name, failure, failed[name].took if name in failed else 0.0)
        return failures

    def _write(self, name: str, calls: Sequence[RelayCall]) -> Unwritten | None:
        """Write the requests by one NodeAttachment; returns why they are not written."""
        began = self._timing.clock()
        try:
            self._apply(name, calls)
        except KubeError as error:
            # What only looks may stay.
            if may_be_withdrawn(error) and any(call.change is not None for call in calls):
                self._withdraw({name: calls})
            return Unwritten(error, self._timing.clock() - began)
        return None

    def _numbered(self, calls: Sequence[RelayCall]) -> tuple[RelayCall, ...]:
        first = self._last_id + 1
        self._last_id += len(calls)
        return tuple(replace(call, id=first + number) for number, call in enumerate(calls))

    def _apply(self, name: str, calls: Sequence[RelayCall]) -> None:
        requests = RelayRequests(self._session, self._wall(), (*self._standing.calls(name), *calls))
        path, what = f"{ATTACHMENTS}/{name}/status", f"write the requests of NodeAttachment {name}"
        self._client.apply(path, what, requests_body(name, requests), manager=NODE_RELAY_MANAGER, force=True)

    def _unsettled(self, numbered: Mapping[str, Sequence[RelayCall]]) -> dict[str, Sequence[RelayCall]]:
        return unsettled(self._informer.items(), self._session, numbered)

    def _await(self, asked: Wanted, *, stand: bool) -> dict[str, tuple[RelayAnswer, ...] | Failure]:
        """Wait for answers; returns them, or why they will not come. Raises Ec2Error where there is none."""
        if not asked:
            return {}
        began = self._timing.clock()
        (first, calls), *others = asked.items()
        stand = stand and self._standing.grace < self._patience and not others
        if stand and self._standing.may_stand(first, calls, began):
            return {first: self._await_change(first, calls)}
        if self._wait(lambda: len(self._unsettled(asked)) < len(asked), self._patience):
            began = self._timing.clock()
            self._wait(lambda: not self._unsettled(asked), min(LATE, self._patience))
        missing, took = self._unsettled(asked), self._timing.clock() - began
        self._withdraw(missing)
        if len(missing) == len(asked):
            failure = self._unanswered(missing)
            self._pauses.record_silence(missing, failure, took)
            raise Ec2Error(failure)
        known = self._informer.items()
        late = {name: unanswered({name: calls}, LATE, others=True) for name, calls in missing.items()}
        self._pauses.record_answers(asked, late, took)
        given = {
            name: answers_to(known.get(name), self._session, asked[name]) for name in asked.keys() - late
        }
        return {**given, **late}

    def _await_change(self, name: str, calls: Sequence[RelayCall]) -> tuple[RelayAnswer, ...] | Failure:
        """Wait a little for the answer to a change; without one it stands."""
        patience = self._standing.patience(name)
        found = self._standing.add(name, calls, self._timing.clock())
        if not self._wait(lambda: not self._unsettled({name: calls}), patience):
            return found.pending()
        self._standing.end(name, self._timing.clock())
        self._pauses.record_answers({name}, {}, 0.0)
        return answers_to(self._informer.items().get(name), self._session, calls)

    def _unanswered(self, missing: Mapping[str, Sequence[RelayCall]]) -> Failure:
        return unanswered(missing, self._patience, others=self._pauses.answered_others(missing))

    def _withdraw(self, numbered: Mapping[str, Sequence[RelayCall]]) -> None:
        """Take back what has not been answered: the node may want something else by then.

        Where a write fails after long, what is left expires (MAX_AGE): each may take a timeout.
        """
        began = self._timing.clock()
        for name in self._unsettled(numbered):
            try:
                self._apply(name, ())
            except KubeError as error:
                # A webhook may hang for each.
                if not isinstance(error, ApiError) or self._timing.clock() - began >= SLOW:
                    self._pause_all(not_written(error, alone=isinstance(error, ApiError)))
                    return

    def _pause_all(self, failure: Failure) -> Ec2Error:
        self._pauses.pause_all(failure)
        return Ec2Error(failure)

    def _refuse_while_paused(self, wanted: Collection[str] = ()) -> None:
        if (failure := self._pauses.of_all()) is not None:
            self._pauses.refuse(wanted)
            raise Ec2Error(failure)

    def _wait(self, until: Callable[[], bool], seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(until, seconds)

    def _notify(self, _names: Collection[str]) -> None:
        with self._changed:
            self._changed.notify_all()
