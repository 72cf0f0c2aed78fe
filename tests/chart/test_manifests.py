"""What is rendered."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import yaml

from certs.state import MADE_BY, OWN_MODE
from common.agent_settings import DEFAULT_NODE_PORT, Backend, Credentials, Mode
from common.pod_keys import EIP_LABEL, INJECTION
from tests.chart.values import DIGEST, REQUIRED, cases
from tests.cluster.api import Manifest
from tests.cluster.configuration import (
    EXCLUDED_NAMESPACES,
    Entry,
    entries,
    none_of,
)
from tests.cluster.helm import REGISTRY, Helm, merged, only
from webhook.core.annotations import KNOWN
from webhook.core.settings import SIZES, Size
from webhook.settings_file import parse_settings

CASES = tuple(cases())
INJECTING = tuple(case for case in CASES if case != "watch only")
NAMESPACE = "multus-eni-system"
WORKLOADS = ("Deployment", "Pod")
Rendered = dict[str, list[Manifest]]


def is_of_others(manifest: Manifest) -> bool:
    """Whether it is the node agent's or the controller's, whose rights other tests look at."""
    return manifest["metadata"]["labels"]["app.kubernetes.io/component"] in ("node-agent", "controller")


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Return the pods that come of manifests: name, and the pod or the template."""
    for each in manifests:
        if each["kind"] in WORKLOADS:
            template = each["spec"]["template"] if each["kind"] == "Deployment" else each
            yield each["metadata"]["name"], template


# What differs in an object each time, the comparison with Helm 3 finds in each case. This is about order.
@pytest.mark.parametrize("case", ["everything", "controller"])
def test_rendering_twice_gives_the_same_bytes(helm: Helm, texts: dict[str, str], case: str) -> None:
    assert helm.template(cases()[case]) == texts[case]


@pytest.mark.parametrize("case", CASES)
def test_helm_3_and_4_render_the_same_bytes(helm3: Helm, texts: dict[str, str], case: str) -> None:
    def documents(text: str) -> list[str]:
        return sorted(each.strip() for each in re.split(r"^---$", text, flags=re.MULTILINE))

    assert documents(helm3.template(cases()[case])) == documents(texts[case])


@pytest.mark.parametrize("case", CASES)
def test_pods_pass_pod_security_restricted(rendered: Rendered, case: str) -> None:
    # https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
    for name, pod in pods(rendered[case]):
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert ("hostNetwork" in spec) is (case == "host network" and name == "multus-eni-injector")
        for container in spec["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
        kinds = {key for volume in spec.get("volumes", []) for key in volume} - {"name"}
        assert kinds <= {"configMap", "secret", "emptyDir", "projected"}


@pytest.mark.parametrize("case", CASES)
def test_a_program_that_ends_leaves_the_end_of_its_log(rendered: Rendered, case: str) -> None:
    # `multus-eni check` says by it why a program ends.
    found = {
        (each["metadata"]["name"], container["name"]): container.get("terminationMessagePolicy")
        for each in rendered[case]
        if each["kind"] in ("Deployment", "DaemonSet")
        for container in each["spec"]["template"]["spec"]["containers"]
    }
    assert found == dict.fromkeys(found, "FallbackToLogsOnError")


@pytest.mark.parametrize("case", CASES)
def test_our_own_pods_are_left_out_by_their_label(rendered: Rendered, case: str) -> None:
    daemons = [each["spec"]["template"] for each in rendered[case] if each["kind"] == "DaemonSet"]
    found = [*daemons, *(pod for _, pod in pods(rendered[case]))]
    assert {pod["metadata"]["labels"][INJECTION] for pod in found} == {"disabled"}


@pytest.mark.parametrize("case", CASES)
def test_every_object_has_the_recommended_labels_and_a_namespace(rendered: Rendered, case: str) -> None:
    cluster_wide = {
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "MutatingWebhookConfiguration",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    }
    for each in rendered[case]:
        metadata = each["metadata"]
        if metadata["name"].endswith("extra"):
            continue
        assert metadata["labels"]["app.kubernetes.io/instance"] == "multus-eni-injector"
        assert metadata["labels"]["app.kubernetes.io/part-of"] == "multus-eni-injector"
        assert metadata["labels"].get("example.com/owner") == ("network" if case == "everything" else None), (
            metadata["name"]
        )
        # What the controller may do in whereabouts' namespace.
        place = "kube-system" if metadata["name"].endswith("-slices") else NAMESPACE
        assert metadata.get("namespace") == (None if each["kind"] in cluster_wide else place)


@pytest.mark.parametrize("case", INJECTING)
def test_the_webhook_has_no_token_and_certs_no_right_but_to_its_two_objects(
    rendered: Rendered, case: str
) -> None:
    manifests = rendered[case]
    deployment = only(manifests, "Deployment", "vpc" if case == "another name" else "multus-eni-injector")
    assert deployment["spec"]["template"]["spec"]["automountServiceAccountToken"] is False
    account = only(manifests, "ServiceAccount", deployment["metadata"]["name"])
    assert account["automountServiceAccountToken"] is False
    for role in manifests:
        if role["kind"] in ("Role", "ClusterRole") and not is_of_others(role):
            hook = "helm.sh/hook" in role["metadata"].get("annotations", {})
            assert hook or all(len(rule["resourceNames"]) == 1 for rule in role["rules"])
            assert not any("*" in str(rule) for rule in role["rules"])
    bound = any(each["kind"] == "ClusterRoleBinding" and not is_of_others(each) for each in manifests)
    assert bound is (case != "existing secret" and not case.startswith("cert-manager"))


def test_certs_are_told_the_names_that_its_rights_and_the_webhook_name(rendered: Rendered) -> None:
    manifests = rendered["another name"]
    webhook = only(manifests, "Deployment", "vpc")["spec"]["template"]["spec"]
    (container,) = only(manifests, "Deployment", "vpc-certs")["spec"]["template"]["spec"]["containers"]
    secret = webhook["volumes"][1]["secret"]["secretName"]
    assert set(container["args"]) >= {
        f"--namespace={NAMESPACE}",
        f"--secret={secret}",
        "--configuration=a-multus-eni",
        "--service=vpc",
    }
    assert only(manifests, "Secret", secret).get("data") is None
    assert only(manifests, "Role", "vpc-certs")["rules"][0]["resourceNames"] == [secret]
    assert only(manifests, "ClusterRole")["rules"][0]["resourceNames"] == ["a-multus-eni"]
    configuration = only(manifests, "MutatingWebhookConfiguration", "a-multus-eni")
    assert {each["clientConfig"]["service"]["name"] for each in configuration["webhooks"]} == {"vpc"}


@pytest.mark.parametrize("case", INJECTING)
def test_replicas_end_in_time_and_are_replaced_one_by_one(rendered: Rendered, case: str) -> None:
    deployment = next(
        each
        for each in rendered[case]
        if each["kind"] == "Deployment"
        and each["metadata"]["labels"]["app.kubernetes.io/component"] == "webhook"
    )
    spec = deployment["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    (drain,) = [word for word in container["args"] if word.startswith("--drain=")]
    # webhook/server/main.py: requests under way have another ten seconds.
    assert spec["terminationGracePeriodSeconds"] > int(drain.split("=")[1]) + 10
    host_network = case == "host network"
    rolling = {"maxSurge": 0, "maxUnavailable": 1} if host_network else {"maxSurge": 1, "maxUnavailable": 0}
    assert deployment["spec"]["strategy"]["rollingUpdate"] == rolling
    for probe, path in (("liveness", "/healthz"), ("readiness", "/readyz"), ("startup", "/healthz")):
        get = container[f"{probe}Probe"]["httpGet"]
        assert (get["path"], get["scheme"], get["port"]) == (path, "HTTPS", "webhook")
    port = 9443 if host_network else 8443
    assert f"--port={port}" in container["args"]
    assert container["ports"][0] == {"name": "webhook", "containerPort": port}


def test_a_secret_that_is_not_there_yet_does_not_keep_pods_from_starting(rendered: Rendered) -> None:
    spec = only(rendered["defaults"], "Deployment", "multus-eni-injector")["spec"]["template"]["spec"]
    secret = next(volume["secret"] for volume in spec["volumes"] if volume["name"] == "tls")
    assert secret["optional"] is True
    assert [item["key"] for item in secret["items"]] == ["tls.crt", "tls.key"]
    assert "--wait-for-certificate" in spec["containers"][0]["args"]
    assert not any("subPath" in mount for mount in spec["containers"][0]["volumeMounts"])


IMAGES = {
    "defaults": (f"{REGISTRY}/multus-eni-webhook:0.1.0", f"{REGISTRY}/multus-eni-agent:0.1.0"),
    "everything": (f"{REGISTRY}/multus-eni-webhook@{DIGEST}", f"{REGISTRY}/multus-eni-agent:4.5.6"),
    "digest alone": (f"{REGISTRY}/multus-eni-webhook:0.1.0", f"{REGISTRY}/multus-eni-agent@{DIGEST}"),
}


@pytest.mark.parametrize("case", IMAGES)
def test_one_registry_holds_for_all_images(rendered: Rendered, case: str) -> None:
    webhook, agent = IMAGES[case]
    own = {container["image"] for _, pod in pods(rendered[case]) for container in pod["spec"]["containers"]}
    assert own == {webhook}
    assert settings_file(rendered[case])["agent"]["image"] == agent


def settings_file(manifests: list[Manifest]) -> dict[str, Any]:
    """Return the settings file that the webhook is given."""
    found = next(each for each in manifests if "settings.yaml" in each.get("data", {}))
    settings: dict[str, Any] = yaml.safe_load(found["data"]["settings.yaml"])
    return settings


@pytest.mark.parametrize("case", INJECTING)
def test_the_webhook_reads_its_settings_file(rendered: Rendered, case: str) -> None:
    settings = parse_settings(yaml.safe_dump(settings_file(rendered[case])))
    assert settings.excluded_namespaces >= set(EXCLUDED_NAMESPACES)
    assert settings.pod_opt_in is (case != "no opting in by pods")
    # Webhooks and laptops of earlier releases refuse a key that they do not know.
    assert ("podOptIn" in settings_file(rendered[case])["injection"]) is not settings.pod_opt_in
    if case == "everything":
        assert settings.excluded_namespaces == {"kube-system", "monitoring", "ingress"}
        assert settings.default_mode is Mode.SIDECAR
        assert settings.image_pull_secrets == ("agent-registry",)
        assert settings.agent.credentials is Credentials.NODE
        assert (settings.agent.timeout, settings.agent.allowed_cidrs) == (180, ("10.10.0.0/16",))
    # Pods ask the node agent, whoever makes its calls to EC2.
    node = case in ("backend node", "backend central")
    assert settings.agent.backend is (Backend.NODE if node else Backend.DIRECT)
    assert settings.agent.node_port == (19407 if case == "everything" else DEFAULT_NODE_PORT)
    given = Size(Decimal("0.06"), Decimal(80 * 2**20)) if case == "everything" else None
    assert settings.size == (given or SIZES[settings.agent.backend])


@pytest.mark.parametrize(
    "changed", [{"agent": {"timeout": "90s"}}, {"injection": {"excludedNamespaces": ["a"]}}], ids=str
)
def test_new_settings_make_new_pods(helm: Helm, rendered: Rendered, changed: dict[str, Any]) -> None:
    key = "checksum/settings"

    def checksum(manifests: list[Manifest]) -> str:
        template = only(manifests, "Deployment", "multus-eni-injector")["spec"]["template"]
        return str(template["metadata"]["annotations"][key])

    assert checksum(helm.render(merged(REQUIRED, changed))) != checksum(rendered["defaults"])
    same = helm.render(merged(REQUIRED, {"webhookConfiguration": {"timeoutSeconds": 7}}))
    assert checksum(same) == checksum(rendered["defaults"])


def selectors(manifests: list[Manifest]) -> dict[str, Entry]:
    """Return the rendered entries by name."""
    configuration = next(each for each in manifests if each["kind"] == "MutatingWebhookConfiguration")
    return {
        each["name"]: Entry(
            each["name"],
            each["clientConfig"]["service"]["path"],
            tuple(each["namespaceSelector"]["matchExpressions"]),
            tuple(each["objectSelector"]["matchExpressions"]),
        )
        for each in configuration["webhooks"]
    }


def test_the_entries_are_those_that_the_other_tests_use(rendered: Rendered) -> None:
    assert selectors(rendered["defaults"]) == {entry.name: entry for entry in entries()}


def test_more_excluded_namespaces_are_in_every_entry(rendered: Rendered) -> None:
    excluded = none_of("kubernetes.io/metadata.name", "kube-system", "monitoring", "ingress")
    expected = {
        entry.name: dataclasses.replace(entry, namespace=(excluded, *entry.namespace[1:]))
        for entry in entries()
    }
    assert selectors(rendered["everything"]) == expected


@pytest.mark.parametrize("case", INJECTING)
def test_all_values_give_the_same_entries(rendered: Rendered, case: str) -> None:
    configuration = next(each for each in rendered[case] if each["kind"] == "MutatingWebhookConfiguration")
    found = configuration["webhooks"]
    assert [(each["name"], each["clientConfig"]["service"]["path"]) for each in found] == [
        (each["name"], each["clientConfig"]["service"]["path"])
        for each in only(rendered["defaults"], "MutatingWebhookConfiguration")["webhooks"]
    ]
    assert {each["failurePolicy"] for each in found} == {"Ignore" if case == "failures ignored" else "Fail"}
    assert {(each["sideEffects"], each["reinvocationPolicy"]) for each in found} == {("None", "IfNeeded")}
    assert {"caBundle" in each["clientConfig"] for each in found} == {case == "existing secret"}
    annotations = configuration["metadata"].get("annotations", {})
    assert ("cert-manager.io/inject-ca-from" in annotations) is case.startswith("cert-manager")
    others = {"existing secret": "existingSecret", "cert-manager": "certManager"}
    mode = next((mode for name, mode in others.items() if case.startswith(name)), OWN_MODE)
    # Also in the mode that is the default: Helm 3 leaves what a failed upgrade to another mode has written.
    assert annotations[MADE_BY] == mode


def test_cert_manager_makes_the_secret_for_the_services_name(rendered: Rendered) -> None:
    manifests = rendered["cert-manager"]
    leaf, ca = (only(manifests, "Certificate", f"multus-eni-injector{end}") for end in ("", "-ca"))
    assert leaf["spec"]["dnsNames"][0] == f"multus-eni-injector.{NAMESPACE}.svc"
    volumes = only(manifests, "Deployment")["spec"]["template"]["spec"]["volumes"]
    assert volumes[1]["secret"]["secretName"] == leaf["spec"]["secretName"]
    issuer = only(manifests, "Issuer", leaf["spec"]["issuerRef"]["name"])
    assert issuer["spec"]["ca"]["secretName"] == ca["spec"]["secretName"]
    annotations = only(manifests, "MutatingWebhookConfiguration")["metadata"]["annotations"]
    assert annotations["cert-manager.io/inject-ca-from"] == f"{NAMESPACE}/{leaf['metadata']['name']}"
    given = rendered["cert-manager with an issuer"]
    assert not [each for each in given if each["kind"] == "Issuer"]
    assert only(given, "Certificate")["spec"]["issuerRef"] == {
        "group": "cert-manager.io",
        "kind": "ClusterIssuer",
        "name": "corporate",
    }


def served_secret(manifests: list[Manifest]) -> str:
    """Return the Secret from which the webhook serves its certificate."""
    spec = only(manifests, "Deployment", "multus-eni-injector")["spec"]["template"]["spec"]
    return next(str(each["secret"]["secretName"]) for each in spec["volumes"] if each["name"] == "tls")


def test_no_two_modes_make_one_secret(rendered: Rendered) -> None:
    """Helm takes over no Secret of cert-manager's, which leaves it behind when its Certificate goes."""
    modes = ("defaults", "cert-manager", "existing secret")
    names = [served_secret(rendered[mode]) for mode in modes]
    assert len(set(names)) == len(modes)
    of_helm = [
        [each["metadata"]["name"] for each in rendered[mode] if each["kind"] == "Secret"] for mode in modes
    ]
    assert of_helm == [names[:1], [], []]


@pytest.mark.parametrize("case", CASES)
def test_servers_listen_on_the_pods_address_whatever_its_family(rendered: Rendered, case: str) -> None:
    pod_ip = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    deployments = [each for each in rendered[case] if each["kind"] == "Deployment"]
    for each in deployments:
        (container,) = each["spec"]["template"]["spec"]["containers"]
        assert "--host=$(POD_IP)" in container["args"]
        assert container["env"][0] == pod_ip
        extra = [{"name": "EXTRA", "value": "1"}] if case == "everything" else []
        assert container["env"][1:] == extra


def test_network_policies_let_nothing_out_but_certs_to_the_api_server(rendered: Rendered) -> None:
    manifests = rendered["everything"]
    webhook = only(manifests, "NetworkPolicy", "multus-eni-injector")["spec"]
    certs = only(manifests, "NetworkPolicy", "multus-eni-injector-certs")["spec"]
    assert webhook["policyTypes"] == certs["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in webhook
    assert [port["port"] for port in certs["egress"][0]["ports"]] == [443, 6443]
    assert [rule["ports"][0]["port"] for rule in webhook["ingress"]] == [8443, 9402]


def test_helm_test_is_left_out_where_it_could_not_pass(helm: Helm, rendered: Rendered) -> None:
    def tests(manifests: list[Manifest]) -> int:
        return sum(each["metadata"]["name"].endswith("-test") for each in manifests)

    assert tests(rendered["defaults"]) == 4
    assert tests(rendered["injection off"]) == tests(rendered["no opting in by pods"]) == 0
    assert tests(helm.render(REQUIRED, namespace="kube-system")) == 0


def test_a_resource_quota_admits_the_pod_of_helm_test(rendered: Rendered) -> None:
    """It demands of every container what it limits, and no value sets this one's."""
    (container,) = only(rendered["defaults"], "Pod")["spec"]["containers"]
    for kind in ("requests", "limits"):
        assert container["resources"][kind].keys() == {"cpu", "memory"}


def test_log_levels_reach_the_programs(helm: Helm) -> None:
    levels = {"webhook": {"logLevel": "warning"}, "certs": {"logLevel": "debug"}}
    manifests = helm.render(merged(REQUIRED, levels))
    for name, level in (("multus-eni-injector", "warning"), ("multus-eni-injector-certs", "debug")):
        (container,) = only(manifests, "Deployment", name)["spec"]["template"]["spec"]["containers"]
        assert f"--log-level={level}" in container["args"]


def test_the_hint_about_keys_without_an_effect_knows_every_key_of_a_pod(helm: Helm) -> None:
    policies = helm.render(REQUIRED)
    policy = only(policies, "ValidatingAdmissionPolicy", "multus-eni-injector-unknown-keys")
    variables = {each["name"]: each["expression"] for each in policy["spec"]["variables"]}
    known = {
        where: set(re.findall(r"'(multus-eni\.io/[a-z-]+)'", variables[f"known{where}"].rpartition(" : ")[2]))
        for where in ("Labels", "Annotations")
    }
    assert known == {"Labels": {INJECTION, EIP_LABEL}, "Annotations": KNOWN}
