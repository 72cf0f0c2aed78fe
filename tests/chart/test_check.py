"""`multus-eni check` on a real API server with a release on it, first in order, then with faults."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import tempfile

import pytest

from check.run import CHECKS
from common.pod_keys import INJECTION, MODE, NETWORKS_FILE
from multus_eni.cli import main
from tests.chart.conftest import EDITOR, Cluster
from tests.chart.test_release import SPOILT, release
from tests.chart.values import ca_bundle
from tests.cluster.api import DEPLOYMENT, NAMESPACE, WEBHOOK_CONFIGURATION, Api, Kind, Manifest
from tests.cluster.control_plane import User
from tests.cluster.helm import NAMESPACE as SYSTEM
from tests.cluster.helm import RELEASE
from tests.cluster.manifests import deployment, multus_pod
from tests.cluster.mounts import CONFIG_MAP
from tests.cluster.namespaces import Namespaces
from tests.cluster.processes import LAZY_GC
from tests.cluster.waiting import wait_for
from tests.skipping import programs
from webhook.manifests.live import SETTINGS_LABELS

pytestmark = pytest.mark.cluster

NETWORK = Kind("k8s.cni.cncf.io/v1", "NetworkAttachmentDefinition")
CRD: Manifest = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "network-attachment-definitions.k8s.cni.cncf.io"},
    "spec": {
        "group": "k8s.cni.cncf.io",
        "scope": "Namespaced",
        "names": {"plural": "network-attachment-definitions", "kind": NETWORK.kind},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                },
            }
        ],
    },
}
NO_MULTUS = {"cluster-multus": "error"}
"""Always wrong here: no Multus runs."""
FOUND = {
    **NO_MULTUS,
    "cluster-plugin": "warning",
    "installation-certs": "error",
    "installation-trust": "error",
    "namespaces-keys": "warning",
    "namespaces-quotas": "warning",
    "pods-agent": "error",
    "pods-networks": "error",
}


def check(
    cluster: Cluster, capfd: pytest.CaptureFixture[str], *arguments: str, user: User | None = None
) -> dict[str, Manifest]:
    """Run the command; its results by id."""
    kubeconfig = cluster.plane.kubeconfig(user or cluster.plane.admin)
    code = main(["check", "--kubeconfig", str(kubeconfig), "-o", "json", *arguments])
    captured = capfd.readouterr()
    assert captured.err == ""
    results = {each["id"]: each for each in json.loads(captured.out)}
    verdicts = {each["verdict"] for each in results.values()}
    assert code == (1 if "error" in verdicts else 3 if "warning" in verdicts else 0)
    return results


def pasted(cluster: Cluster, results: dict[str, Manifest]) -> list[str]:
    """Run the commands of findings as a user does who saves nothing in the editor; return those that fail.

    No kubelet gives logs here.
    """
    kubectl = programs(["kubectl"])["kubectl"]
    env = {
        "PATH": f"{kubectl.parent}:{os.environ['PATH']}",
        "KUBECONFIG": str(cluster.plane.kubeconfig(cluster.plane.admin)),
        "KUBE_EDITOR": "true",
        **LAZY_GC,
    }
    found = [command for each in results.values() for command in each["commands"]]
    assert len(found) >= 5
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        for command in (each for each in found if " logs " not in each):
            argv = ["bash", "-o", "pipefail", "-c", command]
            done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                failed.append(f"{command}: {done.stderr}")
    return failed


def wrong(results: dict[str, Manifest]) -> dict[str, str]:
    return {key: each["verdict"] for key, each in results.items() if each["verdict"] in ("error", "warning")}


def made(api: Api, namespaces: Namespaces) -> str:
    """Make six faults, each as people make them; return the namespace of a pod from before its label."""
    old = namespaces.make()
    old.create(multus_pod("from-before"))
    api.label(NAMESPACE, old.name, {INJECTION: "enabled"})
    namespaces.make({"multus-eni.io/inject": "enabled"})
    config = json.dumps({"type": "macvlan", "master": "eth1"})
    network: Manifest = {"apiVersion": NETWORK.api_version, "kind": NETWORK.kind}
    old.create({**network, "metadata": {"name": "foreign-mac"}, "spec": {"config": config}})
    quota: Manifest = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full"}}
    namespaces.make({INJECTION: "enabled"}).create({**quota, "spec": {"hard": {"pods": "0"}}})
    certs: Manifest = {"apiVersion": DEPLOYMENT.api_version, "kind": DEPLOYMENT.kind}
    api.apply({**certs, "metadata": {"name": f"{RELEASE}-certs"}, "spec": {"replicas": 0}}, SYSTEM)
    return old.name


def damage_an_entry(api: Api) -> None:
    kind = WEBHOOK_CONFIGURATION
    foreign = {"caBundle": base64.b64encode(ca_bundle().encode()).decode()}
    entry = {"name": f"{SPOILT}.multus-eni.io", "clientConfig": foreign}
    metadata = {"name": RELEASE}
    api.apply({"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "webhooks": [entry]})


def explained(cluster: Cluster, capfd: pytest.CaptureFixture[str], namespaces: Namespaces) -> None:
    """Explain workloads by the labels and settings that count on the cluster."""
    kubeconfig = str(cluster.plane.kubeconfig(cluster.plane.admin))

    def explain(*arguments: str) -> tuple[int, str, str]:
        code = main(["explain", "--kubeconfig", kubeconfig, *arguments])
        return code, *capfd.readouterr()

    sidecars, left = namespaces.make({INJECTION: "enabled", MODE: "sidecar"}), namespaces.make()
    web = {**deployment(), "metadata": {"name": "web"}}
    web["spec"]["replicas"] = 0
    for each in (sidecars, left):
        each.create(web)
    code, out, err = explain("deploy/web", "-n", sidecars.name, "-o", "json", "--fail-on=not-injected")
    (found,) = json.loads(out)
    assert (code, found["reason"], found["namespace"], err) == (0, "inject_sidecar", sidecars.name, "")
    # As the controller writes it where capacity.enabled is set.
    metadata = {"name": "networks", "labels": dict(label.split("=") for label in SETTINGS_LABELS.split(","))}
    known = {"networks": {f"{sidecars.name}/ipvlan-multus": "oam"}}
    data = {NETWORKS_FILE: json.dumps(known)}
    networks: Manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    cluster.api.create(networks, sidecars.name)
    (found,) = json.loads(explain("deploy/web", "-n", sidecars.name, "-o", "json")[1])
    assert found["requests"] == {"multus-eni.io/oam": "1"}
    cluster.api.delete(CONFIG_MAP, "networks", sidecars.name)
    code, out, _ = explain("deployments.apps/web", "-n", left.name, "--fail-on=not-injected")
    assert (code, "not_opted_in" in out) == (3, True)
    for name, said in (
        ("deploy/other", '"other" not found'),
        ("web", "write KIND/NAME"),
        ("widgets/web", "'widgets' is not one of"),
        ("widgets.apps/web", "the API group apps has no resource 'widgets'"),
    ):
        code, _, err = explain(name, "-n", left.name)
        assert code == 2
        assert said in err


def test_faults_of_a_live_cluster_are_found(cluster: Cluster, capfd: pytest.CaptureFixture[str]) -> None:
    api, namespaces = cluster.api, Namespaces(cluster.api, "chart", "check")
    assert "does not know" in check(cluster, capfd, "--pre")["cluster-multus"]["details"][0]
    assert check(cluster, capfd)["installation-present"]["verdict"] == "error"
    api.create(CRD)
    with release(cluster, cluster.helm("helm4")):
        wait_for(lambda: wrong(check(cluster, capfd)) == NO_MULTUS, "a release in order")
        healthy = check(cluster, capfd)
        for each in ("injects", "trust", "certificate", "replicas", "settings", "present", "certs"):
            assert healthy[f"installation-{each}"]["verdict"] == "ok", each

        explained(cluster, capfd, namespaces)
        old = made(api, namespaces)
        wait_for(lambda: not cluster.kubelet.pods("certs"), "end of certs")
        damage_an_entry(api)
        wait_for(lambda: wrong(check(cluster, capfd)) == FOUND, "all faults")
        results = check(cluster, capfd)
        assert results["pods-agent"]["details"] == [f"{old}/from-before has no agent"]
        assert results["installation-trust"]["details"] == [
            f"entry {SPOILT}.multus-eni.io: its caBundle does not trust the webhook's certificate"
        ]
        # The namespace with the full quota is passed over.
        assert results["installation-injects"]["verdict"] == "ok"
        assert pasted(cluster, results) == []
        repaired = {key: FOUND[key] for key in FOUND if key not in ("namespaces-keys", "pods-agent")}
        wait_for(lambda: wrong(check(cluster, capfd)) == repaired, "effect of the commands")
    api.delete(Kind(CRD["apiVersion"], CRD["kind"]), CRD["metadata"]["name"])


def test_a_user_without_rights_is_told_what_could_not_be_read(
    cluster: Cluster, capfd: pytest.CaptureFixture[str]
) -> None:
    kubeconfig = cluster.plane.kubeconfig(EDITOR)
    assert main(["check", "--kubeconfig", str(kubeconfig), "-o", "json", "-n", "default"]) == 2
    captured = capfd.readouterr()
    assert "nothing could be looked at: DaemonSets can't be read" in captured.err
    results = {each["id"]: each for each in json.loads(captured.out)}
    assert len(results) == len(CHECKS)
    assert wrong(results) == {}
    assert 'User "editor" cannot list resource "pods"' in results["pods-exits"]["details"][0]


def test_a_user_of_one_namespace_is_told_of_that_one(
    cluster: Cluster, capfd: pytest.CaptureFixture[str]
) -> None:
    own = Namespaces(cluster.api, "chart", "own").make({"multus-eni.io/inject": "enabled"})
    group = {"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "no-rights"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    own.create(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "view"},
            "subjects": [group],
            "roleRef": role,
        }
    )
    wait_for(
        lambda: "namespaces-keys" in wrong(check(cluster, capfd, "-n", own.name, user=EDITOR)), "the right"
    )
