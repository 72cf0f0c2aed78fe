"""Writes that the API server takes and does not answer in time: for a webhook, or since it is away."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from common.kube import client as module
from common.kube import transport
from common.kube.errors import HangingWrite, Unreachable
from common.kube.transport import Connection
from common.linger import unacknowledged
from tests.cluster.waiting import wait_for
from tests.common.kube.fake_api import FakeApi, Reply, Request


@contextmanager
def silent_api(
    folder: Path, monkeypatch: pytest.MonkeyPatch, silent: tuple[str, ...], reads: Mapping[str, Reply]
) -> Iterator[FakeApi]:
    """Have an API server that takes requests by these methods and does not answer; clients give up."""
    end, get_response = threading.Event(), Connection.getresponse

    def answer(request: Request) -> Reply:
        if request.method in silent:
            end.wait()
            return Reply()
        return reads.get(request.path, Reply(keep=True))

    def give_up(connection: Connection) -> http.client.HTTPResponse:
        method: str = connection._method  # type: ignore[attr-defined]  # noqa: SLF001 - http.client's own
        if method not in silent:
            return get_response(connection)
        wait_for(lambda: not unacknowledged(connection.opened), "the end of the sending")
        wait_for(lambda: method in methods(api), "the request")
        raise TimeoutError("timed out")

    monkeypatch.setattr(Connection, "getresponse", give_up)
    # A slow machine is no silent API server.
    monkeypatch.setattr(module, "PROBE_TIMEOUT", 60.0)
    with FakeApi(folder, answer) as api:
        try:
            yield api
        finally:
            end.set()


def methods(api: FakeApi) -> list[str]:
    return [request.method for request in api.requests]


STATUS_PATH = "/apis/x/v1/things/a/status"


@pytest.mark.parametrize("keep", [0.0, 60.0])
@pytest.mark.parametrize(
    ("read", "code"), [(Reply(keep=True), 200), (Reply(403, {"reason": "Forbidden"}), 403)]
)
def test_a_write_that_hangs_while_reads_are_answered_is_told_from_an_api_server_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Reply, code: int, keep: float
) -> None:
    thing = STATUS_PATH.removesuffix("/status")
    with silent_api(tmp_path, monkeypatch, ("PATCH",), {thing: read}) as api:
        client = api.client(tmp_path, keep=keep)
        client.get("/x", "read")
        with pytest.raises(HangingWrite) as hanging:
            client.apply(STATUS_PATH, "write the status of a", {}, manager="m", force=True)
        client.close()
        assert str(hanging.value) == (
            "cannot write the status of a: no answer within 15 s to this write, which the API server at "
            f"https://127.0.0.1:{api.port} has taken; it answers reads (HTTP {code}): an admission "
            "webhook or a quota may hang "
            "(kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations)"
        )
        # It is not made again on another connection, which would take as long.
        assert methods(api) == ["GET", "PATCH", "GET"]
        assert api.requests[-1].path == thing


@pytest.mark.parametrize(
    ("silent", "reads", "found"),
    [(("POST", "GET"), {}, "no answer"), (("POST",), {"/y": Reply(503, {})}, "HTTP 503")],
)
def test_a_write_is_not_said_to_hang_where_a_read_is_not_answered_either(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    silent: tuple[str, ...],
    reads: Mapping[str, Reply],
    found: str,
) -> None:
    with silent_api(tmp_path, monkeypatch, silent, reads) as api:
        with pytest.raises(Unreachable) as raised:
            api.client(tmp_path).create("/y", "make y", {})
        assert not isinstance(raised.value, HangingWrite)
        where = f"the API server at https://127.0.0.1:{api.port}"
        assert (
            str(raised.value) == f"cannot make y: no answer within 15 s from {where}, and to a read {found}"
        )
        assert methods(api) == ["POST", "GET"]


def test_a_write_that_has_not_arrived_goes_out_again_on_a_new_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A firewall has forgotten the connection that was kept."""
    with silent_api(tmp_path, monkeypatch, ("PATCH",), {}) as api:
        client = api.client(tmp_path, keep=60.0)
        client.get("/x", "read")
        monkeypatch.setattr(transport, "unacknowledged", lambda _: 100)
        with pytest.raises(Unreachable, match=r"cannot merge: no answer from the API server .*timed out"):
            client.merge("/x", "merge", {}, manager="m")
        client.close()
        wait_for(lambda: len(methods(api)) > 2, "the second PATCH")
        assert methods(api) == ["GET", "PATCH", "PATCH"]


def test_an_answer_is_waited_for_with_the_patience_that_is_asked_for_and_the_next_one_as_usual(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float | None] = []
    get_response = Connection.getresponse

    def head(connection: Connection) -> http.client.HTTPResponse:
        waited.append(connection.opened.gettimeout())
        return get_response(connection)

    monkeypatch.setattr(Connection, "getresponse", head)
    with FakeApi(tmp_path, lambda _: Reply(keep=True)) as api:
        client = api.client(tmp_path, keep=60.0)
        for patience in (None, 3.0, None):
            client.merge("/x", "merge", {}, manager="m", patience=patience)
        client.close()
        assert len({each.port for each in api.requests}) == 1
    assert waited == [15.0, 3.0, 15.0]


def test_a_write_that_is_given_up_sooner_says_after_how_many_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with silent_api(tmp_path, monkeypatch, ("PATCH",), {}) as api:
        with pytest.raises(HangingWrite, match=r"cannot write a: no answer within 3 s to this write"):
            api.client(tmp_path).apply("/a", "write a", {}, manager="m", force=True, patience=3.0)
        assert methods(api) == ["PATCH", "GET"]
