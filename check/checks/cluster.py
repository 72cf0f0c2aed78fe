"""Is the cluster one in which Multus can give pods networks?"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from itertools import combinations

from check.cluster import NO_MASTER, Cluster
from check.installation import PART_OF, PROJECT
from check.model import NotApplicable, Resource, Verdict, as_objects, count, pod_spec, text_of
from check.net_attach_defs import HOST_LOCAL, WHEREABOUTS, Network
from check.pod_status import addresses_of
from check.results import Check, Problem, listed
from check.shell_commands import describe_command, edit_command

OLDEST = (1, 30)
"""`kubeVersion` of the chart."""
MULTUS_CONTAINER = "kube-multus"
"""In the manifests of Multus (thin and thick), EKS and OpenShift."""

_MULTUS_IMAGE = re.compile(r"[a-z0-9._-]*multus(-cni)?([:@]|$)")
"""Multus itself, not what goes with it (multus-networkpolicy, multus-dynamic-networks-controller)."""
_VERSION = re.compile(r"v?([0-9]{1,3})\.([0-9]{1,3})")


def _version(cluster: Cluster) -> Iterator[str]:
    if not cluster.snapshot.version:
        raise NotApplicable(
            "the API server's version is not known: add `kubectl version -o yaml` to the dump"
        )
    found = _VERSION.match(cluster.snapshot.version)
    if found is None or (int(found[1]), int(found[2])) < OLDEST:
        yield f"the API server is {cluster.snapshot.version}, older than {'.'.join(map(str, OLDEST))}"


def _multus(cluster: Cluster) -> Iterator[str | Problem]:
    if "NetworkAttachmentDefinition" in cluster.snapshot.unserved:
        yield "the API server does not know NetworkAttachmentDefinitions: Multus is not installed"
        return
    found = [each for each in cluster.all("DaemonSet") if _is_multus(each)]
    for each in found:
        ready, wanted = (
            count(each.status.get("numberReady")),
            count(each.status.get("desiredNumberScheduled")),
        )
        if ready + cluster.count_exempt(each) < wanted:
            text = f"DaemonSet {each.key}: ready on {ready} of {wanted} nodes"
            yield Problem(text, describe_command("DaemonSet", each.key))
    # Some install it with the node's image.
    if not found and not any(addresses_of(pod) for pod in cluster.all("Pod")):
        yield (
            "there is no DaemonSet of Multus, and no pod that Multus has attached yet: if nodes have it in "
            "their image, the first pod shows whether it works"
        )


def _is_multus(daemon_set: Resource) -> bool:
    if daemon_set.labels.get(PART_OF) == PROJECT:
        return False
    containers = as_objects(pod_spec(daemon_set).get("containers"))
    names = {text_of(each.get("name")) for each in containers}
    images = [text_of(each.get("image")).rpartition("/")[2] for each in containers]
    # OpenShift's images are called by their digests alone.
    return MULTUS_CONTAINER in names or any(_MULTUS_IMAGE.match(image) for image in images)


def _readable(cluster: Cluster) -> Iterator[str | Problem]:
    for network in cluster.networks:
        if network.problem:
            yield _of_network(network, network.problem)


def _plugin(cluster: Cluster) -> Iterator[str | Problem]:
    for network in cluster.networks:
        if network.has_own_mac:
            yield _of_network(network, f"{network.plugin} gives pods a MAC that no ENI has")


def _master(cluster: Cluster) -> Iterator[str | Problem]:
    found = False
    for pod, message in cluster.unattached():
        if missing := NO_MASTER.search(message):
            found = True
            text = (
                f"pod {pod.key}: {pod.spec.get('nodeName', 'its node')} has no interface {missing[1]!r}"
                f"{_named_by(missing[1], cluster.networks)}"
            )
            yield Problem(text, describe_command("Pod", pod.key))
    if not found:
        raise NotApplicable(
            "no pod has failed because one is missing, and nodes do not show their interfaces"
        )


def _named_by(master: str, networks: Iterable[Network]) -> str:
    names = [network.key for network in networks if network.master == master]
    return f", the master of {', '.join(names)}" if names else ""


def _allowed(cluster: Cluster) -> Iterator[str | Problem]:
    settings = cluster.required_installation().settings
    if settings is None or not settings.agent.allowed_cidrs:
        raise NotApplicable("agent.allowedCIDRs is not set")
    allowed = [ipaddress.ip_network(each) for each in settings.agent.allowed_cidrs]
    for network in cluster.vpc_networks:
        for each in network.ranges:
            if not any(each.within(cidr) for cidr in allowed):
                allowed_ones = ", ".join(settings.agent.allowed_cidrs)
                yield _of_network(network, f"{each.text} is not within agent.allowedCIDRs ({allowed_ones})")


def _overlaps(cluster: Cluster) -> Iterator[str | Problem]:
    ranges = [(network, each) for network in cluster.vpc_networks for each in network.ranges]
    for (one, first), (other, second) in combinations(ranges, 2):
        if one.key != other.key and one.allocator != other.allocator and first.overlaps(second):
            text = f"{one.key} ({first.text}) and {other.key} ({second.text}) hand out the same addresses"
            yield Problem(text, edit_command("NetworkAttachmentDefinition", other.key))


def _per_node(cluster: Cluster) -> Iterator[str | Problem]:
    if len(cluster.all("Node")) < 2:
        return
    for network in cluster.vpc_networks:
        if network.ranges and network.ipam.get("type") == HOST_LOCAL:
            ranges = ", ".join(each.text for each in network.ranges)
            yield _of_network(network, f"host-local hands out {ranges} on each node independently")


def _slices(cluster: Cluster) -> Iterator[str | Problem]:
    sliced = [
        network
        for network in cluster.networks
        if network.ipam.get("type") == WHEREABOUTS and network.ipam.get("node_slice_size")
    ]
    if not sliced:
        raise NotApplicable("no network uses whereabouts with node slices")
    pools = {pool.name: pool for pool in cluster.all("NodeSlicePool")}
    nodes = {node.name for node in cluster.all("Node") if not node.spec.get("unschedulable")}
    nodes -= cluster.exempt_nodes
    for network in sliced:
        pool = pools.get(network.pool)
        allocations = as_objects(pool.status.get("allocations")) if pool else []
        held = {str(each.get("nodeName")) for each in allocations if each.get("nodeName")}
        if without := (nodes & cluster.prefix_pools.get(network.pool, nodes)) - held:
            text = f"{network.key}: whereabouts has no slice of the range for {listed(without, 5)}"
            yield Problem(text, "kubectl get nodeslicepools.whereabouts.cni.cncf.io -A -o yaml")


def _of_network(network: Network, text: str) -> Problem:
    return Problem(f"{network.key}: {text}", edit_command("NetworkAttachmentDefinition", network.key))


_NAD = ("NetworkAttachmentDefinition",)

CLUSTER = (
    Check(
        "cluster-version",
        "the API server is new enough",
        "update the cluster: the chart needs Kubernetes 1.30",
        _version,
        pre=True,
    ),
    Check(
        "cluster-multus",
        "Multus is there and ready",
        "install Multus, or find out why its pods are not ready: kubectl describe daemonset",
        _multus,
        needs=("DaemonSet",),
        pre=True,
    ),
    Check(
        "cluster-networks",
        "networks can be read",
        "correct spec.config of that NetworkAttachmentDefinition: Multus fails every pod that names it",
        _readable,
        needs=_NAD,
        pre=True,
    ),
    Check(
        "cluster-plugin",
        "networks use the ENI's MAC",
        'use "type": "ipvlan" or "host-device": the VPC delivers to an ENI\'s own MAC only',
        _plugin,
        Verdict.WARNING,
        needs=_NAD,
        pre=True,
    ),
    Check(
        "cluster-master",
        "nodes have the networks' master interfaces",
        "name an interface that every node has, or attach the ENI to the nodes that lack it",
        _master,
        needs=("Event", "Pod"),
        pre=True,
    ),
    Check(
        "cluster-allowed-ranges",
        "networks' ranges are allowed",
        "correct the range, or add it to agent.allowedCIDRs: other addresses are refused (exit code 16)",
        _allowed,
        needs=(*_NAD, "ConfigMap"),
    ),
    Check(
        "cluster-overlaps",
        "networks' ranges do not overlap",
        "give each network a range of its own, or let one whereabouts pool serve both",
        _overlaps,
        Verdict.WARNING,
        needs=_NAD,
        pre=True,
    ),
    Check(
        "cluster-host-local",
        "one IPAM serves all nodes",
        "use whereabouts, or a range for each node: else two nodes hand out one address",
        _per_node,
        Verdict.WARNING,
        needs=_NAD,
        pre=True,
    ),
    Check(
        "cluster-slices",
        "every node has its slice of whereabouts' ranges",
        "run whereabouts' node-slice-controller, or enlarge the range: without a slice every pod fails",
        _slices,
        needs=(*_NAD, "Node", "NodeSlicePool"),
        pre=True,
    ),
)
