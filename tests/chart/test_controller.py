"""The controller, as it is rendered: what it may, what it is told, and what stays when the chart goes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from common.pod_keys import NETWORKS_FILE
from ipagent.controller.cli import _parser
from ipagent.controller.model.actions import Plan
from ipagent.controller.model.condition import no
from ipagent.controller.model.eip_calls import EipPlan
from ipagent.controller.model.eips import read_grants
from ipagent.controller.model.node_attachment import AttachmentStatus
from ipagent.controller.model.writes import NetworkStatus
from ipagent.controller.observe.metrics import Relayed, Snapshot, registry
from ipagent.links.cli import _parser as links_parser
from ipagent.links.cni_files import DATA
from ipagent.node_network_api import FULL_TAINT, LEASE, STARTUP_TAINT
from tests.chart.test_monitoring import LABEL, RUNBOOKS, SCRAPED, SELECTOR, check, rules_file
from tests.chart.values import CONTROLLER, REQUIRED, cases
from tests.cluster.api import Manifest
from tests.cluster.helm import NAMESPACE, Helm, HelmError, merged, only
from tests.skipping import programs

NAME = "multus-eni-injector-controller"
CRDS = ("nodeattachments.multus-eni.io", "nodenetworks.multus-eni.io")
Rendered = dict[str, list[Manifest]]


@pytest.fixture
def manifests(rendered: Rendered) -> list[Manifest]:
    return rendered["controller"]


def test_without_it_nothing_of_it_is_there(rendered: Rendered, texts: dict[str, str]) -> None:
    for case in cases():
        found = [each for each in rendered[case] if each["kind"] == "CustomResourceDefinition"]
        having = case in ("controller", "backend central")
        assert len(found) == (2 if having else 0)
        assert ("nodeattachments" in texts[case]) is having


def test_its_crds_stay_when_the_chart_goes(manifests: list[Manifest]) -> None:
    for name in CRDS:
        crd = only(manifests, "CustomResourceDefinition", name)
        assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        (version,) = crd["spec"]["versions"]
        assert version["subresources"] == {"status": {}}


def test_its_arguments_are_understood(manifests: list[Manifest]) -> None:
    spec = only(manifests, "Deployment", NAME)["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    given = _parser().parse_args(container["args"])
    assert container["command"] == shlex.split("ipagent controller")
    assert (given.cluster, given.region, given.namespace) == ("prod", "eu-central-1", NAMESPACE)
    assert (given.releases, given.credentials, given.port) == ("on", "chain", 8080)
    assert given.networks_configmap == "multus-eni-injector-networks"
    assert spec["replicas"] == 2
    assert only(manifests, "PodDisruptionBudget", NAME)["spec"]["maxUnavailable"] == 1


def test_it_runs_on_nodes_that_wait_for_it_and_without_the_clusters_dns(manifests: list[Manifest]) -> None:
    spec = only(manifests, "Deployment", NAME)["spec"]["template"]["spec"]
    assert spec["dnsPolicy"] == "Default"
    assert {"key": STARTUP_TAINT, "operator": "Exists"} in spec["tolerations"]


def test_full_nodes_run_the_injectors_own_pods(manifests: list[Manifest]) -> None:
    """Where all nodes are full, nobody but the controller takes the taint off one again."""
    deployments = [each for each in manifests if each["kind"] == "Deployment"]
    assert len(deployments) == 3
    for each in deployments:
        tolerated = each["spec"]["template"]["spec"]["tolerations"]
        assert {"key": FULL_TAINT, "operator": "Exists"} in tolerated


def test_the_webhook_reads_what_the_controller_writes(manifests: list[Manifest]) -> None:
    spec = only(manifests, "Deployment", "multus-eni-injector")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    (argument,) = (each for each in container["args"] if each.startswith("--networks="))
    (mount,) = (each for each in container["volumeMounts"] if each["name"] == "networks")
    (volume,) = (each for each in spec["volumes"] if each["name"] == "networks")
    assert argument == f"--networks={mount['mountPath']}/{NETWORKS_FILE}"
    found = only(manifests, "ConfigMap", volume["configMap"]["name"])
    # Helm must not write over what the controller has written.
    assert "data" not in found
    assert spec["automountServiceAccountToken"] is False


def test_without_capacity_the_controller_reads_no_definitions(helm: Helm) -> None:
    alone = helm.render(merged(REQUIRED, {"controller": {"enabled": True, "clusterName": "prod"}}))
    text = str(alone)
    for each in ("network-attachment-definitions", "--networks", "multus-eni-injector-networks"):
        assert each not in text


def test_it_may_do_what_it_does_and_nothing_else(manifests: list[Manifest]) -> None:
    cluster_wide = only(manifests, "ClusterRole", "multus-eni-injector-controller")["rules"]
    rights = {
        (resource, verb) for rule in cluster_wide for resource in rule["resources"] for verb in rule["verbs"]
    }
    assert rights == {
        *(("nodes", verb) for verb in ("get", "list", "watch", "patch")),
        ("nodes/status", "patch"),
        *(("network-attachment-definitions", verb) for verb in ("get", "list", "watch")),
        ("pods", "list"),
        *(("nodenetworks", verb) for verb in ("get", "list", "watch", "patch")),
        *(("nodeattachments", verb) for verb in ("get", "list", "watch", "create", "patch", "delete")),
        ("nodenetworks/status", "patch"),
        ("nodeattachments/status", "patch"),
        *(("events", verb) for verb in ("create", "patch")),
    }
    create, renew, tell = only(manifests, "Role", NAME)["rules"]
    assert (tell["resourceNames"], tell["verbs"]) == (["multus-eni-injector-networks"], ["get", "patch"])
    assert create["verbs"] == ["create"]
    assert (renew["resourceNames"], renew["verbs"]) == ([LEASE], ["get", "patch"])


EIPS = {
    "my-sip": {
        "pools": {"sip": {"tags": {"pool": "sip"}}},
        "allocations": ["eipalloc-0123456789abcdef0"],
        "cidrs": ["10.10.1.192/26"],
    }
}


def test_with_the_backend_central_it_assigns_nothing_outside_of_the_allowed_cidrs(helm: Helm) -> None:
    allowed = {"agent": {"backend": "central", "allowedCIDRs": ["10.20.0.0/16", "2001:db8:20::/64"]}}
    spec = only(helm.render(merged(REQUIRED, CONTROLLER, allowed)), "Deployment", NAME)["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    given = _parser().parse_args(container["args"])
    assert given.relay
    assert list(map(str, given.allowed_cidrs)) == ["10.20.0.0/16", "2001:db8:20::/64"]


def test_with_elastic_ips_it_watches_pods_and_writes_their_condition(helm: Helm) -> None:
    found = helm.render(merged(REQUIRED, merged(CONTROLLER, {"controller": {"eips": EIPS}})))
    (container,) = only(found, "Deployment", NAME)["spec"]["template"]["spec"]["containers"]
    given = read_grants(_parser().parse_args(container["args"]).eips)
    assert given["my-sip"].pools == {"sip": (("pool", "sip"),)}
    assert given["my-sip"].allocations == {"eipalloc-0123456789abcdef0"}
    assert given["my-sip"].allows("10.10.1.200")
    rules = only(found, "ClusterRole", "multus-eni-injector-controller")["rules"]
    rights = {(each["resources"][0], *each["verbs"]) for each in rules}
    assert {("pods", "list", "watch"), ("pods/status", "patch")} <= rights


def test_a_network_policy_lets_it_reach_aws_and_the_api_server_alone(manifests: list[Manifest]) -> None:
    spec = only(manifests, "NetworkPolicy", NAME)["spec"]
    (egress,) = spec["egress"]
    assert [(port["port"], port["protocol"]) for port in egress["ports"]] == [
        (443, "TCP"),
        (80, "TCP"),
        (6443, "TCP"),
        (53, "UDP"),
        (53, "TCP"),
    ]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"controller": {"enabled": True}}, "controller.clusterName is required"),
        ({"controller": {"enabled": True, "clusterName": "a b"}}, "/controller/clusterName"),
        ({"agent": {"backend": "central"}}, "agent.backend=central needs controller.enabled"),
        ({"capacity": {"enabled": True}}, "capacity.enabled needs controller.enabled and the webhook"),
        (
            merged(
                CONTROLLER,
                {name: {"serviceAccount": {"create": False}} for name in ("controller", "nodeAgent")},
            ),
            'controller.serviceAccount and nodeAgent.serviceAccount are both "default"',
        ),
        ({"controller": {"releases": "never"}}, "/controller/releases"),
        ({"controller": {"eips": {"my-sip": {"pools": {"sip": {"tags": {}}}}}}}, "/controller/eips/my-sip"),
        ({"controller": {"eips": {"*": {}}}}, "/controller/eips"),
        ({"controller": {"eips": {"a": {"allocations": ["sip"]}}}}, "/controller/eips/a/allocations"),
        (
            {"nodeAgent": {"prefixes": {"enabled": True}}},
            "nodeAgent.prefixes.enabled needs controller.enabled",
        ),
        ({"nodeAgent": {"prefixes": {"cniConfDir": "net.d"}}}, "/nodeAgent/prefixes/cniConfDir"),
        (
            merged(CONTROLLER, {"controller": {"podLabels": {"multus-eni.io/injection": "enabled"}}}),
            "own pods are never injected: remove it",
        ),
    ],
)
def test_wrong_values_are_refused(helm: Helm, values: dict[str, Any], says: str) -> None:
    with pytest.raises(HelmError) as refused:
        helm.render(merged(REQUIRED, values))
    assert says in str(refused.value)


def test_its_alerts_ask_for_what_it_exports_and_have_runbooks(
    manifests: list[Manifest], tmp_path: Path
) -> None:
    full = AttachmentStatus(capacity=14, requested=14)
    plan = Plan(networks={"oam": NetworkStatus({}, 1)}, attachments={"n1.oam": full})
    pods = EipPlan(conditions={"voice/sip-0": no("PoolEmpty", "")})
    relayed = Relayed(unanswered={"AssignPrivateIpAddresses": 1})
    exported = {
        sample.name: frozenset(sample.labels)
        for family in registry(lambda: Snapshot(plan=plan, eips=pods, relayed=relayed)).collect()
        for sample in family.samples
    }
    (group,) = only(manifests, "PrometheusRule")["spec"]["groups"]
    rules = [each for each in group["rules"] if "multus_eni_controller_" in each["expr"]]
    headings = re.findall(r"^### (\w+)$", RUNBOOKS.read_text(encoding="utf-8"), re.MULTILINE)
    assert {each["alert"] for each in rules} == {
        "MultusEniControllerNotLeading",
        "MultusEniNetworkNodesFailed",
        "MultusEniNetworkFull",
        "MultusEniEnisLeaked",
        "MultusEniControllerWritesFailing",
        "MultusEniElasticIpsMissing",
        "MultusEniCallsUnanswered",
    }
    for each in rules:
        assert each["alert"] in headings
        for name, selected in SELECTOR.findall(each["expr"]):
            assert set(LABEL.findall(selected)) <= exported[name] | SCRAPED
    promtool = programs(["promtool"])["promtool"]
    assert "7 rules found" in check(promtool, "check", "rules", rules_file(tmp_path, rules), cwd=tmp_path)


@pytest.mark.parametrize(("case", "written"), [("controller", set()), ("backend central", {"requests"})])
def test_the_daemonset_may_write_no_field_of_a_status_but_its_own(
    rendered: Rendered, case: str, written: set[str]
) -> None:
    crd = only(rendered[case], "CustomResourceDefinition", CRDS[0])
    (version,) = crd["spec"]["versions"]
    fields = version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]
    policy = only(rendered[case], "ValidatingAdmissionPolicy", "multus-eni-injector-links")
    rules = " ".join(each["expression"] for each in policy["spec"]["validations"])
    guarded = set(re.findall(r"has\(object\.status\.(\w+)\)", rules))
    assert fields.keys() - guarded == {"link", "pool", "pods"} | written


@pytest.mark.parametrize("folder", ["", "/etc/cni/net.d"])
def test_with_prefixes_links_and_nobody_else_writes_multus_folder(helm: Helm, folder: str) -> None:
    values = {"nodeAgent": {"prefixes": {"enabled": True, "cniConfDir": folder}}}
    spec = only(helm.render(merged(REQUIRED, CONTROLLER, values)), "DaemonSet")["spec"]["template"]["spec"]
    volumes = {each["name"]: each.get("hostPath", {}).get("path") for each in spec["volumes"]}
    mounts = {
        each["name"]: {mount["mountPath"]: mount.get("readOnly", False) for mount in each["volumeMounts"]}
        for each in spec["containers"]
    }
    # The same path inside, since the configuration names host-local's folder as the nodes have it.
    expected = folder or "/etc/cni/multus/net.d"
    assert mounts["links"] == {expected: False, "/run/multus-eni-injector": True}
    assert (volumes["cni"], volumes["reservations"]) == (expected, str(DATA.parent))
    assert expected not in mounts["node-agent"]
    (links,) = (each for each in spec["containers"] if each["name"] == "links")
    assert links["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN"]}
    assert links_parser().parse_args(links["args"]).cni_conf_dir == Path(expected)


def test_without_prefixes_links_mounts_nothing_of_the_node(manifests: list[Manifest]) -> None:
    spec = only(manifests, "DaemonSet")["spec"]["template"]["spec"]
    (links,) = (each for each in spec["containers"] if each["name"] == "links")
    assert "volumeMounts" not in links
    assert links_parser().parse_args(links["args"]).cni_conf_dir is None


def test_it_brings_the_links_container_with_one_capability(helm: Helm, rendered: Rendered) -> None:
    alone = helm.render(merged(REQUIRED, {"controller": {"enabled": True, "clusterName": "prod"}}))
    for found in (alone, rendered["controller"]):
        containers = only(found, "DaemonSet")["spec"]["template"]["spec"]["containers"]
        (links,) = (each for each in containers if each["name"] == "links")
        assert links["command"] == ["ipagent", "links"]
        given = links_parser().parse_args(links["args"])
        assert (given.host, given.port) == ("$(MULTUS_ENI_HOST_IP)", 9409)
        assert {each["name"] for each in links["env"]} == {"MULTUS_ENI_NODE_NAME", "MULTUS_ENI_HOST_IP"}
        assert links["securityContext"] == {
            "runAsNonRoot": False,
            "runAsUser": 0,
            "runAsGroup": 0,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
        }
    daemons = [each for each in rendered["backend node"] if each["kind"] == "DaemonSet"]
    assert "NET_ADMIN" not in str(daemons)


def test_it_writes_files_of_networkd_only_where_that_is_asked_for(
    helm: Helm, manifests: list[Manifest]
) -> None:
    folder = "/run/systemd/network"
    assert folder not in str(manifests)
    asked = helm.render(merged(REQUIRED, CONTROLLER, {"nodeAgent": {"unmanageLinks": True}}))
    spec = only(asked, "DaemonSet")["spec"]["template"]["spec"]
    (links,) = (each for each in spec["containers"] if each["name"] == "links")
    assert str(links_parser().parse_args(links["args"]).networkd) == folder
    (volume,) = (each for each in spec["volumes"] if folder in str(each))
    assert links["volumeMounts"] == [{"name": volume["name"], "mountPath": volume["hostPath"]["path"]}]
    others = [each for each in spec["containers"] if each["name"] != "links"]
    assert folder not in str(others)
