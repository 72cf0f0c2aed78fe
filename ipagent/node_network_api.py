"""The API of node networks: names that the controller, the DaemonSet and its `links` container share.

`charts/multus-eni-injector/files/crds/` has the schemas. A NodeNetwork says what every selected node
gets; a NodeAttachment is one node's ENI of one network.

The wire between controller and `links`: the controller writes `spec.link` and, once the ENI is attached,
`status.mac`; `links` finds the interface by that MAC and applies `status.link` with LINKS_MANAGER. The MAC in
`status.link` says which ENI the report is about: a report about a former one does not count.

For a network of prefixes the controller also writes `spec.addresses`, `status.cidrs` and `status.prefixes`;
`links` writes the CNI configuration and applies `status.pool`: which prefixes it hands out, and how many
addresses of each pods have. A prefix is unassigned only once a report says that nobody can get or has one.
Where `spec.reportPods` is true, the node agent applies `status.pods` with NODE_MANAGER: what the node's pods
have of the ENI. From that and from what EC2 shows the controller computes the node's capacity.

With the backend `central` the node agent applies `status.requests`, the calls to EC2 that it asks for, and
the controller `status.responses`; `ipagent/call_relay.py` describes both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

GROUP = "multus-eni.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
NETWORKS = f"/apis/{GROUP}/{VERSION}/nodenetworks"
ATTACHMENTS = f"/apis/{GROUP}/{VERSION}/nodeattachments"


class AddressMode(StrEnum):
    """`spec.addresses.mode` of a NodeNetwork: how its pods' addresses get on the ENI."""

    ASSIGN = "Assign"
    """One by one, as secondary addresses, when a pod has them."""
    PREFIXES = "Prefixes"
    """In prefixes that the controller gives the ENI before pods come."""


Value = TypeVar("Value", bound=StrEnum)


def known(enumeration: type[Value], value: object, default: Value) -> Value:
    """Return a field's value; the default where it is not there, or has a value of a later release."""
    return next((each for each in enumeration if each == value), default)


CONTROLLER_MANAGER = "multus-eni-controller"
"""Field manager of the controller (server-side apply)."""
LINKS_MANAGER = "multus-eni-links"
"""Field manager of `status.link`."""
NODE_MANAGER = "multus-eni-node-agent"
"""Field manager of `status.pods`."""

NODE_LABEL = "multus-eni.io/node"
"""Label of a NodeAttachment, by which a node finds its own; the value is `label_value` of the node's name."""
NETWORK_LABEL = "multus-eni.io/network"
NETWORK_ANNOTATION = NETWORK_LABEL
"""Of a NetworkAttachmentDefinition: the NodeNetwork that its pods' interfaces are in."""
HOST_ADDRESS = "HostHasPodAddress"
"""Reason of the condition LinkReady: the interface works, but the node itself has addresses of pods."""
STANDING_BY = "StandingBy"
"""Reason of the conditions Created and Ready: other nodes have the ENIs that the node could adopt."""
LEASE = "multus-eni-controller"
"""The Lease that the controller's replicas take turns with."""
DEFINITIONS = "/apis/k8s.cni.cncf.io/v1/network-attachment-definitions"
ATTACHMENT_FINALIZER = "multus-eni.io/eni"
NETWORK_FINALIZER = "multus-eni.io/attachments"

STARTUP_TAINT = "multus-eni.io/no-interface-configured"
FULL_TAINT = "multus-eni.io/no-free-ips"
RESOURCE_PREFIX = GROUP + "/"
"""The resource of a network in nodes' capacity: `multus-eni.io/<network>`, one unit an address."""
READY_PREFIX = "network.multus-eni.io/"
"""Node label of a network that is ready on the node: `network.multus-eni.io/<network>: "true"`."""

SINGLE = ("/32", "/128")
"""How a prefix in `status.prefixes` ends that is a single secondary address, of IPv4 and of IPv6."""
MAX_LABEL = 63


def attachment_name(node: str, network: str) -> str:
    """Return the name of the NodeAttachment of a node and a network, whose name has no dot."""
    return f"{node}.{network}"


def label_value(node: str) -> str:
    """Return a node's name as a label's value; a name that is too long for one is hashed."""
    return node if len(node) <= MAX_LABEL else hashlib.sha256(node.encode()).hexdigest()[:MAX_LABEL]


def of_node(node: str) -> dict[str, str]:
    """Return the parameters by which a list or watch has the NodeAttachments of one node alone."""
    return {"labelSelector": f"{NODE_LABEL}={label_value(node)}"}


def with_status(kind: str, name: str, status: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is applied server-side: one manager's part of an object's status."""
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "status": status}
