"""What the node's pods have of a NodeAttachment's ENI: the controller computes capacity from it. Pure.

Thread: the usage reporter's, on copies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ipagent.assign.addresses import canonical_mac
from ipagent.assign.release import Pair
from ipagent.networkapi import API_VERSION
from ipagent.node.model.pod import InjectedAgent, Pod, PodKey

MAX_ADDRESSES = 1024
"""As the schema has it."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What is reported; the MAC says of which ENI."""

    mac: str
    requested: int = 0
    addresses: tuple[str, ...] = ()
    """Addresses of pods that request the network's resource, in order."""
    others: tuple[str, ...] = ()
    """Addresses on the ENI of pods that do not."""


@dataclass(frozen=True, slots=True)
class UsageAttachment:
    """A NodeAttachment whose pods are to be reported."""

    name: str
    network: str
    eni: str
    mac: str
    reported: Usage | None = None


def usage_of(attachment: UsageAttachment, pods: Iterable[Pod], owners: Mapping[Pair, PodKey]) -> Usage:
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
    return Usage(
        attachment.mac,
        sum(requested.values()),
        tuple(sorted(addresses)[:MAX_ADDRESSES]),
        tuple(sorted(others)[:MAX_ADDRESSES]),
    )


def read_attachment(found: Mapping[str, Any]) -> UsageAttachment | None:
    """Read a NodeAttachment that the API server has checked; None if nothing is to be reported of it."""
    metadata, spec, status = found["metadata"], found["spec"], found.get("status") or {}
    mac = canonical_mac(str(status.get("mac", "")))
    if not mac or spec.get("reportPods") is not True or "deletionTimestamp" in metadata:
        return None
    pods = status.get("pods")
    reported = None
    if pods is not None:
        reported = Usage(
            str(pods.get("mac", "")),
            int(pods.get("requested", 0)),
            tuple(map(str, pods.get("addresses") or ())),
            tuple(map(str, pods.get("others") or ())),
        )
    return UsageAttachment(
        str(metadata["name"]), str(spec["network"]), str(status.get("eni", "")), mac, reported
    )


def usage_body(name: str, usage: Usage) -> dict[str, Any]:
    """Return the server-side apply of `status.pods`."""
    return {
        "apiVersion": API_VERSION,
        "kind": "NodeAttachment",
        "metadata": {"name": name},
        "status": {
            "pods": {
                "mac": usage.mac,
                "requested": usage.requested,
                "addresses": list(usage.addresses),
                "others": list(usage.others),
            }
        },
    }
