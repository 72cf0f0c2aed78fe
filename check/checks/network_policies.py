"""Do NetworkPolicies let the agent out of its pod?"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterator

from check.cluster import Cluster
from check.model import Object, Resource, Verdict, as_objects
from check.results import Check, Problem
from check.selectors import selects
from check.shell_commands import edit_command
from common.agent_settings import Backend
from common.object_fields import as_list, as_map

IMDS = "169.254.169.254"
IMDS_PORT = 80


def _network_policies(cluster: Cluster) -> Iterator[Problem]:
    found = cluster.injector()
    backend = found.backend
    port = found.settings.agent.node_port if found.settings else 0
    by_namespace: dict[str, list[Resource]] = defaultdict(list)
    for policy in cluster.all("NetworkPolicy"):
        by_namespace[policy.namespace].append(policy)
    for pod in cluster.served_pods:
        policies = [each for each in by_namespace.get(pod.namespace, ()) if _governs(each, pod)]
        if not policies:
            continue
        host = str(pod.status.get("hostIP") or "")
        target, number = (host, port) if backend is Backend.NODE else (IMDS, IMDS_PORT)
        if target and not any(_allows(rule, target, number) for each in policies for rule in _egress(each)):
            what = "the node agent" if backend is Backend.NODE else "IMDS"
            names = ", ".join(each.name for each in policies)
            where = _target(backend, target, number)
            text = f"namespace {pod.namespace}: NetworkPolicy {names} keeps pods from {what} ({where})"
            yield Problem(text, edit_command("NetworkPolicy", policies[0].key))


def _target(backend: Backend, target: str, port: int) -> str:
    return f"TCP {port} of their nodes" if backend is Backend.NODE else f"{target} TCP {port}"


def _governs(policy: Resource, pod: Resource) -> bool:
    if "Egress" not in as_list(policy.spec.get("policyTypes")):
        return False
    return selects(as_map(policy.spec.get("podSelector")), pod.labels)


def _egress(policy: Resource) -> list[Object]:
    return as_objects(policy.spec.get("egress"))


def _allows(rule: Object, target: str, port: int) -> bool:
    ports, peers = as_objects(rule.get("ports")), as_objects(rule.get("to"))
    return (not ports or any(_port_matches(each, port) for each in ports)) and (
        not peers or any(_block_contains(as_map(each.get("ipBlock")), target) for each in peers)
    )


def _port_matches(rule: Object, port: int) -> bool:
    if rule.get("protocol", "TCP") != "TCP":
        return False
    first = rule.get("port")
    last = rule.get("endPort", first)
    return first is None or (isinstance(first, int) and isinstance(last, int) and first <= port <= last)


def _block_contains(block: Object, target: str) -> bool:
    try:
        address = ipaddress.ip_address(target)
        inside = address in ipaddress.ip_network(str(block.get("cidr")), strict=False)
        excepted = [ipaddress.ip_network(str(each), strict=False) for each in as_list(block.get("except"))]
    except ValueError:
        return False
    return inside and not any(address in each for each in excepted)


NETWORK_POLICIES = Check(
    "namespaces-network-policies",
    "NetworkPolicies let the agent out",
    "allow that egress: with the backend direct IMDS and EC2, else TCP to nodeAgent.port of the nodes",
    _network_policies,
    Verdict.WARNING,
    needs=("Namespace", "NetworkPolicy", "Pod", "ConfigMap"),
)
