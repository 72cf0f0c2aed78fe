"""Elastic IPs of pods: what pods claim, what namespaces are granted, what EC2 has, and the calls."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Any, TypeAlias

from common import pod_keys
from common.elastic_ips import EipClaim, parse_claims
from ipagent.controller.model.condition import Condition, read_conditions
from ipagent.controller.model.node_network import Tags
from ipagent.network_status_origin import NETWORK_STATUS, read_ip, written_through_status

POD_TAG = "multus-eni.io/pod"
"""Of an EIP: the pod that has it, as namespace/name; for an address that moves, namespace/address."""
TARGET_TAG = "multus-eni.io/eip-target"
"""The interface or address of that pod which it stands for."""
KEPT_TAG = "multus-eni.io/eip-kept"
"""`true`: it is kept for that pod while it is away, which a StatefulSet makes again under its name."""
PRIVATE_TAG = "multus-eni.io/eip-private"
"""The private addresses that this controller may have associated it with, separated by spaces.

An association with another one is somebody else's, and left alone.
"""
MAX_TAG = 256

ENDED = ("Succeeded", "Failed")


def owner_tag(namespace: str, name: str) -> str:
    """Return the value of POD_TAG; one that is too long for a tag is cut, and ends with its digest."""
    text = f"{namespace}/{name}"
    if len(text) <= MAX_TAG:
        return text
    return f"{text[: MAX_TAG - 41]}-{hashlib.sha256(text.encode()).hexdigest()[:40]}"


@dataclass(frozen=True, slots=True)
class Grant:
    """The EIPs that pods of a namespace may have: pools by name with their EIPs' tags, and single ones."""

    pools: Mapping[str, Tags] = field(default_factory=dict)
    allocations: frozenset[str] = frozenset()
    cidrs: tuple[IPv4Network, ...] = ()
    """Addresses in these, which may move between pods, may have one of the EIPs."""

    def allows(self, address: str) -> bool:
        """Whether an address that may move is one that pods may name."""
        return any(IPv4Address(address) in cidr for cidr in self.cidrs)

    def covers(self, eip: ElasticIp) -> bool:
        """Whether the EIP is one of them."""
        return eip.id in self.allocations or any(eip.matches(tags) for tags in self.pools.values())


Grants: TypeAlias = Mapping[str, Grant]
"""By namespace."""


def read_grants(text: str) -> dict[str, Grant]:
    """Read `controller.eips` of the chart's values as JSON; raises ValueError."""
    try:
        return {
            str(namespace): Grant(
                {
                    str(name): tuple(sorted((str(key), str(value)) for key, value in pool["tags"].items()))
                    for name, pool in (given.get("pools") or {}).items()
                    if pool["tags"] or _without_tags(name)
                },
                frozenset(map(str, given.get("allocations") or ())),
                tuple(map(IPv4Network, given.get("cidrs") or ())),
            )
            for namespace, given in json.loads(text).items()
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            f"it is not of the form NAMESPACE: {{pools: …, allocations: …}}: {error!r}"
        ) from None


def _without_tags(name: str) -> bool:
    raise ValueError(f"pool {name} has no tags, so that every Elastic IP of the account would match")


@dataclass(frozen=True, slots=True)
class ElasticIp:
    """An EIP as DescribeAddresses shows it; `association`, `eni` and `private` are empty where it is free."""

    id: str
    public: str
    tags: Mapping[str, str] = field(default_factory=dict)
    association: str = ""
    eni: str = ""
    private: str = ""
    seen: float = field(default=float("-inf"), compare=False)
    """When EC2 has shown or made the association last (monotonic seconds)."""

    @property
    def owner(self) -> tuple[str, str]:
        """The pod and the target that its tags name."""
        return self.tags.get(POD_TAG, ""), self.tags.get(TARGET_TAG, "")

    @property
    def privates(self) -> tuple[str, ...]:
        """The private addresses that its tags name."""
        return tuple(self.tags.get(PRIVATE_TAG, "").split())

    @property
    def foreign(self) -> bool:
        """Whether somebody else has associated it."""
        return bool(self.association) and self.private not in self.privates

    def matches(self, tags: Tags) -> bool:
        """Whether it has all of these tags."""
        return all(self.tags.get(key) == value for key, value in tags)


@dataclass(frozen=True, slots=True)
class EipPod:
    """A pod with our label. `addresses` are the first IPv4 address of each interface, by network-status."""

    namespace: str
    name: str
    uid: str
    node: str = ""
    created: str = ""
    claims: tuple[EipClaim, ...] = ()
    problem: str = ""
    """What is wrong with its annotation."""
    addresses: Mapping[str, str] = field(default_factory=dict)
    proven: bool = True
    """Whether Multus is known to have written them."""
    kept: bool = False
    """Whether a StatefulSet makes it again under its name."""
    ended: bool = False
    condition: Condition | None = None

    @property
    def key(self) -> str:
        """Its namespace and name."""
        return f"{self.namespace}/{self.name}"


def read_pod(found: Mapping[str, Any]) -> EipPod:
    """Read a pod of the API server; raises KeyError."""
    metadata, status = found["metadata"], found.get("status") or {}
    annotations = metadata.get("annotations") or {}
    claims: tuple[EipClaim, ...] = ()
    problem = ""
    if pod_keys.EIP in annotations:
        try:
            claims = parse_claims(str(annotations[pod_keys.EIP]))
        except ValueError as error:
            problem = str(error)
    owners = metadata.get("ownerReferences") or ()
    return EipPod(
        namespace=str(metadata["namespace"]),
        name=str(metadata["name"]),
        uid=str(metadata["uid"]),
        node=str((found.get("spec") or {}).get("nodeName") or ""),
        created=str(metadata.get("creationTimestamp") or ""),
        claims=claims,
        problem=problem,
        addresses=_addresses(annotations.get(NETWORK_STATUS)),
        proven=written_through_status(found),
        kept=any(each.get("kind") == "StatefulSet" and each.get("controller") for each in owners),
        ended=status.get("phase") in ENDED,
        condition=read_conditions({"conditions": _ours(status)}).get(pod_keys.EIP_CONDITION),
    )


def _ours(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return our condition, with the fields that the API server does not ask of a pod's conditions."""
    found = [each for each in status.get("conditions") or () if each.get("type") == pod_keys.EIP_CONDITION]
    return [{"reason": "", **each} for each in found]


def _addresses(text: object) -> dict[str, str]:
    try:
        entries = json.loads(str(text or "[]"))
    except (ValueError, RecursionError):
        return {}
    found: dict[str, str] = {}
    for entry in entries if isinstance(entries, list) else ():
        ips = entry.get("ips") if isinstance(entry, dict) else None
        if isinstance(ips, list) and not entry.get("default"):
            read = (each for each in map(read_ip, ips) if each is not None and each.version == 4)
            interface = entry.get("interface")
            if first := next(read, None):
                found.setdefault(interface if isinstance(interface, str) else "", str(first))
    return found


@dataclass(frozen=True, slots=True)
class Holder:
    """Which ENI of which instance has a private address; empty as long as none has it.

    Times are monotonic seconds: when it was described last, and since when nobody has it.
    """

    at: float
    since: float
    eni: str = ""
    instance: str = ""


@dataclass(frozen=True, slots=True)
class EipState:
    """What the API server and EC2 say about EIPs. Times are monotonic seconds."""

    grants: Grants = field(default_factory=dict)
    pods: Mapping[str, EipPod] = field(default_factory=dict)
    eips: Mapping[str, ElasticIp] = field(default_factory=dict)
    read_at: float | None = None
    changed: Mapping[str, float] = field(default_factory=dict)
    """By EIP: when a call has changed it last."""
    holders: Mapping[str, Holder] = field(default_factory=dict)
    """By private address."""
    gone: Mapping[str, float] = field(default_factory=dict)
    """By EIP: since when its association belongs to nobody."""
    held: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """By UID and private address of a pod: since when it is known to have the address."""
