"""Do pods find the configurations that the nodes have for networks of prefixes?"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from check.cluster import Cluster
from check.model import Resource, as_objects, pod_spec, text_of
from check.results import Check, Problem
from check.shell_commands import copy_command, helm_upgrade_command
from common.object_fields import as_list, as_map
from ipagent.node_network_api import NETWORK_LABEL, AddressMode

OPTION = "--cni-conf-dir="
MULTUS_CONFIG = "kube-system/multus-daemon-config"
"""Of thick Multus, in upstream's manifest and in EKS's."""
MULTUS_DEFAULT = "/etc/cni/multus/net.d"
"""Where upstream's manifests let Multus look on the node (multus-cni, "Configuration reference", confDir)."""
HOST_MOUNTS = ("/hostroot", "/host")
"""Where thick Multus's pods have the node's files."""

_FOLDER = re.compile(r"(/[A-Za-z0-9._-]+)+")
"""A path that `--set` reads as it is."""


def _networks(cluster: Cluster) -> Iterator[Problem]:
    names = sorted(
        each.name
        for each in cluster.all("NodeNetwork")
        if as_map(each.spec.get("addresses")).get("mode") == AddressMode.PREFIXES
        # The NetworkAttachmentDefinitions of whereabouts have their configuration themselves.
        and each.name not in cluster.prefix_pools
    )
    if not names:
        return
    folder = _written(cluster.required_installation().node_agent)
    read = _read_by_multus(cluster)
    if not folder:
        text = f"NodeNetwork {names[0]} has prefixes, and nodeAgent.prefixes.enabled is not set"
        yield Problem(text, helm_upgrade_command(cluster, "nodeAgent.prefixes.enabled=true"))
    elif read and read != folder:
        text = f"links writes into {folder}, and Multus reads {read} (ConfigMap {MULTUS_CONFIG}, confDir)"
        value = f"nodeAgent.prefixes.cniConfDir={read}"
        yield Problem(text, helm_upgrade_command(cluster, value) if _FOLDER.fullmatch(read) else "")
    there = {each.key for each in cluster.all("NetworkAttachmentDefinition")}
    for each in cluster.scoped("NetworkAttachmentDefinition"):
        network = each.annotations.get(NETWORK_LABEL)
        if network in names and not each.spec.get("config") and each.name != network:
            text = (
                f"{each.key} has an empty spec and is not called {network}: Multus looks for the nodes' "
                f"configuration by the name {each.name}"
            )
            right = f"{each.namespace}/{network}"
            if right in there:
                # No command: what will come to name it, such as a CronJob's pods, is not seen here.
                yield Problem(f"{text}. There is {right}: name it in the pods, then delete {each.key}")
            else:
                yield Problem(text, copy_command(each, namespace=each.namespace, name=network))


def _written(agent: Resource | None) -> str:
    """Return the folder that the DaemonSet's container links writes into, empty if it writes none."""
    containers = as_objects(pod_spec(agent).get("containers")) if agent else []
    arguments = (text_of(each) for container in containers for each in as_list(container.get("args")))
    return next((each.removeprefix(OPTION) for each in arguments if each.startswith(OPTION)), "")


def _read_by_multus(cluster: Cluster) -> str:
    """Return the node's folder that Multus reads; empty of thin Multus, which has a file on the node."""
    found = next((each for each in cluster.all("ConfigMap") if each.key == MULTUS_CONFIG), None)
    if found is None:
        return ""
    try:
        config = json.loads(text_of(as_map(found.body.get("data")).get("daemon-config.json")) or "{}")
    except (ValueError, RecursionError):
        return ""
    folder = text_of(as_map(config).get("confDir")) or MULTUS_DEFAULT
    mount = next((each for each in HOST_MOUNTS if folder.startswith(f"{each}/")), "")
    return folder.removeprefix(mount)


PREFIXES = Check(
    "nodes-prefixes",
    "pods find the nodes' configurations of networks with prefixes",
    "set nodeAgent.prefixes.enabled and cniConfDir; give the NetworkAttachmentDefinition the network's name",
    _networks,
    needs=("NodeNetwork", "NetworkAttachmentDefinition", "DaemonSet", "ConfigMap"),
)
