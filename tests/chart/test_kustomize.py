"""examples/kustomize, by kustomize itself: what it makes of the chart, and applying that twice."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.conftest import Cluster
from tests.cluster.api import WEBHOOK_CONFIGURATION, Kind, Manifest
from tests.cluster.helm import CHART, NAMESPACE, RELEASE, Helm, parsed
from tests.cluster.processes import LAZY_GC
from tests.cluster.waiting import wait_for
from tests.skipping import programs

EXAMPLE = CHART.parents[1] / "examples" / "kustomize"
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((EXAMPLE / "kustomization.yaml").read_text(encoding="utf-8"))
(ENTRY,) = KUSTOMIZATION["helmCharts"]
NAMESPACES = Kind("v1", "Namespace")
SECRET = Kind("v1", "Secret")
TLS = f"{RELEASE}-tls"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Copy the example; the chart lies where kustomize keeps what it has pulled."""
    copy = tmp_path / "kustomize"
    shutil.copytree(EXAMPLE, copy)
    shutil.copytree(CHART, copy / "charts" / f"{ENTRY['name']}-{ENTRY['version']}" / ENTRY["name"])
    return copy


def build(folder: Path, *options: str) -> str:
    argv = [str(programs(["kustomize"])["kustomize"]), "build", *options, str(folder)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def inflate(folder: Path, helm: Helm) -> str:
    return build(folder, "--enable-helm", f"--helm-command={helm.program}")


def by_name(manifests: list[Manifest]) -> dict[tuple[str, str | None, str], Manifest]:
    found = {
        (each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]): each
        for each in manifests
    }
    assert len(found) == len(manifests)
    return found


@pytest.mark.parametrize("which", ["helm", "helm3"])
def test_it_makes_what_helm_renders_without_its_hooks(
    request: pytest.FixtureRequest, folder: Path, which: str
) -> None:
    helm: Helm = request.getfixturevalue(which)
    made = parsed(inflate(folder, helm))
    rendered = helm.render(ENTRY["valuesInline"], "--no-hooks")
    assert (ENTRY["releaseName"], ENTRY["namespace"]) == (RELEASE, NAMESPACE)
    (namespace,) = yaml.safe_load_all((EXAMPLE / "namespace.yaml").read_text(encoding="utf-8"))
    assert by_name(made) == by_name([namespace, *rendered])
    # In this order they are applied: the webhook comes when everything is there that answers it.
    kinds = [each["kind"] for each in made]
    assert kinds[0] == "Namespace"
    assert kinds[-1] == "MutatingWebhookConfiguration"
    assert "Pod" not in kinds


def test_with_hooks_the_pod_of_helm_test_is_an_ordinary_one(folder: Path, helm: Helm) -> None:
    """So the example leaves it out, and docs/install.md says why."""
    (folder / "kustomization.yaml").write_text(
        yaml.safe_dump({**KUSTOMIZATION, "helmCharts": [{**ENTRY, "skipHooks": False}]}), encoding="utf-8"
    )
    made = by_name(parsed(inflate(folder, helm)))
    assert ("Pod", NAMESPACE, f"{RELEASE}-test") in made


def test_an_overlay_of_what_helm_rendered_changes_what_it_patches(tmp_path: Path, helm: Helm) -> None:
    rendered = helm.template(ENTRY["valuesInline"], "--no-hooks")
    (tmp_path / "install.yaml").write_text(rendered, encoding="utf-8")
    patch = {
        "target": {"kind": "Deployment", "name": RELEASE},
        "patch": '[{"op": "replace", "path": "/spec/replicas", "value": 3}]',
    }
    overlay = {"resources": ["install.yaml"], "patches": [patch]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")
    expected = by_name(parsed(rendered))
    expected["Deployment", NAMESPACE, RELEASE]["spec"]["replicas"] = 3
    assert by_name(parsed(build(tmp_path))) == expected


@pytest.mark.cluster
def test_applying_it_again_leaves_the_certificate_alone(cluster: Cluster, folder: Path, helm: Helm) -> None:
    made = inflate(folder, helm)
    kubeconfig = cluster.plane.kubeconfig(cluster.plane.admin)
    kubectl = [str(programs(["kubectl"])["kubectl"]), f"--kubeconfig={kubeconfig}"]

    def run(*arguments: str) -> None:
        done = subprocess.run(
            [*kubectl, *arguments],
            input=made,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env={**os.environ, **LAZY_GC},
        )
        assert done.returncode == 0, done.stderr

    def trusted() -> list[str]:
        entries = cluster.api.get(WEBHOOK_CONFIGURATION, RELEASE)["webhooks"]
        return [each["clientConfig"].get("caBundle", "") for each in entries]

    try:
        run("apply", "-f", "-")
        wait_for(lambda: all(trusted()), "caBundle, which certs writes")
        before = trusted(), cluster.api.get(SECRET, TLS, NAMESPACE)["data"]
        assert base64.b64decode(before[1]["tls.crt"]).startswith(b"-----BEGIN CERTIFICATE-----")
        run("apply", "-f", "-")
        assert (trusted(), cluster.api.get(SECRET, TLS, NAMESPACE)["data"]) == before
    finally:
        run("delete", "--ignore-not-found", "--wait=false", "-f", "-")
        # Until then nobody can make anything in a namespace of that name.
        wait_for(lambda: gone(cluster), "end of the release's pods and namespace")


def gone(cluster: Cluster) -> bool:
    cluster.kubelet.kill_leaving()
    return NAMESPACE not in {each["metadata"]["name"] for each in cluster.api.list(NAMESPACES)}
