"""What is rendered, judged by the API server field by field, CRDs of cert-manager and Prometheus included."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import pytest

from tests.chart.conftest import Cluster
from tests.chart.values import cases
from tests.cluster.api import Api, ApiError, Kind, Manifest
from tests.cluster.helm import NAMESPACE, only, parsed
from tests.cluster.namespaces import ready_namespace
from tests.cluster.waiting import wait_for
from tests.skipping import programs

pytestmark = pytest.mark.cluster

CRD = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition")
VIOLATION = re.compile(
    r"(host namespaces|hostPort|restricted volume types|hostPath volumes|runAsNonRoot|runAsUser=0"
    r"|unrestricted capabilities|allowPrivilegeEscalation|privileged|seccompProfile|seLinuxOptions)"
)
NODE_AGENTS = {
    "host namespaces",
    "hostPort",
    "restricted volume types",
    "unrestricted capabilities",
    "runAsNonRoot",
    "runAsUser=0",
}
"""What Pod Security `restricted` warns of in the node agent; docs/security.md says why."""
UNRESTRICTED: Manifest = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "unrestricted"},
    "spec": {"containers": [{"name": "app", "image": "busybox"}]},
}
GROUPS = ("cert-manager.io", "monitoring.coreos.com")


@pytest.fixture(scope="module")
def api(cluster: Cluster) -> Iterator[Api]:
    """A client of an API server that knows the namespace and the CRDs."""
    metadata = {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/warn": "restricted"}}
    cluster.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    ready_namespace(cluster.api, NAMESPACE)
    crds = programs(["crds.yaml"])["crds.yaml"].read_text(encoding="utf-8")
    made = [crd for crd in parsed(crds) if needed(crd)]
    for crd in made:
        cluster.api.create(crd)
    with cluster.plane.client() as client:
        wait_for(lambda: all(served(client, crd) for crd in made), "service of the CRDs")
        # Pod Security reads labels of namespaces from a cache.
        wait_for(
            lambda: client.apply(UNRESTRICTED, NAMESPACE, dry_run=True).warnings, "warning by Pod Security"
        )
        yield client
    for crd in made:
        cluster.api.delete(CRD, crd["metadata"]["name"])


def needed(crd: Manifest) -> bool:
    kinds = ("Certificate", "Issuer", "ServiceMonitor", "PodMonitor", "PrometheusRule")
    return crd["spec"]["names"]["kind"] in kinds


def served(api: Api, crd: Manifest) -> bool:
    spec = crd["spec"]
    kind = Kind(f"{spec['group']}/{spec['versions'][0]['name']}", spec["names"]["kind"])
    try:
        return api.list(kind) == []
    except ApiError:
        return False


Accept = Callable[[Manifest], tuple[str, ...]]


@pytest.fixture(scope="module")
def accept(api: Api) -> Accept:
    """Applies an object in a dry run and returns the warnings; the same one is applied once for all tests."""
    known: dict[str, tuple[str, ...]] = {}

    def apply(manifest: Manifest) -> tuple[str, ...]:
        if manifest["kind"] == "Pod":
            # Its own account is not there in a dry run.
            manifest = {**manifest, "spec": {**manifest["spec"], "serviceAccountName": "default"}}
        text = json.dumps(manifest, sort_keys=True)
        if text not in known:
            known[text] = api.apply(manifest, dry_run=True).warnings
        return known[text]

    return apply


@pytest.mark.parametrize("case", cases())
def test_every_object_is_accepted_also_by_pod_security(
    accept: Accept, rendered: dict[str, list[Manifest]], case: str
) -> None:
    for manifest in rendered[case]:
        warnings = accept(manifest)
        if manifest["kind"] == "DaemonSet":
            (warning,) = warnings
            more = {"seLinuxOptions"} if case == "everything" else set()
            assert set(VIOLATION.findall(warning)) == NODE_AGENTS | more, warning
        elif case == "host network" and "hostNetwork" in str(manifest):
            (warning,) = warnings
            assert warning.startswith('would violate PodSecurity "restricted:latest": host namespaces')
        else:
            assert warnings == (), manifest["metadata"]["name"]


def test_whatever_is_switched_on_beside_what_else_is_accepted(
    accept: Accept, paired: list[list[Manifest]]
) -> None:
    for manifest in (each for manifests in paired for each in manifests):
        warnings = accept(manifest)
        assert [each for each in warnings if not each.startswith("would violate PodSecurity")] == []


def test_cert_manager_and_prometheus_are_among_them(rendered: dict[str, list[Manifest]]) -> None:
    manifests = [each for case in ("cert-manager", "monitoring") for each in rendered[case]]
    found = {each["kind"] for each in manifests if each["apiVersion"].split("/")[0] in GROUPS}
    assert found == {"Certificate", "Issuer", "ServiceMonitor", "PrometheusRule"}


def test_an_unknown_field_would_be_seen(api: Api, rendered: dict[str, list[Manifest]]) -> None:
    found = only(rendered["cert-manager with an issuer"], "Certificate")
    with pytest.raises(ApiError, match="renewbefore"):
        api.apply({**found, "spec": {**found["spec"], "renewbefore": "1h"}}, dry_run=True)
