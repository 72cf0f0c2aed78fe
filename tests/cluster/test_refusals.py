"""What users read where a pod is refused, or admitted with a warning."""

from __future__ import annotations

import pytest

from common.pod_keys import INJECTION, INTERFACES, MODE, NETWORKS
from tests.cluster.api import DEPLOYMENT, Api, ApiError
from tests.cluster.manifests import deployment, multus_pod
from tests.cluster.namespaces import Namespaces, mode_of
from tests.cluster.waiting import wait_for

pytestmark = pytest.mark.cluster

ENABLED = {INJECTION: "enabled"}

LOOK = "kubectl get namespace {} "
"""How a message begins to say how the label is seen; the namespace's name is filled in."""


@pytest.mark.parametrize(
    ("annotation", "value", "allowed"),
    [(MODE, "sidekick", "init, sidecar"), (INTERFACES, "eth0", "net1")],
)
def test_a_wrong_setting_refuses_the_pod_and_says_what_is_allowed(
    namespaces: Namespaces, annotation: str, value: str, allowed: str
) -> None:
    namespace = namespaces.make(ENABLED)
    with pytest.raises(ApiError) as refused:
        namespace.create(multus_pod(annotations={annotation: value}))
    assert refused.value.code == 403
    assert 'admission webhook "namespace-default.multus-eni.io" denied the request' in refused.value.message
    assert all(part in refused.value.message for part in (annotation, repr(value), allowed))
    assert namespace.pods() == []


@pytest.mark.parametrize(
    ("namespace_labels", "pod_labels", "parts"),
    [
        pytest.param({INJECTION: "yes"}, {}, [INJECTION, "enabled, disabled", LOOK], id="injection"),
        pytest.param({**ENABLED, MODE: "both"}, {}, [MODE, "init, sidecar", LOOK], id="mode"),
        pytest.param({MODE: "both"}, ENABLED, [MODE, "init, sidecar", LOOK], id="mode for a pod"),
        pytest.param({}, {INJECTION: "true"}, [INJECTION, "'true'", "enabled, disabled"], id="pod"),
    ],
)
def test_a_wrong_label_refuses_the_pod_and_says_how_to_see_it(
    namespaces: Namespaces, namespace_labels: dict[str, str], pod_labels: dict[str, str], parts: list[str]
) -> None:
    namespace = namespaces.make(namespace_labels)
    with pytest.raises(ApiError) as refused:
        namespace.create(multus_pod(labels=pod_labels))
    assert refused.value.code == 403
    for part in parts:
        assert part.format(namespace.name) in refused.value.message
    assert namespace.pods() == []


def test_a_refused_replica_says_why_in_the_replica_sets_condition(namespaces: Namespaces, api: Api) -> None:
    namespace = namespaces.make(ENABLED)
    manifest = deployment()
    manifest["spec"]["template"]["metadata"]["annotations"][MODE] = "sidekick"
    namespace.create(manifest)

    def failure() -> str | None:
        stored = api.get(DEPLOYMENT, "busybox-deployment", namespace.name)
        conditions = {
            each["type"]: each["message"] for each in stored.get("status", {}).get("conditions", [])
        }
        return conditions.get("ReplicaFailure")

    message = wait_for(failure, "condition ReplicaFailure")
    assert all(part in message for part in (MODE, "'sidekick'", "init, sidecar"))


@pytest.mark.parametrize("networks", ['{"name": "ipvlan-multus"}', "a/b/c", "Upper"])
def test_what_multus_will_refuse_is_admitted_with_a_warning(namespaces: Namespaces, networks: str) -> None:
    namespace = namespaces.make(ENABLED)
    created = namespace.create(multus_pod(annotations={NETWORKS: networks}))
    assert len(created.warnings) == 1
    assert created.warnings[0].startswith("multus-eni: Multus will not start this pod: ")
    assert mode_of(namespace.pod("app")) == "init"


def test_a_pod_in_order_brings_no_warning(namespaces: Namespaces) -> None:
    assert namespaces.make(ENABLED).create(multus_pod()).warnings == ()
