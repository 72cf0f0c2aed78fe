"""Where the API server is and who we are: in a pod by its ServiceAccount, elsewhere by a kubeconfig."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from multus_eni.kube.client import Cluster, Endpoint
from multus_eni.kube.errors import ClusterError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet puts token, ca.crt and namespace (Kubernetes: Accessing the API from a Pod)."""


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
    raise ClusterError("no cluster: this is no pod, KUBECONFIG is not set, and there is no ~/.kube/config")


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
        return trusting(self.folder / "ca.crt")

    def headers(self) -> Mapping[str, str]:
        """Give the token."""
        return bearer(self.folder / "token")


def trusting(ca: Path | None = None, text: str | None = None) -> ssl.SSLContext:
    """Make a TLS context that trusts the CAs of a file or a text. Raises ClusterError."""
    try:
        context = ssl.create_default_context(cafile=ca, cadata=text)
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"cannot use the API server's CA ({ca or 'in the kubeconfig'}): {error}"
        ) from error
    # Python 3.13 began to refuse CAs without what RFC 5280 wants and many clusters' CAs lack.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def bearer(token: Path) -> dict[str, str]:
    """Make the header of a token in a file. Raises ClusterError."""
    try:
        return {"Authorization": f"Bearer {token.read_text(encoding='ascii').strip()}"}
    except (OSError, ValueError) as error:
        raise ClusterError(f"cannot read the API token in {token}: {error}") from error


def _service(environment: Mapping[str, str]) -> Endpoint:
    host, port = environment["KUBERNETES_SERVICE_HOST"], environment.get("KUBERNETES_SERVICE_PORT", "443")
    if not port.isdigit():
        raise ClusterError(f"KUBERNETES_SERVICE_PORT is {port!r} and no port")
    return Endpoint(host, int(port))


def _kubeconfig(paths: list[Path]) -> Cluster:
    # Its parser is only for people's machines: the agent's image lacks YAML.
    try:
        from multus_eni.kube.kubeconfig import load_kubeconfig  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ClusterError(
            f"{paths[0]}: a kubeconfig needs the Python package pyyaml, which is not installed here; in a "
            "pod unset KUBECONFIG, so that the ServiceAccount counts"
        ) from error
    return load_kubeconfig(paths)
