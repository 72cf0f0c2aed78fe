"""NodeNetwork: the ENI, link, labels and taints that every selected node gets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from ipagent.controller.model.condition import Condition, read_conditions
from ipagent.controller.model.prefixes import CniSpec, Ipam, PrefixSpec, read_prefix_spec
from ipagent.node_network_api import NETWORK_FINALIZER, AddressMode, known

Object: TypeAlias = Mapping[str, Any]
Tags: TypeAlias = tuple[tuple[str, str], ...]

ZONE = "${zone}"
"""Stands in the tags of an interfaceSelector for the node's availability zone."""


_LABEL_KEY = re.compile(
    r"([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
    r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
MAX_PREFIX = 253


def is_label_key(key: str) -> bool:
    """Whether a label may have this key (Kubernetes documentation, "Labels and Selectors")."""
    return key.find("/") <= MAX_PREFIX and _LABEL_KEY.fullmatch(key) is not None


class Source(StrEnum):
    """Where a node's ENI comes from."""

    CREATE = "Create"
    ADOPT = "Adopt"


class DeletionPolicy(StrEnum):
    """Whether an ENI is taken from a node while pods use it."""

    WAIT_FOR_PODS = "WaitForPods"
    FORCE = "Force"


_ENUMERATIONS: Mapping[str, type[StrEnum]] = {
    "source": Source,
    "deletionPolicy": DeletionPolicy,
    "addresses.mode": AddressMode,
    "addresses.prefixes.ipam": Ipam,
}
"""Fields of the spec, and the values that this release knows."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One of a label selector's matchExpressions."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels meet it (Kubernetes documentation, "Labels and Selectors")."""
        match self.operator:
            case "In":
                return labels.get(self.key) in self.values
            case "NotIn":
                return labels.get(self.key) not in self.values
            case "Exists":
                return self.key in labels
            case _:
                return self.key not in labels


@dataclass(frozen=True, slots=True)
class Selector:
    """A label selector; an empty one matches every node."""

    labels: Tags = ()
    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a node with these labels is selected."""
        return all(labels.get(key) == value for key, value in self.labels) and all(
            each.matches(labels) for each in self.requirements
        )


@dataclass(frozen=True, slots=True)
class Term:
    """One way to find subnets or security groups: an id, or tags of which all must be there."""

    id: str = ""
    tags: Tags = ()

    def __str__(self) -> str:
        return self.id or ",".join(f"{key}={value}" for key, value in self.tags)


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """How the interface is set up on the node; `mtu` 0 leaves it as it is."""

    name: str
    rename: str = "Altname"
    mtu: int = 0


@dataclass(frozen=True, slots=True)
class NodeNetwork:
    """A NodeNetwork; `deleting` once somebody has deleted it, `held` while it has our finalizer."""

    name: str
    uid: str
    link: LinkSpec
    selector: Selector = field(default_factory=Selector)
    source: Source = Source.CREATE
    subnets: tuple[Term, ...] = ()
    groups: tuple[Term, ...] = ()
    interface_tags: Tags = ()
    network_card: int = 0
    device_index: int | None = None
    ipv6_addresses: int = 0
    prefixes: PrefixSpec | None = None
    """None where addresses are assigned one by one."""
    source_dest_check: bool | None = None
    """None leaves the check as EC2 sets it: on."""
    deletion_policy: DeletionPolicy = DeletionPolicy.WAIT_FOR_PODS
    delete_on_termination: bool = True
    tags: Tags = ()
    node_labels: Tags = ()
    startup_taint: bool = True
    full_taint: bool = False
    advertise: bool = True
    """Whether nodes have the network's resource in their capacity."""
    reserve: int = 0
    """Addresses of each node that are left out of it."""
    unknown: tuple[str, ...] = ()
    """Fields of the spec, with their values, of which this release does not know the value: a later one's,
    after a rollback. They count as the default here, and what nodes have of the network stays as it is."""
    generation: int = 0
    created: str = ""
    """When it was created (RFC 3339, UTC), to the second."""
    deleting: bool = False
    held: bool = False
    status: Mapping[str, Condition] = field(default_factory=dict, compare=False)
    """The conditions that the API server has. Of two networks that differ in the status alone, which only the
    controller writes, there is nothing new to decide."""
    counts: tuple[object, ...] = field(default=(), compare=False)
    """What else its status has: nodes, ready, failed, free, subnets, observedGeneration."""

    @property
    def counts_pods(self) -> bool:
        """Whether the node agents have to tell what their pods have."""
        return self.advertise or self.full_taint

    @property
    def creates(self) -> bool:
        """Whether ENIs are created for it, in subnets that its terms find."""
        return self.source is Source.CREATE and not self.unknown

    @property
    def requestable(self) -> bool:
        """Whether pods can request its resource: nodes have none for IPv6 prefixes alone, which never end."""
        endless = self.prefixes is not None and self.prefixes.ipv6 > 0 and self.prefixes.ipv4 == 0
        return self.advertise and not endless

    @property
    def labels(self) -> Tags:
        """The node labels that the API server accepts; the schema can't check their keys."""
        return tuple(each for each in self.node_labels if is_label_key(each[0]))

    @property
    def terms(self) -> tuple[tuple[Term, ...], tuple[Term, ...]]:
        """What decides which subnets and security groups are found."""
        return self.subnets, self.groups

    @property
    def cni(self) -> CniSpec | None:
        """What the nodes' CNI configuration says beside the prefixes; None where there is none."""
        found = self.prefixes
        return found.cni if found is not None and found.ipam is Ipam.HOST_LOCAL else None

    def tags_of_interface(self, zone: str) -> dict[str, str]:
        """Return the tags of an ENI to adopt for a node of a zone."""
        return {key: value.replace(ZONE, zone) for key, value in self.interface_tags}


def read_network(found: Object) -> NodeNetwork:
    """Read an object that the API server has checked against its schema; raises KeyError or TypeError."""
    metadata, spec = found["metadata"], found["spec"]
    name = str(metadata["name"])
    placement, nodes = spec.get("placement") or {}, spec.get("nodes") or {}
    capacity = spec.get("capacity") or {}
    return NodeNetwork(
        name=name,
        uid=str(metadata["uid"]),
        link=read_link(spec.get("link") or {}, name),
        selector=_selector(spec["nodeSelector"]),
        source=known(Source, spec.get("source"), Source.CREATE),
        subnets=_terms(spec, "subnetSelectorTerms"),
        groups=_terms(spec, "securityGroupSelectorTerms"),
        interface_tags=_pairs((spec.get("interfaceSelector") or {}).get("tags")),
        network_card=int(placement.get("networkCard", 0)),
        device_index=placement.get("deviceIndex"),
        ipv6_addresses=int((spec.get("ipv6") or {}).get("addresses", 0)),
        prefixes=read_prefix_spec(spec.get("addresses")),
        source_dest_check=spec.get("sourceDestCheck"),
        deletion_policy=known(DeletionPolicy, spec.get("deletionPolicy"), DeletionPolicy.WAIT_FOR_PODS),
        delete_on_termination=bool(spec.get("deleteOnTermination", True)),
        tags=_pairs(spec.get("tags")),
        node_labels=_pairs(nodes.get("labels")),
        startup_taint=bool(nodes.get("startupTaint", True)),
        full_taint=bool(nodes.get("fullTaint", False)),
        advertise=bool(capacity.get("advertise", True)),
        reserve=int(capacity.get("reserve", 0)),
        unknown=_unknown(spec),
        generation=int(metadata.get("generation", 0)),
        created=str(metadata.get("creationTimestamp", "")),
        deleting="deletionTimestamp" in metadata,
        held=NETWORK_FINALIZER in metadata.get("finalizers", ()),
        status=read_conditions(found.get("status") or {}),
        counts=_counts(found.get("status") or {}),
    )


def _unknown(spec: Object) -> tuple[str, ...]:
    found = []
    for path, enumeration in _ENUMERATIONS.items():
        value: Any = spec
        for key in path.split("."):
            value = (value or {}).get(key)
        if value is not None and value not in list(enumeration):
            found.append(f"spec.{path} {value}")
    return tuple(found)


def _counts(status: Object) -> tuple[object, ...]:
    counts = (status.get(key) for key in ("nodes", "ready", "failed", "free"))
    return (*counts, tuple(status.get("subnets") or ()), status.get("observedGeneration"))


def read_link(link: Object, network: str) -> LinkSpec:
    """Read how the interface is set up; without a name it has the network's."""
    return LinkSpec(
        str(link.get("name") or network), str(link.get("rename", "Altname")), int(link.get("mtu", 0))
    )


def _selector(selector: Object) -> Selector:
    requirements = selector.get("matchExpressions") or ()
    return Selector(
        _pairs(selector.get("matchLabels")),
        tuple(
            Requirement(each["key"], each["operator"], tuple(each.get("values") or ()))
            for each in requirements
        ),
    )


def _terms(spec: Object, key: str) -> tuple[Term, ...]:
    return tuple(Term(each.get("id", ""), _pairs(each.get("tags"))) for each in spec.get(key) or ())


def _pairs(tags: Mapping[str, str] | None) -> Tags:
    return tuple(sorted((tags or {}).items()))
