"""The ValidatingAdmissionPolicies: wrong values of our keys are refused when somebody writes them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from common import pod_keys
from common.pod_keys import INJECTION, MODE
from tests.chart.conftest import Cluster
from tests.chart.values import REQUIRED
from tests.cluster.api import NAMESPACE, POD, Api, ApiError, Kind, Manifest
from tests.cluster.helm import Helm, merged
from tests.cluster.manifests import container, multus_pod, pod
from tests.cluster.namespaces import Namespace, Namespaces, ready_namespace
from tests.cluster.waiting import wait_for
from webhook.core.annotations import Refusal, read_annotations

pytestmark = pytest.mark.cluster

EXCLUDED = "policy-excluded"
POLICY = Kind("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy")
OLD = "policy-old"
"""A namespace whose objects are older than the policies."""
WRONG_POD = {INJECTION: "yes"}
DEPLOYMENT = Kind("apps/v1", "Deployment")


def template(labels: dict[str, str], annotations: dict[str, str]) -> Manifest:
    metadata = {"labels": {"app": "a", **labels}, "annotations": annotations}
    return {"metadata": metadata, "spec": {"restartPolicy": "Never", "containers": [container()]}}


def workload(kind: str, labels: dict[str, str], annotations: dict[str, str]) -> Manifest:
    """Make an object of a kind whose pods have these labels and annotations."""
    metadata: Manifest = {"name": kind.lower()}
    made = template(labels, annotations)
    selector = {"matchLabels": {"app": "a"}}
    always = {**made, "spec": {**made["spec"], "restartPolicy": "Always"}}
    specs: dict[str, tuple[str, Manifest]] = {
        "Deployment": ("apps/v1", {"replicas": 0, "selector": selector, "template": always}),
        "StatefulSet": (
            "apps/v1",
            {"replicas": 0, "serviceName": "a", "selector": selector, "template": always},
        ),
        "DaemonSet": ("apps/v1", {"selector": selector, "template": always}),
        "ReplicaSet": ("apps/v1", {"replicas": 0, "selector": selector, "template": always}),
        "Job": ("batch/v1", {"suspend": True, "template": made}),
        "CronJob": (
            "batch/v1",
            {"schedule": "0 0 1 1 *", "suspend": True, "jobTemplate": {"spec": {"template": made}}},
        ),
    }
    if kind == "Pod":
        return pod("pod", labels=labels, annotations=annotations)
    api_version, spec = specs[kind]
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec}


KINDS = ("Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob")


@dataclass(frozen=True, slots=True)
class Policed:
    """A cluster with the policies, and what is older than they are."""

    api: Api
    old: Namespace
    namespaces: Namespaces


@pytest.fixture(scope="module")
def policed(cluster: Cluster, helm: Helm) -> Iterator[Policed]:
    api = cluster.api
    wrong = {"multus-eni.io/injection": "on"}
    metadata = {"name": OLD, "labels": wrong}
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    old = ready_namespace(api, OLD)
    for kind in KINDS:
        made = workload(kind, WRONG_POD, {MODE: "both"})
        made["metadata"]["finalizers"] = ["example.com/hold"]
        old.create(made)
    values = merged(REQUIRED, {"injection": {"excludedNamespaces": [EXCLUDED]}})
    policies = [each for each in helm.render(values) if each["kind"].startswith("ValidatingAdmission")]
    for each in policies:
        api.create(each)
    namespaces = Namespaces(api, "policed", "policed")
    probes = [workload(kind, WRONG_POD, {}) for kind in ("Pod", "Deployment", "CronJob")]

    def in_force() -> bool:
        refused = all(
            refusal(lambda each=each: old.create(named(each, "new"), dry_run=True)) for each in probes
        )
        unknown = workload("Pod", {}, {"multus-eni.io/unknown": "yes"})
        return refused and bool(old.create(named(unknown, "new"), dry_run=True).warnings)

    wait_for(in_force, "force of the policies")
    try:
        yield Policed(api, old, namespaces)
    finally:
        for each in policies:
            api.delete(Kind(each["apiVersion"], each["kind"]), each["metadata"]["name"])
        for kind in KINDS:
            made = workload(kind, {}, {})
            free = {"metadata": {"finalizers": None}}
            patch(api, made, free)
        gone = lambda: refusal(lambda: old.create(named(probes[0], "gone"), dry_run=True)) is None  # noqa: E731
        wait_for(gone, "end of the policies")


def named(manifest: Manifest, name: str) -> Manifest:
    return {**manifest, "metadata": {**manifest["metadata"], "name": name}}


def patch(api: Api, manifest: Manifest, body: Manifest) -> Manifest:
    """Change an object of OLD by a merge patch; raises ApiError."""
    path = api._path(Kind(manifest["apiVersion"], manifest["kind"]), OLD, manifest["metadata"]["name"])  # noqa: SLF001
    return api._answer("PATCH", path, {}, body, "application/merge-patch+json").object  # noqa: SLF001


def refusal(write: Any) -> str | None:
    """Return what the API server says against a write, None where it lets it pass."""
    try:
        write()
    except ApiError as error:
        return error.message
    return None


NAMESPACE_LABELS = {
    ("injection", "true"): "enabled, disabled",
    ("injection", "Enabled"): "enabled, disabled",
    ("injection", ""): "enabled, disabled",
    ("mode", "both"): "init, sidecar",
    ("credentials", "pod"): "chain, node",
}


@pytest.mark.parametrize(("key", "value"), NAMESPACE_LABELS)
def test_a_wrong_label_of_a_namespace_is_refused_with_the_allowed_values(
    policed: Policed, key: str, value: str
) -> None:
    labels = {f"multus-eni.io/{key}": value}
    said = refusal(lambda: policed.namespaces.make(labels))
    assert said is not None
    allowed = NAMESPACE_LABELS[key, value]
    assert f"multus-eni.io/{key}: '{value}' is not allowed; allowed: {allowed}" in said
    namespace = policed.namespaces.make({"multus-eni.io/injection": "enabled"})
    said = refusal(lambda: policed.api.label(NAMESPACE, namespace.name, labels))
    assert said is not None
    assert f"'{value}' is not allowed; allowed: {allowed}" in said


def test_right_labels_pass_and_can_be_taken_off(policed: Policed) -> None:
    right = {"multus-eni.io/injection": "enabled", MODE: "sidecar", pod_keys.CREDENTIALS: "node"}
    namespace = policed.namespaces.make(right)
    policed.api.label(NAMESPACE, namespace.name, {"multus-eni.io/injection": "disabled", MODE: None})
    policed.api.label(NAMESPACE, namespace.name, dict.fromkeys(right))


def test_older_wrong_labels_do_not_block_unrelated_changes(policed: Policed) -> None:
    policed.api.label(NAMESPACE, OLD, {"example.com/unrelated": "yes"})
    said = refusal(lambda: policed.api.label(NAMESPACE, OLD, {INJECTION: "off"}))
    assert said is not None
    assert "'off' is not allowed" in said
    policed.api.label(NAMESPACE, OLD, {INJECTION: "disabled"})


def test_a_label_on_an_excluded_namespace_is_refused(policed: Policed) -> None:
    for name in ("kube-system", EXCLUDED):
        manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        policed.api.apply(manifest)
        for key, value in ((INJECTION, "enabled"), (MODE, "init")):
            said = refusal(lambda: policed.api.label(NAMESPACE, name, {key: value}))  # noqa: B023 - called at once
            assert said is not None
            assert f"namespace {name} is excluded from injection, so {key} would have no effect" in said
        policed.api.label(NAMESPACE, name, {INJECTION: "disabled"})
        policed.api.label(NAMESPACE, name, {INJECTION: None})


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_value_of_a_pod_or_template_is_refused(policed: Policed, kind: str) -> None:
    namespace = policed.namespaces.make()
    for labels, values, says in (
        (WRONG_POD, {}, f"{INJECTION}: 'yes' is not allowed; allowed: enabled, disabled"),
        ({}, {MODE: "both"}, f"{MODE}: 'both' is not allowed; allowed: init, sidecar"),
        ({INJECTION: "enabled"}, {pod_keys.TIMEOUT: "90"}, f"{pod_keys.TIMEOUT}: '90' is not allowed"),
    ):
        manifest = workload(kind, labels, values)
        said = refusal(lambda: namespace.create(manifest))  # noqa: B023 - called at once
        assert said is not None
        assert says in said
    right = workload(kind, {INJECTION: "enabled"}, {MODE: "sidecar", pod_keys.TIMEOUT: "90s"})
    assert namespace.create(right).object
    assert policed.namespaces.make().create(workload(kind, {}, {})).object


@pytest.mark.parametrize("kind", KINDS)
def test_older_objects_with_wrong_values_can_be_changed_and_deleted(policed: Policed, kind: str) -> None:
    manifest = workload(kind, WRONG_POD, {})
    patch(policed.api, manifest, {"metadata": {"labels": {"example.com/unrelated": "yes"}}})
    depth = {"Pod": (), "CronJob": ("spec", "jobTemplate", "spec", "template")}.get(
        kind, ("spec", "template")
    )
    if kind != "Job":  # a Job's template never changes
        said = refusal(lambda: patch(policed.api, manifest, nested(depth, {MODE: "neither"})))
        assert said is not None
        assert f"{MODE}: 'neither' is not allowed" in said
    policed.api.delete(Kind(manifest["apiVersion"], kind), manifest["metadata"]["name"], OLD)
    # Its finalizer holds it: it is being deleted, and whoever takes the finalizer off must get through.
    patch(policed.api, manifest, {"metadata": {"finalizers": None}})
    said = refusal(
        lambda: policed.api.get(Kind(manifest["apiVersion"], kind), manifest["metadata"]["name"], OLD)
    )
    assert said is not None
    assert "not found" in said
    again = workload(kind, {}, {})
    again["metadata"]["finalizers"] = ["example.com/hold"]
    policed.old.create(again)


def nested(path: tuple[str, ...], annotations: dict[str, str]) -> Manifest:
    body: Manifest = {"metadata": {"annotations": annotations}}
    for key in reversed(path):
        body = {key: body}
    return body


def test_a_pod_that_is_being_deleted_is_let_go_whatever_its_values(policed: Policed) -> None:
    namespace = policed.namespaces.make()
    manifest = multus_pod("leaving", annotations={MODE: "init"})
    manifest["metadata"]["finalizers"] = ["example.com/hold"]
    namespace.create(manifest)
    policed.api.delete(POD, "leaving", namespace.name)
    # Even a wrong value that is new does no harm any more.
    wrong = {"metadata": {"annotations": {MODE: "both"}, "finalizers": None}}
    path = policed.api._path(POD, namespace.name, "leaving")  # noqa: SLF001
    policed.api._answer("PATCH", path, {}, wrong, "application/merge-patch+json")  # noqa: SLF001


def test_pods_of_excluded_namespaces_are_left_alone(policed: Policed) -> None:
    policed.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": EXCLUDED}})
    namespace = ready_namespace(policed.api, EXCLUDED)
    assert namespace.create(workload("Pod", WRONG_POD, {MODE: "both"}), dry_run=True).object


VALUES: dict[str, tuple[str, ...]] = {
    pod_keys.MODE: ("init", "sidecar", "Init", "", "both"),
    pod_keys.CREDENTIALS: ("chain", "node", "role"),
    pod_keys.TAKEOVER: ("always", "never", "sometimes"),
    pod_keys.RELEASE_ON_EXIT: ("true", "false", "True", "1", "yes"),
    pod_keys.TIMEOUT: (
        "1s",
        "90s",
        "2m",
        "60m",
        "3600s",
        "0s",
        "61m",
        "3601s",
        "1h",
        "90",
        "-1s",
        "1.5m",
        "",
    ),
    pod_keys.INTERFACES: (
        "net1",
        "net1,net2",
        " net1 ,",
        "x" * 15,
        "",
        ",",
        " , ",
        "eth0",
        "net1, lo",
        "..",
        "a/b",
        "a:b",
        "a b",
        "x" * 16,
    ),
    pod_keys.AGENT_CPU: (
        "10m",
        "0.5",
        "999m",
        "0.9991",
        "9m",
        "1",
        "1000m",
        "2",
        "0.0099",
        "x",
        "",
        "100Mi",
        "5e-1",
    ),
    pod_keys.AGENT_MEMORY: ("16Mi", "64Mi", "1Gi", "16777216", "15Mi", "16M", "x", "", "0.1Gi"),
    pod_keys.UNITS: (
        "1",
        "999",
        "oam=2",
        "oam=2,sig=1",
        "0",
        "1000",
        "",
        "oam",
        "oam=0",
        "oam=2,",
        "Oam=1",
        "2 ",
    ),
    pod_keys.EIP_WAIT: ("true", "false", "yes"),
    pod_keys.EIP: (
        "net1=pool/sip",
        " net1 = pool/sip ,10.10.1.200=eipalloc-0123456789abcdef0,",
        "net1=eipalloc-0123abcd",
        "eth0=pool/sip",
        "net1=pool/sip, lo =pool/sip",
        "net1=sip",
        "net1=pool/Sip",
        "net1=eipalloc-1",
        "net1",
        "",
        ",",
        "net1=pool/sip," * 200,
    ),
    pod_keys.AGENT_IMAGE: ("registry.example/a:1", "a b", "", "a\tb", "x" * 512, "x" * 513),
}


@pytest.mark.parametrize("key", VALUES)
def test_the_policy_and_the_webhook_agree_on_every_value(policed: Policed, key: str) -> None:
    namespace = policed.namespaces.make()
    for value in VALUES[key]:
        said = refusal(lambda: namespace.create(workload("Pod", {}, {key: value}), dry_run=True))  # noqa: B023
        allowed = webhook_allows(key, value)
        if allowed is None:
            assert said is None, value
        else:
            assert said is not None, value
            assert said.endswith(allowed), value


def webhook_allows(key: str, value: str) -> str | None:
    """Return what the webhook's refusal lists as allowed, None where it takes the value."""
    try:
        read_annotations({key: value})
    except Refusal as refused:
        return str(refused).split(" is not allowed; ")[1]
    return None


HINTS: list[tuple[str, dict[str, str], dict[str, str], str]] = [
    ("Namespace", {"multus-eni.io/inject": "enabled"}, {}, "did you mean multus-eni.io/injection?"),
    ("Namespace", {"multus-eni.io/zone": "a"}, {}, "known are multus-eni.io/injection, multus-eni.io/mode"),
    ("Namespace", {}, {INJECTION: "enabled"}, "make it one of its labels"),
    ("Pod", {}, {"multus-eni.io/timeouts": "90s"}, "did you mean multus-eni.io/timeout?"),
    ("Pod", {}, {"multus-eni.io/agent": "x"}, "multus-eni.io/agent-cpu or multus-eni.io/agent-memory or"),
    ("Pod", {MODE: "init"}, {}, "make it one of its annotations"),
    ("Pod", {}, {"multus-eni.io/t": "x"}, "did you mean multus-eni.io/takeover or multus-eni.io/timeout?"),
    *(
        (kind, {}, {"multus-eni.io/interface": "net1"}, "did you mean multus-eni.io/interfaces?")
        for kind in ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob")
    ),
]


def hinted(policed: Policed, kind: str, labels: dict[str, str], annotations: dict[str, str]) -> list[str]:
    if kind == "Namespace":
        metadata = {"name": "hinted", "labels": labels, "annotations": annotations}
        warnings = policed.api.create(
            {"apiVersion": "v1", "kind": kind, "metadata": metadata}, dry_run=True
        ).warnings
    else:
        warnings = (
            policed.namespaces.make().create(workload(kind, labels, annotations), dry_run=True).warnings
        )
    return [each for each in warnings if "multus-eni.io/" in each]


@pytest.mark.parametrize(("kind", "labels", "annotations", "says"), HINTS)
def test_a_key_that_nobody_reads_is_answered_with_the_nearest_one(
    policed: Policed, kind: str, labels: dict[str, str], annotations: dict[str, str], says: str
) -> None:
    (warning,) = hinted(policed, kind, labels, annotations)
    assert says in warning
    assert "has no effect" in warning


@pytest.mark.parametrize("kind", ["Deployment", "CronJob"])
def test_a_key_on_a_workload_itself_is_sent_to_its_template(policed: Policed, kind: str) -> None:
    manifest = workload(kind, {}, {})
    manifest["metadata"]["annotations"] = {MODE: "sidecar"}
    (warning,) = policed.namespaces.make().create(manifest, dry_run=True).warnings
    assert f"{MODE} stands on the {kind} itself" in warning
    assert "pod template" in warning


def test_right_keys_and_those_of_others_get_no_hint(policed: Policed) -> None:
    assert not hinted(policed, "Namespace", {INJECTION: "enabled", "example.com/inject": "yes"}, {})
    right = {MODE: "init", pod_keys.STATUS: "{}", pod_keys.TIMEOUT: "90s", "example.com/timeouts": "x"}
    assert not hinted(policed, "Pod", {INJECTION: "enabled"}, right)
    assert not hinted(policed, "Deployment", {}, right)


def test_the_api_server_finds_nothing_to_warn_of_in_the_expressions(policed: Policed) -> None:
    policies = policed.api.list(POLICY, labels="app.kubernetes.io/part-of=multus-eni-injector")
    assert len(policies) == 5
    for each in policies:
        name = each["metadata"]["name"]
        found = wait_for(functools.partial(status_of, policed.api, name), f"type check of {name}")
        assert found.get("typeChecking", {}) == {}, name


def status_of(api: Api, name: str) -> Manifest | None:
    return api.get(POLICY, name).get("status")
