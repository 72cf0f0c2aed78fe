"""Do pods get their interfaces from Multus?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from check.cluster import NO_MASTER, Cluster
from check.results import Check, Problem, listed, one_line
from check.shell_commands import describe_command

LIST_NETWORKS = "kubectl get network-attachment-definitions.k8s.cni.cncf.io -A"
NO_ADDRESS = "Could not allocate IP in range"
"""What whereabouts says of a range without a free address."""
LIST_RESERVATIONS = (
    "kubectl get ippools.whereabouts.cni.cncf.io -A -o "
    """jsonpath='{range .items[*]}{.spec.range}{"\\t"}{.spec.allocations.*.podref}{"\\n"}{end}'"""
)
"""The pods for which each range of whereabouts has reserved addresses."""


def _networks(cluster: Cluster) -> Iterator[Problem]:
    there = {network.key for network in cluster.networks}
    missing: dict[str, list[str]] = defaultdict(list)
    for key, each in cluster.explanations.items():
        for network in dict.fromkeys((network.namespace, network.name) for network in each.networks):
            name = "/".join(network)
            if name not in there and not cluster.is_hidden("NetworkAttachmentDefinition", network[0]):
                missing[name].append(key)
    for name, pods in missing.items():
        same = [key for key in there if key.rpartition("/")[2] == name.rpartition("/")[2]]
        hint = f"; there is {listed(same)}: write its namespace into the annotation" if same else ""
        text = f"{listed(pods)}: there is no NetworkAttachmentDefinition {name}{hint}"
        yield Problem(text, LIST_NETWORKS)


def _sandboxes(cluster: Cluster) -> Iterator[Problem]:
    for pod, message in cluster.unattached():
        # A missing master and a missing network have checks of their own.
        if not NO_MASTER.search(message) and "cannot find a network-attachment" not in message:
            # What failed stands at the end, after all the programs through which it went.
            text = f"{pod.key}: {one_line(message.rpartition('error adding container to network ')[2])}"
            yield Problem(
                text, LIST_RESERVATIONS if NO_ADDRESS in message else describe_command("Pod", pod.key)
            )


NETWORKS = Check(
    "pods-networks",
    "the networks that pods name exist",
    "correct the annotation k8s.v1.cni.cncf.io/networks, or create the network",
    _networks,
    needs=("Pod", "NetworkAttachmentDefinition"),
    pre=True,
)
SANDBOXES = Check(
    "pods-sandboxes",
    "Multus attaches pods",
    "the message comes from Multus or a CNI plugin; if a range has no free address, enlarge it, or free what "
    "is reserved for pods that are gone",
    _sandboxes,
    needs=("Event", "Pod"),
    pre=True,
)
