"""The generated pods have the size asked for, and are what the API server would send."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.webhook import pods
from benchmarks.webhook.pods import compact, equivalent_review, manifest_of, pod_of_size, review_of
from webhook.core.inject import inject
from webhook.core.namespace_policy import ROUTES
from webhook.core.reasons import Reason
from webhook.core.settings import Settings
from webhook.server.review import decode_review

pytestmark = pytest.mark.pure

SIZES = [1 << 10, 10 << 10, 64 << 10, 256 << 10]


@pytest.mark.parametrize("size", SIZES)
def test_a_pod_has_the_size_asked_for(size: int) -> None:
    assert len(compact(pod_of_size(size))) == size


@settings(max_examples=30, deadline=None)
@given(st.integers(1 << 10, 40 << 10))
def test_any_size_is_met_to_the_byte(size: int) -> None:
    assert len(compact(pod_of_size(size))) == size


def test_a_pod_that_is_too_small_is_refused_with_the_least_size() -> None:
    with pytest.raises(ValueError, match=r"a pod of 100 bytes .* ask for \d+"):
        pod_of_size(100)


@pytest.mark.parametrize("size", SIZES)
def test_the_webhook_injects_a_generated_pod(size: int) -> None:
    request = decode_review(compact(review_of(pod_of_size(size))))
    assert request.pod is not None
    outcome = inject(
        request.pod, request.namespace, ROUTES["/mutate/pod/default"], Settings(image="registry.example/a:1")
    )
    assert outcome.decision.reason is Reason.INJECT_INIT
    assert outcome.decision.warnings == ()
    assert outcome.operations


@pytest.mark.parametrize("size", SIZES[1:])
def test_a_pod_grows_by_what_real_ones_grow_by(size: int) -> None:
    pod = pod_of_size(size)
    padding = pod["metadata"]["annotations"]["example.com/notes"]
    managed = pod["metadata"]["managedFields"][0]["fieldsV1"]
    containers = pod["spec"]["containers"]
    assert len(padding) < 512 + size // 64
    assert len({container["name"] for container in containers}) == len(containers)
    for container in containers:
        names = [variable["name"] for variable in container["env"]]
        assert len(set(names)) == len(names) > 0
        owned = managed["f:spec"]["f:containers"][f'k:{{"name":"{container["name"]}"}}']["f:env"]
        assert len(owned) == len(names)


def test_what_its_author_sent_lacks_what_the_api_server_added() -> None:
    sent = manifest_of(review_of(pod_of_size(10 << 10)))
    assert (sent["apiVersion"], sent["kind"]) == ("v1", "Pod")
    assert not {"managedFields", "namespace"} & set(sent["metadata"])
    assert [volume["name"] for volume in sent["spec"]["volumes"]] == ["config"]
    mounts = [mount["name"] for each in sent["spec"]["containers"] for mount in each["volumeMounts"]]
    assert set(mounts) == {"config"}


def test_a_numbered_review_holds_the_serial_once_and_leaves_the_other_as_it_was() -> None:
    review = equivalent_review()
    assert compact(pods.numbered(review)).count(pods.SERIAL.encode()) == 1
    assert pods.SERIAL.encode() not in compact(review)


def test_numbered_reviews_are_answered_differently() -> None:
    numbered = compact(pods.numbered(equivalent_review())).decode()
    one, other = (
        decode_review(numbered.replace(pods.SERIAL, f"{number:05}").encode()).pod for number in (1, 2)
    )
    assert one is not None
    assert other is not None
    namespace, agent = ROUTES["/mutate/pod/default"], Settings(image="registry.example/a:1")
    outcomes = [inject(pod, "default", namespace, agent) for pod in (one, other)]
    assert [outcome.decision.reason for outcome in outcomes] == [Reason.INJECT_INIT] * 2
    assert outcomes[0].operations != outcomes[1].operations


def test_pods_of_one_template_differ_in_the_name_of_their_token_volume() -> None:
    review = equivalent_review()
    named = compact(pods.with_own_volumes(review))
    assert len(named) == pods.RECORDED_SIZE
    assert named.count(b"kube-api-access-" + pods.SERIAL.encode()) == named.count(b"kube-api-access-") > 1
    assert pods.with_own_volumes(review_of({})) == review_of({})


def test_the_equivalent_is_as_long_as_the_recorded_review() -> None:
    assert len(compact(equivalent_review())) == pods.RECORDED_SIZE


def test_the_recorded_review_is_read_from_the_folder_of_samples(tmp_path: Path) -> None:
    assert pods.recorded_review({}) is None
    (tmp_path / "admission-review.json").write_text(json.dumps({"kind": "AdmissionReview"}))
    assert pods.recorded_review({pods.SAMPLES: str(tmp_path)}) == {"kind": "AdmissionReview"}


def test_pods_are_alike_but_for_what_each_create_makes_anew() -> None:
    one, other = (review_of(pod_of_size(10 << 10))["request"]["object"] for _ in range(2))
    renamed = json.loads(json.dumps(other).replace("kube-api-access-7xk2p", "kube-api-access-bcd45"))
    renamed["metadata"] |= {"name": "cnf-7c9f8d6b5-bcd45", "namespace": "with-constant", "uid": pods.UID}
    assert renamed != one
    assert pods.comparable(renamed) == pods.comparable(one)
    renamed["spec"]["containers"][0]["image"] += "-1"
    assert pods.comparable(renamed) != pods.comparable(one)
