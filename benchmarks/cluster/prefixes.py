"""A network of prefixes on the cluster of this benchmark, and its pods."""

from __future__ import annotations

import itertools
import platform
from typing import Any

from benchmarks.cluster.figures import BARE_PYTHON, INIT, NO_OP
from common.pod_keys import INJECTION
from tests.cluster.api import Manifest
from tests.cluster.helm import merged
from tests.cluster.nodes.images import AGENT
from tests.cluster.nodes.story import Story
from tests.cluster.nodes.story_controller import NodeNetworks, account, node_network, values
from tests.cluster.nodes.story_release import Release
from tests.cluster.nodes.workloads import NETWORK, pod, template
from webhook.core.container import restricted

NAME = "oam"
LABELS = {"node-group": "multus"}
LOADERS = {"x86_64": "/lib64/ld-linux-x86-64.so.2", "aarch64": "/lib/ld-linux-aarch64.so.1"}
"""The dynamic loader: the only program of the agent's image beside Python, by machine."""
RESTRICTED = {"securityContext": restricted()}
"""Fields of what is compared with the agent's container: the runtime's work for a seccomp profile shows."""
_numbers = itertools.count(1)


def rights() -> dict[str, Any]:
    """Return the doubles' account: the controller's key, and a role that may do everything, as by default."""
    return {key: value for key, value in account().items() if key != "roles"}


def set_up(release: Release, story: Story, node: str) -> None:
    """Have the release run the controller and node agents, and make the network on one node."""
    cluster = story.cluster
    quiet = {"nodeAgent": {"prefixes": {"enabled": True}, "gc": {"mode": "off"}}}
    with cluster.plugger(link_delay=0.2):
        release.upgrade(merged(values(cluster), quiet))
        cluster.kubectl("label", "node", node, *(f"{key}={value}" for key, value in LABELS.items()))
        cluster.api.apply(
            node_network(
                NAME,
                LABELS,
                subnetSelectorTerms=[{"tags": {"multus": "subnet1"}}],
                securityGroupSelectorTerms=[{"tags": {"multus": "own"}}],
                addresses={"mode": "Prefixes", "prefixes": {"ipv4": 1, "maxIPv4": 1}},
            )
        )
        NodeNetworks(cluster, "").wait_condition(f"{node}.{NAME}", "Ready")
    story.apply(
        {
            "apiVersion": NETWORK.api_version,
            "kind": NETWORK.kind,
            "metadata": {"name": NAME, "annotations": {"multus-eni.io/network": NAME}},
            "spec": {},
        }
    )


def described(variant: str, node: str) -> Manifest:
    """Make a pod on the network of prefixes; the no-op is a program of the agent's image."""
    commands = {
        NO_OP: [LOADERS[platform.machine()], "--version"],
        BARE_PYTHON: ["/usr/bin/python3", "-IS", "-c", "pass"],
    }
    if variant == INIT:
        return pod(new_name(), template(NAME, node=node))
    container = {"name": "no-op", "image": AGENT, "command": commands[variant], **RESTRICTED}
    out = {INJECTION: "disabled"}
    return pod(new_name(), template(NAME, labels=out, initContainers=[container], node=node))


def new_name() -> str:
    """Return a name that no pod of this run has."""
    return f"pod-{next(_numbers)}"
