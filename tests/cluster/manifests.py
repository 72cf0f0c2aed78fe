"""Objects that the tests create."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from common.pod_keys import NETWORKS
from tests.cluster.api import Manifest

MULTUS = {NETWORKS: "ipvlan-multus"}
EXAMPLES = Path(__file__).parents[2] / "examples"
SAMPLES = "MULTUS_ENI_SAMPLES"
"""Environment variable that names a folder with the public samples' manifests."""

HAND_MADE_AGENT: Manifest = {
    "name": "aws-ip-mgmt",
    "image": "registry.example/aws-ip-manager:0.1",
    "imagePullPolicy": "IfNotPresent",
}
"""The container that the public samples have users add to each chart by hand."""


def container(name: str = "app", **fields: Any) -> Manifest:
    """Make an app container."""
    return {"name": name, "image": "busybox", "command": ["sleep", "3600"], **fields}


def pod(
    name: str = "app",
    *,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    **spec: Any,
) -> Manifest:
    """Make a pod, without the token volume whose name the API server makes up."""
    metadata: Manifest = {"name": name}
    metadata |= {"labels": labels} if labels else {}
    metadata |= {"annotations": annotations} if annotations else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"automountServiceAccountToken": False, "containers": [container()], **spec},
    }


def multus_pod(name: str = "app", *, labels: dict[str, str] | None = None, **more: Any) -> Manifest:
    """Make a pod that attaches to a Multus network; `more` may hold annotations and parts of the spec."""
    annotations = MULTUS | more.pop("annotations", {})
    return pod(name, labels=labels, annotations=annotations, **more)


def deployment() -> Manifest:
    """Read the Deployment of the samples, without its namespace."""
    folder = os.environ.get(SAMPLES)
    return read_deployment(Path(folder or EXAMPLES, "busybox-deployment.yaml"))


def hand_made_deployments() -> dict[str, Manifest]:
    """Return Deployments whose authors added the agent by hand, by what they are.

    Where the public samples are at hand theirs are among them.
    """
    init, sidecar, native = (deployment() for _ in range(3))
    _spec(init)["initContainers"] = [{**HAND_MADE_AGENT, "args": ["/app/script.sh initContainers"]}]
    _spec(sidecar)["containers"].append({**HAND_MADE_AGENT, "args": ["/app/script.sh sidecar"]})
    _spec(native)["initContainers"] = [{**HAND_MADE_AGENT, "restartPolicy": "Always"}]
    found = {"init container": init, "sidecar": sidecar, "native sidecar": native}
    if folder := os.environ.get(SAMPLES):
        for path in sorted(Path(folder).glob("busybox-deployment-*.yaml")):
            found[path.name] = read_deployment(path)
    return found


def pod_of(manifest: Manifest, name: str = "app") -> Manifest:
    """Make the pod that a Deployment's template describes."""
    template = manifest["spec"]["template"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**template["metadata"], "name": name},
        "spec": {"automountServiceAccountToken": False, **template["spec"]},
    }


def read_deployment(path: Path) -> Manifest:
    """Read the one Deployment in a file of YAML documents, without its namespace."""
    documents = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    (found,) = [document for document in documents if document and document["kind"] == "Deployment"]
    manifest: Manifest = found
    manifest["metadata"].pop("namespace", None)
    return manifest


def _spec(manifest: Manifest) -> Manifest:
    spec: Manifest = manifest["spec"]["template"]["spec"]
    return spec
