"""Pod templates are found by their shape, and what only resembles one is not read as one."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.pod_keys import NETWORKS
from webhook.manifests.pod_templates import MAX_DEPTH, find_networks_annotations, find_shapes
from webhook.manifests.raw_json import dotted
from webhook.manifests.workloads import read_manifests

pytestmark = pytest.mark.pure

CONTAINERS = [{"name": "app", "image": "busybox"}]
TEMPLATE = {"metadata": {"annotations": {NETWORKS: "a"}}, "spec": {"containers": CONTAINERS}}
MACHINE = {
    "metadata": {},
    "spec": {"domain": {}, "networks": [{"name": "a", "multus": {"networkName": "a"}}]},
}


def shapes(document: Any) -> tuple[list[str], list[str]]:
    found = find_shapes(json.dumps(document).encode())
    return [dotted(template.place) for template in found.templates], found.without_template


@pytest.mark.parametrize(
    ("spec", "places"),
    [
        ({"template": TEMPLATE}, ["spec.template"]),
        ({"template": {"spec": {"containers": [{"image": "a"}]}}}, ["spec.template"]),
        ({"jobTemplate": {"spec": {"template": TEMPLATE}}}, ["spec.jobTemplate.spec.template"]),
        ({"replicatedJobs": [{"name": "a", "template": {"spec": {"template": TEMPLATE}}}] * 2},
         ["spec.replicatedJobs[0].template.spec.template", "spec.replicatedJobs[1].template.spec.template"]),
        ({"tasks": [{"replicas": 1, "template": TEMPLATE}]}, ["spec.tasks[0].template"]),
        ({"pytorchReplicaSpecs": {"Worker": {"template": TEMPLATE}}},
         ["spec.pytorchReplicaSpecs.Worker.template"]),
        ({"headGroupSpec": {"template": TEMPLATE}, "workerGroupSpecs": [{"template": TEMPLATE}]},
         ["spec.headGroupSpec.template", "spec.workerGroupSpecs[0].template"]),
        ({"leaderWorkerTemplate": {"leaderTemplate": TEMPLATE, "workerTemplate": TEMPLATE}},
         ["spec.leaderWorkerTemplate.leaderTemplate", "spec.leaderWorkerTemplate.workerTemplate"]),
        ({"template": {"spec": {"template": TEMPLATE}}}, ["spec.template.spec.template"]),
        ({"template": {"advancedStatefulSetTemplate": {"metadata": {}, "spec": {"template": TEMPLATE}}}},
         ["spec.template.advancedStatefulSetTemplate.spec.template"]),
        ({"template": {"broadcastJobTemplate": {"spec": {"template": TEMPLATE}}}},
         ["spec.template.broadcastJobTemplate.spec.template"]),
        ({"jobTargetRef": {"template": TEMPLATE}}, ["spec.jobTargetRef.template"]),
        ({"podTemplate": {"apiVersion": "v1", "kind": "Pod", **TEMPLATE}}, ["spec.podTemplate"]),
        ({"manifests": [{"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": TEMPLATE}}]},
         ["spec.manifests[0].spec.template"]),
    ],
)  # fmt: skip
def test_where_kinds_of_the_field_have_their_pod_templates(spec: Any, places: list[str]) -> None:
    assert shapes({"apiVersion": "x/v1", "kind": "X", "spec": spec}) == (places, [])


@pytest.mark.parametrize(
    ("spec", "without_template"),
    [
        ({"template": MACHINE}, ["spec.template is not a pod template: it has no spec.containers"]),
        ({"podTemplate": {"spec": {"nodeSelector": {}}}},
         ["spec.podTemplate is not a pod template: it has no spec.containers"]),
        ({"containers": CONTAINERS}, ["spec.containers is not part of a pod template"]),
        ({"predictor": {"containers": CONTAINERS}},
         ["spec.predictor.containers is not part of a pod template"]),
        ({"templates": [{"container": {"image": "a"}}]},
         ["spec.templates[0] has a container of its own instead of a pod template"]),
        ({"templates": [{"script": {"image": "a", "source": "true"}}]},
         ["spec.templates[0] has a container of its own instead of a pod template"]),
        (MACHINE["spec"], ["spec describes a virtual machine, and is not a pod template"]),
        ({"domain": "example.org", "script": "true"}, []),
        ({"object": {"apiVersion": "x/v1", "kind": "SidecarSet", "spec": {"containers": CONTAINERS}}},
         ["spec.object.spec.containers is not part of a pod template"]),
        ({"template": {"spec": {"containers": []}}}, []),
        ({"template": {"spec": {"containers": ["a"]}}}, []),
        ({"template": {"spec": {"containers": [{"a": 1}]}}}, []),
        ({"template": {"spec": {"containers": {"type": "array"}}}}, []),
        ({"template": {"metadata": {"name": "a"}, "spec": {"project": "a"}}}, []),
        ({"secretTemplate": {"labels": {"a": "b"}}}, []),
        ({"volumeClaimTemplates": [{"spec": {"accessModes": []}}]}, []),
        ({"status": {"template": TEMPLATE}}, []),
        ({"text": json.dumps({"template": TEMPLATE})}, []),
    ],
)  # fmt: skip
def test_what_resembles_a_pod_template_is_not_read_as_one(spec: Any, without_template: list[str]) -> None:
    assert shapes({"apiVersion": "x/v1", "kind": "X", "spec": spec}) == ([], without_template)


def nested(places: list[str | int], inner: Any) -> Any:
    for key in reversed(places):
        inner = {key: inner} if isinstance(key, str) else [{"other": 1}] * key + [inner]
    return inner


keys = st.sampled_from(["spec", "template", "jobTemplate", "workers", "a.b", "metadata"])


@given(st.lists(keys | st.integers(0, 2), min_size=1, max_size=MAX_DEPTH))
def test_a_template_is_found_wherever_it_stands(places: list[str | int]) -> None:
    first, *rest = places
    places = [str(first), *rest]
    raw = json.dumps({"apiVersion": "x/v1", "kind": "X", **nested(places, TEMPLATE)}).encode()
    (template,) = find_shapes(raw).templates
    assert template.place == tuple(places)
    assert json.loads(template.pod) == TEMPLATE
    assert find_networks_annotations(raw, [template.place]) == []
    assert find_networks_annotations(raw) == (
        [(*places, "metadata", "annotations")] if len(places) + 2 <= MAX_DEPTH else []
    )


def test_the_search_ends_at_its_depth() -> None:
    raw = json.dumps(nested(["a"] * (MAX_DEPTH + 1), TEMPLATE)).encode()
    assert find_shapes(raw).templates == []


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["spec", "template", "containers", "container", "name", "kind", "apiVersion", NETWORKS]
                ),
                inner,
                max_size=3,
            )
        ),
    )
)
def test_whatever_an_object_holds_is_searched(document: Any) -> None:
    found = read_manifests([json.dumps({"apiVersion": "x/v1", "kind": "X", "spec": document}).encode()])
    assert len(found.skipped) <= 1
    for workload in found.workloads:
        value: Any = {"spec": document}
        for key in workload.place:
            value = value[key]
        assert value["spec"]["containers"]


def test_an_embedded_object_brings_its_namespace() -> None:
    inner = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "namespace": "inner"}}
    outer = {"apiVersion": "x/v1", "kind": "Work", "metadata": {"name": "w", "namespace": "outer"}}
    document = {**outer, "spec": {"manifests": [{**inner, "spec": {"template": TEMPLATE}}]}}
    (workload,) = read_manifests([json.dumps(document).encode()]).workloads
    assert (workload.kind, workload.namespace, workload.name) == ("Work", "inner", "w")


@pytest.mark.parametrize("kind", ["Pod", "PodList"])
def test_a_pod_of_another_group_is_not_one_that_exists(kind: str) -> None:
    document = {"apiVersion": "x/v1", "kind": kind, "items": 1, "spec": {"template": TEMPLATE}}
    (workload,) = read_manifests([json.dumps(document).encode()]).workloads
    assert not workload.is_pod
