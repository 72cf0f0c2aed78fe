"""What selectors select: objects by their labels, nodes for a workload's pods, pods by a quota's scopes."""

from __future__ import annotations

from collections.abc import Mapping

from check.model import Object, Resource, as_objects, pod_spec
from common.object_fields import as_list, as_map


def selects(selector: Object, labels: Mapping[str, str]) -> bool:
    """Return whether a label selector (meta/v1 LabelSelector) selects an object; an empty one selects all."""
    wanted = as_map(selector.get("matchLabels"))
    return _have(labels, wanted) and _expressions_hold(selector, labels)


def may_run_on(workload: Resource, node: Resource) -> bool:
    """Return whether a workload's pods may be on a node by its labels, whatever its taints."""
    spec = pod_spec(workload)
    affinity = as_map(as_map(spec.get("affinity")).get("nodeAffinity"))
    required = as_map(affinity.get("requiredDuringSchedulingIgnoredDuringExecution"))
    terms = as_objects(required.get("nodeSelectorTerms"))
    return _have(node.labels, as_map(spec.get("nodeSelector"))) and (
        not terms or any(_expressions_hold(term, node.labels) for term in terms)
    )


def quota_scopes(quota: Resource) -> list[Object]:
    """Return the scopes of a ResourceQuota, which counts the pods that are in all of them."""
    bare = [{"scopeName": each, "operator": "Exists"} for each in as_list(quota.spec.get("scopes"))]
    return [*bare, *as_objects(as_map(quota.spec.get("scopeSelector")).get("matchExpressions"))]


def is_in_scope(pod: Resource, scope: Object) -> bool:
    """Return whether a pod is in a scope of a quota (kubernetes/pkg/quota, podMatchesScopeFunc)."""
    terminating = pod.spec.get("activeDeadlineSeconds") is not None
    best_effort = pod.status.get("qosClass") == "BestEffort"
    priority = pod.spec.get("priorityClassName")
    match scope.get("scopeName"):
        case "Terminating" | "NotTerminating" as name:
            return terminating is (name == "Terminating")
        case "BestEffort" | "NotBestEffort" as name:
            return best_effort is (name == "BestEffort")
        case "PriorityClass" as name:
            return _holds({**scope, "key": name}, {name: str(priority)} if priority else {})
        case _:
            # CrossNamespacePodAffinity, which concerns few pods, and those of later releases.
            return False


def _have(labels: Mapping[str, str], wanted: Object) -> bool:
    return all(labels.get(key) == value for key, value in wanted.items())


def _expressions_hold(selector: Object, labels: Mapping[str, str]) -> bool:
    return all(_holds(each, labels) for each in as_objects(selector.get("matchExpressions")))


def _holds(expression: Object, labels: Mapping[str, str]) -> bool:
    key, values = str(expression.get("key")), as_list(expression.get("values"))
    match expression.get("operator"):
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case _:
            # Gt and Lt, of nodes alone.
            return True
