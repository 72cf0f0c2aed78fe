"""Lists and watches that go on whatever happens."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.kube.backoff import MAX_PAUSE, pause_after_failure
from common.kube.errors import Unreachable
from common.kube.reflector import Reflector, Target, one_object
from tests.cluster.waiting import wait_for
from tests.common.kube.fake_api import FakeApi, Reply, Request

CUT = b""
"""An answer that ends without its last chunk."""


class Served:
    """Answers lists with `items`, and watches with what a test puts into `script`."""

    def __init__(self) -> None:
        self.version = "10"
        self.items: list[dict[str, Any]] = []
        self.script: queue.Queue[bytes | Reply | None] = queue.Queue()

    def answer(self, request: Request) -> Reply:
        if "watch" not in request.parameters:
            return Reply(
                body={"kind": "ThingList", "metadata": {"resourceVersion": self.version}, "items": self.items}
            )
        first = self.script.get(timeout=10)
        if isinstance(first, Reply):
            return first
        return Reply(chunks=self._chunks(first))

    def _chunks(self, first: bytes | None) -> Iterator[bytes]:
        chunk: bytes | Reply | None = first
        while isinstance(chunk, bytes):
            if chunk == CUT:
                raise OSError
            yield chunk
            chunk = self.script.get(timeout=10)


class Told:
    """What a follower was told."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.errors: list[Exception] = []
        self.recoveries = 0

    def on_list(self, items: tuple[str, ...]) -> None:
        self.told.append(list(items))

    def on_change(self, item: str, *, gone: bool) -> None:
        self.told.append((item, "gone") if gone else item)

    def on_error(self, error: Exception) -> None:
        self.errors.append(error)

    def on_recovery(self) -> None:
        self.recoveries += 1


def made(name: str, version: str = "1") -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": version}}


def name_of(item: dict[str, Any]) -> str:
    return str(item["metadata"].get("name"))


def event(kind: str, version: str, name: str = "x", **more: Any) -> bytes:
    return json.dumps({"type": kind, "object": {**made(name, version), **more}}).encode() + b"\n"


Watched = tuple[FakeApi, Served, Told, Reflector[str]]


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    """A watcher of a list, and what it told."""
    monkeypatch.setattr("common.kube.reflector.SHORTEST", 0.0)
    served, told = Served(), Told()
    with FakeApi(tmp_path, served.answer) as api:
        target = Target("/pods", "pods of node a", {"fieldSelector": "spec.nodeName=a"})
        watcher = Reflector(api.client(tmp_path), target, name_of, told)
        watcher.start()
        yield api, served, told, watcher
        watcher.stop()
        # One for each handler that may still wait for its script.
        for _ in range(10):
            served.script.put(None)
        watcher.join(10)
        assert not watcher.is_alive()


def asked(api: FakeApi) -> list[str]:
    """Name the requests: `list`, or the resourceVersion that a watch began with."""
    return [request.parameters.get("resourceVersion", "list") for request in api.requests]


def test_a_watch_goes_on_where_the_last_one_ended(watched: Watched) -> None:
    api, served, told, _ = watched
    for chunk in (event("MODIFIED", "11"), event("BOOKMARK", "20"), None, event("BOOKMARK", "30"), None):
        served.script.put(chunk)
    wait_for(lambda: asked(api) == ["list", "10", "20", "30"], "four requests")
    # The list and the one change; bookmarks are none.
    assert told.told == [[], "x"]
    assert all(each.parameters["fieldSelector"] == "spec.nodeName=a" for each in api.requests)
    assert api.requests[1].parameters["allowWatchBookmarks"] == "true"


def test_it_tells_what_there_is_what_changes_and_what_goes(watched: Watched) -> None:
    api, served, told, watcher = watched
    wait_for(lambda: len(api.requests) == 2, "the first watch")
    served.items = [made("a"), made("b")]
    served.script.put(Reply(410, {"reason": "Expired"}))
    for kind, name in (("ADDED", "c"), ("MODIFIED", "a"), ("DELETED", "b")):
        served.script.put(event(kind, "11", name))
    wait_for(lambda: told.told == [[], ["a", "b"], "c", "a", ("b", "gone")], "all of it")
    assert told.errors == []
    assert watcher.heard is not None


@pytest.mark.parametrize(
    "gone",
    [
        Reply(410, {"reason": "Expired", "message": "too old resource version"}),
        event("ERROR", "0", code=410, reason="Expired"),
    ],
    ids=["refused", "as an event"],
)
def test_a_version_that_is_too_old_leads_to_a_new_list_at_once(watched: Watched, gone: Reply | bytes) -> None:
    api, served, told, _ = watched
    wait_for(lambda: asked(api) == ["list", "10"], "the first watch")
    served.version = "99"
    served.script.put(gone)
    wait_for(lambda: asked(api) == ["list", "10", "list", "99"], "watch from the new list")
    assert told.told == [[], []]
    assert told.errors == []


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (
            Reply(403, {"reason": "Forbidden", "message": "no"}),
            "refused to watch pods of node a: 403 Forbidden: no",
        ),
        (b"no json\n", "is this an API server"),
        (b'{"type": "ADDED"}\n', "is this an API server"),
        (event("ERROR", "0", code=400, reason="BadRequest"), "400 BadRequest"),
    ],
    ids=["forbidden", "junk", "no event", "an error"],
)
def test_after_an_error_follows_a_new_list(watched: Watched, broken: Reply | bytes, said: str) -> None:
    api, served, told, _ = watched
    served.script.put(broken)
    served.script.put(None)
    wait_for(lambda: asked(api)[:4] == ["list", "10", "list", "10"], "another list")
    assert told.told[:2] == [[], []]
    assert said in str(told.errors[0])


@pytest.mark.parametrize(
    "broken",
    [Reply(500, b""), Reply(503, b""), event("ERROR", "0", code=500), event("ERROR", "0", code="x")],
    ids=["failed", "going down", "an error", "an odd error"],
)
def test_a_failure_that_passes_costs_no_list_but_three_do(
    watched: Watched, broken: Reply | bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.kube.reflector.pause_after_failure", lambda *_: 0.0)
    api, served, told, _ = watched
    for _ in range(6):
        served.script.put(broken)
        if isinstance(broken, bytes):
            served.script.put(None)
    wait_for(lambda: asked(api)[:10] == ["list", "10", "10", "10"] * 2 + ["list", "10"], "a list in the end")
    assert [each for each in map(str, told.errors) if "50" in each] == list(map(str, told.errors))


def test_a_watch_that_is_cut_off_goes_on_from_what_was_heard(watched: Watched) -> None:
    api, served, told, _ = watched
    for chunk in (event("ADDED", "11"), CUT, event("ADDED", "12", "y"), None):
        served.script.put(chunk)
    wait_for(lambda: asked(api)[:3] == ["list", "10", "11"], "a watch from there")
    wait_for(lambda: told.told == [[], "x", "y"], "both events")


def test_an_api_server_that_is_back_is_not_asked_for_a_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.kube.reflector.SHORTEST", 0.0)
    served, told = Served(), Told()
    with FakeApi(tmp_path, served.answer) as api:
        watcher = Reflector(api.client(tmp_path), Target("/pods", "pods of node a"), name_of, told)
        watcher.start()
        served.script.put(event("ADDED", "11"))
        wait_for(lambda: told.told == [[], "x"], "an event")
        # One for the watch that is open, one for the next, if it comes before the end.
        served.script.put(None)
        served.script.put(None)
    served.script = queue.Queue()
    wait_for(lambda: told.errors and isinstance(told.errors[-1], Unreachable), "a failure")
    with FakeApi(tmp_path, served.answer, port=api.port) as again:
        served.script.put(event("DELETED", "12"))
        wait_for(lambda: told.told[-1] == ("x", "gone"), "the next event")
        watcher.stop()
        served.script.put(None)
        served.script.put(None)
        watcher.join(20)
        assert not watcher.is_alive()
        assert asked(again)[0] == "11"
    assert "no answer from the API server" in str(told.errors[-1])


def test_a_watch_of_an_api_server_that_is_about_to_end_is_followed_like_any_other(watched: Watched) -> None:
    api, served, told, _ = watched
    served.script.put(Reply(chunks=[event("ADDED", "11")], closing=True))
    served.script.put(Reply(chunks=[event("ADDED", "12", "y")], closing=True))
    wait_for(lambda: asked(api) == ["list", "10", "11", "12"], "a watch after both")
    assert (told.told, told.errors) == ([[], "x", "y"], [])


def test_a_version_that_is_always_too_old_does_not_flood_the_api_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of several API servers, of which one lists and one that has just started watches."""
    monkeypatch.setattr("common.kube.reflector.SHORTEST", 3600.0)
    pauses: list[float] = []

    class Hasty(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            pauses.append(timeout or 0.0)
            return super().wait(0)

    served, told = Served(), Told()
    with FakeApi(tmp_path, served.answer) as api:
        watcher = Reflector(api.client(tmp_path), Target("/pods", "pods"), name_of, told)
        monkeypatch.setattr(watcher, "_stopping", Hasty())
        for _ in range(3):
            served.script.put(Reply(410, {"reason": "Expired"}))
        watcher.start()
        wait_for(lambda: asked(api) == ["list", "10"] * 4, "the fourth round")
        assert [pause > 3000 for pause in pauses] == [True] * 3
        watcher.stop()
        served.script.put(None)
        watcher.join(20)
        assert not watcher.is_alive()


def test_where_lists_are_allowed_and_watches_are_not_the_pauses_grow(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[int] = []

    def pause(number: int, _: float) -> float:
        failures.append(number)
        return 0.0

    monkeypatch.setattr("common.kube.reflector.pause_after_failure", pause)
    api, served, told, _ = watched
    for _ in range(4):
        served.script.put(Reply(403, {"reason": "Forbidden", "message": "no"}))
    wait_for(lambda: asked(api) == ["list", "10"] * 5, "the fifth round")
    assert (failures, told.recoveries) == ([1, 2, 3, 4], 0)


def test_a_bookmark_is_enough_to_tell_that_the_api_server_answers_again(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.kube.reflector.pause_after_failure", lambda *_: 0.0)
    _, served, told, _ = watched
    for each in (Reply(503, b""), event("BOOKMARK", "11"), event("BOOKMARK", "12")):
        served.script.put(each)
    wait_for(lambda: told.recoveries, "the recovery")
    served.script.put(None)
    served.script.put(event("ADDED", "13"))
    wait_for(lambda: told.told[1:], "an event")
    assert (len(told.errors), told.recoveries) == (1, 1)


def test_an_event_that_is_cut_off_is_not_taken(watched: Watched) -> None:
    api, served, told, _ = watched
    served.script.put(event("MODIFIED", "11")[:-20])
    served.script.put(None)
    wait_for(lambda: asked(api) == ["list", "10", "10"], "another watch from the same version")
    assert told.told == [[]]


def test_a_list_that_fails_is_asked_for_again(tmp_path: Path) -> None:
    empty = {"kind": "PodList", "metadata": {"resourceVersion": "7"}, "items": []}
    answers = iter([Reply(500, b""), Reply(200, b"{"), Reply(body=empty)])
    told = Told()
    with FakeApi(tmp_path, lambda _: next(answers, Reply(503, b""))) as api:
        watcher = Reflector(api.client(tmp_path), Target("/pods", "pods"), name_of, told)
        watcher.start()
        wait_for(lambda: told.told == [[]], "the list")
        watcher.stop()
        watcher.join(20)
        assert not watcher.is_alive()
    assert ["500" in str(told.errors[0]), "NotAList" in str(told.errors[1])] == [True, True]


def test_one_object_is_selected_by_its_name() -> None:
    target = one_object("/secrets", "tls")
    assert target.parameters == {"fieldSelector": "metadata.name=tls"}
    assert target.name == "/secrets with the name tls"


def test_threads_end_where_the_api_server_says_nothing(tmp_path: Path) -> None:
    """A watch that is silent for minutes ends at once when the process does."""
    silent = threading.Event()

    def chunks() -> Iterator[bytes]:
        silent.wait(20)
        yield b""

    def answer(request: Request) -> Reply:
        if "watch" in request.parameters:
            return Reply(chunks=chunks())
        return Reply(body={"metadata": {"resourceVersion": "1"}})

    with FakeApi(tmp_path, answer) as api:
        watcher = Reflector(api.client(tmp_path), Target("/pods", "pods"), name_of, Told())
        watcher.start()
        wait_for(lambda: len(api.requests) == 2, "the watch")
        watcher.stop()
        watcher.join(10)
        assert not watcher.is_alive()
        silent.set()


@pytest.mark.parametrize(
    ("failures", "longest"), [(1, 1.0), (2, 2.0), (4, 8.0), (5, MAX_PAUSE), (9999, MAX_PAUSE)]
)
def test_pauses_grow_to_their_limit_and_are_scattered(failures: int, longest: float) -> None:
    assert [pause_after_failure(failures, chance) for chance in (0.0, 1.0)] == [longest / 2, longest]
