"""What values the chart takes, and what it says about those that it does not."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.chart.values import REQUIRED, cases, existing_secret
from tests.cluster.api import Manifest
from tests.cluster.helm import CHART, Helm, HelmError, merged


@pytest.mark.parametrize("case", cases())
def test_the_chart_lints_and_renders_with_right_values(
    helm: Helm, rendered: dict[str, list[Manifest]], case: str
) -> None:
    assert "0 chart(s) failed" in helm.run("lint", "--strict", CHART, values=cases()[case])
    assert rendered[case]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"wehbook": {}}, "additional properties 'wehbook' not allowed"),
    "unknown key below": ({"webhook": {"replica": 3}}, "additional properties 'replica' not allowed"),
    "wrong type": ({"webhook": {"replicas": "2"}}, "/webhook/replicas"),
    "no replicas": ({"webhook": {"replicas": 0}}, "/webhook/replicas"),
    "privileged port": ({"webhook": {"port": 443}}, "/webhook/port"),
    "unknown certificate mode": ({"certificates": {"mode": "genCA"}}, "/certificates/mode"),
    "unknown mode": ({"injection": {"defaultMode": "both"}}, "/injection/defaultMode"),
    "unknown credentials": ({"agent": {"credentials": "pod"}}, "/agent/credentials"),
    "root": ({"agent": {"securityContext": {"runAsUser": 0}}}, "/agent/securityContext/runAsUser"),
    "privileged agent": ({"agent": {"securityContext": {"privileged": True}}}, "'privileged' not allowed"),
    "registry with a scheme": ({"image": {"registry": "https://registry.example"}}, "/image/registry"),
    "digest without its kind": ({"image": {"agent": {"digest": "abc"}}}, "/image/agent/digest"),
    "volume with a dot": (
        {"agent": {"volumes": [{"name": "ca.crt", "emptyDir": {}}]}},
        "/agent/volumes/0/name",
    ),
    "timeout without unit": ({"agent": {"timeout": "90"}}, "/agent/timeout"),
    "namespace that is none": ({"injection": {"excludedNamespaces": ["a_b"]}}, "/excludedNamespaces/0"),
    "pull secret of a pod as a name": ({"imagePullSecrets": ["a"]}, "/imagePullSecrets/0"),
    "unknown failure policy": ({"webhookConfiguration": {"failurePolicy": "fail"}}, "/failurePolicy"),
    "unknown backend": ({"agent": {"backend": "cluster"}}, "/agent/backend"),
    "unknown gc mode": ({"nodeAgent": {"gc": {"mode": "dry-run"}}}, "/nodeAgent/gc/mode"),
    "cooldown without unit": ({"nodeAgent": {"gc": {"cooldown": "120"}}}, "/nodeAgent/gc/cooldown"),
    "protected address without length": (
        {"nodeAgent": {"gc": {"protectedCIDRs": ["10.10.1.200"]}}},
        "/protectedCIDRs/0",
    ),
    "grant for what is no namespace": ({"nodeAgent": {"grants": {"My_Apps": {}}}}, "at '/nodeAgent/grants'"),
    "grant of something else": ({"nodeAgent": {"grants": {"a": {"cidr": []}}}}, "'cidr' not allowed"),
    "node agent as root": ({"nodeAgent": {"securityContext": {"runAsUser": 0}}}, "'runAsUser' not allowed"),
    "record in the root folder": ({"nodeAgent": {"hostPath": "/"}}, "/nodeAgent/hostPath"),
    "no node may be without it": (
        {"nodeAgent": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": "0%"}}}},
        "/maxUnavailable",
    ),
    "long timeout": ({"webhookConfiguration": {"timeoutSeconds": 31}}, "/timeoutSeconds"),
}


def keys(values: Any, path: str = "") -> set[str]:
    """Return the paths of what is set, maps left out."""
    if not isinstance(values, dict) or not values:
        return {path}
    return set[str]().union(*(keys(value, f"{path}/{key}") for key, value in values.items()))


def together() -> list[list[str]]:
    """Return the cases in as few groups as possible, in which no two set the same key."""
    groups: list[list[str]] = []
    for case, (values, _) in BAD.items():
        for group in groups:
            if not keys(values) & keys(merged(*(BAD[each][0] for each in group))):
                group.append(case)
                break
        else:
            groups.append([case])
    return groups


@pytest.mark.parametrize("group", together(), ids=len)
def test_the_schema_refuses_and_names_every_wrong_key(helm: Helm, group: list[str]) -> None:
    # Helm tells all that the schema refuses, in one run, which is what costs time.
    with pytest.raises(HelmError) as refused:
        helm.render(merged(REQUIRED, *(BAD[case][0] for case in group)))
    said = str(refused.value)
    assert [case for case in group if BAD[case][1] not in said] == []


CONTRADICTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "kube-system": ({"injection": {"excludedNamespaces": ["kube-system"]}}, "is always excluded"),
    "name that runs too late": (
        {"webhookConfiguration": {"name": "z"}},
        '"z" sorts after pod-identity-webhook',
    ),
    "one port twice": ({"metrics": {"port": 8443}}, "are both 8443"),
    "rules without metrics": (
        {"metrics": {"enabled": False, "prometheusRule": {"enabled": True}}},
        "or switch these off",
    ),
    "network policy on the node's network": (
        {"networkPolicy": {"enabled": True}, "webhook": {"hostNetwork": True}},
        "choose one of them",
    ),
    "ignored twice": (
        {"webhookConfiguration": {"failurePolicy": "Ignore", "reinvocationPolicy": "Never"}},
        "set one of them to Fail or IfNeeded",
    ),
    "existing secret without name": (
        {"certificates": {"mode": "existingSecret"}},
        "name the Secret in certificates.existingSecret.name",
    ),
    "existing secret without CA": (
        {"certificates": {"mode": "existingSecret", "existingSecret": {"name": "own"}}},
        "--set-file certificates.existingSecret.caBundle=ca.crt",
    ),
    "CA that is no PEM": (
        merged(existing_secret(), {"certificates": {"existingSecret": {"caBundle": "LS0tLS1CRUdJTg=="}}}),
        "the chart adds base64",
    ),
    "secret in another mode": (
        {"certificates": {"existingSecret": {"name": "own"}}},
        "but certificates.mode is selfSigned",
    ),
    "issuer in another mode": (
        {"certificates": {"certManager": {"issuerRef": {"name": "own"}}}},
        "set certificates.mode=certManager",
    ),
    "variable of the contract": (
        {"agent": {"env": [{"name": "MULTUS_ENI_TIMEOUT", "value": "1s"}]}},
        "the webhook sets the names that begin with",
    ),
    "mount without volume": (
        {"agent": {"volumeMounts": [{"name": "ca", "mountPath": "/ca"}]}},
        '"ca" is not one of agent.volumes',
    ),
    "one port of the nodes twice": (
        {"agent": {"backend": "node"}, "nodeAgent": {"healthPort": 9407}},
        "nodeAgent.port and nodeAgent.healthPort are both 9407",
    ),
    "the webhook's port on the nodes": (
        {"nodeAgent": {"enabled": True, "healthPort": 8443}, "webhook": {"hostNetwork": True}},
        "nodeAgent.healthPort and webhook.port are both 8443",
    ),
    "agents that nobody injects": (
        {"agent": {"backend": "node"}, "nodeAgent": {"watchOnly": True}},
        "leave one of them out",
    ),
    "floating addresses that nobody tells": (
        {"nodeAgent": {"watchOnly": True, "gc": {"mode": "on"}}},
        "name their ranges in nodeAgent.gc.protectedCIDRs",
    ),
    "hasty gc": (
        {"nodeAgent": {"gc": {"cooldown": "29s"}}},
        "nodeAgent.gc.cooldown: 29s is not a duration from 30s",
    ),
    "restless gc": (
        {"nodeAgent": {"gc": {"interval": "0m"}}},
        "nodeAgent.gc.interval: 0m is not a duration from 10s",
    ),
    "gc that never comes": ({"nodeAgent": {"gc": {"interval": "25h"}}}, "25h is not a duration"),
    "node agents opted in": (
        {"nodeAgent": {"podLabels": {"multus-eni.io/injection": "enabled"}}},
        "nodeAgent.podLabels: the chart sets multus-eni.io/injection",
    ),
    "our own pods opted in": (
        {"certs": {"podLabels": {"multus-eni.io/injection": "enabled"}}},
        "the injector's own pods are never injected",
    ),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_values_that_contradict_each_other_fail_with_a_sentence(helm: Helm, case: str) -> None:
    values, says = CONTRADICTIONS[case]
    with pytest.raises(HelmError) as refused:
        helm.render(merged(REQUIRED, values))
    assert says in str(refused.value)


def without_default(schema: dict[str, Any], values: Any, path: str = "") -> list[str]:
    """Return what the schema names and values.yaml has no default for."""
    missing = []
    for key, below in schema.get("properties", {}).items():
        if key not in values:
            missing.append(f"{path}/{key}")
        elif "default" not in below and values[key]:
            missing += without_default(below, values[key], f"{path}/{key}")
    return missing


def test_every_value_of_the_schema_has_a_default_in_values_yaml() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    # What a pod's resources may hold beside.
    left_out = {f"/{part}/resources/claims" for part in ("webhook", "certs", "nodeAgent", "controller")}
    assert set(without_default(schema, values)) == left_out


def test_without_a_registry_it_says_how_to_push(helm: Helm, helm3: Helm) -> None:
    for each in (helm, helm3):
        with pytest.raises(HelmError) as refused:
            each.render({})
        assert "image.registry is required" in str(refused.value)
        assert "make push REGISTRY=" in str(refused.value)


def test_an_older_kubernetes_is_refused(helm: Helm, helm3: Helm) -> None:
    for each in (helm, helm3):
        assert each.render(REQUIRED, "--kube-version=1.30.0-eks-1234567")
        with pytest.raises(HelmError, match=r"kubeVersion: >=1\.30\.0-0"):
            each.render(REQUIRED, "--kube-version=1.29.9")
