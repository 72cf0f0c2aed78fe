"""The client."""

from __future__ import annotations

import http.client
import time
from contextlib import suppress
from pathlib import Path

import pytest

from common.kube import client as module
from common.kube.errors import ApiError, ClusterError, Unreachable
from common.kube.transport import Connection
from tests.cluster.certificates import Authority
from tests.cluster.waiting import wait_for
from tests.common.kube.fake_api import FakeApi, Reply

STATUS = {"kind": "Status", "reason": "Conflict", "message": "the object has been modified"}


def test_a_renewed_token_counts_from_the_next_request_on(tmp_path: Path) -> None:
    with FakeApi(tmp_path, lambda _: Reply(body={"a": 1}, date="Tue, 15 Nov 1994 08:12:31 GMT")) as api:
        client = api.client(tmp_path)
        answer = client.get("/api/v1/x", "read x", {"fieldSelector": "metadata.name=a b"})
        assert (answer.object, answer.time) == ({"a": 1}, 784887151.0)
        api.cluster(tmp_path, "second")
        assert client.get("/api/v1/x", "read x").time == 784887151.0
        tokens = [request.headers["Authorization"] for request in api.requests]
        assert tokens == ["Bearer first", "Bearer second"]
        assert api.requests[0].parameters == {"fieldSelector": "metadata.name=a b"}


def test_patches_say_what_they_are(tmp_path: Path) -> None:
    with FakeApi(tmp_path, lambda _: Reply()) as api:
        client = api.client(tmp_path)
        client.apply("/x", "apply", {"a": 1}, manager="m", force=True)
        client.merge("/x", "merge", {"b": 2}, manager="m")
        applied, merged = api.requests
    assert applied.headers["Content-Type"] == "application/apply-patch+yaml"
    assert (applied.parameters, applied.body) == ({"fieldManager": "m", "force": "true"}, {"a": 1})
    assert merged.headers["Content-Type"] == "application/merge-patch+json"
    assert (merged.parameters, merged.body) == ({"fieldManager": "m"}, {"b": 2})


def test_a_request_is_sent_as_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bytes] = []
    monkeypatch.setattr(http.client.HTTPSConnection, "send", lambda _, data: sent.append(data))
    Connection("api", 443).send_request("PATCH", "/x?a=b", b'{"c":1}', {"Accept": "application/json"})
    (whole,) = sent
    assert whole.startswith(b"PATCH /x?a=b HTTP/1.1\r\n")
    assert whole.endswith(b'\r\n\r\n{"c":1}')


@pytest.mark.parametrize(
    ("reply", "code", "text"),
    [
        (Reply(409, STATUS), 409, "refused to read x: 409 Conflict: the object has been modified"),
        (Reply(403, {"reason": "Forbidden", "message": "no"}), 403, "no; ask for rights"),
        (Reply(500, b"oops"), 500, "no further word"),
        (Reply(502, b"[]"), 502, "no further word"),
        (Reply(301, b""), 301, "refused"),
        (Reply(200, b"hello"), 200, "not a JSON object"),
        (Reply(200, b"[]"), 200, "not a JSON object"),
        (Reply(200, {"a": "b" * 200}), 200, "more than 100 bytes"),
        (Reply(422, {"reason": "Invalid", "message": "m" * 9999}), 422, "Invalid: " + "m" * 499 + "…"),
    ],
)
def test_refusals_say_what_was_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reply: Reply, code: int, text: str
) -> None:
    if "100 bytes" in text:
        monkeypatch.setattr(module, "MAX_ANSWER", 100)
    with FakeApi(tmp_path, lambda _: reply) as api, pytest.raises(ApiError) as refused:
        api.client(tmp_path, remedies={403: "ask for rights"}).get("/x", "read x")
    assert refused.value.code == code
    assert text in str(refused.value)


def test_an_api_server_that_does_not_answer_is_unreachable(tmp_path: Path) -> None:
    with FakeApi(tmp_path, lambda _: Reply()) as api:
        client = api.client(tmp_path)
    with pytest.raises(Unreachable, match=f"cannot read x: no answer .* https://127.0.0.1:{api.port}"):
        client.get("/x", "read x")


def test_a_server_certificate_of_another_ca_is_refused(tmp_path: Path) -> None:
    with FakeApi(tmp_path, lambda _: Reply()) as api:
        client = api.client(tmp_path)
        (tmp_path / "ca.crt").write_bytes(Authority("other").pem)
        with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
            client.get("/x", "read x")
        assert api.requests == []


@pytest.mark.parametrize("missing", ["token", "ca.crt"])
def test_missing_credentials_are_named(tmp_path: Path, missing: str) -> None:
    with FakeApi(tmp_path, lambda _: Reply()) as api:
        client = api.client(tmp_path)
        (tmp_path / missing).unlink()
        with pytest.raises(ClusterError, match=missing):
            client.get("/x", "read x")


def page(*names: str, token: str = "") -> Reply:
    items = [{"metadata": {"name": name}} for name in names]
    metadata = {"resourceVersion": "7", "continue": token}
    return Reply(body={"kind": "List", "metadata": metadata, "items": items})


def test_a_list_is_read_to_its_last_page(tmp_path: Path) -> None:
    pages = {None: page("a", "b", token="next"), "next": page("c", token="last"), "last": page("d")}
    with FakeApi(tmp_path, lambda request: pages[request.parameters.get("continue")]) as api:
        listed = api.client(tmp_path).list(
            "/x", "list", {"limit": "2"}, lambda item: item["metadata"]["name"]
        )
        assert [request.parameters["limit"] for request in api.requests] == ["2", "2", "2"]
    assert listed == ("7", ("a", "b", "c", "d"))


def test_a_list_that_is_cut_off_is_an_error(tmp_path: Path) -> None:
    pages = {None: page("a", token="next"), "next": Reply(410, {"reason": "Expired", "message": "too old"})}
    with (
        FakeApi(tmp_path, lambda request: pages[request.parameters.get("continue")]) as api,
        pytest.raises(ApiError, match="refused to list: 410 Expired: too old"),
    ):
        api.client(tmp_path).list("/x", "list", {}, lambda item: item)


def test_a_list_has_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PAGES", 3)
    with (
        FakeApi(tmp_path, lambda _: page("a", token="again")) as api,
        pytest.raises(ApiError, match="more than 3 pages"),
    ):
        api.client(tmp_path).list("/x", "list", {}, lambda item: item)
    monkeypatch.setattr(module, "MAX_LIST", 100)
    with (
        FakeApi(tmp_path, lambda _: page("a" * 200)) as api,
        pytest.raises(ApiError, match="more than 100 bytes"),
    ):
        api.client(tmp_path).list("/x", "list", {}, lambda item: item)


@pytest.mark.parametrize("text", [b"<html>", b"[]", b'{"items": [1]}'])
def test_what_is_no_list_is_named(tmp_path: Path, text: bytes) -> None:
    with (
        FakeApi(tmp_path, lambda _: Reply(body=text)) as api,
        pytest.raises(ApiError, match="is this an API server"),
    ):
        api.client(tmp_path).list("/x", "list", {}, lambda item: item)


def ports(api: FakeApi) -> list[int]:
    return [request.port for request in api.requests]


def test_a_connection_is_used_again(tmp_path: Path) -> None:
    with FakeApi(tmp_path, lambda request: Reply(body=request.body or page().body, keep=True)) as api:
        client = api.client(tmp_path, keep=60.0)
        for number in range(3):
            body = {"number": number}
            assert client.create("/reviews", "create a review", body).object == body
        client.list("/x", "list", {}, lambda item: item)
        api.cluster(tmp_path, "second")
        client.get("/x", "read")
        client.close()
        assert len(set(ports(api))) == 1
        # A renewed token counts at once anyway.
        assert [each.headers["Authorization"] for each in api.requests][-2:] == [
            "Bearer first",
            "Bearer second",
        ]
        assert api.requests[0].headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("replies", "keep"),
    [
        ([Reply(keep=True)] * 2, 0.0),
        ([Reply()] * 2, 60.0),
        ([Reply(404, {"reason": "NotFound"}, keep=True), Reply(keep=True)], 60.0),
    ],
    ids=["none is to be kept", "the API server closes it", "after a refusal"],
)
def test_a_connection_that_can_not_be_used_again_is_closed(
    tmp_path: Path, replies: list[Reply], keep: float
) -> None:
    answers = iter(replies)
    with FakeApi(tmp_path, lambda _: next(answers)) as api:
        client = api.client(tmp_path, keep=keep)
        with suppress(ApiError):
            client.get("/x", "read")
        client.get("/x", "read")
        client.close()
        assert len(set(ports(api))) == 2


def test_a_kept_connection_that_has_died_is_no_failure(tmp_path: Path) -> None:
    """The API server ends a connection without a word, and the next request comes on a new one."""
    answers = iter([Reply(keep=False), Reply(body={"a": 1}, keep=True)])
    with FakeApi(tmp_path, lambda _: next(answers)) as api:
        client = api.client(tmp_path, keep=60.0)
        client.get("/x", "read")
        wait_for(lambda: api.open == 0, "the end of the connection")
        assert client.get("/x", "read").object == {"a": 1}
        client.close()


def test_an_old_idle_connection_is_not_used_again(tmp_path: Path) -> None:
    with FakeApi(tmp_path, lambda _: Reply(keep=True)) as api:
        client = api.client(tmp_path, keep=0.2)
        deadline = time.monotonic() + 20
        while len(set(ports(api))) < 2 and time.monotonic() < deadline:
            client.get("/x", "read")
        client.close()
        assert len(set(ports(api))) == 2
