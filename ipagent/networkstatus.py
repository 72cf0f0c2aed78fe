"""Who wrote the annotation `k8s.v1.cni.cncf.io/network-status`. Pure.

Multus writes it through the pod's subresource `status`, and `managedFields`, which the API server keeps, says
so. A value that came with the pod, or that somebody with rights to pods alone has written, proves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NETWORK_STATUS = "k8s.v1.cni.cncf.io/network-status"
_MAX_MANAGERS = 64
"""Entries of managedFields that are looked at: the API server merges all but 10 that update."""


def written_through_status(pod: Mapping[str, Any]) -> bool:
    """Return whether managedFields says that network-status was written through the subresource `status`."""
    managers = _map(pod.get("metadata")).get("managedFields")
    listed = map(_map, managers[:_MAX_MANAGERS] if isinstance(managers, list) else ())
    return any(each.get("subresource") == "status" and _owns_network_status(each) for each in listed)


def _owns_network_status(manager: Mapping[str, Any]) -> bool:
    fields = manager.get("fieldsV1")
    for name in ("f:metadata", "f:annotations"):
        fields = _map(fields).get(name)
    return f"f:{NETWORK_STATUS}" in _map(fields)


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
