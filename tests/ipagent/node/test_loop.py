"""The main loop: what comes from threads reaches the controller in order, and its reports go out."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

import pytest

from common.agent_settings import LogFormat, Mode
from common.exit_codes import ExitCode
from ipagent.assign.addresses import Snapshot
from ipagent.interrupting_signals import InterruptingSignals, StopSignal
from ipagent.log import Log
from ipagent.main_loop import Wakeup
from ipagent.node.loop import STALE_SECONDS, Loop, log_events
from ipagent.node.model.address_events import AddressEvent, EventType
from ipagent.node.model.claim import Claim, ClaimState, ClaimStatus
from ipagent.node.model.pod import Pod, PodKey
from ipagent.node.sessions.claim_queue import SessionClosed

ONE, TWO = PodKey("apps", "one", "u-1"), PodKey("apps", "two", "u-2")
DONE = ClaimStatus(ClaimState.ASSIGNED, ExitCode.OK, "done")
CLAIM = Claim(ONE, Mode.INIT, Snapshot((), ()))


@dataclass
class FakeController:
    """Records its calls; `pause` is what a step returns."""

    calls: list[object] = field(default_factory=list)
    pause: float | None = None
    current: bool | None = None
    changes: dict[PodKey, ClaimStatus] = field(default_factory=dict)
    events: list[AddressEvent] = field(default_factory=list)
    pod_statuses: dict[PodKey, ClaimStatus] = field(default_factory=dict)

    def replace_pods(self, pods: Iterable[Pod]) -> None:
        self.calls.append([pod.key.name for pod in pods])

    def update_pod(self, pod: Pod, *, gone: bool = False) -> None:
        self.calls.append((pod.key.name, gone))

    def set_watch_current(self, *, current: bool) -> None:
        self.current = current

    def set_claim(self, claim: Claim) -> None:
        self.calls.append(f"claim of {claim.pod.name}")
        self.changes[claim.pod] = DONE

    def end_session(self, key: PodKey) -> None:
        self.calls.append(f"end of {key.name}")

    def step(self) -> float | None:
        self.calls.append("step")
        return self.pause

    def take_status_changes(self) -> Mapping[PodKey, ClaimStatus]:
        changes, self.changes = self.changes, {}
        return changes

    def take_pod_statuses(self) -> Mapping[PodKey, ClaimStatus]:
        return self.pod_statuses

    def take_events(self) -> list[AddressEvent]:
        events, self.events = self.events, []
        return events


@dataclass
class FakeSessions:
    """Hands over the claims that wait; records living pods and what was published."""

    waiting: list[Claim | SessionClosed] = field(default_factory=list)
    living: list[frozenset[PodKey]] = field(default_factory=list)
    published: list[Mapping[PodKey, ClaimStatus]] = field(default_factory=list)

    def set_living_pods(self, living: Collection[PodKey]) -> None:
        self.living.append(frozenset(living))

    def take_claims(self) -> list[Claim | SessionClosed]:
        taken, self.waiting = self.waiting, []
        return taken

    def publish(self, changes: Mapping[PodKey, ClaimStatus]) -> None:
        self.published.append(dict(changes))


@dataclass
class FakeConditions:
    """Records its calls."""

    calls: list[object] = field(default_factory=list)

    def observe(self, pod: Pod, *, gone: bool) -> None:
        self.calls.append(("observe", pod.key.name, gone))

    def retain(self, living: Collection[PodKey]) -> None:
        self.calls.append(("retain", {key.name for key in living}))

    def record(self, statuses: Mapping[PodKey, ClaimStatus]) -> None:
        self.calls.append(("record", {key.name: status.state for key, status in statuses.items()}))


@dataclass
class Rig:
    controller: FakeController
    sessions: FakeSessions
    loop: Loop
    wakeup: Wakeup
    reported: list[list[AddressEvent]]
    age: float | None = 0.0
    time: float = 0.0


@pytest.fixture
def rig() -> Iterator[Rig]:
    controller, sessions, wakeup = FakeController(), FakeSessions(), Wakeup()
    reported: list[list[AddressEvent]] = []
    loop = Loop(controller, wakeup, lambda: made.age, reported.append, lambda: made.time)
    loop.sessions = sessions
    made = Rig(controller, sessions, loop, wakeup, reported)
    yield made
    wakeup.close()


def test_changes_reach_the_controller_in_their_order_and_before_the_step(rig: Rig) -> None:
    rig.loop.on_list((Pod(ONE, alive=True),))
    rig.loop.on_event(Pod(TWO, alive=True), False)
    rig.loop.on_event(Pod(ONE, alive=False), True)
    rig.loop.turn()
    assert rig.controller.calls == [["one"], ("two", False), ("one", True), "step"]


def test_what_a_pod_shows_is_known_before_its_status_is_recorded(rig: Rig) -> None:
    rig.loop.conditions = conditions = FakeConditions()
    rig.controller.pod_statuses = {ONE: DONE}
    rig.loop.on_list((Pod(ONE, alive=True),))
    rig.loop.on_event(Pod(TWO, alive=True), True)
    rig.loop.turn()
    assert conditions.calls == [
        ("observe", "one", False),
        ("retain", {"one"}),
        ("observe", "two", True),
        ("record", {"one": ClaimState.ASSIGNED}),
    ]


def test_sessions_learn_which_pods_live_before_claims_are_taken_and_only_when_it_changes(rig: Rig) -> None:
    rig.loop.on_list((Pod(ONE, alive=True), Pod(TWO, alive=False)))
    rig.loop.turn()
    rig.loop.turn()
    rig.loop.on_event(Pod(ONE, alive=True, leaving=True), False)
    rig.loop.turn()
    assert rig.sessions.living == [frozenset({ONE})]
    rig.loop.on_event(Pod(ONE, alive=True), True)
    rig.loop.turn()
    assert rig.sessions.living[1:] == [frozenset()]


def test_a_new_list_forgets_who_is_not_on_it(rig: Rig) -> None:
    rig.loop.on_list((Pod(ONE, alive=True), Pod(TWO, alive=True)))
    rig.loop.turn()
    rig.loop.on_list((Pod(TWO, alive=True),))
    rig.loop.turn()
    assert rig.sessions.living[-1] == frozenset({TWO})


def test_a_claim_is_answered_in_the_turn_that_takes_it(rig: Rig) -> None:
    rig.sessions.waiting = [CLAIM, SessionClosed(TWO)]
    rig.loop.turn()
    assert rig.controller.calls == ["claim of one", "end of two", "step"]
    assert rig.sessions.published == [{ONE: DONE}]
    rig.loop.turn()
    assert rig.sessions.published[1:] == [{}]


def test_it_is_listed_from_the_first_list_on(rig: Rig) -> None:
    rig.loop.turn()
    assert not rig.loop.listed
    rig.loop.on_list(())
    rig.loop.turn()
    assert rig.loop.listed


@pytest.mark.parametrize(
    ("age", "current"), [(None, False), (0.0, True), (STALE_SECONDS - 1, True), (STALE_SECONDS, False)]
)
def test_a_watch_that_says_nothing_for_long_is_in_doubt(rig: Rig, age: float | None, current: bool) -> None:
    rig.age = age
    rig.loop.turn()
    assert rig.controller.current is current


def test_what_is_known_is_in_doubt_once_the_agents_own_pod_is_gone_from_the_api(rig: Rig) -> None:
    """After `kubectl delete node` every pod is gone from there, and all containers go on."""
    rig.loop = Loop(
        rig.controller, rig.wakeup, lambda: 0.0, rig.reported.append, lambda: 0.0, own=("apps", "two")
    )
    rig.loop.on_list((Pod(ONE, alive=True), Pod(TWO, alive=True)))
    rig.loop.turn()
    assert rig.controller.current is True
    rig.loop.on_event(Pod(TWO, alive=True), True)
    rig.loop.turn()
    assert rig.controller.current is False


def test_what_has_happened_is_reported_once(rig: Rig) -> None:
    event = AddressEvent(EventType.ASSIGNED, ONE, ip_address("10.0.0.1"), "eni-1", "assigned")
    rig.controller.events = [event]
    rig.loop.turn()
    rig.loop.turn()
    assert rig.reported == [[event]]


def test_another_thread_wakes_a_loop_that_waits_without_end(rig: Rig) -> None:
    class Reached(Exception):
        pass

    def reached(pods: Iterable[Pod]) -> None:
        raise Reached(*pods)

    rig.controller.replace_pods = reached  # type: ignore[method-assign] # out of a loop without end
    thread = threading.Timer(0.05, rig.loop.on_list, ((Pod(ONE, alive=True),),))
    thread.start()
    with InterruptingSignals() as signals, pytest.raises(Reached):
        rig.loop.run(signals)
    thread.join()


def test_a_signal_ends_a_loop_that_waits_without_end(rig: Rig) -> None:
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM))
    with InterruptingSignals() as signals:

        def run() -> None:
            timer.start()
            rig.loop.run(signals)

        with pytest.raises(StopSignal):
            run()
    timer.join()


def test_only_a_turn_counts_as_busy(rig: Rig) -> None:
    class Reached(Exception):
        pass

    def stuck() -> float | None:
        rig.time = 7.0
        seen.append(rig.loop.busy_seconds())
        raise Reached

    seen: list[float] = []
    assert rig.loop.busy_seconds() == 0.0
    rig.controller.step = stuck  # type: ignore[method-assign] # a step that takes 7 s
    with InterruptingSignals() as signals, pytest.raises(Reached):
        rig.loop.run(signals)
    assert seen == [7.0]


def test_a_line_of_the_log_names_pod_address_and_eni() -> None:
    stream = io.StringIO()
    log = Log(form=LogFormat.JSON, stream=stream)
    address = ip_address("10.0.0.1")
    log_events(
        log,
        [
            AddressEvent(EventType.CONFLICT, ONE, address, "eni-1", "held elsewhere"),
            AddressEvent(EventType.WOULD_RECLAIM, None, address, "eni-2", "left behind"),
        ],
    )
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["level"], first["event"], first["namespace"], first["pod"]) == (
        "error",
        "conflict",
        "apps",
        "one",
    )
    assert (first["address"], first["eni"], first["message"]) == ("10.0.0.1", "eni-1", "held elsewhere")
    assert second["level"] == "info"
    assert "pod" not in second
