"""The node agent, as it is rendered: what it may, where it runs, what it is told."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from common.agent_settings import ENV_HOST_IP, ENV_NODE_NAME, ENV_POD_NAME, ENV_POD_NAMESPACE, Credentials
from common.pod_keys import INJECTION
from ipagent.node.model.gc_policy import GcMode
from ipagent.node.settings import read_settings
from tests.chart.values import CENTRAL, CONTROLLER, NODE, NODE_WATCH, REQUIRED
from tests.cluster.api import Manifest
from tests.cluster.helm import CHART, REGISTRY, Helm, merged, only
from tests.skipping import skip

NAME = "multus-eni-injector-node"
WITH = (
    "backend node",
    "backend central",
    "watch only",
    "agent of the node beside direct",
    "controller",
    "everything",
)
RECORD = "/var/lib/multus-eni-injector"
Rendered = dict[str, list[Manifest]]


def pod_spec(manifests: list[Manifest]) -> dict[str, Any]:
    spec: dict[str, Any] = only(manifests, "DaemonSet", NAME)["spec"]["template"]["spec"]
    return spec


def container(manifests: list[Manifest]) -> dict[str, Any]:
    found, *others = pod_spec(manifests)["containers"]
    assert [each["name"] for each in others] in ([], ["links"])
    return dict(found)


def settings(manifests: list[Manifest]) -> dict[str, Any]:
    text = only(manifests, "ConfigMap", NAME)["data"]["node.json"]
    read: dict[str, Any] = json.loads(text)
    return read


def test_it_runs_where_it_has_something_to_do(rendered: Rendered) -> None:
    for case, manifests in rendered.items():
        found = [each for each in manifests if each["kind"] == "DaemonSet"]
        assert len(found) == (case in WITH), case


@pytest.mark.parametrize("case", WITH)
def test_it_runs_without_root_and_capabilities(rendered: Rendered, case: str) -> None:
    spec = pod_spec(rendered[case])
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65534,
        "runAsGroup": 65534,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    context = container(rendered[case])["securityContext"]
    more = {"seLinuxOptions": {"type": "super_t"}} if case == "everything" else {}
    restricted = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert context == {**restricted, **more}
    (first,) = spec["initContainers"]
    assert first["securityContext"] == {
        **restricted,
        **more,
        "runAsNonRoot": False,
        "runAsUser": 0,
        "runAsGroup": 0,
        "capabilities": {"drop": ["ALL"], "add": ["CHOWN"]},
    }


@pytest.mark.parametrize("case", WITH)
def test_of_the_host_it_has_the_network_and_one_folder(rendered: Rendered, case: str) -> None:
    spec = pod_spec(rendered[case])
    assert (spec["hostNetwork"], spec["dnsPolicy"]) == (True, "Default")
    assert not {"hostPID", "hostIPC"} & set(spec)
    paths = [volume["hostPath"] for volume in spec["volumes"] if "hostPath" in volume]
    folder = "/var/lib/other" if case == "everything" else RECORD
    assert paths == [{"path": folder, "type": "DirectoryOrCreate"}]
    (first,) = spec["initContainers"]
    assert first["volumeMounts"] == [{"name": "record", "mountPath": RECORD}]
    assert {"name": "record", "mountPath": RECORD} in container(rendered[case])["volumeMounts"]
    (code,) = first["args"]
    compile(code, "<chart>", "exec")
    assert f'os.chown("{RECORD}", 65534, 65534)' in code


def test_the_folder_is_the_agents_after_the_first_container(rendered: Rendered, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        skip("only root can give a folder away")
    (first,) = pod_spec(rendered["backend node"])["initContainers"]
    program, *options = first["command"]
    assert program == "python3"
    tmp_path.chmod(0o755)
    (code,) = (word.replace(RECORD, str(tmp_path)) for word in first["args"])
    # Root with this one capability, as the container has it. Twice: each new pod does it again.
    (capability,) = first["securityContext"]["capabilities"]["add"]
    caps = f"-all,+{capability.lower()}"
    rootlet = ["setpriv", f"--bounding-set={caps}", f"--inh-caps={caps}", "--no-new-privs"]
    for _ in range(2):
        subprocess.run([*rootlet, sys.executable, *options, code], check=True, timeout=60)
    found = tmp_path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (65534, 65534, 0o755)


@pytest.mark.parametrize("case", WITH)
def test_it_is_told_its_node_and_its_settings(rendered: Rendered, case: str) -> None:
    found = container(rendered[case])
    assert found["image"].startswith(f"{REGISTRY}/multus-eni-agent")
    assert (found["command"], found["args"]) == (["ipagent", "node"], ["--config=/etc/multus-eni/node.json"])
    assert {"name": "settings", "mountPath": "/etc/multus-eni", "readOnly": True} in found["volumeMounts"]
    paths = {
        each["name"]: each["valueFrom"]["fieldRef"]["fieldPath"]
        for each in found["env"]
        if "valueFrom" in each
    }
    assert paths == {
        ENV_NODE_NAME: "spec.nodeName",
        ENV_HOST_IP: "status.hostIP",
        ENV_POD_NAMESPACE: "metadata.namespace",
        ENV_POD_NAME: "metadata.name",
    }
    read = settings(rendered[case])
    ports = {each["name"]: each["containerPort"] for each in found["ports"]}
    assert ports == {"claims": read["port"], "health": read["healthPort"]}
    # On the host's network another number would be refused (core/v1, validation of containers' ports).
    assert all(each["hostPort"] == each["containerPort"] for each in found["ports"])
    for probe, path in (("startup", "/livez"), ("liveness", "/livez"), ("readiness", "/readyz")):
        assert found[f"{probe}Probe"]["httpGet"] == {"path": path, "port": "health"}


def test_every_setting_arrives(rendered: Rendered) -> None:
    assert settings(rendered["backend node"]) == {
        "port": 9407,
        "healthPort": 9408,
        "watchOnly": False,
        "grants": NODE["nodeAgent"]["grants"],
        "gc": {
            "mode": "report",
            "cooldown": "2m",
            "interval": "5m",
            "managedCIDRs": [],
            "protectedCIDRs": [],
            "noFloatingAddresses": False,
        },
        "credentials": "chain",
        "requireTag": True,
        "podCondition": False,
        "allowedCIDRs": [],
        "logLevel": "info",
        "logFormat": "auto",
    }
    central = settings(rendered["backend central"])
    assert (central["central"], central["nodeNetworks"]) == (True, True)
    watching = settings(rendered["watch only"])
    assert (watching["watchOnly"], watching["gc"]["mode"]) == (True, "on")
    everything = settings(rendered["everything"])
    assert everything["allowedCIDRs"] == ["10.10.0.0/16"]
    assert everything["gc"] == {
        "mode": "on",
        "cooldown": "90s",
        "interval": "1m",
        "managedCIDRs": ["10.10.0.0/16"],
        "protectedCIDRs": ["10.10.1.192/28"],
        "noFloatingAddresses": False,
    }
    assert [everything[key] for key in ("port", "credentials", "requireTag", "logLevel", "logFormat")] == [
        19407, "node", False, "debug", "json"
    ]  # fmt: skip


@pytest.mark.parametrize("case", WITH)
def test_it_reads_its_settings_file(rendered: Rendered, case: str) -> None:
    text = only(rendered[case], "ConfigMap", NAME)["data"]["node.json"]
    read = read_settings(text.encode())
    everything, watching = case == "everything", case == "watch only"
    assert (read.port, read.health_port) == ((19407, 19408) if everything else (9407, 9408))
    assert read.watch_only is watching
    assert read.rules.mode is (GcMode.ON if everything or watching else GcMode.REPORT)
    assert (read.rules.cooldown, read.rules.interval) == ((90, 60) if everything else (120, 300))
    assert read.credentials is (Credentials.NODE if everything else Credentials.CHAIN)
    assert read.require_tag is not everything
    assert read.pod_condition is everything
    assert read.central is (case == "backend central")
    granted = read.grants.of("my-apps")
    assert [str(cidr) for cidr in granted.cidrs] == (
        ["10.10.1.192/28", "2001:db8::/64"] if case == "backend node" else []
    )


def test_what_values_leave_out_is_what_the_agent_takes_for_missing(rendered: Rendered) -> None:
    text = only(rendered["agent of the node beside direct"], "ConfigMap", NAME)["data"]["node.json"]
    assert read_settings(text.encode()) == read_settings(b"{}")


@pytest.mark.parametrize(
    "changed",
    [{"grants": {"my-apps": {"takeover": False}}}, {"gc": {"mode": "on"}}, {"logLevel": "debug"}],
    ids=str,
)
def test_new_settings_make_new_pods(helm: Helm, rendered: Rendered, changed: dict[str, Any]) -> None:
    def checksum(manifests: list[Manifest]) -> str:
        template = only(manifests, "DaemonSet", NAME)["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/settings"])

    values = merged(merged(REQUIRED, NODE), {"nodeAgent": changed})
    assert checksum(helm.render(values)) != checksum(rendered["backend node"])


def test_grants_of_the_node_agent_alone_do_not_touch_the_webhook(helm: Helm) -> None:
    one = helm.render(merged(REQUIRED, NODE))
    two = helm.render(merged(merged(REQUIRED, NODE), {"nodeAgent": {"grants": {"b": {"takeover": True}}}}))
    webhooks = [only(each, "Deployment", "multus-eni-injector") for each in (one, two)]
    assert webhooks[0] == webhooks[1]


LINKS = [
    (["multus-eni.io"], ["nodeattachments"], ["get", "list", "watch"], {"verbs"}),
    (["multus-eni.io"], ["nodeattachments/status"], ["patch"], {"verbs"}),
]
"""What it needs to set up the links of node networks; a ValidatingAdmissionPolicy narrows it to its node."""


@pytest.mark.parametrize("case", WITH)
def test_its_rights_are_to_read_pods_review_tokens_and_write_events(rendered: Rendered, case: str) -> None:
    manifests = rendered[case]
    role = only(manifests, "ClusterRole", NAME)
    granted = [
        (rule["apiGroups"], rule["resources"], sorted(rule["verbs"]), set(rule) - {"apiGroups", "resources"})
        for rule in role["rules"]
    ]
    assert granted == [
        ([""], ["pods"], ["get", "list", "watch"], {"verbs"}),
        (["authentication.k8s.io"], ["tokenreviews"], ["create"], {"verbs"}),
        ([""], ["events"], ["create", "patch"], {"verbs"}),
        *([([""], ["pods/status"], ["patch"], {"verbs"})] if case == "everything" else []),
        *(LINKS if case in ("controller", "backend central") else []),
    ]
    binding = only(manifests, "ClusterRoleBinding", NAME)
    name = "multus-node" if case == "everything" else NAME
    account = only(manifests, "ServiceAccount", name)
    assert [(each["kind"], each["name"], each["namespace"]) for each in binding["subjects"]] == [
        ("ServiceAccount", name, account["metadata"]["namespace"])
    ]
    assert pod_spec(manifests)["serviceAccountName"] == name
    annotations = account["metadata"].get("annotations", {})
    assert ("eks.amazonaws.com/role-arn" in annotations) is (case == "everything")
    roles = [each for each in manifests if each["kind"] == "Role"]
    assert not [each for each in roles if each["metadata"]["name"] == NAME]


def test_it_runs_on_every_node_that_can_have_enis_for_pods(rendered: Rendered) -> None:
    spec = pod_spec(rendered["backend node"])
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert spec["nodeSelector"] == {"kubernetes.io/os": "linux"}
    required = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    ((expression,),) = (term["matchExpressions"] for term in required["nodeSelectorTerms"])
    assert expression["key"] == "eks.amazonaws.com/compute-type"
    assert (expression["operator"], "fargate" in expression["values"]) == ("NotIn", True)
    assert spec["priorityClassName"] == "system-node-critical"
    strategy = only(rendered["backend node"], "DaemonSet", NAME)["spec"]["updateStrategy"]
    # Two can't have the ports of one node, so none may come before the other is gone.
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}}


def test_watch_only_installs_nothing_that_injects(rendered: Rendered) -> None:
    found = {(each["kind"], each["metadata"]["name"]) for each in rendered["watch only"]}
    kinds = {kind for kind, _ in found}
    assert not kinds & {"MutatingWebhookConfiguration", "Deployment", "PodDisruptionBudget", "Role"}
    assert not [name for _, name in found if re.search(r"-(certs|test)$", name)]
    # Annotations still say what a pod wants.
    assert "ValidatingAdmissionPolicy" in kinds
    assert {name for kind, name in found if kind == "Service"} == {NAME}


def test_prometheus_asks_each_agent_of_a_node(rendered: Rendered) -> None:
    for case in ("backend node", "watch only"):
        service = only(rendered[case], "Service", NAME)
        labels = only(rendered[case], "DaemonSet", NAME)["spec"]["template"]["metadata"]["labels"]
        assert service["spec"]["clusterIP"] == "None"
        assert service["spec"]["selector"].items() <= labels.items()
        (port,) = service["spec"]["ports"]
        assert (port["name"], port["port"], port["targetPort"]) == ("metrics", 9408, "health")
        monitor = only(rendered[case], "ServiceMonitor")["spec"]
        assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    beside = rendered["agent of the node beside direct"]
    assert not [each for each in beside if each["kind"] == "Service" and each["metadata"]["name"] == NAME]


def test_the_notes_say_what_is_not_granted(helm: Helm) -> None:
    def notes(values: dict[str, Any]) -> str:
        said = helm.run("install", "r", CHART, "--dry-run=client", values=merged(REQUIRED, values))
        return said.partition("NOTES:")[2]

    assert "nodeAgent.grants is empty" in notes({"agent": {"backend": "node"}})
    assert "nodeAgent.grants is empty" not in notes(NODE)
    said = notes(NODE_WATCH)
    assert "nothing is injected" in said
    assert INJECTION not in said
    assert "nodeAgent.grants is empty" not in notes({"nodeAgent": {"enabled": True}})


@pytest.mark.parametrize(
    ("values", "policies", "nobody"),
    [
        ({}, ["agent-ipv4.json"], ""),
        ({"nodeAgent": {"enabled": True}}, ["agent-ipv4.json", "node-agent.json"], ""),
        (NODE, ["node-agent.json"], "node-agent.json; pods need none"),
        (NODE_WATCH, ["node-agent.json"], "node-agent.json; pods need none"),
        (CONTROLLER, ["agent-ipv4.json", "node-agent.json", "controller.json"], ""),
        (CENTRAL, ["controller.json"], "controller.json; pods and nodes need none"),
    ],
)
def test_the_notes_say_who_needs_which_rights(
    helm: Helm, values: dict[str, Any], policies: list[str], nobody: str
) -> None:
    said = helm.run("install", "r", CHART, "--dry-run=client", values=merged(REQUIRED, values))
    notes = said.partition("NOTES:")[2]
    assert re.findall(r"examples/iam/([\w-]+\.json)", notes) == policies
    assert nobody in notes
    assert ("kubectl get nodenetworks" in notes) is ("controller.json" in policies)
    for name in policies:
        assert (CHART.parents[1] / "examples" / "iam" / name).is_file()
