"""Are nodes fit for Multus pods?"""

from __future__ import annotations

from collections.abc import Iterator

from check.checks.enis import ENIS
from check.checks.node_networks import HOST, NETWORKS
from check.checks.prefix_networks import PREFIXES
from check.model import NODE_STATUS, NotApplicable, Verdict, is_ready, mapping, node_name, objects
from check.results import Check
from check.views import Cluster
from common.agent_settings import Backend

LONGEST_SILENCE = 600
"""Seconds: the API server ends a watch sooner, and the agent lists the pods again."""


def _agents(cluster: Cluster) -> Iterator[str]:
    found = cluster.required_installation()
    if found.node_agent is None:
        if found.backend is Backend.NODE:
            yield "agent.backend is node, and there is no DaemonSet of node agents"
            return
        raise NotApplicable("no node agents are installed (backend direct)")
    ready = {node_name(pod) for pod in found.pods_of("node-agent") if is_ready(pod)}
    for node in cluster.nodes_with_pods:
        if node not in ready and node not in cluster.unready_nodes:
            yield f"{node} has Multus pods and no node agent that is ready"


def _watch(cluster: Cluster) -> Iterator[str]:
    for node, status in sorted(cluster.snapshot.node_statuses.items()):
        age = status.get("watchAgeSeconds")
        if age is None or (isinstance(age, int | float) and age > LONGEST_SILENCE):
            since = "yet" if age is None else f"for {age:g} s"
            yield f"{node}: its node agent has received nothing from the API server {since}"


def _leaks(cluster: Cluster) -> Iterator[str]:
    for node, status in sorted(cluster.snapshot.node_statuses.items()):
        leaked = objects(mapping(status.get("garbageCollection")).get("leaked"))
        for each in leaked:
            yield f"{node}: {each.get('address')} on {each.get('eni')}: {each.get('text')}"


NODES = (
    *ENIS,
    Check(
        "nodes-agents",
        "node agents are ready where Multus pods are",
        "kubectl describe pod, and logs, of the node agent: taints, Pod Security or a port in use",
        _agents,
        needs=("DaemonSet", "Pod"),
    ),
    Check(
        "nodes-watch",
        "node agents receive their pods from the API server",
        "kubectl logs of that node agent: RBAC, or a NetworkPolicy that blocks its way to the API server",
        _watch,
        Verdict.WARNING,
        needs=(NODE_STATUS,),
    ),
    Check(
        "nodes-leaks",
        "no leaked addresses are on ENIs",
        "set nodeAgent.gc.mode to on, or free them: ipagent release ADDRESS --eni ENI",
        _leaks,
        Verdict.WARNING,
        needs=(NODE_STATUS,),
    ),
    NETWORKS,
    PREFIXES,
    HOST,
)
