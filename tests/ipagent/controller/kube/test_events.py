"""Events are a courtesy: one that is not taken holds up neither others nor the loop."""

from __future__ import annotations

import io
from typing import Any

import pytest

from common.kube.backoff import REST
from common.kube.errors import ApiError, HangingWrite, Unreachable
from ipagent.controller.kube.events import EventWriter, Subject
from ipagent.log import Log

pytestmark = pytest.mark.pure


class ApiServer:
    """Takes Events; one on a subject in `errors` fails after `took` seconds."""

    def __init__(self) -> None:
        self.errors: dict[str, Exception] = {}
        self.took = 0.0
        self.now = 100.0
        self.tried: list[str] = []
        self.names: list[str] = []
        self.log = io.StringIO()
        self.events = EventWriter(self, "r", Log(stream=self.log), lambda: self.now)  # type: ignore[arg-type] # as much as is used

    def create(self, _path: str, _what: str, body: dict[str, Any]) -> None:
        name = body["involvedObject"]["name"]
        self.tried.append(name)
        self.names.append(body["metadata"]["name"])
        if name in self.errors:
            self.now += self.took
            raise self.errors[name]

    def write(self, *nodes: str) -> None:
        for node in nodes:
            self.events.write(Subject("v1", "Node", node, node), "Normal", "NetworkReady", "m")


def refusal(code: int) -> ApiError:
    return ApiError(code, "Refused", "no", "write Event")


def test_one_that_is_refused_holds_up_no_other() -> None:
    api = ApiServer()
    api.errors = {"n1": refusal(500)}
    api.write("n1", "n2", "n3")
    assert api.tried == ["n1", "n2", "n3"]
    assert api.log.getvalue().count("events-failed") == 1


@pytest.mark.parametrize(
    ("error", "took", "pause"),
    [
        (refusal(500), 10.0, 10.0 * REST),
        (HangingWrite("it answers reads"), 17.0, 17.0 * REST),
        (refusal(503), 0.0, 1.0),
        (Unreachable("timed out"), 15.0, 1.0),
    ],
)
def test_after_one_that_takes_long_or_an_api_server_that_fails_there_is_a_pause(
    error: Exception, took: float, pause: float
) -> None:
    api = ApiServer()
    api.errors, api.took = {"n1": error}, took
    api.write("n1", "n2")
    assert api.tried == ["n1"]
    api.now += pause - 0.5
    api.write("n1", "n2")
    assert api.tried == ["n1"]
    api.now += 0.5
    api.write("n1", "n2")
    assert api.tried == ["n1", "n1"]
    api.now += max(2.0, pause)
    api.errors.clear()
    api.write("n2", "n3")
    assert api.tried == ["n1", "n1", "n2", "n3"]


def test_the_name_of_an_event_is_no_longer_than_names_may_be_however_long_its_subjects_is() -> None:
    api = ApiServer()
    long = "n" * 199 + "." + "x" * 53
    api.write(long, long[:-1] + "y")
    first, second = api.names
    assert first != second
    assert max(map(len, api.names)) <= 253
    assert first.rpartition(".")[0] == "n" * 199
