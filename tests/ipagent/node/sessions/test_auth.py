"""Who is asking: TokenReviews as Kubernetes 1.30 and later writes them, and what does not fit."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.agent_container import TOKEN_AUDIENCE
from ipagent.node.model.pod import PodKey
from ipagent.node.sessions.auth import (
    MAX_VERDICTS,
    NODE_NAME,
    POD_NAME,
    POD_UID,
    REFUSED_SECONDS,
    VERDICT_SECONDS,
    Answer,
    PodIdentity,
    TokenReviewCache,
    Unauthenticated,
    authorize,
    expiry_of,
    read_review,
)

pytestmark = pytest.mark.pure

POD = PodKey("apps", "web-0", "8d6b6f0e-0000-4000-8000-000000000001")
NEXT_LIFE = PodKey("apps", "web-0", "8d6b6f0e-0000-4000-8000-000000000002")
OTHER = PodKey("apps", "web-1", "8d6b6f0e-0000-4000-8000-000000000003")


def status(**changes: Any) -> dict[str, Any]:
    extra = {
        "authentication.kubernetes.io/credential-id": ["JTI=4b1f"],
        NODE_NAME: ["node-a"],
        "authentication.kubernetes.io/node-uid": ["3c3c"],
        POD_NAME: ["web-0"],
        POD_UID: [POD.uid],
    }
    user = {
        "username": "system:serviceaccount:apps:default",
        "uid": "aaaa",
        "groups": ["system:serviceaccounts"],
    }
    whole: dict[str, Any] = {
        "authenticated": True,
        "user": {**user, "extra": extra},
        "audiences": [TOKEN_AUDIENCE],
    }
    for path, value in changes.items():
        part = whole
        *parents, last = path.split("__")
        for parent in parents:
            part = part[parent]
        if value is None:
            del part[last]
        else:
            part[last] = value
    return whole


def with_extra(**changes: Any) -> dict[str, Any]:
    whole = status()
    extra = whole["user"]["extra"]
    for key, value in changes.items():
        extra[{"name": POD_NAME, "uid": POD_UID, "node": NODE_NAME}[key]] = value
    return whole


def test_a_token_names_the_pod_that_it_is_bound_to() -> None:
    assert read_review(status()) == PodIdentity(POD, "node-a")


def test_a_cluster_that_names_no_node_is_fine() -> None:
    assert read_review(with_extra(node=[])) == PodIdentity(POD)


@pytest.mark.parametrize(
    ("review", "why"),
    [
        (status(authenticated=False, error="[invalid bearer token]"), "[invalid bearer token]"),
        (status(authenticated=None), "does not accept"),
        (status(authenticated="true"), "does not accept"),
        (status(error="", authenticated=False), "does not accept"),
        (status(audiences=["https://kubernetes.default.svc"]), TOKEN_AUDIENCE),
        (status(audiences=None), TOKEN_AUDIENCE),
        (status(audiences=TOKEN_AUDIENCE), TOKEN_AUDIENCE),
        (status(user__username="system:node:node-a"), "ServiceAccount"),
        (status(user__username="system:serviceaccount::default"), "ServiceAccount"),
        (status(user__username="system:serviceaccount:apps:a:b"), "ServiceAccount"),
        (status(user__username=["system:serviceaccount:apps:default"]), "ServiceAccount"),
        (status(user=None), "ServiceAccount"),
        (status(user__extra=None), "not bound"),
        (with_extra(name=[]), "not bound"),
        (with_extra(uid=["a", "b"]), "not bound"),
        (with_extra(uid="8d6b"), "not bound"),
        ({}, "does not accept"),
    ],
)
def test_a_token_review_that_names_no_pod_is_refused_with_a_reason(review: dict[str, Any], why: str) -> None:
    found = read_review(review)
    assert isinstance(found, Unauthenticated)
    assert why in found.reason


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(["authenticated", "user", "audiences", "user__username", "user__extra"]), json_values)
def test_whatever_the_answer_holds_it_is_read_or_refused(path: str, value: Any) -> None:
    assert isinstance(read_review(status(**{path: value})), PodIdentity | Unauthenticated)


@pytest.mark.parametrize(
    ("bearer", "stated", "living", "say"),
    [
        (PodIdentity(POD, "node-a"), POD, {POD}, Answer.YES),
        (PodIdentity(POD), POD, {POD, OTHER}, Answer.YES),
        (PodIdentity(POD, "node-a"), POD, {OTHER}, Answer.RETRY),
        (PodIdentity(POD, "node-a"), POD, set(), Answer.RETRY),
        (PodIdentity(POD, "node-a"), POD, {NEXT_LIFE}, Answer.RETRY),
        (PodIdentity(POD, "node-a"), OTHER, {POD, OTHER}, Answer.NO),
        (PodIdentity(POD, "node-a"), NEXT_LIFE, {NEXT_LIFE}, Answer.NO),
        (PodIdentity(POD, "node-b"), POD, {POD}, Answer.NO),
    ],
    ids=[
        "alive here",
        "a token without a node's name",
        "not seen yet",
        "before the first list",
        "the token of an earlier life",
        "another pod's name",
        "another life's uid",
        "another node's token",
    ],
)
def test_the_token_decides_for_whom_one_may_speak(
    bearer: PodIdentity, stated: PodKey, living: set[PodKey], say: Answer
) -> None:
    verdict = authorize(bearer, stated, "node-a", living)
    assert verdict.answer is say
    assert bool(verdict.reason) is (say is not Answer.YES)


NOW = 1_800_000_000.0


def jwt(payload: object) -> str:
    """Return a token as the API server signs them, with this payload: JSON, or bytes as they are."""
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (b"{}", raw, b"s"))


def test_a_verdict_is_believed_for_a_minute_and_no_longer() -> None:
    verdicts = TokenReviewCache()
    verdicts.put("t", PodIdentity(POD), 100.0, NOW)
    assert verdicts.get("t", 100.0 + VERDICT_SECONDS - 0.1) == PodIdentity(POD)
    assert verdicts.get("t", 100.0 + VERDICT_SECONDS) is None
    assert verdicts.get("u", 100.0) is None


@pytest.mark.parametrize(
    ("token", "expiry"),
    [
        (jwt({"exp": 1_800_000_030, "aud": ["multus-eni"]}), 1_800_000_030),
        (jwt({"exp": 1_800_000_030.9}), 1_800_000_030),
        (jwt({"exp": -1}), -1),
        (jwt({"exp": "1800000030"}), None),
        (jwt({"exp": True}), None),
        (jwt({"exp": None}), None),
        (jwt({"exp": 10**400}), None),
        (jwt(b'{"exp": NaN}'), None),
        (jwt(b'{"exp": -Infinity}'), None),
        (jwt(b'{"exp": 1e999}'), None),
        (jwt(b'{"exp": ' + b"1" * 3000 + b"}"), None),
        (jwt({}), None),
        (jwt([{"exp": 1}]), None),
        (jwt(b"[" * 3000), None),
        (jwt(b"\xff"), None),
        ("a.b.c", None),
        ("a.é.c", None),
        (jwt({"exp": 1}).rpartition(".")[0], None),
        (jwt({"exp": 1}) + ".more", None),
        ("opaque", None),
        ("", None),
    ],
)
def test_the_expiry_of_a_token_is_read_where_it_has_one(token: str, expiry: int | None) -> None:
    assert expiry_of(token) == expiry


@given(st.text(max_size=30) | st.binary(max_size=60).map(jwt) | json_values.map(jwt))
def test_whatever_a_token_is_its_expiry_is_read_or_not(token: str) -> None:
    assert isinstance(expiry_of(token), int | None)


@given(st.integers(1, 120), st.integers(0, 120), st.integers(0, 10**6))
@example(left=30, later=29, monotonic=100)
@example(left=30, later=30, monotonic=100)
def test_a_token_is_not_believed_past_its_expiry(left: int, later: int, monotonic: int) -> None:
    verdicts, token = TokenReviewCache(), jwt({"exp": NOW + left})
    verdicts.put(token, PodIdentity(POD), float(monotonic), NOW)
    believed = verdicts.get(token, monotonic + later) is not None
    assert believed is (later < min(left, VERDICT_SECONDS))


@pytest.mark.parametrize("ago", [0, 1, 59, 10_000])
def test_an_expired_token_that_the_api_server_takes_costs_no_more_calls_than_a_bad_one(ago: int) -> None:
    verdicts, token = TokenReviewCache(), jwt({"exp": NOW - ago})
    verdicts.put(token, PodIdentity(POD), 0.0, NOW)
    assert verdicts.get(token, REFUSED_SECONDS - 0.1) == PodIdentity(POD)
    assert verdicts.get(token, REFUSED_SECONDS) is None


def test_a_refusal_is_believed_for_a_shorter_time() -> None:
    verdicts = TokenReviewCache()
    verdicts.put("t", Unauthenticated("no"), 0.0, NOW)
    assert verdicts.get("t", REFUSED_SECONDS - 0.1) == Unauthenticated("no")
    assert verdicts.get("t", REFUSED_SECONDS) is None


def test_the_verdict_of_a_pod_that_is_gone_is_dropped_and_no_other() -> None:
    verdicts = TokenReviewCache()
    verdicts.put("a", PodIdentity(POD), 0.0, NOW)
    verdicts.put("b", PodIdentity(OTHER), 0.0, NOW)
    verdicts.put("c", Unauthenticated("no"), 0.0, NOW)
    verdicts.drop({POD})
    assert [verdicts.get(token, 1.0) for token in "abc"] == [None, PodIdentity(OTHER), Unauthenticated("no")]


def test_no_number_of_tokens_fills_the_memory() -> None:
    verdicts = TokenReviewCache()
    for number in range(MAX_VERDICTS + 10):
        verdicts.put(str(number), Unauthenticated("no"), 0.0, NOW)
    assert len(verdicts) == MAX_VERDICTS
    assert verdicts.get("0", 0.0) is None
    assert verdicts.get(str(MAX_VERDICTS + 9), 0.0) == Unauthenticated("no")
