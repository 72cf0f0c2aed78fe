"""NodeAttachment: one node's ENI of one network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from ipagent.call_relay import RelayAnswers, RelayRequests
from ipagent.call_relay_status import read_answers, read_requests
from ipagent.controller.model.condition import Condition, read_conditions
from ipagent.controller.model.node_network import LinkSpec, read_link
from ipagent.controller.model.prefixes import (
    CniSpec,
    PoolReport,
    PrefixStatus,
    read_cni_spec,
    read_pool,
    read_prefixes,
)
from ipagent.node_network_api import ATTACHMENT_FINALIZER

CREATED, ATTACHED, LINK_READY, READY = "Created", "Attached", "LinkReady", "Ready"
PREFIXES_READY = "PrefixesReady"
SUBNET_CHANGED = "SubnetChanged"
"""Reason of Created: the network's terms find another subnet than that of the ENI."""


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """What the node's `links` container reports of the interface with this MAC."""

    mac: str
    name: str = ""
    up: bool = False
    mtu: int = 0
    message: str = ""
    host_addresses: tuple[str, ...] = ()
    """Addresses of pods that the node itself has."""
    name_owner: str = ""
    """The other interface of the node that has the name which this one is to have; empty if none has."""


@dataclass(frozen=True, slots=True)
class PodUsage:
    """What the node agent reports of the pods that use the ENI with this MAC."""

    mac: str
    requested: int = 0
    """Units of the network's resource that the node's pods request."""
    addresses: frozenset[str] = frozenset()
    """Addresses of pods that request it."""
    others: frozenset[str] = frozenset()
    """Addresses on the ENI of pods that do not request it."""


@dataclass(frozen=True, slots=True)
class AttachmentStatus:
    """The status that the controller writes; `link` is written by the node."""

    conditions: Mapping[str, Condition] = field(default_factory=dict)
    attempt: int = 0
    """How many ENIs have been lost: each one's successor has another ClientToken."""
    eni: str = ""
    attachment: str = ""
    mac: str = ""
    subnet: str = ""
    card: int | None = None
    device: int | None = None
    limit: int | None = None
    """IPv4 addresses that the instance's type allows, the primary included."""
    assigned: int | None = None
    """IPv4 addresses and prefixes that the ENI has, the primary included."""
    cidrs: tuple[str, ...] = ()
    """The ranges of the ENI's subnet."""
    prefixes: tuple[PrefixStatus, ...] = ()
    assigning: str = ""
    """The family of the prefix that EC2 is being asked for: written before the call is made."""
    pool_free: int | None = None
    """IPv4 addresses that pods can still have of prefixes, those that may come included."""
    address: str = ""
    """The ENI's primary IPv4 address: any other one is for pods."""
    ipv6_addresses: tuple[str, ...] = ()
    """The IPv6 addresses that the ENI had at first: any other one is for pods."""
    capacity: int | None = None
    """Addresses that the node has for pods that request them; None where that is not counted."""
    requested: int | None = None
    slice: str = ""
    """Which part of its prefixes whereabouts hands out on the node."""

    @property
    def unrequested(self) -> int | None:
        """How many more addresses pods can request; None where that is not counted."""
        return None if self.capacity is None else max(0, self.capacity - (self.requested or 0))

    @property
    def free(self) -> int | None:
        """How many more addresses pods can have; None as long as that is not known."""
        known = [each for each in (self.pool_free, self.unrequested) if each is not None]
        if known:
            # Of prefixes both: pods that request nothing take of the one, a reserve of the other.
            return min(known)
        return None if self.limit is None or self.assigned is None else max(0, self.limit - self.assigned)


@dataclass(frozen=True, slots=True)
class Attachment:
    """A NodeAttachment; `deleting` once somebody has deleted it, `held` while it has our finalizer."""

    name: str
    uid: str
    node: str
    node_uid: str
    network: str
    instance: str
    link: LinkSpec
    status: AttachmentStatus = field(default_factory=AttachmentStatus)
    reported: LinkStatus | None = None
    cni: CniSpec | None = None
    """None where the node is to have no CNI configuration for the network."""
    pool: PoolReport | None = None
    report_pods: bool = False
    usage: PodUsage | None = None
    requests: RelayRequests | None = None
    """Calls that the node agent asks for."""
    responses: RelayAnswers = field(default_factory=RelayAnswers)
    deleting: bool = False
    held: bool = True


def read_attachment(found: Mapping[str, Any]) -> Attachment:
    """Read an object that the API server has checked against its schema; raises KeyError or TypeError."""
    metadata, spec, status = found["metadata"], found["spec"], found.get("status") or {}
    return Attachment(
        name=str(metadata["name"]),
        uid=str(metadata["uid"]),
        node=str(spec["node"]),
        node_uid=str(spec["nodeUID"]),
        network=str(spec["network"]),
        instance=str(spec["instanceID"]),
        link=read_link(spec.get("link") or {}, str(spec["network"])),
        status=read_status(status),
        reported=_reported(status.get("link")),
        cni=read_cni_spec(spec["addresses"]) if "addresses" in spec else None,
        pool=read_pool(status),
        report_pods=spec.get("reportPods") is True,
        usage=_usage(status.get("pods")),
        requests=read_requests(status),
        responses=read_answers(status),
        deleting="deletionTimestamp" in metadata,
        held=ATTACHMENT_FINALIZER in metadata.get("finalizers", ()),
    )


def read_status(status: Mapping[str, Any]) -> AttachmentStatus:
    """Read the part of the status that the controller writes."""
    slots = status.get("slots") or {}
    return AttachmentStatus(
        conditions=read_conditions(status),
        attempt=int(status.get("attempt", 0)),
        eni=str(status.get("eni", "")),
        attachment=str(status.get("attachment", "")),
        mac=str(status.get("mac", "")),
        address=str(status.get("address", "")),
        ipv6_addresses=tuple(map(str, status.get("ipv6Addresses") or ())),
        subnet=str(status.get("subnet", "")),
        card=status.get("card"),
        device=status.get("device"),
        limit=slots.get("limit"),
        assigned=slots.get("assigned"),
        cidrs=tuple(map(str, status.get("cidrs") or ())),
        prefixes=read_prefixes(status),
        assigning=str(status.get("assigning", "")),
        slice=str(status.get("slice", "")),
        pool_free=slots.get("pool"),
        capacity=slots.get("capacity"),
        requested=slots.get("requested"),
    )


def _reported(link: Mapping[str, Any] | None) -> LinkStatus | None:
    if link is None:
        return None
    return LinkStatus(
        mac=str(link.get("mac", "")),
        name=str(link.get("name", "")),
        up=bool(link.get("up", False)),
        mtu=int(link.get("mtu", 0)),
        message=str(link.get("message", "")),
        host_addresses=tuple(map(str, link.get("hostAddresses") or ())),
        name_owner=str(link.get("nameOwner", "")),
    )


def _usage(pods: Mapping[str, Any] | None) -> PodUsage | None:
    if pods is None:
        return None
    return PodUsage(
        mac=str(pods.get("mac", "")),
        requested=int(pods.get("requested", 0)),
        addresses=_addresses(pods.get("addresses")),
        others=_addresses(pods.get("others")),
    )


def _addresses(listed: Iterable[str] | None) -> frozenset[str]:
    """Return those that are addresses: a node reports what it likes, and the schema does not check it."""
    return frozenset(each for each in listed or () if _is_address(each))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
