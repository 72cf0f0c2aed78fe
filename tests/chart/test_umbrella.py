"""The chart as a part of another: `condition`, `global`, accounts and a namespace that others make."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.chart.values import REQUIRED, cases
from tests.cluster.api import Manifest
from tests.cluster.helm import CHART, NAMESPACE, RELEASE, Helm, HelmError, merged, only, parsed

NAME = "multus-eni-injector"
ACCOUNTS: dict[str, Any] = {
    "agent": {"backend": "node"},
    "webhook": {"serviceAccount": {"create": False, "name": "own-webhook"}},
    "certs": {"serviceAccount": {"create": False, "name": "own-certs"}},
    "nodeAgent": {"serviceAccount": {"create": False, "name": "own-node"}},
}
UMBRELLA = {
    "apiVersion": "v2",
    "name": "platform",
    "version": "1.0.0",
    "dependencies": [{"name": NAME, "version": "0.1.0", "condition": f"{NAME}.enabled"}],
}


@pytest.fixture
def umbrella(tmp_path: Path) -> Path:
    """Return a chart whose only content is ours, by a condition."""
    chart = tmp_path / "platform"
    (chart / "charts").mkdir(parents=True)
    (chart / "Chart.yaml").write_text(json.dumps(UMBRELLA))
    (chart / "charts" / NAME).symlink_to(CHART, target_is_directory=True)
    return chart


def render(helm: Helm, chart: Path, values: dict[str, Any]) -> list[Manifest]:
    return parsed(helm.template(values, chart=chart, release="platform"))


def specs(manifests: list[Manifest]) -> list[Manifest]:
    """Return the specs of all pods."""
    return [
        each["spec"]["template"]["spec"] for each in manifests if each["kind"] in ("Deployment", "DaemonSet")
    ] + [each["spec"] for each in manifests if each["kind"] == "Pod"]


def test_its_condition_switches_it_off_and_on(helm: Helm, umbrella: Path) -> None:
    on = render(helm, umbrella, {NAME: {**REQUIRED, "enabled": True}})
    assert only(on, "MutatingWebhookConfiguration")
    assert render(helm, umbrella, {NAME: {"enabled": False}}) == []


def test_the_global_registry_and_pull_secrets_hold_for_every_image(helm: Helm, umbrella: Path) -> None:
    values = {
        "global": {"imageRegistry": "mirror.example/eu", "imagePullSecrets": ["mirror", {"name": "other"}]},
        NAME: {"agent": {"backend": "node"}, "imagePullSecrets": [{"name": "mirror"}]},
    }
    found = render(helm, umbrella, values)
    assert len(specs(found)) == 4
    for spec in specs(found):
        assert spec["imagePullSecrets"] == [{"name": "mirror"}, {"name": "other"}]
        for each in [*spec.get("initContainers", []), *spec["containers"]]:
            assert each["image"].startswith("mirror.example/eu/multus-eni-")
    settings = only(found, "ConfigMap", "platform-multus-eni-injector")["data"]["settings.yaml"]
    assert "image: mirror.example/eu/multus-eni-agent:" in settings


def test_without_any_registry_the_message_says_what_to_do(helm: Helm, umbrella: Path) -> None:
    with pytest.raises(HelmError, match=r"image\.registry is required"):
        render(helm, umbrella, {NAME: {}})


def test_accounts_that_exist_are_used_and_none_is_made(helm: Helm) -> None:
    found = helm.render(merged(REQUIRED, ACCOUNTS))
    made = {each["metadata"]["name"] for each in found if each["kind"] == "ServiceAccount"}
    assert made == {f"{RELEASE}-test"}
    used = {spec["serviceAccountName"] for spec in specs(found)}
    assert used == {"own-webhook", "own-certs", "own-node", f"{RELEASE}-test"}
    bound = {
        subject["name"]
        for each in found
        if each["kind"] in ("RoleBinding", "ClusterRoleBinding")
        for subject in each["subjects"]
    }
    assert bound == {"own-certs", "own-node", f"{RELEASE}-test"}


def test_an_account_of_another_name_is_made_bound_and_used(helm: Helm) -> None:
    values = merged(REQUIRED, {"agent": {"backend": "node"}, "nodeAgent": {"serviceAccount": {"name": "n"}}})
    found = helm.render(values)
    assert only(found, "ServiceAccount", "n")
    assert only(found, "DaemonSet")["spec"]["template"]["spec"]["serviceAccountName"] == "n"
    (subject,) = only(found, "ClusterRoleBinding", f"{RELEASE}-node")["subjects"]
    assert subject["name"] == "n"


def test_everything_is_in_the_namespace_that_is_asked_for(helm: Helm) -> None:
    found = helm.render(merged(REQUIRED, {"namespaceOverride": "elsewhere", "agent": {"backend": "node"}}))
    namespaces = {each["metadata"]["namespace"] for each in found if "namespace" in each["metadata"]}
    assert namespaces == {"elsewhere"}
    configuration = only(found, "MutatingWebhookConfiguration")
    assert {each["clientConfig"]["service"]["namespace"] for each in configuration["webhooks"]} == {
        "elsewhere"
    }
    arguments = only(found, "Deployment", f"{RELEASE}-certs")["spec"]["template"]["spec"]["containers"][0][
        "args"
    ]
    assert "--namespace=elsewhere" in arguments
    # Helm looks for its objects by the release's own namespace.
    assert f"--secret-annotation=meta.helm.sh/release-namespace={NAMESPACE}" in arguments


def test_common_annotations_are_on_every_object_and_replace_none(helm: Helm) -> None:
    values = merged(
        cases()["everything"], {"commonAnnotations": {"helm.sh/hook": "nonsense"}, "extraObjects": []}
    )
    for each in helm.render(values):
        annotations = each["metadata"]["annotations"]
        assert annotations["example.com/change"] == "CHG-1"
        if each["metadata"]["name"].endswith("-test"):
            assert annotations["helm.sh/hook"] == "test"


def test_the_strategy_can_be_replaced(helm: Helm) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 0}}
    found = helm.render(merged(REQUIRED, {"webhook": {"strategy": strategy}}))
    assert only(found, "Deployment", RELEASE)["spec"]["strategy"] == strategy


def test_a_runtime_class_is_the_pods(helm: Helm) -> None:
    found = helm.render(merged(REQUIRED, {"webhook": {"runtimeClassName": "gvisor"}}))
    spec = only(found, "Deployment", RELEASE)["spec"]["template"]["spec"]
    assert spec["runtimeClassName"] == "gvisor"
