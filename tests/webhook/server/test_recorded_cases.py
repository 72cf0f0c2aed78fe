"""The recorded cases of injection, asked of `multus-eni serve` as the API server asks."""

from __future__ import annotations

import base64
import json
import ssl
from pathlib import Path
from typing import Any

import httpx
import yaml

from common.pod_keys import STATUS
from common.version import VERSION
from tests.cluster.webhook import WebhookServer
from tests.webhook.core.test_cases import CASES, SETTINGS, read_case, review
from tests.webhook.pods import applied


def answered(pod: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer as the cases have it."""
    found: dict[str, Any] = {}
    if not answer["allowed"]:
        found["message"] = answer["status"]["message"]
    if warnings := answer.get("warnings"):
        found["warnings"] = warnings
    if "patch" in answer:
        injected = applied(pod, json.loads(base64.b64decode(answer["patch"])))
        if STATUS in (annotations := injected["metadata"].get("annotations", {})):
            annotations[STATUS] = annotations[STATUS].replace(VERSION, "VERSION")
        found["injected"] = injected
    return found


def test_each_recorded_review_is_answered_as_its_case_says(tmp_path: Path) -> None:
    cases = {file.stem: read_case(file) for file in CASES.glob("*.yaml")}
    asked = {name: case for name, case in cases.items() if "settings" not in case}
    expected = {
        name: {key: case[key] for key in ("message", "warnings", "injected") if key in case}
        for name, case in asked.items()
    }
    answers = {}
    with WebhookServer(tmp_path, settings=yaml.safe_load(SETTINGS)) as server:
        trust = ssl.create_default_context(cadata=server.service.ca.decode())
        with httpx.Client(base_url=server.service.url, verify=trust, trust_env=False, timeout=60) as client:
            for name, case in asked.items():
                body = review(case["pod"], case.get("namespace", "apps"))
                answer = client.post(case["path"], content=body).json()["response"]
                answers[name] = answered(case["pod"], answer)

    assert len(asked) > 50
    assert answers == expected
