"""What is remembered is what would be answered anew."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.webhook.core.test_cases import CASES, SETTINGS, review
from tests.webhook.pods import encoded_response, pods
from webhook.core.inject import Outcome, inject
from webhook.core.namespace_policy import ROUTES, NamespacePolicy
from webhook.core.pod import Pod
from webhook.server.handler import AdmissionHandler
from webhook.server.log import Log
from webhook.server.metrics import Metrics
from webhook.server.response_cache import MAX_ENTRIES, MAX_KEY, ResponseCache
from webhook.server.review import PodRequest, decode_review, with_uid
from webhook.settings_file import parse_settings

pytestmark = pytest.mark.pure

AGENT = parse_settings(SETTINGS)
PATH = "/mutate/namespace/default"


class Counting:
    """The decision, and how often it was made."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, pod: Pod, namespace: str, policy: NamespacePolicy) -> Outcome:
        self.calls += 1
        return inject(pod, namespace, policy, AGENT)


def request_of(pod: dict[str, object], namespace: str = "apps") -> PodRequest:
    return decode_review(review(pod, namespace))


def check(answers: ResponseCache, pod: dict[str, object], namespace: str, path: str) -> None:
    request = request_of(pod, namespace)
    assert request.pod is not None
    expected = encoded_response("u", inject(request.pod, namespace, ROUTES[path], AGENT))
    for _ in range(2):
        answer = answers.get(request.pod, request, ROUTES[path])
        assert with_uid("u", answer.encoded) == expected
    assert json.loads(expected)["response"]["uid"] == "u"


ALL_TIME = ResponseCache(Counting())
TOKEN_VOLUMES = (
    "kube-api-access-46z2b",
    "kube-api-access-bcd45",
    'kube-api-access-"\\\u00e4',
    "kube-api-access-",
)


@given(pods(), st.sampled_from(list(ROUTES)))
def test_any_pod_is_answered_as_if_nothing_were_remembered(pod: dict[str, object], path: str) -> None:
    check(ALL_TIME, pod, "apps", path)


@given(pods(), st.lists(st.sampled_from(TOKEN_VOLUMES), max_size=3), st.sampled_from((None, False, True)))
def test_a_token_volume_of_any_name_is_the_pods_own(
    pod: dict[str, Any], names: list[str], automount: bool | None
) -> None:
    pod["spec"] |= {"automountServiceAccountToken": automount}
    pod["spec"]["volumes"] = [*pod["spec"].get("volumes", []), *({"name": name} for name in names)]
    check(ALL_TIME, pod, "apps", PATH)


@pytest.mark.parametrize("file", sorted(CASES.glob("*.yaml")), ids=lambda file: file.stem)
def test_each_case_is_answered_as_if_nothing_were_remembered(file: Path) -> None:
    case = yaml.safe_load(file.read_text(encoding="utf-8"))
    check(ALL_TIME, case["pod"], case.get("namespace", "apps"), case["path"])


def pod(name: str = "a", **annotations: str) -> dict[str, object]:
    networks = {"k8s.v1.cni.cncf.io/networks": "ipvlan-multus"}
    metadata = {"name": name, "labels": {"pod-index": name}, "annotations": networks | annotations}
    return {"metadata": metadata, "spec": {"containers": [{"name": "app"}]}}


def with_volumes(*names: str) -> dict[str, object]:
    spec = {"containers": [{"name": "app"}], "volumes": [{"name": name} for name in names]}
    return {**pod(), "spec": spec}


def made(answers: ResponseCache, *requests: PodRequest) -> None:
    for request in requests:
        assert request.pod is not None
        answers.get(request.pod, request, ROUTES[PATH])


def test_pods_of_one_template_are_decided_once() -> None:
    decide = Counting()
    made(ResponseCache(decide), *(request_of(pod(f"web-{i}", serial=str(i))) for i in range(3)))
    assert decide.calls == 1


def test_pods_that_differ_in_their_token_volumes_are_decided_once_and_get_their_own() -> None:
    decide = Counting()
    answers = ResponseCache(decide)
    for name in TOKEN_VOLUMES:
        request = request_of(with_volumes(name))
        assert request.pod is not None
        response = json.loads(with_uid("u", answers.get(request.pod, request, ROUTES[PATH]).encoded))
        operations = json.loads(base64.b64decode(response["response"]["patch"]))
        (container,) = (each["value"][0] for each in operations if each["path"] == "/spec/initContainers")
        assert container["volumeMounts"][-1]["name"] == name
    assert decide.calls == 1


def test_a_volume_of_the_settings_is_not_added_where_the_pod_has_one_of_its_name() -> None:
    name = TOKEN_VOLUMES[0]
    settings = dataclasses.replace(AGENT, volumes=({"name": name, "configMap": {"name": "ca"}},))
    answers = AdmissionHandler(settings, Log(io.BytesIO()), Metrics())
    for names in ([TOKEN_VOLUMES[1]], [name]):
        mine = with_volumes(*names)
        request = request_of(mine)
        assert request.pod is not None
        expected = encoded_response("u", inject(request.pod, "apps", ROUTES[PATH], settings))
        assert answers.handle(review(mine, "apps"), ROUTES[PATH]) == expected


def test_another_namespace_is_another_decision() -> None:
    decide = Counting()
    made(ResponseCache(decide), request_of(pod()), request_of(pod(), "kube-system"))
    assert decide.calls == 2


def test_the_answers_used_last_are_kept() -> None:
    decide = Counting()
    answers = ResponseCache(decide)
    first = request_of(pod(), "n-0")
    for number in range(1, 2 * MAX_ENTRIES):
        made(answers, first, request_of(pod(), f"n-{number}"))
    assert decide.calls == 2 * MAX_ENTRIES
    made(answers, request_of(pod(), "n-1"))
    assert decide.calls == 2 * MAX_ENTRIES + 1


def test_a_large_shape_is_not_kept() -> None:
    decide = Counting()
    large = request_of(pod(**{"multus-eni.io/unknown": "x" * MAX_KEY}))
    made(ResponseCache(decide), large, large)
    assert decide.calls == 2
