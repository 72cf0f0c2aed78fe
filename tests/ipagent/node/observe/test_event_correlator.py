"""What is said on pods, and how it gets to the API server."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.agent_settings import LogFormat
from ipagent.log import Log
from ipagent.node.model.address_events import AddressEvent, EventType
from ipagent.node.model.pod import PodKey
from ipagent.node.observe import event_correlator
from ipagent.node.observe.event_correlator import (
    EventCorrelator,
    PodEvent,
    Write,
    body_of,
    path_of,
    pod_events,
)
from ipagent.node.observe.event_recorder import EventRecorder
from tests.cluster.waiting import wait_for
from tests.common.kube.fake_api import FakeApi, Reply, Request

A, B = PodKey("ns", "a", "uid-a"), PodKey("ns", "b", "uid-b")
WALL = 1_800_000_000.0
SECOND, THIRD = "10.10.1.82", "10.10.2.9"
LONG = "m" * 3000


def event(
    kind: EventType = EventType.ASSIGNED,
    address: str | None = "10.10.1.81",
    pod: PodKey | None = A,
    eni: str = "eni-1",
    message: str = "told so",
) -> AddressEvent:
    return AddressEvent(kind, pod, ip_address(address) if address else None, eni, message)


def pod_event(number: int = 0, pod: PodKey = A) -> PodEvent:
    return PodEvent(pod, "AddressAssigned", f"number {number}", warning=False)


@pytest.mark.pure
@pytest.mark.parametrize(
    ("happened", "expected"),
    [
        ([event()], [PodEvent(A, "AddressAssigned", "assigned 10.10.1.81 to eni-1", warning=False)]),
        (
            [event(), event(address=SECOND), event(), event(address=THIRD, eni="eni-2")],
            [
                PodEvent(A, "AddressAssigned", "assigned 10.10.1.81, 10.10.1.82 to eni-1", warning=False),
                PodEvent(A, "AddressAssigned", "assigned 10.10.2.9 to eni-2", warning=False),
            ],
        ),
        (
            [event(), event(pod=B)],
            [
                PodEvent(A, "AddressAssigned", "assigned 10.10.1.81 to eni-1", warning=False),
                PodEvent(B, "AddressAssigned", "assigned 10.10.1.81 to eni-1", warning=False),
            ],
        ),
        (
            [event(EventType.RELEASED, "2600::5")],
            [PodEvent(A, "AddressReleased", "released 2600::5 from eni-1", warning=False)],
        ),
        (
            [event(EventType.CONFLICT, message="10.10.1.81 is held by eni-9 of i-2")],
            [PodEvent(A, "AddressConflict", "10.10.1.81 is held by eni-9 of i-2", warning=True)],
        ),
        (
            [event(EventType.REFUSED, None, eni="")],
            [PodEvent(A, "AddressNotAssigned", "told so", warning=True)],
        ),
        (
            [event(EventType.WARNING, message=LONG)],
            [PodEvent(A, "AddressWarning", f"{LONG[:497]} … {LONG[-497:]}", warning=True)],
        ),
        ([event(EventType.RECLAIMED, pod=None), event(EventType.CONFLICT, pod=None)], []),
        ([event(EventType.RECLAIMED), event(EventType.WOULD_RECLAIM)], []),
    ],
)  # fmt: skip
def test_address_events_become_event_messages(happened: list[AddressEvent], expected: list[PodEvent]) -> None:
    assert list(pod_events(happened)) == expected


def written(book: EventCorrelator, now: float) -> list[Write]:
    found = []
    while isinstance(write := book.due(now), Write):
        found.append(write)
    return found


@pytest.mark.pure
def test_the_same_is_said_once_and_counted_after_that() -> None:
    book = EventCorrelator("t")
    book.add([pod_event()], 0.0, WALL)
    (first,) = written(book, 0.0)
    assert (first.new, first.count, first.name) == (True, 1, "a.t1")
    for second in range(1, 5):
        book.add([pod_event()], float(second), WALL + second)
    assert book.due(5.0) is None
    book.add([pod_event()], event_correlator.AGAIN, WALL + event_correlator.AGAIN)
    (again,) = written(book, event_correlator.AGAIN)
    assert (again.new, again.count, again.name) == (False, 6, "a.t1")
    assert (again.first, again.last) == (WALL, WALL + event_correlator.AGAIN)


@pytest.mark.pure
def test_a_burst_is_written_at_once_and_the_rest_by_and_by() -> None:
    book = EventCorrelator("t")
    pods = [PodKey("ns", f"p{number}", f"u{number}") for number in range(30)]
    book.add([pod_event(pod=pod) for pod in pods], 100.0, WALL)
    assert len(written(book, 100.0)) == event_correlator.BURST
    pause = book.due(100.0)
    assert isinstance(pause, float)
    assert pause == pytest.approx(1 / event_correlator.RATE)
    assert len(written(book, 102.0)) == 2 * event_correlator.RATE
    assert [each.event.pod for each in written(book, 200.0)] == pods[20:]
    assert book.due(200.0) is None


@pytest.mark.pure
def test_the_events_of_one_pod_are_bounded() -> None:
    book = EventCorrelator("t")
    book.add(map(pod_event, range(50)), 0.0, WALL)
    assert book.dropped == 50 - event_correlator.OF_A_POD
    book.add([pod_event(50, B)], 0.0, WALL)
    book.add([pod_event(51)], event_correlator.POD_PAUSE + 1, WALL)
    assert book.dropped == 50 - event_correlator.OF_A_POD
    book.add([pod_event(52)], event_correlator.POD_PAUSE + 1, WALL)
    assert book.dropped == 51 - event_correlator.OF_A_POD
    later = written(book, event_correlator.POD_PAUSE + 1) + written(book, event_correlator.POD_PAUSE + 11)
    assert [each.event.pod for each in later] == [A] * 10 + [B, A]


@pytest.mark.pure
def test_what_waits_is_bounded_and_grows_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_correlator, "MAX_ENTRIES", 5)
    book = EventCorrelator("t")
    many = [pod_event(pod=PodKey("ns", f"p{number}", f"u{number}")) for number in range(8)]
    book.add(many, 0.0, WALL)
    assert book.dropped == 3
    assert len(written(book, 1.0)) == 5
    book.add(many[5:], 2.0, WALL)
    assert book.dropped == 3
    assert book.due(2.0 + event_correlator.LATE + 1) is None
    assert book.dropped == 6


@pytest.mark.pure
def test_events_that_could_not_be_written_are_written_first() -> None:
    book = EventCorrelator("t")
    book.add([pod_event(1), pod_event(2)], 0.0, WALL)
    first = book.due(0.0)
    assert isinstance(first, Write)
    book.put_back(first, new=True)
    book.put_back(first, new=True)
    assert [(each.event, each.new) for each in written(book, 0.0)] == [
        (pod_event(1), True),
        (pod_event(2), True),
    ]
    book.put_back(first, new=False)
    assert [(each.event, each.new) for each in written(book, 0.0)] == [(pod_event(1), False)]


@pytest.mark.pure
def test_an_event_that_waits_lets_others_go_first_and_grows_old() -> None:
    book = EventCorrelator("t")
    book.add([pod_event(1), pod_event(2)], 0.0, WALL)
    first = book.due(0.0)
    assert isinstance(first, Write)
    book.put_back(first, new=True, until=60.0)
    assert [each.event for each in written(book, 0.0)] == [pod_event(2)]
    assert book.due(1.0) == 59.0
    assert [each.event for each in written(book, 60.0)] == [pod_event(1)]
    book.put_back(first, new=True, until=2 * event_correlator.LATE)
    assert book.due(event_correlator.LATE + 1) is None
    assert book.dropped == 1


STEPS = st.tuples(st.integers(0, 30), st.integers(0, 5), st.floats(0, 400), st.booleans())


@pytest.mark.pure
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5), st.floats(0, 400), st.booleans()), max_size=60)
)
def test_events_are_not_repeated_and_their_number_is_bounded(
    steps: list[tuple[int, int, float, bool]],
) -> None:
    book = EventCorrelator("t")
    now, made, times = 0.0, set(), []
    for number, pod, pause, look in steps:
        now += pause
        book.add([pod_event(number, PodKey("ns", f"p{pod}", ""))], now, WALL + now)
        for write in written(book, now) if look else ():
            times.append(now)
            assert write.new == (write.event not in made) or write.first > WALL
            made.add(write.event)
            assert write.first <= write.last <= WALL + now
    for start in times:
        within = [each for each in times if start <= each < start + 10]
        assert len(within) <= event_correlator.BURST + 10 * event_correlator.RATE


@pytest.mark.pure
def test_what_is_said_again_while_it_is_written_is_made_anew_where_it_was_deleted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_correlator, "AGAIN", 0.0)
    book = EventCorrelator("t")
    book.add([pod_event()], 0.0, WALL)
    (first,) = written(book, 0.0)
    book.add([pod_event()], 1.0, WALL)
    book.put_back(first, new=True)
    assert [(each.new, each.count) for each in written(book, 1.0)] == [(True, 2)]


@pytest.mark.pure
def test_an_event_is_one_of_core_v1() -> None:
    write = Write(pod_event(), "a.t1", WALL, WALL + 5, 3, new=True)
    body = body_of(write, "node-1")
    assert path_of(write) == "/api/v1/namespaces/ns/events"
    assert body["involvedObject"] | {"uid": "uid-a"} == body["involvedObject"]
    assert (body["firstTimestamp"], body["lastTimestamp"]) == ("2027-01-15T08:00:00Z", "2027-01-15T08:00:05Z")
    later = Write(pod_event(), "a.t1", WALL, WALL + 5, 4, new=False)
    assert path_of(later) == "/api/v1/namespaces/ns/events/a.t1"
    assert body_of(later, "node-1") == {"count": 4, "lastTimestamp": "2027-01-15T08:00:05Z"}


@pytest.mark.pure
def test_what_has_failed_and_is_due_again_comes_after_what_has_not() -> None:
    book = EventCorrelator("t")
    failing, new = PodKey("ns", "failing", ""), PodKey("ns", "new", "")
    book.add([pod_event(pod=failing)], 0.0, WALL)
    (failed,) = written(book, 0.0)
    book.put_back(failed, new=True, until=5.0)
    book.add([pod_event(pod=new)], 10.0, WALL)
    # It hung for ten seconds, and both are due.
    assert [write.event.pod for write in written(book, 10.0)] == [new, failing]


@pytest.mark.pure
def test_a_long_name_leaves_room_for_the_rest() -> None:
    book = EventCorrelator("t")
    book.add([pod_event(pod=PodKey("ns", "a" * 199 + "." + "b" * 53, ""))], 0.0, WALL)
    (write,) = written(book, 0.0)
    assert write.name == "a" * 199 + ".t1"


class Api:
    """Answers with `replies` first, then with success; with 500 for Events on the pods in `broken`."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.broken: set[str] = set()

    def answer(self, request: Request) -> Reply:
        if request.body.get("involvedObject", {}).get("name") in self.broken:
            return Reply(500, {"reason": "InternalError", "message": "failed calling webhook"})
        return self.replies.pop(0) if self.replies else Reply(201)


Recording = tuple[FakeApi, Api, EventRecorder, io.StringIO]


@pytest.fixture
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recording]:
    monkeypatch.setattr("ipagent.node.observe.api_writer.pause_after_failure", lambda *_: 0.01)
    api_server, stream = Api(), io.StringIO()
    with FakeApi(tmp_path, api_server.answer) as api:
        recorder = EventRecorder(api.client(tmp_path), "node-1", Log(form=LogFormat.JSON, stream=stream))
        recorder.start()
        yield api, api_server, recorder, stream
        recorder.stop()
        recorder.join(20)
        assert not recorder.is_alive()


def said(stream: io.StringIO) -> list[str]:
    return [json.loads(line)["event"] for line in stream.getvalue().splitlines()]


def test_events_are_written(recording: Recording) -> None:
    api, _, recorder, stream = recording
    recorder.record([event(), event(EventType.WOULD_RECLAIM)])
    recorder.record([event(EventType.CONFLICT, pod=B, message="10.10.1.81 is held by eni-9 of i-2")])
    wait_for(lambda: len(api.requests) == 2, "two requests")
    bodies = [request.body for request in api.requests]
    assert [(each["message"], each["type"]) for each in bodies] == [
        ("assigned 10.10.1.81 to eni-1", "Normal"),
        ("10.10.1.81 is held by eni-9 of i-2", "Warning"),
    ]
    assert {each["source"]["host"] for each in bodies} == {"node-1"}
    assert (said(stream), recorder.dropped) == ([], 0)


def test_an_api_server_in_trouble_gets_them_later_and_it_is_said_once(recording: Recording) -> None:
    api, api_server, recorder, stream = recording
    api_server.replies = [Reply(503), Reply(503), Reply(429)]
    recorder.record([event(), event(pod=B)])
    wait_for(lambda: len(api.requests) == 5, "five requests")
    tried = [request.body["involvedObject"]["name"] for request in api.requests]
    assert sorted(tried[3:]) == ["a", "b"]
    # Once for each kind of trouble.
    assert said(stream) == ["events-failed", "events-failed"]


def test_an_event_that_is_never_taken_holds_up_no_other_one(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ipagent.node.observe.api_writer.pause_after_failure", lambda *_: 3600.0)
    api, api_server, recorder, stream = recording
    api_server.broken = {"a"}
    recorder.record([event(), event(pod=B)])
    wait_for(lambda: len(api.requests) >= 3, "another try of the first")
    assert [request.body["involvedObject"]["name"] for request in api.requests][:3] == ["a", "b", "a"]
    assert set(said(stream)) == {"events-failed"}


@pytest.mark.parametrize(
    ("reply", "logged"),
    [
        (Reply(403, {"reason": "Forbidden", "message": "no"}), 1),
        (Reply(403, {"reason": "Forbidden", "message": "namespace ns is being terminated"}), 0),
        (Reply(404, {"reason": "NotFound"}), 0),
        (Reply(409, {"reason": "AlreadyExists"}), 0),
        (Reply(422, {"reason": "Invalid"}), 1),
    ],
)
def test_what_is_refused_is_left(recording: Recording, reply: Reply, logged: int) -> None:
    api, api_server, recorder, stream = recording
    api_server.replies = [reply]
    recorder.record([event(), event(pod=B)])
    wait_for(lambda: len(api.requests) == 2, "both")
    assert [request.body["involvedObject"]["name"] for request in api.requests] == ["a", "b"]
    assert len(said(stream)) == logged


def test_an_event_that_the_api_server_has_deleted_is_made_anew(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_correlator, "AGAIN", 0.0)
    api, api_server, recorder, _ = recording
    recorder.record([event()])
    wait_for(lambda: len(api.requests) == 1, "the first")
    api_server.replies = [Reply(404, {"reason": "NotFound"})]

    def refused() -> bool:
        recorder.record([event()])
        return not api_server.replies

    wait_for(refused, "a refusal")
    wait_for(lambda: [each.method for each in api.requests][1:3] == ["PATCH", "POST"], "another one")
    assert api.requests[1].path == f"{api.requests[0].path}/{api.requests[0].body['metadata']['name']}"


def test_without_an_api_server_nobody_waits(tmp_path: Path) -> None:
    with FakeApi(tmp_path, lambda _: Reply()) as api:
        client = api.client(tmp_path)
    stream = io.StringIO()
    recorder = EventRecorder(client, "n", Log(form=LogFormat.JSON, stream=stream))
    recorder.start()
    recorder.record([event()])
    wait_for(lambda: said(stream) == ["events-failed"], "a failure")
    recorder.stop()
    recorder.join(20)
    assert not recorder.is_alive()
