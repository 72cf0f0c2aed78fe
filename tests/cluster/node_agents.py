"""What node agents have on an API server: nodes, pods with addresses by Multus, and their rights."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.agent_container import TOKEN_AUDIENCE
from common.kube.client import Client
from common.kube.kubeconfig import load_kubeconfig
from common.pod_keys import NETWORKS
from ipagent.network_status_origin import NETWORK_STATUS
from tests.cluster.api import SERVICE_ACCOUNT, Api, Kind, Manifest
from tests.cluster.control_plane import ControlPlane
from tests.cluster.kubeconfig import write_kubeconfig

NODE = Kind("v1", "Node")
ACCOUNT = "node-agent"
RULES: list[dict[str, Any]] = [
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
]
"""What the chart lets a node agent do, and nothing else."""
CONDITION_RULE: dict[str, Any] = {"apiGroups": [""], "resources": ["pods/status"], "verbs": ["patch"]}
"""What `nodeAgent.podCondition` adds."""
_RBAC = "rbac.authorization.k8s.io"


@dataclass(frozen=True, slots=True)
class Script:
    """Does as the administrator what scheduler, kubelet and Multus do."""

    client: Client
    namespace: str

    def path(self, name: str = "") -> str:
        """Return the path of a pod, or of all."""
        return f"/api/v1/namespaces/{self.namespace}/pods" + (f"/{name}" if name else "")

    def make_pod(self, manifest: Manifest, node: str) -> Manifest:
        """Create a pod that is bound to a node."""
        bound = {**manifest, "spec": {**manifest["spec"], "nodeName": node}}
        return self.client.create(self.path(), "create a pod", bound).object

    def multus(self, name: str, entries: Iterable[Manifest]) -> None:
        """Write network-status as Multus does (net-attach-def.go, setPodNetworkStatus)."""
        self.patch_status(name, {"metadata": {"annotations": {NETWORK_STATUS: json.dumps(list(entries))}}})

    def patch_status(self, name: str, body: Manifest) -> None:
        """Write through the subresource `status`."""
        self.client.merge(f"{self.path(name)}/status", "write a pod's status", body, manager="multus")

    def token(self, pod: Manifest, *audiences: str, account: str = "default") -> str:
        """Ask for a token that is bound to a pod, as the kubelet does for a projected volume."""
        metadata = pod["metadata"]
        bound = {"kind": "Pod", "apiVersion": "v1", "name": metadata["name"], "uid": metadata["uid"]}
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": list(audiences or (TOKEN_AUDIENCE,)), "boundObjectRef": bound},
        }
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{account}/token"
        return str(self.client.create(path, "request a token", request).object["status"]["token"])


def script(plane: ControlPlane, namespace: str) -> Script:
    """Make the script for a namespace; close its client."""
    cluster = load_kubeconfig([plane.kubeconfig(plane.admin)])
    return Script(Client(cluster, "script", keep=60.0), namespace)


def status_entry(*addresses: str, interface: str = "net1", mac: str = "", **more: Any) -> Manifest:
    """Make an entry of network-status."""
    return {"name": "ns/nad", "interface": interface, "ips": list(addresses), "mac": mac, "dns": {}, **more}


def networked(name: str, *, networks: str = "ipvlan", **metadata: Any) -> Manifest:
    """Make a pod with a Multus network."""
    annotations = {NETWORKS: networks, **metadata.pop("annotations", {})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": annotations, **metadata},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 30,
            "containers": [{"name": "app", "image": "busybox", "command": ["sleep", "3600"]}],
        },
    }


def make_node(api: Api, name: str) -> None:
    """Register a node, for which nobody runs pods."""
    api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})


def node_agent_kubeconfig(
    plane: ControlPlane, api: Api, namespace: str, folder: Path, *more: dict[str, Any]
) -> Path:
    """Make a ServiceAccount with the agent's rights and `more`, and a kubeconfig with its token."""
    name = f"node-agent-{namespace}"
    api.create({"apiVersion": "v1", "kind": SERVICE_ACCOUNT.kind, "metadata": {"name": ACCOUNT}}, namespace)
    api.create(
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": name},
            "rules": [*RULES, *more],
        }
    )
    api.create(
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}],
        }
    )
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    admin = script(plane, namespace)
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{ACCOUNT}/token"
    token = admin.client.create(path, "request a token", asked).object["status"]["token"]
    admin.client.close()
    return write_kubeconfig(folder / "node-agent.kubeconfig", plane.url, plane.ca.read_bytes(), token)
