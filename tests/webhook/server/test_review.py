import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.webhook.pods import encoded_response
from webhook.core.decision import Decision
from webhook.core.inject import Outcome
from webhook.core.reasons import Reason
from webhook.server.review import BadReview, decode_review

pytestmark = pytest.mark.pure

POD: dict[str, Any] = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}}
PODS = {"group": "", "version": "v1", "resource": "pods"}


def review(**changes: Any) -> dict[str, Any]:
    request = {"uid": "u", "namespace": "n", "operation": "CREATE", "resource": PODS, "object": POD}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {**request, **changes}}


def encoded(document: Any) -> bytes:
    return json.dumps(document).encode()


def test_a_review_is_read_as_far_as_the_decision_needs_it() -> None:
    request = decode_review(encoded(review()))
    assert (request.uid, request.namespace, request.problem) == ("u", "n", None)
    assert request.pod is not None
    assert [container.name for container in request.pod.containers] == ["c"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        encoded({**review(), "kind": "ConversionReview"}),
        encoded({**review(), "apiVersion": "admission.k8s.io/v1beta1"}),
        encoded({**review(), "request": None}),
        encoded(review(uid="")),
        encoded(review(uid=7)),
        encoded(review(object={"spec": 7}) | {"kind": "List"}),
    ],
)
def test_a_body_that_is_not_an_admission_review_is_refused_with_a_sentence(body: bytes) -> None:
    with pytest.raises(BadReview, match=r"JSON|AdmissionReview|uid"):
        decode_review(body)


@pytest.mark.parametrize(
    ("pod", "problem"),
    [
        (None, "request.object is missing"),
        ([], "Expected `object"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"annotations": {"k": 1}}}, "annotations"),
        ({"spec": {"containers": {}}}, "containers"),
        ({"spec": {"initContainers": [{"name": 1}]}}, "initContainers"),
        ({"spec": {"containers": [None]}}, "containers"),
        ({"spec": {"hostNetwork": "yes"}}, "hostNetwork"),
    ],
)
def test_a_pod_that_cannot_be_read_is_answered_with_its_uid_and_the_place(pod: Any, problem: str) -> None:
    request = decode_review(encoded(review(object=pod)))
    assert (request.uid, request.pod) == ("u", None)
    assert problem in (request.problem or "")


@pytest.mark.parametrize(
    "changes",
    [
        {"operation": "UPDATE"},
        {"operation": "DELETE", "object": None},
        {"subResource": "ephemeralcontainers"},
        {"resource": {"group": "apps", "version": "v1", "resource": "deployments"}},
        {"operation": "UPDATE", "object": {"spec": 7}},
    ],
)
def test_what_does_not_create_a_pod_is_not_looked_into(changes: dict[str, Any]) -> None:
    request = decode_review(encoded(review(**changes)))
    assert (request.pod, request.problem) == (None, None)


@given(st.binary())
def test_no_body_crashes_the_decoder(body: bytes) -> None:
    with pytest.raises(BadReview):
        decode_review(body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "metadata": json_values,
            "spec": st.fixed_dictionaries(
                {}, optional={"containers": json_values, "initContainers": json_values, "os": json_values}
            ),
        },
    )
)
def test_any_pod_is_read_or_named_unreadable(pod: Any) -> None:
    request = decode_review(encoded(review(object=pod)))
    assert (request.pod is None) == (request.problem is not None)


def answer(outcome: Outcome) -> dict[str, Any]:
    document = json.loads(encoded_response("u", outcome))
    assert (document["apiVersion"], document["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    response: dict[str, Any] = document["response"]
    assert response["uid"] == "u"
    return response


def test_an_injected_pod_is_allowed_with_patch_warnings_and_reason() -> None:
    operations = ({"op": "add", "path": "/a~1b", "value": "é"},)
    decision = Decision(Reason.INJECT_INIT, "m", warnings=("w",))
    response = answer(Outcome(decision, operations))
    assert json.loads(base64.b64decode(response.pop("patch"))) == list(operations)
    assert response == {
        "uid": "u",
        "allowed": True,
        "patchType": "JSONPatch",
        "warnings": ["w"],
        "auditAnnotations": {"reason": "inject_init"},
    }


def test_a_pod_that_is_left_alone_gets_no_patch() -> None:
    assert "patch" not in answer(Outcome(Decision(Reason.NO_NETWORKS, "m")))


@pytest.mark.parametrize(("reason", "code"), [(Reason.INVALID_SETTING, 403), (Reason.INTERNAL_ERROR, 500)])
def test_a_refusal_carries_its_sentence(reason: Reason, code: int) -> None:
    response = answer(Outcome(Decision(reason, "key: value")))
    assert response["allowed"] is False
    assert (response["status"]["message"], response["status"]["code"]) == ("key: value", code)
