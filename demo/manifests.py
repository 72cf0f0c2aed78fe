"""The user's input: the manifests under examples/, read and otherwise left as they are."""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from demo.failure import DemoError

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Manifests:
    """What the user applies."""

    namespace: Manifest
    deployment: Manifest
    network: Manifest

    @property
    def cni(self) -> Manifest:
        """The CNI configuration inside the NetworkAttachmentDefinition: `type`, `master`, `ipam`."""
        try:
            configuration: Manifest = json.loads(self.network["spec"]["config"])
            missing = [key for key in ("type", "master", "ipam") if key not in configuration]
        except (KeyError, TypeError, ValueError) as error:
            raise DemoError(
                f"the NetworkAttachmentDefinition's spec.config can't be read: {error!r}"
            ) from None
        if missing or configuration["type"] != "ipvlan":
            raise DemoError(
                "the demo understands a NetworkAttachmentDefinition of ipvlan with master and ipam only"
            )
        return configuration


def load(folder: Path = EXAMPLES) -> Manifests:
    """Read the three manifests of the story; DemoError where one can't be read."""
    return Manifests(
        _read(folder / "namespace.yaml"),
        _read(folder / "busybox-deployment.yaml"),
        _read(folder / "nad-ipvlan.yaml"),
    )


def pod_of(deployment: Manifest) -> Manifest:
    """The pod that the ReplicaSet of a Deployment asks for, without its owner."""
    template = copy.deepcopy(deployment["spec"]["template"])
    digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:10]
    metadata = template["metadata"]
    metadata["namespace"] = deployment["metadata"]["namespace"]
    metadata["generateName"] = f"{deployment['metadata']['name']}-{digest}-"
    metadata["labels"]["pod-template-hash"] = digest
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def _read(path: Path) -> Manifest:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise DemoError(f"{path} can't be read: {error}") from None
    if not isinstance(found, dict):
        raise DemoError(f"{path} holds no manifest")
    return found
