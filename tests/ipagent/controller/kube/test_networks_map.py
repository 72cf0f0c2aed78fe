"""The ConfigMap by which the webhook knows networks: written where it differs, again after a failure."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.agent_settings import LogFormat
from ipagent.controller.kube.networks_map import AGAIN, LOOK, NetworksMap
from ipagent.log import Log
from tests.common.kube.fake_api import FakeApi, Reply, Request

PATH = "/api/v1/namespaces/injector/configmaps/networks"


class ConfigMap:
    """The API server's; `failing` is the code that it answers with instead."""

    def __init__(self) -> None:
        self.data: dict[str, str] | None = None
        self.failing = 0
        self.version = 1
        self.leads = True
        self.overtaken: dict[str, str] | None = None
        """What another leader writes after the next read."""
        self.log = io.StringIO()
        self.requests: list[str] = []
        self.map: Any = None

    def answer(self, request: Request) -> Reply:
        assert request.path == PATH
        self.requests.append(request.method)
        if self.failing:
            return Reply(self.failing, {"message": "not now"})
        if request.method == "PATCH":
            if request.body["metadata"]["resourceVersion"] != str(self.version):
                return Reply(409, {"reason": "Conflict", "message": "it was modified"})
            self.change({**(self.data or {}), **request.body["data"]})
        metadata = {"resourceVersion": str(self.version)}
        found = Reply(body={"metadata": metadata, **({"data": self.data} if self.data else {})})
        if self.overtaken is not None:
            self.change(self.overtaken)
            self.overtaken = None
        return found

    def change(self, data: dict[str, str]) -> None:
        """Have other data from now on."""
        self.data = data
        self.version += 1

    def write(self, text: str, now: float) -> list[str]:
        """Write, and return what was asked for."""
        self.requests.clear()
        assert self.map.write(text, now) > now
        return list(self.requests)


@pytest.fixture
def found(tmp_path: Path) -> Iterator[ConfigMap]:
    made = ConfigMap()
    with FakeApi(tmp_path, made.answer) as api:
        client = api.client(tmp_path)
        log = Log(form=LogFormat.JSON, stream=made.log)
        made.map = NetworksMap(client, "injector", "networks", log, lambda: made.leads)
        yield made
        client.close()


def test_it_is_written_where_it_differs_and_looked_at_now_and_then(found: ConfigMap) -> None:
    assert found.write("a", 0.0) == ["GET", "PATCH"]
    assert found.write("a", 1.0) == []
    assert found.write("b", 2.0) == ["GET", "PATCH"]
    assert found.data == {"networks.json": "b"}
    assert found.write("b", 2.0 + LOOK) == ["GET"]
    found.data = {"networks.json": "somebody's", "more": "stays"}
    assert found.write("b", 3.0 + 2 * LOOK) == ["GET", "PATCH"]
    assert found.data == {"networks.json": "b", "more": "stays"}


def test_what_another_leader_writes_meanwhile_is_not_overwritten_unseen(found: ConfigMap) -> None:
    found.overtaken = {"networks.json": "newer"}
    assert found.write("a", 0.0) == ["GET", "PATCH"]
    assert found.data == {"networks.json": "newer"}
    # It is read and compared again, by the one that leads.
    assert found.write("a", AGAIN) == ["GET", "PATCH"]
    assert found.data == {"networks.json": "a"}


def test_a_replica_that_leads_no_more_writes_nothing(found: ConfigMap) -> None:
    found.leads = False
    assert found.write("a", 0.0) == []


def test_a_failure_is_logged_once_and_tried_again(found: ConfigMap) -> None:
    found.failing = 403
    assert found.write("a", 0.0) == ["GET"]
    assert found.write("a", 1.0) == []
    assert found.write("a", AGAIN) == ["GET"]
    assert found.log.getvalue().count("networks-failed") == 1
    found.failing = 0
    assert found.write("a", 2 * AGAIN) == ["GET", "PATCH"]
    assert found.data == {"networks.json": "a"}


def test_a_webhook_that_hangs_takes_a_tenth_of_the_loops_time(found: ConfigMap) -> None:
    found.failing, times = 500, iter([0.0, 10.0])
    found.map.clock = lambda: next(times)
    assert found.map.write("a", 0.0) == 100.0
    assert found.map.write("a", 99.9) == 100.0
