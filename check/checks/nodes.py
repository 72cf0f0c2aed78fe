"""Are nodes fit for Multus pods?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from check.checks.enis import ENIS
from check.checks.node_networks import HOST, NETWORKS
from check.checks.prefix_networks import PREFIXES
from check.cluster import Cluster
from check.model import (
    NODE_STATUS,
    NotApplicable,
    Resource,
    Verdict,
    as_objects,
    count,
    is_ready,
    node_name,
    text_of,
    why_down,
)
from check.results import Check, Problem, one_line
from check.shell_commands import (
    describe_pods_command,
    helm_upgrade_command,
    logs_command,
    node_status_command,
)
from common.agent_settings import Backend
from common.object_fields import as_map

LONGEST_SILENCE = 600
"""Seconds: the API server ends a watch sooner, and the agent lists the pods again."""
LONGEST_REST = 200
"""Seconds between two requests by a silent NodeAttachment, for each that is silent: 20, and nine times 20."""


def _agents(cluster: Cluster) -> Iterator[str | Problem]:
    found = cluster.required_installation()
    if found.node_agent is None:
        if found.backend is Backend.NODE:
            text = "pods' agents ask the node agent (agent.backend), and there is no DaemonSet of node agents"
            yield Problem(text, helm_upgrade_command(cluster))
            return
        raise NotApplicable("no node agents are installed (backend direct)")
    if not cluster.nodes_with_pods or cluster.is_hidden("Pod", found.namespace):
        yield from _unready(cluster, found.node_agent)
        return
    there: dict[str, list[Resource]] = defaultdict(list)
    for pod in found.pods_of("node-agent"):
        there[node_name(pod)].append(pod)
    ready = {node for node, pods in there.items() if any(map(is_ready, pods))}
    for node in cluster.nodes_with_pods:
        if node not in ready and node not in cluster.exempt_nodes:
            text = f"{node} has Multus pods and no node agent that is ready{why_down(there[node])}"
            yield Problem(text, describe_pods_command(found.namespace, "node-agent", node))


def _unready(cluster: Cluster, agents: Resource) -> Iterator[Problem]:
    """Before the first pod, too: it would wait. Of agents that the user may not see their DaemonSet tells."""
    status = agents.status
    ready, wanted = count(status.get("numberReady")), count(status.get("desiredNumberScheduled"))
    if ready + cluster.count_exempt(agents) < wanted:
        pods = cluster.installation.pods_of("node-agent")
        why = why_down(pod for pod in pods if node_name(pod) not in cluster.exempt_nodes)
        text = f"DaemonSet {agents.key}: ready on {ready} of {wanted} nodes{why}"
        yield Problem(text, describe_pods_command(agents.namespace, "node-agent"))


def _watch(cluster: Cluster) -> Iterator[Problem]:
    for node, status in sorted(cluster.snapshot.node_statuses.items()):
        age = status.get("watchAgeSeconds")
        if age is None or (isinstance(age, int | float) and age > LONGEST_SILENCE):
            since = "yet" if age is None else f"for {age:g} s"
            text = f"{node}: its node agent has received nothing from the API server {since}"
            yield Problem(text, logs_command(cluster, node))


def _silences(cluster: Cluster) -> Iterator[Problem]:
    for node, status in sorted(cluster.snapshot.node_statuses.items()):
        attachments = sum(each.spec.get("node") == node for each in cluster.all("NodeAttachment"))
        silent = as_objects(status.get("unanswered"))
        longest = max(LONGEST_SILENCE, LONGEST_REST * max(len(silent), attachments))
        for each in silent:
            since, last = count(each.get("sinceSeconds")), count(each.get("lastSeconds"))
            # By a NodeAttachment whose pods have gone nothing may have been asked for since.
            if last <= longest:
                what = f"{each.get('nodeAttachment')}: {one_line(text_of(each.get('text')))}"
                text = f"{node}: no answer since {since} s ago, asked last {last} s ago, by {what}"
                yield Problem(text, node_status_command(cluster, node))


def _leaks(cluster: Cluster) -> Iterator[Problem]:
    for node, status in sorted(cluster.snapshot.node_statuses.items()):
        leaked = as_objects(as_map(status.get("garbageCollection")).get("leaked"))
        for each in leaked:
            text = f"{node}: {each.get('address')} on {each.get('eni')}: {each.get('text')}"
            yield Problem(text, node_status_command(cluster, node))


NODES = (
    *ENIS,
    Check(
        "nodes-agents",
        "node agents are ready where Multus pods are",
        "read kubectl describe and the logs of the node agent: taints, Pod Security or a port in use",
        _agents,
        needs=("DaemonSet", "Pod"),
    ),
    Check(
        "nodes-watch",
        "node agents receive their pods from the API server",
        "read the logs of that node agent: RBAC, or the path from its node to the API server",
        _watch,
        Verdict.WARNING,
        needs=(NODE_STATUS,),
    ),
    Check(
        "nodes-controller",
        "the controller answers node agents",
        "does a replica of the controller lead (kubectl get lease -A)? If so, its log says why: write-failed",
        _silences,
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
