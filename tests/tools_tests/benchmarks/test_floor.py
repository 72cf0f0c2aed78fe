"""The constant answer that the API server takes: byte for byte the webhook's."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from benchmarks.webhook.figures import BARE, CONSTANT, FLOOR
from benchmarks.webhook.floor import APPS, for_api_server
from benchmarks.webhook.pods import UID, compact, equivalent_review
from webhook.core.inject import inject
from webhook.core.namespace_policy import ROUTES
from webhook.core.settings import Settings
from webhook.server.review import decode_review, encode_outcome, with_uid

pytestmark = pytest.mark.pure

OTHER_UID = "0b6ee3cb-56cf-4a76-9d5a-3a3c2b3d0f52"


def ours(review: bytes) -> bytes:
    request = decode_review(review)
    assert request.pod is not None
    settings = Settings(image="registry.example/a:1")
    outcome = inject(request.pod, request.namespace, ROUTES["/mutate/pod/default"], settings)
    return with_uid(request.uid, encode_outcome(outcome))


def constant(answer: bytes, review: bytes) -> tuple[dict[str, Any], bytes]:
    pieces = [
        {"type": "http.request", "body": review[:4096], "more_body": True},
        {"type": "http.request", "body": review[4096:], "more_body": False},
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return pieces.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    async def call() -> None:
        await for_api_server(answer)({}, receive, send)

    asyncio.run(call())
    return sent[0], sent[1]["body"]


def test_another_review_is_answered_as_by_the_webhook() -> None:
    first = compact(equivalent_review())
    changed = first.decode().replace(UID, OTHER_UID).replace("kube-api-access-7xk2p", "kube-api-access-bcd45")
    assert "kube-api-access-bcd45" in changed
    head, body = constant(ours(first), changed.encode())
    assert body == ours(changed.encode())
    assert json.loads(body)["response"]["uid"] == OTHER_UID
    assert dict(head["headers"])[b"content-length"] == b"%d" % len(body)


def test_there_is_a_floor_for_each_name() -> None:
    assert set(APPS) == {FLOOR, BARE, CONSTANT}
