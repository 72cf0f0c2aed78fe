"""Pods and their owners, networks and their addresses, as users write them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from common.pod_keys import NETWORKS
from tests.cluster.api import Kind, Manifest
from tests.cluster.nodes.images import BUSYBOX

NETWORK = Kind("k8s.cni.cncf.io/v1", "NetworkAttachmentDefinition")
JOB = Kind("batch/v1", "Job")
DAEMON_SET = Kind("apps/v1", "DaemonSet")
STATEFUL_SET = Kind("apps/v1", "StatefulSet")
EVENT = Kind("v1", "Event")
NODE = Kind("v1", "Node")
REPLICA_SET = Kind("apps/v1", "ReplicaSet")

SLEEP = ("sh", "-c", "echo Container 1 is Running; sleep 3600")
HOSTNAME = "kubernetes.io/hostname"
WHEREABOUTS = "/etc/cni/net.d/whereabouts.d/whereabouts.kubeconfig"


def app(*, command: Sequence[str] = SLEEP, **fields: Any) -> Manifest:
    """Make an app's container."""
    return {
        "name": "app",
        "image": BUSYBOX,
        "imagePullPolicy": "IfNotPresent",
        "command": list(command),
        **fields,
    }


def administrator(**fields: Any) -> Manifest:
    """Make an app that may change its interfaces, as keepalived does."""
    return app(securityContext={"capabilities": {"add": ["NET_ADMIN"]}}, **fields)


def template(
    networks: str | Sequence[Mapping[str, Any]] = "",
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    node: str = "",
    **spec: Any,
) -> Manifest:
    """Make what a pod and a pod template have in common: `networks` is Multus's annotation.

    `node` is the only one that it may run on; the rest is added to the spec.
    """
    written = networks if isinstance(networks, str) else json.dumps(networks)
    noted = ({NETWORKS: written} if written else {}) | dict(annotations or {})
    chosen = {"nodeSelector": {HOSTNAME: node}} if node else {}
    return {
        "metadata": {"labels": dict(labels or {}), "annotations": noted},
        # A shell as the first process does not hear SIGTERM.
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [app()], **chosen, **spec},
    }


def spread(name: str) -> list[Manifest]:
    """Make the constraints that put as many pods of an owner on one node as on another; one waits otherwise.

    Without them the scheduler only prefers that.
    """
    pods = {"labelSelector": {"matchLabels": {"app": name}}}
    return [{"maxSkew": 1, "topologyKey": HOSTNAME, "whenUnsatisfiable": "DoNotSchedule", **pods}]


def pod(name: str, described: Manifest) -> Manifest:
    """Make a pod as a template describes it."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, **described["metadata"]},
        "spec": described["spec"],
    }


def deployment(name: str, replicas: int, described: Manifest, **spec: Any) -> Manifest:
    """Make a Deployment of pods as a template describes them; `app` is their label."""
    return _owner("apps/v1", "Deployment", name, described, replicas=replicas, **spec)


def daemon_set(name: str, described: Manifest) -> Manifest:
    """Make a DaemonSet."""
    return _owner("apps/v1", "DaemonSet", name, described)


def stateful_set(name: str, replicas: int, described: Manifest) -> Manifest:
    """Make a StatefulSet, whose pods are named by number."""
    return _owner("apps/v1", "StatefulSet", name, described, replicas=replicas, serviceName=name)


def job(name: str, described: Manifest) -> Manifest:
    """Make a Job of one pod that is not tried again."""
    described["spec"]["restartPolicy"] = "Never"
    described["metadata"]["labels"] = {**described["metadata"]["labels"], "app": name}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": described},
    }


def _owner(version: str, kind: str, name: str, described: Manifest, **spec: Any) -> Manifest:
    described["metadata"]["labels"] = {**described["metadata"]["labels"], "app": name}
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": described, **spec},
    }


def network(name: str, kind: str, ipam: Mapping[str, Any], **fields: Any) -> Manifest:
    """Make a NetworkAttachmentDefinition: one CNI plugin with its IPAM, such as ipvlan on a master."""
    config = {"cniVersion": "0.3.1", "type": kind, **fields, "ipam": dict(ipam)}
    return {
        "apiVersion": NETWORK.api_version,
        "kind": NETWORK.kind,
        "metadata": {"name": name},
        "spec": {"config": json.dumps(config)},
    }


def ipvlan(name: str, master: str, ipam: Mapping[str, Any], **fields: Any) -> Manifest:
    """Make a network of the usual kind: ipvlan in mode L2 on one of the node's ENIs."""
    return network(name, "ipvlan", ipam, master=master, mode="l2", **fields)


def whereabouts(*ranges: str, **fields: Any) -> Manifest:
    """Make an IPAM for the whole cluster, with ranges such as `10.10.1.80-10.10.1.82/24`."""
    return {
        "type": "whereabouts",
        "kubernetes": {"kubeconfig": WHEREABOUTS},
        "ipRanges": [{"range": each} for each in ranges],
        **fields,
    }


def host_local(*ranges: Mapping[str, str]) -> Manifest:
    """Make an IPAM that hands out addresses by node: each range has a subnet, a rangeStart and a rangeEnd."""
    return {"type": "host-local", "ranges": [[dict(each)] for each in ranges]}


def static(*addresses: str) -> Manifest:
    """Make an IPAM of fixed addresses with their prefix length; none if the pod names them itself."""
    return {"type": "static", "addresses": [{"address": each} for each in addresses]}
