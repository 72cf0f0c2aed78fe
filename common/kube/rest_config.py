"""Finds the API server and the credentials for it: in a pod by its ServiceAccount, else by a kubeconfig."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from common.kube.client import Cluster, Endpoint
from common.kube.credentials import bearer_header, tls_context
from common.kube.errors import ClusterError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet puts token, ca.crt and namespace (Kubernetes: Accessing the API from a Pod)."""


NO_CLUSTER = "no cluster: this is not a pod, KUBECONFIG is not set, and there is no ~/.kube/config"


def find_cluster(environment: Mapping[str, str] = os.environ) -> Cluster:
    """Find the cluster as kubectl does: KUBECONFIG, the pod's ServiceAccount, then ~/.kube/config.

    Raises ClusterError where there is none, or it can't be used.
    """
    if named := [Path(each) for each in environment.get("KUBECONFIG", "").split(os.pathsep) if each]:
        return _kubeconfig(named)
    if "KUBERNETES_SERVICE_HOST" in environment:
        return InCluster(_service(environment), SERVICE_ACCOUNT)
    default = Path(environment.get("HOME", "/"), ".kube", "config")
    if default.is_file():
        return _kubeconfig([default])
    raise ClusterError(NO_CLUSTER)


def in_pod() -> bool:
    """Return whether the cluster is the one whose pod this is, and no kubeconfig names another."""
    return "KUBERNETES_SERVICE_HOST" in os.environ and not os.environ.get("KUBECONFIG")


def pod_namespace(folder: Path = SERVICE_ACCOUNT) -> str | None:
    """Return the namespace of the pod that this runs in, None elsewhere."""
    try:
        return (folder / "namespace").read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


@dataclass(frozen=True, slots=True)
class InCluster:
    """A pod's ServiceAccount; its files are read for each request, as the kubelet renews the token."""

    endpoint: Endpoint
    folder: Path

    def context(self) -> ssl.SSLContext:
        """Trust the CA of the cluster."""
        return tls_context(self.folder / "ca.crt")

    def headers(self) -> Mapping[str, str]:
        """Return the token."""
        return bearer_header(self.folder / "token")


def _service(environment: Mapping[str, str]) -> Endpoint:
    host, port = environment["KUBERNETES_SERVICE_HOST"], environment.get("KUBERNETES_SERVICE_PORT", "443")
    if not port.isdigit():
        raise ClusterError(f"KUBERNETES_SERVICE_PORT is {port!r}, which is not a port")
    return Endpoint(host, int(port))


def _kubeconfig(paths: list[Path]) -> Cluster:
    # Its parser is only for people's machines: the agent's image lacks YAML.
    try:
        from common.kube.kubeconfig import load_kubeconfig  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ClusterError(
            f"{paths[0]}: a kubeconfig needs the Python package pyyaml, which is not installed here; in a "
            "pod unset KUBECONFIG, so that the ServiceAccount is used"
        ) from error
    return load_kubeconfig(paths)
