"""The pod condition on a real API server, with the rights and the guard that the chart gives the agent."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.exit_codes import ExitCode
from common.kube.client import Client
from common.kube.errors import ApiError as Refusal
from common.pod_keys import EIP_CONDITION
from ipagent.log import Log
from ipagent.node.model.claim import ClaimState, ClaimStatus
from ipagent.node.model.condition import CONDITION
from ipagent.node.model.pod import PodKey, read_pod
from ipagent.node.observe.condition_writer import ConditionWriter
from ipagent.node_network_api import NODE_MANAGER
from tests.chart.conftest import Cluster
from tests.chart.network_rig import DAEMON, OWN, client_with, token_of
from tests.chart.values import REQUIRED
from tests.cluster.api import POD, Api, Kind, Manifest
from tests.cluster.helm import NAMESPACE, Helm, merged
from tests.cluster.namespaces import ready_namespace
from tests.cluster.node_agents import script
from tests.cluster.waiting import wait_for

pytestmark = pytest.mark.cluster

WANTED = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding")
NODE = "condition-1"
EIP = "eipalloc-0123456789abcdef0"
READY = {"type": "Ready", "status": "False", "reason": "ReadinessGatesNotReady"}
DONE = ClaimStatus(ClaimState.ASSIGNED, ExitCode.OK, "done")
WAITING = ClaimStatus(ClaimState.FAILED, ExitCode.NO_PERMISSION, "no right. Grant it.")


@pytest.fixture(scope="module")
def api(cluster: Cluster, helm: Helm) -> Iterator[Api]:
    """The API server with what the chart installs for the condition, and two nodes."""
    cluster.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    ready_namespace(cluster.api, NAMESPACE)
    values = {
        "nodeAgent": {"watchOnly": True, "podCondition": True},
        "controller": {"enabled": True, "clusterName": "prod", "eips": {"my-sip": {"allocations": [EIP]}}},
    }
    made = [
        each
        for each in helm.render(merged(REQUIRED, values))
        if (each["kind"] in WANTED and each["metadata"]["name"].endswith(("-node", "-controller")))
        or each["metadata"]["name"].endswith(("-pod-condition", "-eip-condition"))
    ]
    nodes: list[Manifest] = [
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}} for name in (NODE, "condition-2")
    ]
    for each in (*made, *nodes):
        cluster.api.apply(each)
    yield cluster.api
    for each in (*nodes, *reversed(made)):
        kind = Kind(each["apiVersion"], each["kind"])
        cluster.api.delete(kind, each["metadata"]["name"], each["metadata"].get("namespace"))


def create(api: Api, name: str, node: str = NODE, account: str = "default") -> Manifest:
    spec = {
        "nodeName": node,
        "serviceAccountName": account,
        "readinessGates": [{"conditionType": CONDITION}],
        "containers": [{"name": "app", "image": "busybox"}],
    }
    made = api.create(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}, NAMESPACE
    )
    return made.object


@pytest.fixture(scope="module")
def agent(api: Api, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client with the node agent's own token on its node, once the guard is in force."""
    own = create(api, "agent", account=DAEMON)
    folder = tmp_path_factory.mktemp("agent")
    client = client_with(cluster, token_of(cluster, DAEMON, own), folder)
    probe = create(api, "probe", node="condition-2")

    def guarded() -> bool:
        try:
            apply(client, probe, conditions=[entry()])
        except Refusal as error:
            return "its own node" in error.message
        return False

    wait_for(guarded, "force of the guard")
    yield client
    client.close()
    for name in ("agent", "probe"):
        api.delete(POD, name, NAMESPACE)


def entry(kind: str = CONDITION) -> dict[str, str]:
    return {"type": kind, "status": "True", "reason": "Assigned", "message": "10.10.1.81 on eni-1"}


def apply(client: Client, pod: Manifest, metadata: dict[str, Any] | None = None, **status: object) -> None:
    name = pod["metadata"]["name"]
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, **(metadata or {})},
        "status": status,
    }
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{name}/status"
    client.apply(path, "write a pod's status", body, manager=NODE_MANAGER, force=True)


def test_the_condition_appears_and_changes_beside_those_of_the_kubelet(
    api: Api, agent: Client, cluster: Cluster
) -> None:
    pod = create(api, "served")
    admin = script(cluster.plane, NAMESPACE)
    admin.patch_status("served", {"status": {"conditions": [READY]}})
    admin.client.close()
    key = PodKey(NAMESPACE, "served", pod["metadata"]["uid"])
    writer = ConditionWriter(agent, Log(stream=io.StringIO()))
    writer.start()

    def conditions() -> dict[str, str]:
        found = api.get(POD, "served", NAMESPACE)["status"]["conditions"]
        return {each["type"]: each["status"] for each in found}

    for status, expected in ((WAITING, "False"), (DONE, "True")):
        writer.record({key: status})
        wait_for(lambda expected=expected: conditions() == {"Ready": "False", CONDITION: expected}, expected)  # type: ignore[misc] # bound now
    read = read_pod(api.get(POD, "served", NAMESPACE)).condition
    assert read is not None
    assert (read.reason, read.since.endswith("Z")) == ("Assigned", True)
    writer.stop()
    writer.join(20)
    api.delete(POD, "served", NAMESPACE)


@pytest.mark.parametrize(
    ("metadata", "status", "message"),
    [
        ({}, {"conditions": [entry("Ready")]}, "no condition of a pod but"),
        ({}, {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]}, "nothing of a pod but"),
        ({}, {"phase": "Succeeded"}, "nothing of a pod but"),
        (
            {"annotations": {"k8s.v1.cni.cncf.io/network-status": "[]"}},
            {"conditions": [entry()]},
            "nothing of a pod but",
        ),
        ({"labels": {"app": "web"}}, {"conditions": [entry()]}, "nothing of a pod but"),
    ],
    ids=["another condition", "addresses", "phase", "network-status", "labels"],
)
def test_the_policy_lets_the_agent_write_its_condition_alone(
    api: Api, agent: Client, metadata: dict[str, Any], status: dict[str, Any], message: str
) -> None:
    pod = create(api, "guarded")
    try:
        with pytest.raises(Refusal, match=message):
            apply(agent, pod, metadata, **status)
        apply(agent, pod, conditions=[entry()])
    finally:
        api.delete(POD, "guarded", NAMESPACE)


@pytest.mark.usefixtures("agent")
def test_the_controller_writes_the_condition_of_elastic_ips_alone(
    api: Api, cluster: Cluster, tmp_path: Path
) -> None:
    pod = create(api, "public", node="condition-2")
    controller = client_with(cluster, token_of(cluster, OWN), tmp_path)

    def refusal(**status: Any) -> str:
        try:
            apply(controller, pod, **status)
        except Refusal as error:
            return error.message
        return ""

    wait_for(lambda: "no condition of a pod but" in refusal(conditions=[entry()]), "force of the guard")
    assert "nothing of a pod but" in refusal(podIP="10.0.0.1", podIPs=[{"ip": "10.0.0.1"}])
    assert refusal(conditions=[entry(EIP_CONDITION)]) == ""
    controller.close()
    api.delete(POD, "public", NAMESPACE)


@pytest.mark.usefixtures("agent")
def test_a_token_that_is_bound_to_no_node_writes_nothing(api: Api, cluster: Cluster, tmp_path: Path) -> None:
    pod = create(api, "unbound")
    client = client_with(cluster, token_of(cluster, DAEMON), tmp_path)
    with pytest.raises(Refusal, match="its token is for no node"):
        apply(client, pod, conditions=[entry()])
    client.close()
    api.delete(POD, "unbound", NAMESPACE)
