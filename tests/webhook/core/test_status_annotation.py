"""The status annotation is left out of a pod that has no room for it: the API server would refuse the pod."""

from __future__ import annotations

import io
import json
from typing import Any

import msgspec
import pytest

from common.agent_container import CONTAINER_NAME
from common.pod_keys import NETWORKS, STATUS
from tests.webhook.core.test_cases import review
from tests.webhook.pods import applied
from webhook.core.inject import inject
from webhook.core.namespace_policy import ROUTES
from webhook.core.pod import Pod
from webhook.multus.networks import MAX_ANNOTATIONS
from webhook.server.handler import AdmissionHandler
from webhook.server.log import Log
from webhook.server.metrics import Metrics
from webhook.settings_file import parse_settings

pytestmark = pytest.mark.pure

SETTINGS = parse_settings("agent: {image: i}")
ENTRY = ROUTES["/mutate/namespace/default"]


def pod_with(note: str) -> dict[str, Any]:
    annotations = {NETWORKS: "a", "example.com/note": note}
    return {"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "app"}]}}


def size_of(annotations: dict[str, str]) -> int:
    return sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())


def injected(pod: dict[str, Any]) -> tuple[dict[str, str], tuple[str, ...]]:
    outcome = inject(msgspec.convert(pod, Pod), "apps", ENTRY, SETTINGS)
    result = applied(pod, outcome.operations)
    assert result["spec"]["initContainers"][0]["name"] == CONTAINER_NAME
    return result["metadata"]["annotations"], outcome.decision.warnings


@pytest.mark.parametrize("letter", ["a", "é", "😀"])
def test_the_status_is_written_up_to_the_last_byte(letter: str) -> None:
    room = MAX_ANNOTATIONS - size_of(injected(pod_with(""))[0])
    width = len(letter.encode())
    note = letter * (room // width) + "a" * (room % width)
    annotations, warnings = injected(pod_with(note))
    assert (size_of(annotations), warnings) == (MAX_ANNOTATIONS, ())
    annotations, warnings = injected(pod_with(note + "a"))
    assert STATUS not in annotations
    assert size_of(annotations) <= MAX_ANNOTATIONS
    (warning,) = warnings
    assert STATUS in warning


def test_the_answer_depends_on_annotations_that_nobody_reads() -> None:
    handler = AdmissionHandler(SETTINGS, Log(io.BytesIO()), Metrics())
    for note, written in (("", True), ("a" * (MAX_ANNOTATIONS - 60), False), ("b", True)):
        response = json.loads(handler.handle(review(pod_with(note), "apps"), ENTRY))["response"]
        assert ("warnings" not in response) is written
