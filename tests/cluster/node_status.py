"""What a kubelet writes to the API server, in the administrator's name."""

from __future__ import annotations

import datetime

from tests.cluster.api import MERGE_PATCH, Api, ApiError, Kind, Manifest
from tests.cluster.control_plane import ControlPlane
from tests.http_client import HttpClient, succeeded

LEASE = Kind("coordination.k8s.io/v1", "Lease")
NODE = "stand-in"


class Node:
    """A node that is ready for pods, and what is said of its pods."""

    def __init__(self, plane: ControlPlane, api: Api) -> None:
        self._api = api
        self._http = HttpClient(plane.url, token=plane.admin.token, ca=plane.ca)

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def join(self) -> None:
        """Make the node, ready for pods."""
        self._api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
        ready = {"type": "Ready", "status": "True", "reason": "StandIn", "message": "runs processes"}
        self._send("PATCH", f"/api/v1/nodes/{NODE}/status", {"status": {"conditions": [ready]}}, MERGE_PATCH)
        self.renew()

    def renew(self) -> None:
        """Renew its lease: it lives."""
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        lease = {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": {"name": NODE},
            "spec": {"holderIdentity": NODE, "leaseDurationSeconds": 40, "renewTime": now},
        }
        self._api.apply(lease, "kube-node-lease")

    def bind(self, pod: Manifest) -> None:
        """Take a pod, as the scheduler would give it."""
        metadata = pod["metadata"]
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": metadata["name"]},
            "target": {"kind": "Node", "name": NODE},
        }
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/binding"
        self._send("POST", path, binding)

    def show(self, pod: Manifest, address: str, phase: str, *, ready: bool) -> None:
        """Write a pod's status."""
        state = "True" if ready and phase == "Running" else "False"
        kinds = ("Initialized", "ContainersReady", "Ready")
        status = {
            "phase": phase,
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [
                {"type": kind, "status": "True" if kind == "Initialized" else state} for kind in kinds
            ],
        }
        metadata = pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status"
        self._send("PATCH", path, {"status": status}, MERGE_PATCH)

    def token(self, pod: Manifest) -> str:
        """Ask for a token of a pod's ServiceAccount, bound to the pod."""
        metadata, account = pod["metadata"], pod["spec"]["serviceAccountName"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/serviceaccounts/{account}/token"
        bound = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]}
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 3600, "boundObjectRef": bound},
        }
        return str(self._send("POST", path, request)["status"]["token"])

    def _send(self, method: str, path: str, body: Manifest, kind: str = "application/json") -> Manifest:
        answer = self._http.request(method, path, body=body, media_type=kind)
        if not succeeded(answer):
            raise ApiError(answer.status, answer.reason or "", answer.data.decode()[:2000])
        sent: Manifest = answer.json()
        return sent
