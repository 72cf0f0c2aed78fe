"""Whatever is switched on, the chart renders objects that go together and that the programs can read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from ipagent.node.settings import read_settings
from tests.chart.values import REQUIRED
from tests.cluster.api import Manifest
from tests.cluster.helm import CHART, RELEASE, Helm, HelmError, merged, only
from webhook.settings_file import ConfigError, parse_settings

GIVEN = {
    ("Secret", "multus-eni-injector-tls"),
    ("Secret", "multus-eni-injector-certificate"),
    ("Secret", "own-tls"),
    ("ServiceAccount", "default"),
    ("ConfigMap", "kube-root-ca.crt"),
}
"""What others make: certs and cert-manager, the operator, Kubernetes."""


def identity(manifest: Manifest) -> tuple[str, str, str]:
    return manifest["kind"], manifest["metadata"].get("namespace", ""), manifest["metadata"]["name"]


def pod_specs(manifests: list[Manifest]) -> Iterator[tuple[str, dict[str, Any]]]:
    for each in manifests:
        if each["kind"] in ("Deployment", "DaemonSet"):
            yield each["metadata"]["name"], each["spec"]["template"]["spec"]
        elif each["kind"] == "Pod":
            yield each["metadata"]["name"], each["spec"]


def references(spec: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Return the objects that a pod needs."""
    yield "ServiceAccount", spec.get("serviceAccountName", "default")
    for volume in spec.get("volumes", []):
        sources = [volume, *volume.get("projected", {}).get("sources", [])]
        for source in sources:
            if found := source.get("configMap"):
                yield "ConfigMap", found["name"]
            if found := source.get("secret"):
                yield "Secret", found.get("secretName") or found["name"]


def test_every_object_is_made_once(paired: list[list[Manifest]]) -> None:
    for manifests in paired:
        counts = Counter(map(identity, manifests))
        assert [each for each, count in counts.items() if count > 1] == []


def test_what_pods_need_is_there(paired: list[list[Manifest]]) -> None:
    for manifests in paired:
        there = {(each["kind"], each["metadata"]["name"]) for each in manifests} | GIVEN
        for name, spec in pod_specs(manifests):
            assert set(references(spec)) <= there, name
            volumes = {volume["name"] for volume in spec.get("volumes", [])}
            assert len(volumes) == len(spec.get("volumes", [])), name
            for container in [*spec.get("initContainers", []), *spec["containers"]]:
                assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes, name
                names = [variable["name"] for variable in container.get("env", [])]
                assert len(names) == len(set(names)), name


def test_rights_are_given_to_accounts_that_are_there(paired: list[list[Manifest]]) -> None:
    for manifests in paired:
        there = {(each["kind"], each["metadata"]["name"]) for each in manifests} | GIVEN
        for each in manifests:
            if each["kind"] in ("RoleBinding", "ClusterRoleBinding"):
                assert (each["roleRef"]["kind"], each["roleRef"]["name"]) in there
                accounts = {(subject["kind"], subject["name"]) for subject in each["subjects"]}
                assert accounts <= there, each["metadata"]["name"]


def test_the_programs_read_their_settings(paired: list[list[Manifest]]) -> None:
    read = Counter[str]()
    for manifests in paired:
        for each in manifests:
            data = each.get("data", {}) if each["kind"] == "ConfigMap" else {}
            if "settings.yaml" in data:
                parse_settings(data["settings.yaml"])
                read["webhook"] += 1
            if "node.json" in data:
                read_settings(data["node.json"].encode())
                read["node"] += 1
            if "dashboard.json" in data:
                assert json.loads(data["dashboard.json"])["panels"]
    assert min(read["webhook"], read["node"]) > 1


REFUSED: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "with the backend direct": (
        {
            "agent": {
                "timeout": "0s",
                "resources": {"cpu": "999.5m", "memory": "15Mi"},
                "allowedCIDRs": ["10.10.1.5/24"],
                "volumes": [{"name": "multus-eni-run", "emptyDir": {}}, {"name": "ca"}],
                "volumeMounts": [{"name": "ca", "mountPath": "/run/multus-eni/"}],
            },
            "certs": {"caLifetime": "200d"},
        },
        (
            "agent.timeout: 0s is not a duration from 1s to 60m",
            "agent.resources.cpu: 999.5m is not 10m to 999m",
            "agent.resources.memory: 15Mi is not a quantity from 16Mi",
            "agent.allowedCIDRs: 10.10.1.5/24 is an address with the length of a network",
            "agent.volumes: multus-eni-run is the agent's own volume",
            "agent.volumes: ca needs its name and one source",
            "agent.volumeMounts: /run/multus-eni/ is where the agent's own volume is",
            "certs.caLifetime: 200d is shorter than three times certs.certificateLifetime, 90d",
        ),
    ),
    "with the backend node": (
        {
            "agent": {"backend": "node", "timeout": "120m", "resources": {"cpu": "9m", "memory": 64}},
            "nodeAgent": {"grants": {"a": {"cidrs": ["10.0.0.0/33"]}}, "healthPort": 61678},
            "certs": {"certificateLifetime": "30m", "apiPropagation": "6m"},
            "webhook": {"hostNetwork": True, "port": 10250},
        },
        (
            "agent.timeout: 120m is not a duration",
            "agent.resources.cpu: 9m is not 10m to 999m",
            "agent.resources.memory: 64 is not a quantity from 16Mi",
            "nodeAgent.grants.a.cidrs: 10.0.0.0/33 is not a range",
            "nodeAgent.healthPort: 61678 is the VPC CNI's on every node's address",
            "certs.certificateLifetime: 30m is shorter than twelve times certs.propagation, 5m",
            "certs.propagation: 5m is shorter than certs.apiPropagation, 6m",
            "webhook.port: 10250 is the kubelet's on every node's address",
        ),
    ),
    "with cert-manager": (
        {"certificates": {"mode": "certManager", "certManager": {"renewBefore": "2160h"}}},
        ("renewBefore: 2160h is not shorter than its duration, 2160h",),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_could_not_work_is_refused_all_at_once(helm: Helm, case: str) -> None:
    values, says = REFUSED[case]
    with pytest.raises(HelmError) as refused:
        helm.template(merged(REQUIRED, values))
    assert [each for each in says if each not in str(refused.value)] == []


GRANTS: dict[str, Any] = {"grants": {"*": {"takeover": True}}}
WARNED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "values of parts that are switched off": (
        {
            "nodeAgent": {
                **GRANTS,
                "gc": {"mode": "on"},
                "podCondition": True,
                "unmanageLinks": True,
                "prefixes": {"cniConfDir": "/etc/cni/net.d"},
            },
            "controller": {"eips": {"a": {"allocations": ["eipalloc-0123456789abcdef0"]}}},
            "networkPolicy": {
                "webhookFrom": [{"ipBlock": {"cidr": "10.0.0.0/8"}}],
                "metricsFrom": [{"podSelector": {}}],
            },
            "certificates": {"certManager": {"renewBefore": "2160h"}},
        },
        [
            "nodeAgent.grants has no effect without node agents",
            "nodeAgent.gc.mode=on reclaims nothing without node agents",
            "nodeAgent.podCondition has no effect without node agents",
            "nodeAgent.unmanageLinks is for the interfaces of NodeNetworks",
            "nodeAgent.prefixes.cniConfDir has no effect without nodeAgent.prefixes.enabled",
            "controller.eips grants nothing without controller.enabled",
            "networkPolicy.webhookFrom has no effect",
            "networkPolicy.metricsFrom has no effect",
        ],
    ),
    "budgets that nobody may evict by": (
        {
            "webhook": {"podDisruptionBudget": {"minAvailable": "75%"}},
            "controller": {
                "enabled": True,
                "clusterName": "a",
                "podDisruptionBudget": {"maxUnavailable": "0%"},
            },
        },
        [
            "controller.podDisruptionBudget lets none of the 2 replicas be evicted",
            "webhook.podDisruptionBudget lets none of the 2 replicas be evicted",
        ],
    ),
    "on the way between the backends (docs/node-agent.md)": (
        {"nodeAgent": {"enabled": True, **GRANTS, "gc": {"mode": "on"}, "podCondition": True}},
        [],
    ),
}


@pytest.mark.parametrize("case", WARNED)
def test_what_works_is_installed_and_the_notes_warn_of_what_has_no_effect(helm: Helm, case: str) -> None:
    values, warnings = WARNED[case]
    said = helm.run("install", "r", CHART, "--dry-run=client", values=merged(REQUIRED, values))
    found = [line for line in said.partition("NOTES:")[2].splitlines() if line.startswith("WARNING: ")]
    assert len(found) == len(warnings)
    for line, warning in zip(found, warnings, strict=True):
        assert line.startswith(f"WARNING: {warning}")


@pytest.mark.parametrize(
    "values",
    [
        {
            "agent": {
                "timeout": "60m",
                "resources": {"cpu": 0.05, "memory": 67108864},
                "allowedCIDRs": ["10.10.1.5/32", "10.10.1.128/25", "0.0.0.0/0", "2001:db8::/64", "::/0"],
            },
            "webhook": {"port": 10250, "replicas": 3, "podDisruptionBudget": {"minAvailable": 2}},
        },
        {"agent": {"timeout": "3600s", "resources": {"cpu": "999m", "memory": "16Mi"}}},
        {"agent": {"timeout": "1s", "resources": {"cpu": "10000u", "memory": "16777216"}}},
        {"agent": {"resources": {"cpu": "0.01", "memory": "17M"}}},
        {"agent": {"timeout": "2s", "resources": {"cpu": "999000000n"}}},
    ],
    ids=lambda values: values["agent"].get("timeout", "default"),
)
def test_what_is_at_the_limit_is_accepted_by_chart_and_webhook(helm: Helm, values: dict[str, Any]) -> None:
    manifests = helm.render(merged(REQUIRED, values))
    parse_settings(only(manifests, "ConfigMap", RELEASE)["data"]["settings.yaml"])


@pytest.mark.parametrize("cpu", ["9.9m", "0.0099", 1, "0.9991", "999500u", "999000001n"])
def test_an_agent_cpu_that_is_too_little_or_a_whole_core_is_refused_by_chart_and_webhook(
    helm: Helm, cpu: str | float
) -> None:
    with pytest.raises(HelmError, match=f"agent.resources.cpu: {cpu} is not 10m to 999m"):
        helm.render(merged(REQUIRED, {"agent": {"resources": {"cpu": cpu}}}))
    with pytest.raises(ConfigError, match="is not 10m to 999m"):
        parse_settings(f"agent: {{image: i, resources: {{cpu: {cpu}}}}}")
