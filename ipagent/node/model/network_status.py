"""The annotation `k8s.v1.cni.cncf.io/network-status`: what it says, and whether Multus wrote it. Pure.

A pod's addresses come from it (Network Custom Resource Definition De-facto Standard, section 4.2), so that
pods without kernel addresses (DPDK, SR-IOV) are served too.

Multus writes network-status through the pod's subresource `status` when it has made the sandbox, and so does
multus-dynamic-networks-controller when it changes the networks of a running pod
(network-attachment-definition-client, `pkg/utils/net-attach-def.go`, setPodNetworkStatus). So the annotation
counts only if `managedFields`, which the API server keeps, says that its value was written through `status`.
A value that came with the pod, or that somebody with rights to pods alone has written, does not count.
The API server merges the oldest of more than 10 updating managers into one entry, `ancient-changes`, without
their subresource (apimachinery, `pkg/util/managedfields/internal/capmanagers.go`): that entry proves nothing.
pod_informer.py remembers which value was proven in the pod's life, and which was not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from common.object_fields import Object, as_list, as_map, as_text
from common.shorten import SHOWN
from ipagent.assign.addresses import Holding, canonical_mac, is_global_unicast
from ipagent.assign.selection import PRIMARY_INTERFACE, is_multus_name, is_vpc_cni_name
from ipagent.network_status_origin import NETWORK_STATUS, read_ip

MAX_STATUS = 256 * 1024
"""Characters: the API server takes no more in all annotations of an object together."""
MAX_HOLDINGS = 256
"""Addresses of one pod: more than any ENI carries (docs "Maximum IP addresses per network interface": 50)."""
MAX_NAMES = 64
_PROBLEMS = 3


def network_status_text(obj: Object) -> str:
    """Return the annotation's value; empty if there is none."""
    text = as_map(as_map(obj.get("metadata")).get("annotations")).get(NETWORK_STATUS)
    return text if isinstance(text, str) else ""


@dataclass(frozen=True, slots=True)
class NetworkStatus:
    """What it says; the fields are those of Pod."""

    holdings: tuple[Holding, ...] = ()
    problem: str = ""
    default_interfaces: tuple[str, ...] = ()
    bare: bool = False


def read_status(text: object) -> NetworkStatus:
    """Read the annotation's value, as far as it can be read."""
    if not isinstance(text, str) or not text.strip():
        return NetworkStatus()
    if len(text) > MAX_STATUS:
        return NetworkStatus(problem=f"{NETWORK_STATUS} has more than {MAX_STATUS} characters")
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        return NetworkStatus(problem=f"{NETWORK_STATUS} is not JSON: {_quote(text)}")
    if entries is None:
        return NetworkStatus()
    if not isinstance(entries, list):
        return NetworkStatus(problem=f"{NETWORK_STATUS} is not a list: {_quote(text)}")
    return _read_entries(entries)


def _read_entries(entries: list[Any]) -> NetworkStatus:
    defaults = _default_networks(entries)
    has_primary = any(map(_is_primary, map(as_map, entries)))
    found: dict[Holding, None] = {}
    default_interfaces: dict[str, None] = {}
    problems: list[str] = []
    bare = False
    for number, entry in enumerate(entries, 1):
        if isinstance(entry, dict) and _of_default_network(entry, defaults, has_primary=has_primary):
            default_interfaces[as_text(entry.get("interface"), SHOWN)] = None
            continue
        before = len(found)
        found |= dict.fromkeys(_entry(entry, number, problems))
        bare |= len(found) == before and isinstance(entry, dict) and bool(entry.get("interface"))
        if len(found) > MAX_HOLDINGS or len(problems) > MAX_HOLDINGS:
            break
    if len(found) > MAX_HOLDINGS:
        problems.append(f"more than {MAX_HOLDINGS} addresses")
    interfaces = tuple(name for name in default_interfaces if name)[:MAX_NAMES]
    return NetworkStatus(tuple(found)[:MAX_HOLDINGS], _summary(problems), interfaces, bare)


def _default_networks(entries: Iterable[object]) -> frozenset[str]:
    """Return the names of the cluster default network.

    One plugin may give several interfaces, of which one has `default: true`: the VPC CNI's `v6if0` (IPv6
    egress) and `mNicIf1` (multi-NIC pods, an address of the VPC CNI's pool) beside `eth0`.
    """
    marked = (each for each in map(as_map, entries) if each.get("default") is True or _is_primary(each))
    return frozenset(name for each in marked if (name := as_text(each.get("name"))))


def _is_primary(entry: Object) -> bool:
    return entry.get("interface") == PRIMARY_INTERFACE


def _of_default_network(entry: Object, defaults: frozenset[str], *, has_primary: bool) -> bool:
    """Whether the cluster's own CNI made the interface: by its name, else by mark and network.

    A NetworkAttachmentDefinition (`namespace/name`) may be the network of `eth0`, by
    `v1.multus-cni.io/default-network`, and of another interface as well. That one Multus names `net<N>`, and
    where an entry has `eth0` (`has_primary`) it is no default interface, however it is marked.
    """
    interface, name = as_text(entry.get("interface"), SHOWN), as_text(entry.get("name"))
    if _is_primary(entry) or is_vpc_cni_name(interface):
        return True
    if has_primary and "/" in name and is_multus_name(interface):
        return False
    return entry.get("default") is True or name in defaults


def _entry(entry: object, number: int, problems: list[str]) -> Iterator[Holding]:
    if not isinstance(entry, dict):
        problems.append(f"entry {number} is not an object: {_quote(entry)}")
        return
    interface = as_text(entry.get("interface"), SHOWN)
    mac = canonical_mac(as_text(entry.get("mac"), SHOWN))
    ips = entry.get("ips")
    if ips is not None and not isinstance(ips, list):
        problems.append(f"entry {number}: ips is not a list: {_quote(ips)}")
    for text in as_list(ips):
        address = read_ip(text)
        if address is None:
            problems.append(f"entry {number}: {_quote(text)} is not an IP address")
        elif is_global_unicast(address):
            yield Holding(interface, mac, address)


def _summary(problems: list[str]) -> str:
    if not problems:
        return ""
    more = len(problems) - _PROBLEMS
    shown = [*problems[:_PROBLEMS], *([f"and {more} more"] if more > 0 else [])]
    return f"{NETWORK_STATUS}: {'; '.join(shown)}"


def _quote(value: object) -> str:
    text = value if isinstance(value, str) else type(value).__name__
    return repr(text[:SHOWN])
