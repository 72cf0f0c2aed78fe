"""Who wrote the annotation `k8s.v1.cni.cncf.io/network-status`, and the addresses in it. Pure.

Multus writes it through the pod's subresource `status`, and `managedFields`, which the API server keeps, says
so. A value that came with the pod, or that somebody with rights to pods alone has written, proves nothing.

An object keeps 10 managers that update it; the API server merges the oldest of more into MERGED, without
their subresource, and with the time of the latest of them (apimachinery,
`pkg/util/managedfields/internal/capmanagers.go`). What such an entry owns is not proven, and not disproven.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_interface
from typing import Any

from common.object_fields import as_list, as_map

NETWORK_STATUS = "k8s.v1.cni.cncf.io/network-status"
MERGED = "ancient-changes"
_MAX_IP = 64
"""Characters of an address with its prefix length."""
_MAX_MANAGERS = 64
"""Entries of managedFields that are looked at: the API server merges all but 10 that update."""


def written_through_status(pod: Mapping[str, Any]) -> bool:
    """Return whether managedFields says that network-status was written through the subresource `status`."""
    return any(each.get("subresource") == "status" for each in _writers(pod))


def may_be_written_through_status(pod: Mapping[str, Any]) -> bool:
    """Return whether network-status was written through `status`, or its writer is among those merged.

    For who does not watch the pod, and so can't know a value that was proven before the merger. Anybody may
    call himself MERGED when he creates a pod; but the entry is no later than the pod then.
    """
    created = str(as_map(pod.get("metadata")).get("creationTimestamp") or "")
    return written_through_status(pod) or any(
        # RFC 3339 in UTC and whole seconds: it sorts as text.
        each.get("manager") == MERGED and str(each.get("time") or "") > created
        for each in _writers(pod)
    )


def _writers(pod: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the entries of managedFields that own network-status."""
    managers = as_map(pod.get("metadata")).get("managedFields")
    listed = map(as_map, as_list(managers)[:_MAX_MANAGERS])
    return (each for each in listed if _owns_network_status(each))


def read_ip(text: object) -> IPv4Address | IPv6Address | None:
    """Return the address that an entry of `ips` is, with or without a prefix length; None if it is none."""
    # An address with a zone (RFC 4007) is bound to one host's link.
    if not isinstance(text, str) or len(text) > _MAX_IP or "%" in text:
        return None
    try:
        address = ip_interface(text.strip()).ip
    except ValueError:
        return None
    # A plugin in Go may write an IPv4 address of 16 bytes so (RFC 4291, section 2.5.5.2).
    return (address.ipv4_mapped if address.version == 6 else None) or address


def _owns_network_status(manager: Mapping[str, Any]) -> bool:
    fields = manager.get("fieldsV1")
    for name in ("f:metadata", "f:annotations"):
        fields = as_map(fields).get(name)
    return f"f:{NETWORK_STATUS}" in as_map(fields)
