"""NodeAttachments as the node agent sees them: what its pods have of each ENI, and what it hands out. Pure.

From what the pods have the controller computes capacity.

Thread: the usage reporter's, on copies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_interface
from typing import Any

from ipagent.assign.addresses import IPAddress, canonical_mac
from ipagent.assign.release import Pair
from ipagent.node.model.pod import InjectedAgent, Pod, PodKey
from ipagent.node.model.pool_addresses import PoolAddresses
from ipagent.node_network_api import SINGLE, with_status

MAX_ADDRESSES = 1024
"""As the schema has it."""


@dataclass(frozen=True, slots=True)
class PodUsage:
    """What is reported; the MAC says of which ENI."""

    mac: str
    requested: int = 0
    addresses: tuple[str, ...] = ()
    """Addresses of pods that request the network's resource, in order."""
    others: tuple[str, ...] = ()
    """Addresses on the ENI of pods that do not."""
    left_out: int = field(default=0, compare=False)
    """Addresses beyond MAX_ADDRESSES."""


@dataclass(frozen=True, slots=True)
class UsageAttachment:
    """A NodeAttachment whose pods are to be reported."""

    name: str
    network: str
    eni: str
    mac: str
    reported: PodUsage | None = None
    report: bool = True
    """Whether the controller asks what the pods have."""
    pool: frozenset[IPAddress] = frozenset()
    """Secondary addresses that stay on the ENI, and that the node hands out."""


def pool_of(attachments: Iterable[UsageAttachment]) -> PoolAddresses:
    """Return the secondary addresses that stay on the node's ENIs."""
    found = [each for each in attachments if each.pool]
    pairs = frozenset((each.eni, address) for each in found for address in each.pool)
    return PoolAddresses(pairs, {each.mac: each.pool for each in found})


def usage_of(attachment: UsageAttachment, pods: Iterable[Pod], owners: Mapping[Pair, PodKey]) -> PodUsage:
    """Return what the pods have. `owners` tells whose the wanted addresses are, floating ones included."""
    living = {pod.key: pod for pod in pods if pod.alive}
    requested = {key: dict(pod.units).get(attachment.network, 0) for key, pod in living.items()}
    addresses: set[str] = set()
    others: set[str] = set()
    for (eni, address), key in owners.items():
        if requested.get(key):
            addresses.add(str(address))
        elif key in living and eni == attachment.eni:
            others.add(str(address))
    for key, pod in living.items():
        if requested[key]:
            addresses |= {str(each.address) for each in pod.holdings}
        elif pod.agent is not InjectedAgent.NONE:
            # Its agent has them assigned. What is assigned for other pods, EC2 shows.
            others |= {str(each.address) for each in pod.counting if each.mac == attachment.mac}
    return PodUsage(
        attachment.mac,
        sum(requested.values()),
        tuple(sorted(addresses)[:MAX_ADDRESSES]),
        tuple(sorted(others)[:MAX_ADDRESSES]),
        max(0, len(addresses) - MAX_ADDRESSES) + max(0, len(others) - MAX_ADDRESSES),
    )


def read_attachment(found: Mapping[str, Any]) -> UsageAttachment | None:
    """Read a NodeAttachment that the API server has checked; None if nothing is to be reported of it."""
    metadata, spec, status = found["metadata"], found["spec"], found.get("status") or {}
    mac = canonical_mac(str(status.get("mac", "")))
    report = spec.get("reportPods") is True and "deletionTimestamp" not in metadata
    pool = _pool(status)
    if not mac or not (report or pool):
        return None
    pods = status.get("pods")
    reported = None
    if pods is not None:
        reported = PodUsage(
            str(pods.get("mac", "")),
            int(pods.get("requested", 0)),
            tuple(map(str, pods.get("addresses") or ())),
            tuple(map(str, pods.get("others") or ())),
        )
    return UsageAttachment(
        str(metadata["name"]), str(spec["network"]), str(status.get("eni", "")), mac, reported, report, pool
    )


def _pool(status: Mapping[str, Any]) -> frozenset[IPAddress]:
    prefixes = (str(each["prefix"]) for each in status.get("prefixes") or ())
    return frozenset(ip_interface(each).ip for each in prefixes if each.endswith(SINGLE))


def usage_body(name: str, usage: PodUsage) -> dict[str, Any]:
    """Return the server-side apply of `status.pods`."""
    pods = {
        "mac": usage.mac,
        "requested": usage.requested,
        "addresses": list(usage.addresses),
        "others": list(usage.others),
    }
    return with_status("NodeAttachment", name, {"pods": pods})
