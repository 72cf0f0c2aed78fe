"""The condition on pods: what it says, when it is written, and how it gets to the API server."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.agent_settings import LogFormat
from common.exit_codes import ExitCode
from common.kube.backoff import FIRST_PATIENCE, MAX_PAUSE
from common.kube.client import Client
from common.kube.errors import HangingWrite, Unreachable
from ipagent.log import Log
from ipagent.node.model.claim import AddressState, AddressStatus, ClaimState, ClaimStatus
from ipagent.node.model.condition import CONDITION, MAX_MESSAGE, PodCondition, read_condition
from ipagent.node.model.pod import Pod, PodKey, read_pod
from ipagent.node.observe.condition_queue import PENDING_DELAY, ConditionQueue, ConditionWrite, condition_of
from ipagent.node.observe.condition_writer import ConditionWriter
from tests.cluster.waiting import wait_for
from tests.common.kube.fake_api import FakeApi, Reply, Request

A, B = PodKey("ns", "a", "uid-a"), PodKey("ns", "b", "uid-b")
NOW = "2026-11-29T10:00:00Z"
ON = AddressStatus(ip_address("10.10.1.81"), "net1", AddressState.ASSIGNED, "eni-1")
ASSIGNED = ClaimStatus(ClaimState.ASSIGNED, ExitCode.OK, "assigned 10.10.1.81 to eni-1", (ON,))
BARE = ClaimStatus(ClaimState.ASSIGNED, ExitCode.OK, "there is nothing to assign")
PENDING = ClaimStatus(ClaimState.PENDING, ExitCode.DEADLINE, "Waiting: 10.10.1.81.")
FAILED = ClaimStatus(ClaimState.FAILED, ExitCode.NO_PERMISSION, "no right to assign. Grant it.")


@pytest.mark.pure
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (ASSIGNED, PodCondition("True", "Assigned", "10.10.1.81 on eni-1")),
        (BARE, PodCondition("True", "Assigned", "no address to assign")),
        (PENDING, PodCondition("False", "Pending", "Waiting: 10.10.1.81.")),
        (FAILED, PodCondition("False", "NotAssigned", "no right to assign. Grant it.")),
        (
            ClaimStatus(ClaimState.FAILED, ExitCode.NO_PERMISSION, "m" * 5000),
            PodCondition("False", "NotAssigned", f"{'m' * 509} … {'m' * 509}"),
        ),
    ],
)  # fmt: skip
def test_a_condition_says_whether_the_addresses_are_assigned_and_why_not(
    status: ClaimStatus, expected: PodCondition
) -> None:
    assert condition_of(status) == expected


def shown(
    status: str = "True", reason: str = "Assigned", message: str = "10.10.1.81 on eni-1"
) -> PodCondition:
    return PodCondition(status, reason, message, "2026-01-01T00:00:00Z")


@pytest.mark.pure
class TestQueue:
    def test_what_the_pod_shows_already_is_not_written_again(self) -> None:
        queue = ConditionQueue()
        queue.observe(A, shown())
        queue.set_desired(A, condition_of(ASSIGNED), 0.0)
        assert queue.due(100.0, NOW) is None

    def test_a_change_is_written_once_with_the_time_of_its_status(self) -> None:
        queue = ConditionQueue()
        queue.observe(A, shown(message="10.10.1.80 on eni-1"))
        queue.set_desired(A, condition_of(ASSIGNED), 0.0)
        queue.set_desired(B, condition_of(FAILED), 0.0)
        writes = [queue.due(0.0, NOW), queue.due(0.0, NOW)]
        assert all(isinstance(each, ConditionWrite) for each in writes)
        # a's status is the same as before, b's is new.
        assert [each.condition.since for each in writes if isinstance(each, ConditionWrite)] == [
            "2026-01-01T00:00:00Z",
            NOW,
        ]
        assert queue.due(0.0, NOW) is None

    def test_what_is_pending_is_written_only_if_it_lasts(self) -> None:
        queue = ConditionQueue()
        queue.observe(A, shown())
        queue.set_desired(A, condition_of(PENDING), 0.0)
        assert queue.due(0.5, NOW) == PENDING_DELAY - 0.5
        queue.set_desired(A, condition_of(ASSIGNED), 1.0)
        assert queue.due(100.0, NOW) is None
        queue.set_desired(A, condition_of(PENDING), 200.0)
        queue.set_desired(A, condition_of(PENDING), 201.0)
        write = queue.due(200.0 + PENDING_DELAY, NOW)
        assert isinstance(write, ConditionWrite)
        assert write.condition.status == "False"

    def test_what_becomes_pending_before_it_was_written_waits_likewise(self) -> None:
        """A burst of pods waits for its writes, and an address of one of them is lost for a moment."""
        queue = ConditionQueue()
        queue.set_desired(A, condition_of(ASSIGNED), 0.0)
        queue.set_desired(A, condition_of(PENDING), 1.0)
        assert queue.due(1.0, NOW) == PENDING_DELAY
        queue.set_desired(A, condition_of(ASSIGNED), 2.0)
        write = queue.due(2.0, NOW)
        assert isinstance(write, ConditionWrite)
        assert (write.condition.status, queue.due(100.0, NOW)) == ("True", None)

    def test_a_failed_write_is_tried_again_unless_the_pod_is_gone(self) -> None:
        queue = ConditionQueue()
        for pod in (A, B):
            queue.set_desired(pod, condition_of(ASSIGNED), 0.0)
        first, second = queue.due(0.0, NOW), queue.due(0.0, NOW)
        queue.forget(B)
        for write in (first, second):
            assert isinstance(write, ConditionWrite)
            queue.put_back(write, 1.0)
        again = queue.due(1.0, NOW)
        assert isinstance(again, ConditionWrite)
        assert (again.pod, queue.due(1.0, NOW)) == (A, None)

    def test_what_has_failed_goes_after_what_has_not_however_long_it_is_due(self) -> None:
        """A webhook may hang for some pods, each of which takes long."""
        queue, pods = ConditionQueue(), [PodKey("ns", f"p{number}", "u") for number in range(5)]
        for pod in pods:
            queue.set_desired(pod, condition_of(ASSIGNED), 0.0)
        for _ in pods:
            write = queue.due(0.0, NOW)
            assert isinstance(write, ConditionWrite)
            queue.put_back(write, 10.0)
        queue.set_desired(A, condition_of(ASSIGNED), 50.0)
        found = [queue.due(100.0, NOW) for _ in range(6)]
        assert [each.pod for each in found if isinstance(each, ConditionWrite)] == [A, *pods]

    def test_pods_that_are_not_listed_any_more_are_forgotten(self) -> None:
        queue = ConditionQueue()
        queue.set_desired(A, condition_of(ASSIGNED), 0.0)
        queue.observe(B, shown())
        queue.retain({B})
        assert queue.due(0.0, NOW) is None

    @given(st.lists(st.sampled_from([ASSIGNED, PENDING, FAILED]), min_size=1, max_size=12))
    def test_in_the_end_a_pod_shows_what_was_wanted_last(self, statuses: list[ClaimStatus]) -> None:
        queue, now = ConditionQueue(), 0.0
        seen: PodCondition | None = None
        for status in (*statuses, statuses[-1]):
            queue.set_desired(A, condition_of(status), now)
            now += PENDING_DELAY / 2
            while isinstance(write := queue.due(now, NOW), ConditionWrite):
                seen = write.condition
                queue.observe(A, seen)
        now += PENDING_DELAY
        while isinstance(write := queue.due(now, NOW), ConditionWrite):
            seen = write.condition
        assert condition_of(statuses[-1]).matches(seen)
        assert queue.due(now, NOW) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "status"]), inner),
    max_leaves=6,
)


@pytest.mark.pure
@given(JSON | st.lists(st.fixed_dictionaries({"type": st.just(CONDITION), "status": JSON, "message": JSON})))
def test_whatever_stands_in_a_pods_status_is_read(conditions: Any) -> None:
    found = read_condition({"conditions": conditions})
    assert found is None or len(found.message) <= MAX_MESSAGE


@pytest.mark.pure
def test_a_pod_is_read_with_its_condition_and_is_the_same_pod_without() -> None:
    entry = {
        "type": CONDITION,
        "status": "True",
        "reason": "Assigned",
        "message": "m",
        "lastTransitionTime": NOW,
    }
    metadata = {"namespace": "ns", "name": "a", "uid": "uid-a"}
    pods = [read_pod({"metadata": metadata, "status": {"conditions": each}}) for each in ([{}, entry], [])]
    assert [each.condition for each in pods] == [PodCondition("True", "Assigned", "m", NOW), None]
    assert pods[0] == pods[1]


class FakeServer:
    """Answers with `replies` first, then with 200; with 500 for the pods in `broken`."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.broken: set[str] = set()

    def __call__(self, request: Request) -> Reply:
        if request.path.split("/")[-2] in self.broken:
            return Reply(500, {"reason": "InternalError", "message": "failed calling webhook"})
        return self.replies.pop(0) if self.replies else Reply(200, {"kind": "Pod"})


Writing = tuple[FakeApi, FakeServer, ConditionWriter, io.StringIO]


@pytest.fixture
def writing(tmp_path: Path) -> Iterator[Writing]:
    server, stream = FakeServer(), io.StringIO()
    with FakeApi(tmp_path, server) as api:
        writer = ConditionWriter(api.client(tmp_path), Log(form=LogFormat.JSON, stream=stream))
        writer.start()
        yield api, server, writer, stream
        writer.stop()
        writer.join(20)
        assert not writer.is_alive()


def test_one_condition_of_one_life_of_the_pod_is_applied(writing: Writing) -> None:
    api, _, writer, _ = writing
    writer.observe(Pod(B, alive=True, condition=shown()), gone=False)
    writer.record({B: ASSIGNED, A: FAILED})
    wait_for(lambda: api.requests, "a request")
    (request,) = api.requests
    assert (request.method, request.path.partition("?")[0]) == (
        "PATCH",
        "/api/v1/namespaces/ns/pods/a/status",
    )
    assert request.body["metadata"]["uid"] == "uid-a"
    (condition,) = request.body["status"]["conditions"]
    assert (condition["type"], condition["status"]) == (CONDITION, "False")


@pytest.mark.parametrize(
    ("reply", "requests", "logged"),
    [
        (Reply(503), 2, 1),
        (Reply(401, {"reason": "Unauthorized", "message": "no"}), 2, 1),
        (Reply(403, {"reason": "Forbidden", "message": "no"}), 1, 1),
        (Reply(404, {"reason": "NotFound"}), 1, 0),
        (Reply(409, {"reason": "Conflict"}), 1, 0),
    ],
)
def test_only_what_may_pass_is_tried_again(
    writing: Writing, reply: Reply, requests: int, logged: int
) -> None:
    api, server, writer, stream = writing
    server.replies = [reply]
    writer.record({A: ASSIGNED})
    wait_for(lambda: len(api.requests) == requests, "requests")
    writer.record({B: ASSIGNED})
    wait_for(lambda: api.requests[-1].path.startswith("/api/v1/namespaces/ns/pods/b/"), "the other pod's")
    assert len(api.requests) == requests + 1
    events = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    assert events == ["conditions-failed"] * logged


def test_what_is_refused_for_want_of_a_right_is_tried_again_in_the_end(
    writing: Writing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A readiness gate waits for it, and the pod's status says the same for the rest of its life."""
    monkeypatch.setattr("ipagent.node.observe.condition_writer.REFUSED_SECONDS", 0.0)
    api, server, writer, stream = writing
    server.replies = [Reply(403, {"reason": "Forbidden", "message": "no"})] * 2
    writer.record({A: ASSIGNED})
    wait_for(lambda: len(api.requests) == 3, "the third try")
    assert api.requests[0].body == api.requests[2].body | {"status": api.requests[0].body["status"]}
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["conditions-failed"]


def test_a_pod_whose_condition_is_never_taken_holds_up_no_other_one(
    writing: Writing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ipagent.node.observe.api_writer.pause_after_failure", lambda *_: 3600.0)
    api, server, writer, stream = writing
    server.broken = {"a"}
    writer.record({A: ASSIGNED})
    wait_for(lambda: api.requests, "the first try")
    writer.record({B: ASSIGNED})
    wait_for(lambda: any("/pods/b/" in each.path for each in api.requests), "the other pod's")
    wait_for(lambda: sum("/pods/a/" in each.path for each in api.requests) >= 2, "another try")
    assert "of pod ns/a: 500" in json.loads(stream.getvalue().splitlines()[0])["message"]
    server.broken.clear()
    tries = len(api.requests)
    writer.record({A: FAILED})
    wait_for(lambda: len(api.requests) > tries, "what the pod is to show since")
    assert api.requests[-1].body["status"]["conditions"][0]["status"] == "False"


def test_a_pod_whose_writes_hang_while_reads_are_answered_holds_up_no_other_one(
    writing: Writing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ipagent.node.observe.api_writer.pause_after_failure", lambda *_: 3600.0)
    api, _, writer, stream = writing
    applied = Client.apply

    def hang(client: Client, path: str, *arguments: Any, **more: Any) -> Any:
        if "/pods/a/" in path:
            raise HangingWrite("cannot write pod a: it answers reads")
        return applied(client, path, *arguments, **more)

    monkeypatch.setattr(Client, "apply", hang)
    writer.record({A: ASSIGNED})
    wait_for(stream.getvalue, "the failure")
    writer.record({B: ASSIGNED})
    wait_for(lambda: any("/pods/b/" in each.path for each in api.requests), "the other pod's")
    assert "cannot write pod a: it answers reads" in json.loads(stream.getvalue().splitlines()[0])["message"]


def test_while_one_hangs_the_first_tries_of_others_are_given_up_sooner(
    writing: Writing, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whatever fails has taken long.
    monkeypatch.setattr("common.kube.write_backoff.SLOW", 0.0)
    _, _, writer, _ = writing
    tried: list[tuple[str, float | None]] = []

    def hang(_: Client, path: str, *_arguments: Any, patience: float | None, **_more: Any) -> Any:
        tried.append((path.split("/")[-2], patience))
        if tried[-1][0] == "a":
            raise HangingWrite("cannot write pod a: it answers reads")

    monkeypatch.setattr(Client, "apply", hang)
    writer.record({A: ASSIGNED})
    wait_for(lambda: tried, "the first try")
    writer.record({B: ASSIGNED})
    wait_for(lambda: ("b", FIRST_PATIENCE) in tried, "the other pod's")
    wait_for(lambda: len(tried) >= 3, "another try")
    assert {patience for pod, patience in tried if pod == "a"} == {None}


@pytest.mark.pure
@pytest.mark.parametrize(("error", "least"), [(HangingWrite("it reads"), 153.0), (Unreachable("away"), 0.0)])
def test_one_for_which_a_webhook_hangs_again_takes_a_tenth_of_the_threads_time(
    error: Unreachable, least: float
) -> None:
    writer = ConditionWriter(cast(Client, None), Log(stream=io.StringIO()))
    item = ConditionWrite(A, condition_of(ASSIGNED))
    assert writer._next_try(item, error, 17.0) - time.monotonic() <= MAX_PAUSE  # noqa: SLF001
    until = writer._next_try(item, error, 17.0)  # noqa: SLF001
    assert least <= until - time.monotonic() + 1.0 <= least + MAX_PAUSE + 1.0


def test_a_pod_that_is_gone_is_not_written_any_more(writing: Writing) -> None:
    api, _, writer, _ = writing
    writer.record({A: PENDING})
    writer.observe(Pod(A, alive=True), gone=True)
    writer.record({B: PENDING})
    wait_for(lambda: api.requests, "the other pod's")
    assert [each.path.partition("?")[0] for each in api.requests] == ["/api/v1/namespaces/ns/pods/b/status"]


@pytest.mark.pure
def test_each_of_many_that_hang_is_waited_for_in_full_at_its_second_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, tried = [1000.0], list[float | None]()
    clock = SimpleNamespace(monotonic=lambda: now[0])
    for module in ("api_writer", "condition_writer"):
        monkeypatch.setattr(f"ipagent.node.observe.{module}.time", clock)
    writer = ConditionWriter(cast(Client, None), Log(stream=io.StringIO()))

    def hang(_: ConditionWrite, patience: float | None) -> None:
        tried.append(patience)
        now[0] += 15.0 if patience is None else patience
        if len(tried) == 120:
            writer.stop()
        raise HangingWrite("it answers reads")

    monkeypatch.setattr(writer, "write", hang)
    writer.record({PodKey("ns", f"p{number}", f"u{number}"): ASSIGNED for number in range(60)})
    writer.run()
    # The very first, and each one's second.
    assert tried.count(None) == 61
