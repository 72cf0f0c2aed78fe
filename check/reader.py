"""Reads objects as kubectl and the API server write them: lists are flattened, malformed objects skipped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from check.model import (
    AWS,
    ENDPOINTS,
    GROUPS,
    KINDS,
    NODE_STATUS,
    RESERVATIONS,
    Aws,
    Object,
    Resource,
    Snapshot,
    as_objects,
)
from common.object_fields import as_map

MAX_LISTS = 8
"""How deep lists may stand in lists."""
RESERVED = frozenset({"SubnetIpv4CidrReservations", "SubnetIpv6CidrReservations"})
EC2_ANSWERS = RESERVED | {
    "NetworkInterfaces",
    "Reservations",
    "InstanceTypes",
    "Subnets",
    "VpcEndpoints",
    "RouteTables",
    "SecurityGroups",
}
"""What answers of `aws ec2 describe-…` and `get-subnet-cidr-reservations` are made of."""
SECRET_DATA = ("tls.crt", "ca.crt")
"""What is read of a Secret: certificates, never a key."""


def read_snapshot(documents: Iterable[object], now: float) -> Snapshot:
    """Read a dump: manifests, the answer of `kubectl version`, and those of `ipagent node status`.

    It is taken as complete: a kind of which it has no object is one of which the cluster has none.
    """
    documents = list(documents)
    resources: dict[str, list[Resource]] = {}
    statuses: dict[str, Object] = {}
    version = ""
    for document in documents:
        found = as_map(document)
        if server := as_map(found.get("serverVersion")):
            version = str(server.get("gitVersion", ""))
        elif "garbageCollection" in found:
            statuses[str(found.get("node", ""))] = found
        else:
            for resource in read_resources(found):
                resources.setdefault(resource.kind, []).append(resource)
    missing = (
        {} if statuses else {NODE_STATUS: "the dump has no answer of `ipagent node status --output json`"}
    )
    if "Secret" not in resources:
        missing |= {"Secret": "the dump has no Secrets"}
    aws, without = read_aws(documents)
    missing |= without
    return Snapshot(
        now=now,
        aws=aws,
        resources={kind: tuple(found) for kind, found in resources.items()},
        version=version,
        missing=missing,
        node_statuses=statuses,
    )


def read_aws(documents: Iterable[object]) -> tuple[Aws, dict[str, str]]:
    """Read answers of EC2, and say what is missing."""
    found: dict[str, list[Object]] = {}
    for document in map(as_map, documents):
        for key in EC2_ANSWERS & document.keys():
            found.setdefault(key, []).extend(as_objects(document[key]))
    instances = [each for part in found.get("Reservations", []) for each in as_objects(part.get("Instances"))]
    aws = Aws(
        network_interfaces=tuple(found.get("NetworkInterfaces", ())),
        instances=tuple(instances),
        instance_types=tuple(found.get("InstanceTypes", ())),
        subnets=tuple(found.get("Subnets", ())),
        reservations=tuple(each for key in RESERVED for each in found.get(key, ())),
        endpoints=tuple(found.get("VpcEndpoints", ())),
        route_tables=tuple(found.get("RouteTables", ())),
        groups=tuple(found.get("SecurityGroups", ())),
    )
    missing = {}
    if not {"NetworkInterfaces", "Reservations", "Subnets"} <= found.keys():
        missing[AWS] = "the dump has no answers of EC2"
    if not found.keys() & RESERVED:
        missing[RESERVATIONS] = "the dump has no answer of `aws ec2 get-subnet-cidr-reservations`"
    if not {"VpcEndpoints", "RouteTables"} <= found.keys():
        missing[ENDPOINTS] = "the dump lacks `aws ec2 describe-vpc-endpoints` or `describe-route-tables`"
    if "SecurityGroups" not in found:
        missing[GROUPS] = "the dump has no answer of `aws ec2 describe-security-groups`"
    return aws, missing


def read_resources(document: Object, kind: str = "", depth: int = 0) -> Iterator[Resource]:
    """Read an object, or those of a list, of the kinds that a snapshot holds.

    `kind` is that of a typed list's items, which do not say what they are.
    """
    own = str(document.get("kind") or kind)
    if own.endswith("List") and depth < MAX_LISTS:
        for each in as_objects(document.get("items")):
            yield from read_resources(each, own.removesuffix("List"), depth + 1)
    elif own in KINDS:
        metadata = as_map(document.get("metadata"))
        namespace, name = str(metadata.get("namespace") or ""), str(metadata.get("name") or "")
        # No object has such a name, and in a command it would be an option.
        if namespace.startswith("-") or name.startswith("-"):
            return
        yield Resource(
            kind=own,
            namespace=namespace,
            name=name,
            labels=_texts(metadata.get("labels")),
            annotations=_texts(metadata.get("annotations")),
            body=_without_keys(document) if own == "Secret" else document,
        )


def _texts(value: object) -> Mapping[str, str]:
    return {str(key): str(text) for key, text in as_map(value).items()}


def _without_keys(secret: Object) -> dict[str, Any]:
    data = as_map(secret.get("data"))
    return {
        "metadata": {"ownerReferences": as_map(secret.get("metadata")).get("ownerReferences")},
        "type": secret.get("type"),
        "data": {key: data[key] for key in SECRET_DATA if key in data},
    }
