"""Conditions in a pod's status, as server-side apply writes them: other managers' conditions stay.

Kubernetes: Pod Lifecycle, "Pod conditions". Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def status_path(namespace: str, name: str) -> str:
    """Return the path of a pod's subresource `status`."""
    return f"/api/v1/namespaces/{namespace}/pods/{name}/status"


def with_condition(namespace: str, name: str, uid: str, condition: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is applied: the one condition; another pod of this name has another uid and is refused."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "uid": uid},
        "status": {"conditions": [condition]},
    }
