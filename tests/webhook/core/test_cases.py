"""Each file in tests/cases/injection is one case; a new case is a new file.

`path` is the webhook entry that is called, `settings` the settings file, `pod` what comes in; `reason`,
`message`, `warnings` and `injected` what must come out (`injected` is absent where the pod stays as it is).
`UPDATE_CASES=1 pytest tests/webhook/core/test_cases.py`
writes the outcome into the files, to be read in the diff.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.pod_keys import STATUS
from common.version import VERSION
from tests.webhook.pods import applied
from webhook.core.inject import inject
from webhook.core.namespace_policy import ROUTES
from webhook.core.reasons import Reason
from webhook.server.review import decode_review
from webhook.settings_file import parse_settings

pytestmark = pytest.mark.pure

CASES = Path(__file__).parents[2] / "cases" / "injection"
SETTINGS = "agent: {image: 'registry.example/ipagent:1.0'}"


def read_case(file: Path) -> dict[str, Any]:
    # The loader in C: there are a hundred files, and what they say is what is tested, not how YAML is read.
    case: dict[str, Any] = yaml.load(file.read_text(encoding="utf-8"), yaml.CSafeLoader)
    return case


def review(pod: dict[str, Any], namespace: str) -> bytes:
    return json.dumps(
        {
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "u",
                "namespace": namespace,
                "operation": "CREATE",
                "resource": {"group": "", "version": "v1", "resource": "pods"},
                "object": pod,
            },
        }
    ).encode()


def run(case: dict[str, Any]) -> dict[str, Any]:
    request = decode_review(review(case["pod"], case.get("namespace", "apps")))
    assert request.pod is not None, request.problem
    settings = parse_settings(yaml.safe_dump(case["settings"]) if "settings" in case else SETTINGS)
    outcome = inject(request.pod, request.namespace, ROUTES[case["path"]], settings)
    decision = outcome.decision
    result: dict[str, Any] = {"reason": decision.reason.value}
    if decision.refused:
        result["message"] = decision.message
    if decision.warnings:
        result["warnings"] = list(decision.warnings)
    if outcome.operations:
        pod = applied(case["pod"], outcome.operations)
        if STATUS in (annotations := pod["metadata"].get("annotations", {})):
            # The one thing in a case that changes with each release.
            annotations[STATUS] = annotations[STATUS].replace(VERSION, "VERSION")
        result["injected"] = pod
    return result


@pytest.mark.parametrize("file", sorted(CASES.glob("*.yaml")), ids=lambda file: file.stem)
def test_case(file: Path) -> None:
    case = read_case(file)
    expected = {key: case.pop(key) for key in ("reason", "message", "warnings", "injected") if key in case}
    result = run(case)
    if os.environ.get("UPDATE_CASES"):
        text = yaml.safe_dump({**case, **result}, sort_keys=False, width=110, allow_unicode=True)
        file.write_text(text, encoding="utf-8")
    assert result == expected


def test_each_reason_of_a_pod_has_a_case() -> None:
    seen = {read_case(file)["reason"] for file in CASES.glob("*.yaml")}
    # These come from the request or from a fault; tests/webhook/server/test_app.py has them.
    elsewhere = {Reason.NOT_POD_CREATION, Reason.UNREADABLE_POD, Reason.INTERNAL_ERROR}
    assert seen == set(Reason) - elsewhere
