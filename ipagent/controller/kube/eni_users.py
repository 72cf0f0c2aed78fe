"""Which pods use ENIs that are to be detached: those whose network-status has their MAC.

Interfaces of ipvlan and host-device have the ENI's MAC, and AWS lets no other MAC through. The controller
watches no pods: they are listed, by node, only while an ENI is to go. A network-status counts by the rule of
the node agents (ipagent/network_status_origin.py): one that came with a pod holds nothing up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from common.kube.client import Client
from common.kube.errors import KubeError
from ipagent.controller.model.actions import ListPods
from ipagent.controller.reconcile.ec2_answers import Answer, Refused, Users
from ipagent.controller.reconcile.ec2_error_conditions import Kind
from ipagent.network_status_origin import NETWORK_STATUS, may_be_written_through_status

ENDED = ("Succeeded", "Failed")
PAGE = "500"

Pod = tuple[str, frozenset[str]]
"""A pod's namespace and name, and the MACs of its interfaces."""


def list_users(client: Client, call: ListPods) -> Answer:
    """List the pods of each node, and return which use the ENI that is asked for."""
    users: dict[str, tuple[str, ...]] = {}
    known: dict[str, tuple[Pod, ...]] = {}
    try:
        for attachment, node, mac in call.asked:
            if node not in known:
                parameters = {"fieldSelector": f"spec.nodeName={node}", "limit": PAGE}
                _, known[node] = client.list(
                    "/api/v1/pods", f"list the pods of node {node}", parameters, read_pod
                )
            users[attachment] = tuple(sorted(name for name, macs in known[node] if mac in macs))
    except KubeError as error:
        return Refused(Kind.PODS_UNKNOWN, "list pods", str(error))
    return Users(users)


def read_pod(found: Mapping[str, Any]) -> Pod:
    """Read a pod; one that has ended, or has no network-status by Multus, uses nothing."""
    metadata = found["metadata"]
    name = f"{metadata['namespace']}/{metadata['name']}"
    if (found.get("status") or {}).get("phase") in ENDED or not may_be_written_through_status(found):
        return name, frozenset()
    try:
        entries = json.loads((metadata.get("annotations") or {}).get(NETWORK_STATUS, "[]"))
    except (ValueError, RecursionError):
        entries = []
    entries = entries if isinstance(entries, list) else []
    macs = (each.get("mac") for each in entries if isinstance(each, dict))
    return name, frozenset(mac.lower() for mac in macs if isinstance(mac, str))
