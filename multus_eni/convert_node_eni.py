"""NodeENI objects of aws-multi-eni-controller as NodeNetworks, with what can't be carried over. Pure.

Its fields are those of the CRD nodeenis.networking.k8s.aws, v1alpha1, up to version 1.3.8.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

GROUP = "networking.k8s.aws"
KIND = "NodeENI"
MAX_NAME = 63
MTU = range(576, 9217)

_READ = frozenset(
    {
        "nodeSelector",
        "subnetID",
        "subnetIDs",
        "subnetName",
        "subnetNames",
        "securityGroupIDs",
        "securityGroupNames",
        "deviceIndex",
        "deleteOnTermination",
        "mtu",
    }
)
_LOST = {
    "description": "the controller describes its ENIs itself; use spec.tags for notes of your own",
    "enableDPDK": "interfaces stay with the kernel: bind them to a driver of DPDK on the node yourself",
    "dpdkDriver": "see enableDPDK",
    "dpdkResourceName": "see enableDPDK",
    "dpdkPCIAddress": "see enableDPDK",
}
_SUBNET = re.compile(r"subnet-[0-9a-f]{8,17}")
_SECURITY_GROUP = re.compile(r"sg-[0-9a-f]{8,17}")

Spec = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Converted:
    """A NodeNetwork, and a sentence for each thing that is not as it was."""

    network: dict[str, Any]
    warnings: tuple[str, ...]


@dataclass(slots=True)
class _Draft:
    name: str
    warnings: list[str] = field(default_factory=list)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def is_node_eni(document: object) -> bool:
    """Whether a document is a NodeENI."""
    return (
        isinstance(document, Mapping)
        and document.get("kind") == KIND
        and str(document.get("apiVersion", "")).partition("/")[0] == GROUP
    )


def convert(found: Mapping[str, Any]) -> Converted:
    """Convert a NodeENI; raises ValueError with a sentence for one that has no spec or another shape."""
    metadata, spec = found.get("metadata"), found.get("spec")
    if not isinstance(metadata, Mapping) or not isinstance(spec, Mapping) or not metadata.get("name"):
        raise ValueError("a NodeENI has metadata.name and spec")
    try:
        return _convert(_Draft(str(metadata["name"])), metadata, spec)
    except ValueError as error:
        raise ValueError(f"NodeENI {metadata['name']}: {error}") from None


def _convert(draft: _Draft, metadata: Mapping[str, Any], spec: Spec) -> Converted:
    network = {
        "apiVersion": "multus-eni.io/v1alpha1",
        "kind": "NodeNetwork",
        "metadata": _metadata(draft, metadata),
        "spec": dict(_spec(draft, spec)),
    }
    return Converted(network, tuple(draft.warnings))


def _metadata(draft: _Draft, metadata: Mapping[str, Any]) -> dict[str, Any]:
    name = draft.name.replace(".", "-")[:MAX_NAME].rstrip("-")
    if name != draft.name:
        draft.warn(f"its name becomes {name}: a NodeNetwork's has at most {MAX_NAME} characters and no dot")
    annotations = [each for each in _mapping(metadata, "annotations") if not each.startswith("kubectl.")]
    if annotations:
        draft.warn(f"annotations are left out: {', '.join(sorted(annotations))}")
    labels = _mapping(metadata, "labels")
    return {"name": name, **({"labels": labels} if labels else {})}


def _spec(draft: _Draft, spec: Spec) -> Iterator[tuple[str, Any]]:
    yield "nodeSelector", {"matchLabels": _mapping(spec, "nodeSelector")}
    yield "subnetSelectorTerms", _subnets(draft, spec)
    yield "securityGroupSelectorTerms", _groups(draft, spec)
    if mtu := spec.get("mtu"):
        if isinstance(mtu, int) and mtu in MTU:
            yield "link", {"mtu": mtu}
        else:
            draft.warn(f"mtu {mtu} is left out: it has to be {MTU[0]} to {MTU[-1]}")
    if spec.get("deleteOnTermination") is False:
        yield "deleteOnTermination", False
    index = spec.get("deviceIndex", 1)
    # 1 is the CRD's default, which stands in each object: nobody has asked for it.
    if index not in (0, 1):
        draft.warn(
            f"deviceIndex {index} is left out: an ENI takes the lowest free index, and is found by its "
            f"MAC; where something depends on the index, set spec.placement.deviceIndex to {index}"
        )
    for key in sorted(spec.keys() - _READ):
        if spec[key] not in (None, "", False):
            draft.warn(f"{key} is left out: {_LOST.get(key, 'NodeNetworks have nothing like it')}")


def _subnets(draft: _Draft, spec: Spec) -> list[dict[str, Any]]:
    ids = _texts(spec, "subnetID", "subnetIDs")
    names = _texts(spec, "subnetName", "subnetNames")
    if ids and names:
        draft.warn(f"the subnets' names {', '.join(names)} are left out: their ids are used")
    terms = _terms(draft, ids, _SUBNET) or [{"tags": {"Name": each}} for each in names]
    if not terms:
        draft.warn(f"it names no subnet: tag one a zone with multus={draft.name}")
        return [{"tags": {"multus": draft.name}}]
    if len(terms) > 1:
        draft.warn(
            "it names several subnets: a node gets one ENI, in that of its zone; where several are in one "
            "zone, make a NodeNetwork of each"
        )
    return terms


def _groups(draft: _Draft, spec: Spec) -> list[dict[str, Any]]:
    ids = _texts(spec, "securityGroupIDs")
    names = _texts(spec, "securityGroupNames")
    if ids and names:
        draft.warn(f"the security groups' names {', '.join(names)} are left out: their ids are used")
    if terms := _terms(draft, ids, _SECURITY_GROUP):
        return terms
    if names:
        draft.warn(
            f"security groups are found by id or tags, not by their group names: tag {', '.join(names)} with "
            "that name (key Name), or write their ids"
        )
        return [{"tags": {"Name": each}} for each in names]
    draft.warn(
        "it names no security group, and a VPC's default group is refused: tag one of your own with "
        f"multus={draft.name}"
    )
    return [{"tags": {"multus": draft.name}}]


def _terms(draft: _Draft, ids: list[str], form: re.Pattern[str]) -> list[dict[str, Any]]:
    wrong = [each for each in ids if not form.fullmatch(each)]
    if wrong:
        draft.warn(f"{', '.join(wrong)} is left out: that is not an id of EC2's")
    return [{"id": each} for each in ids if each not in wrong]


def _mapping(found: Mapping[str, Any], key: str) -> dict[str, str]:
    """Return the labels, annotations or selector under a key."""
    value = found.get(key) or {}
    if not isinstance(value, Mapping):
        raise ValueError(f"{key} has to be a mapping")  # noqa: TRY004 - what a file has is a value
    return {str(each): str(text) for each, text in value.items()}


def _texts(spec: Spec, *keys: str) -> list[str]:
    """Return the values of keys with a text or a list of texts, each once."""
    found: dict[str, None] = {}
    for key in keys:
        value = spec.get(key) or []
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(each, str) for each in values):
            raise ValueError(f"spec.{key} has to be text")
        found |= dict.fromkeys(values)
    return list(found)
