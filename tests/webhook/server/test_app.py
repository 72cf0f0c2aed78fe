"""The HTTP side, called in process: what comes back for what is sent, and what is logged."""

import asyncio
import base64
import copy
import io
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from common import pod_keys
from common.log import LEVELS
from common.token_bucket import BucketsByKey, Rate
from tests.cluster.certificates import Authority
from tests.webhook.core.test_cases import review
from tests.webhook.pods import applied
from webhook.core.namespace_policy import ROUTES
from webhook.server import body, handler
from webhook.server.app import create_app
from webhook.server.body import MAX_BODY, LargeBodies
from webhook.server.cert_watcher import CertificateFiles, CertWatcher
from webhook.server.drain import Draining
from webhook.server.handler import AdmissionHandler
from webhook.server.log import Log
from webhook.server.metrics import Metrics
from webhook.settings_file import parse_settings

POD: dict[str, Any] = {
    "metadata": {"name": "web", "annotations": {pod_keys.NETWORKS: "ipvlan-multus"}},
    "spec": {"containers": [{"name": "app", "image": "busybox"}]},
}
PATH = "/mutate/namespace/default"


class Client:
    """Calls the application without a network."""

    def __init__(self, app: ASGIApp, large_bodies: LargeBodies) -> None:
        self.large_bodies = large_bodies
        self._transport = httpx.ASGITransport(app, raise_app_exceptions=False)

    def request(
        self, method: str, path: str, content: bytes | AsyncIterator[bytes] | None = None
    ) -> httpx.Response:
        async def call() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._transport, base_url="https://webhook") as client:
                return await client.request(method, path, content=content)

        return asyncio.run(call())

    def post(self, path: str, content: bytes | AsyncIterator[bytes]) -> httpx.Response:
        return self.request("POST", path, content)


@pytest.fixture
def log() -> io.BytesIO:
    return io.BytesIO()


@pytest.fixture
def draining() -> Draining:
    return Draining()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def client(tmp_path: Path, log: io.BytesIO, metrics: Metrics, draining: Draining) -> Client:
    files = Authority().issue(["localhost"], tmp_path)
    admission = AdmissionHandler(parse_settings("agent: {image: i}"), Log(log), metrics)
    watcher = CertWatcher(CertificateFiles(files.public, files.private))
    large_bodies = LargeBodies()
    return Client(create_app(admission, watcher, draining, large_bodies), large_bodies)


@pytest.mark.parametrize("path", [path for path in ROUTES if "invalid" not in path and "/pod/" not in path])
def test_each_entry_of_a_namespace_injects(client: Client, path: str) -> None:
    response = client.post(path, content=review(POD, "apps")).json()["response"]
    pod = applied(POD, json.loads(base64.b64decode(response["patch"])))
    mode = "sidecar" if "/sidecar" in path else "init"
    assert pod["spec"]["initContainers"][0]["command"] == ["ipagent", mode]
    assert response["auditAnnotations"] == {"reason": f"inject_{mode}"}


ALLOWED = {"injection": "enabled, disabled", "mode": "init, sidecar", "credentials": "chain, node"}


@pytest.mark.parametrize("path", [path for path in ROUTES if "invalid" in path])
def test_each_invalid_entry_refuses_with_key_and_allowed_values(client: Client, path: str) -> None:
    response = client.post(path, content=review(POD, "apps")).json()["response"]
    assert response["allowed"] is False
    key = path.rsplit("-", 1)[-1]
    assert f"label multus-eni.io/{key} has" in response["status"]["message"]
    assert f"allowed: {ALLOWED[key]}" in response["status"]["message"]


@pytest.mark.parametrize("body", [b"", b"hello", b"{}", b"[" * 100_000, b"\x00\xff"])
def test_no_review_is_400_with_a_sentence(client: Client, body: bytes) -> None:
    response = client.post(PATH, content=body)
    assert response.status_code == 400
    assert response.text.strip()
    assert "Traceback" not in response.text


def test_an_unreadable_pod_is_refused_with_a_sentence(client: Client) -> None:
    response = client.post(PATH, content=review({"spec": {"containers": 7}}, "apps"))
    assert response.status_code == 200
    answer = response.json()["response"]
    assert answer["allowed"] is False
    assert answer["status"]["message"].startswith("the pod in the request cannot be read: Expected")
    assert answer["auditAnnotations"] == {"reason": "unreadable_pod"}


def test_unreadable_quantities_are_named(client: Client) -> None:
    pod = copy.deepcopy(POD)
    pod["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "many"}}
    answer = client.post(PATH, content=review(pod, "apps")).json()["response"]
    assert "'many' is not a quantity" in answer["status"]["message"]


def test_a_body_over_the_limit_is_413_whether_announced_or_not(client: Client) -> None:
    assert client.post(PATH, content=b"x" * (MAX_BODY + 1)).status_code == 413

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY // 65536 + 2):
            yield b"x" * 65536

    assert client.post(PATH, content=chunks()).status_code == 413


def test_a_body_at_the_limit_is_read(client: Client) -> None:
    body = review(POD, "apps")
    assert client.post(PATH, content=body + b" " * (MAX_BODY - len(body))).status_code == 200


def test_what_is_not_a_pod_is_let_through(client: Client) -> None:
    document = json.loads(review(POD, "apps"))
    document["request"]["operation"] = "UPDATE"
    answer = client.post(PATH, content=json.dumps(document).encode()).json()["response"]
    assert (answer["allowed"], answer["auditAnnotations"]) == (True, {"reason": "not_pod_creation"})


def test_a_fault_of_ours_is_a_sentence_and_a_log_line(
    client: Client, log: io.BytesIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object) -> None:
        raise KeyError("secret of the pod")

    monkeypatch.setattr(handler, "inject", broken)
    answer = client.post(PATH, content=review(POD, "apps")).json()["response"]
    assert answer["allowed"] is False
    assert answer["status"]["message"] == "the injector failed: review u: KeyError; see the webhook's log"
    fault = json.loads(log.getvalue().splitlines()[0])
    assert (fault["event"], fault["error"]) == ("fault", "KeyError")
    assert "broken" in fault["frames"][-1]
    assert b"secret" not in log.getvalue()


def test_each_decision_is_one_log_line_without_the_pods_content(client: Client, log: io.BytesIO) -> None:
    pod = copy.deepcopy(POD)
    pod["spec"]["containers"][0]["env"] = [{"name": "PASSWORD", "value": "hunter2"}]
    client.post(PATH, content=review(pod, "apps"))
    (line,) = log.getvalue().splitlines()
    entry = json.loads(line)
    assert entry.pop("time").endswith("Z")
    assert entry.pop("milliseconds") >= 0
    assert entry == {
        "level": "info",
        "event": "decision",
        "uid": "u",
        "namespace": "apps",
        "name": "web",
        "reason": "inject_init",
        "message": "an init container assigns the pod's Multus addresses before the app starts",
        "warnings": [],
    }


@pytest.mark.parametrize(
    ("labels", "level"),
    [
        ({}, "info"),
        ({pod_keys.INJECTION: "disabled"}, "debug"),
        ({pod_keys.INJECTION: "yes"}, "warning"),
    ],
    ids=["injected", "left alone", "refused"],
)
def test_pods_that_are_left_alone_are_logged_at_debug(labels: dict[str, str], level: str) -> None:
    pod = copy.deepcopy(POD)
    pod["metadata"]["labels"] = labels
    for least in LEVELS:
        log = io.BytesIO()
        admission = AdmissionHandler(parse_settings("agent: {image: i}"), Log(log, least), Metrics())
        admission.handle(review(pod, "apps"), ROUTES[PATH])
        written = [json.loads(line)["level"] for line in log.getvalue().splitlines()]
        assert written == ([level] if LEVELS.index(level) >= LEVELS.index(least) else [])


def value(metrics: Metrics, name: str, **labels: str) -> float:
    found = metrics.registry.get_sample_value(f"multus_eni_webhook_{name}", labels)
    assert found is not None, name
    return found


def test_decisions_are_counted_by_reason_and_timed(client: Client, metrics: Metrics) -> None:
    for pod in (POD, POD, {"spec": {"containers": 7}}):
        client.post(PATH, content=review(pod, "apps"))
    assert value(metrics, "decisions_total", reason="inject_init", mode="init") == 2
    assert value(metrics, "decisions_total", reason="unreadable_pod", mode="none") == 1
    assert value(metrics, "decisions_total", reason="fargate", mode="none") == 0
    assert value(metrics, "decision_seconds_count") == 3
    assert value(metrics, "in_flight_requests") == 0


def test_rejected_requests_are_counted_by_code(client: Client, metrics: Metrics) -> None:
    client.post(PATH, content=b"nonsense")
    client.post(PATH, content=b"x" * (MAX_BODY + 1))
    assert value(metrics, "rejected_requests_total", code="400") == 1
    assert value(metrics, "rejected_requests_total", code="413") == 1


def test_a_body_that_does_not_arrive_is_408(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "BODY_TIMEOUT", 0.01)

    async def never() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    assert client.post(PATH, content=never()).status_code == 408


def test_large_bodies_over_their_budget_are_503(client: Client, metrics: Metrics) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b"x" * body.SMALL_BODY

    assert client.post(PATH, content=chunks()).status_code == 400
    client.large_bodies.limit = 3 * body.SMALL_BODY
    response = client.post(PATH, content=chunks())
    assert (response.status_code, response.text) == (503, "too many large reviews at once: try again\n")
    assert value(metrics, "rejected_requests_total", code="503") == 1


def test_an_expired_certificate_makes_it_unready_but_not_dead(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_two_days = time.time() + 2 * 86400
    monkeypatch.setattr(time, "time", lambda: in_two_days)
    assert client.request("GET", "/readyz").status_code == 503
    assert client.request("GET", "/healthz").status_code == 200


def test_while_draining_it_answers_retires_connections_and_is_unready(
    client: Client, draining: Draining
) -> None:
    assert "connection" not in client.post(PATH, content=review(POD, "apps")).headers
    draining.active = True
    last = client.post(PATH, content=review(POD, "apps"))
    assert (last.status_code, last.headers["connection"]) == (200, "close")
    assert client.request("GET", "/readyz").status_code == 503
    assert client.request("GET", "/healthz").status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes(client: Client, path: str) -> None:
    assert client.request("GET", path).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", PATH, 405),
        ("POST", "/mutate", 404),
        ("POST", "/", 404),
        ("GET", "/docs", 404),
        ("GET", "/openapi.json", 404),
    ],
)
def test_nothing_else_is_served(client: Client, method: str, path: str, code: int) -> None:
    assert client.request(method, path).status_code == code


def test_a_review_that_is_not_posted_is_told_the_method(client: Client) -> None:
    response = client.request("GET", PATH)
    assert (response.status_code, response.headers["allow"], response.text) == (
        405,
        "POST",
        "a review is sent by POST\n",
    )


@pytest.mark.parametrize("rates", ["reads", "decodes"])
def test_large_bodies_of_one_peer_wait_for_their_bytes(
    client: Client, monkeypatch: pytest.MonkeyPatch, rates: str
) -> None:
    waited: list[float] = []
    yielding = asyncio.sleep

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        await yielding(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    setattr(client.large_bodies, rates, BucketsByKey(Rate(body.SMALL_BODY, 1024)))

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * body.SMALL_BODY

    assert client.post(PATH, content=chunks()).status_code == 400
    owed = [wait for wait in waited if wait > 0]
    # All of it but what is free at once, and a small one owes nothing.
    assert owed[-1] == pytest.approx(2 * body.SMALL_BODY / 1024, rel=0.01)
    assert client.post(PATH, content=b"x").status_code == 400
    assert [wait for wait in waited if wait > 0] == owed
    # Without other peers nobody waits for it.
    monkeypatch.setattr(client.large_bodies, "is_shared", lambda: False)
    assert client.post(PATH, content=chunks()).status_code == 400
    assert [wait for wait in waited if wait > 0] == owed
