"""Do namespaces let their pods have the agent, and the agent do its work?"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from decimal import Decimal

from check.checks.network_policies import NETWORK_POLICIES
from check.cluster import Cluster
from check.model import NotApplicable, Object, Resource, Verdict, as_objects, pod_spec
from check.results import Check, Problem, listed
from check.selectors import is_in_scope, quota_scopes
from check.shell_commands import copy_command, edit_command, shell_command
from common.agent_settings import Credentials, Mode
from common.object_fields import as_map
from common.pod_keys import CREDENTIALS, INJECTION, MODE, PREFIX, Injection
from common.quantity import parse_quantity
from webhook.core.reasons import Reason
from webhook.core.settings import Size

LABELS: Mapping[str, tuple[str, ...]] = {
    INJECTION: tuple(Injection),
    MODE: tuple(Mode),
    CREDENTIALS: tuple(Credentials),
}
"""Labels of namespaces, and their values (docs/contract.md)."""
_SWITCHES: Mapping[str, str] = {
    **dict.fromkeys(("true", "yes", "on", "1"), Injection.ENABLED),
    **dict.fromkeys(("false", "no", "off", "0"), Injection.DISABLED),
}
"""What others have in place of the values of the injection label."""
ORDINARY_SCOPES = ("NotBestEffort", "NotTerminating")
"""Scopes of quotas in which pods are that ask for nothing special."""
ENFORCE = "pod-security.kubernetes.io/enforce"
PRIVILEGED = "privileged"


def _keys(cluster: Cluster) -> Iterator[Problem]:
    for namespace in cluster.namespaces:
        for key in (*namespace.labels, *namespace.annotations):
            if key.startswith(PREFIX) and key not in LABELS:
                near = difflib.get_close_matches(key, LABELS, n=1)
                hint = f": did you mean {near[0]}?" if near else ""
                text = f"namespace {namespace.name}: {key} has no effect{hint}"
                yield Problem(text, _corrected(namespace, key, near[0] if near else ""))
        for key in sorted(namespace.annotations.keys() & LABELS.keys()):
            text = f"namespace {namespace.name}: {key} is an annotation, and has an effect only as a label"
            yield Problem(text, _moved(namespace, key))


def _moved(namespace: Resource, key: str) -> str:
    """Return the command that makes an annotation a label, or takes it off where there is such a label."""
    if key in namespace.labels:
        return shell_command("kubectl", "annotate", "namespace", namespace.name, f"{key}-")
    return _labelled(namespace, key, namespace.annotations[key])


def _corrected(namespace: Resource, key: str, near: str) -> str:
    """Return the command that renames a key, or takes it off where it is nobody's typing error."""
    if near and near not in namespace.labels:
        value = namespace.labels.get(key, namespace.annotations.get(key, ""))
        others = [f"{key}-"] if key in namespace.labels else []
        return _labelled(namespace, near, value, *others)
    verb = "label" if key in namespace.labels else "annotate"
    return shell_command("kubectl", verb, "namespace", namespace.name, f"{key}-")


def _labelled(namespace: Resource, key: str, value: str, *more: str) -> str:
    """Return the command that sets a label to what a value means, empty where that would be a guess."""
    value = value.lower()
    near = difflib.get_close_matches(_SWITCHES.get(value, value), LABELS[key], n=1)
    if not near:
        return ""
    return shell_command(
        "kubectl", "label", "namespace", namespace.name, f"{key}={near[0]}", *more, "--overwrite"
    )


def _values(cluster: Cluster) -> Iterator[Problem]:
    for namespace in cluster.namespaces:
        for key, allowed in LABELS.items():
            value = namespace.labels.get(key)
            if value is not None and value not in allowed:
                text = f"namespace {namespace.name}: {key}={value}; allowed: {', '.join(allowed)}"
                yield Problem(text, _labelled(namespace, key, value))


def _opted_in(cluster: Cluster) -> Iterator[Problem]:
    cluster.injector()
    name = cluster.scope.namespace
    if not name:
        raise NotApplicable("--namespace was not given: others may be left alone on purpose")
    left = [each.name for each in cluster.explanations.values() if each.reason is Reason.NOT_OPTED_IN]
    # A dump may be of one namespace without the object itself.
    if left and cluster.namespaces:
        label = f"{INJECTION}={Injection.ENABLED}"
        text = f"namespace {name} lacks the label {label}, so no agent is in {listed(left)}"
        yield Problem(text, shell_command("kubectl", "label", "namespace", name, label))


def _pull_secrets(cluster: Cluster) -> Iterator[Problem]:
    found = cluster.required_installation()
    settings = found.settings
    names = settings.image_pull_secrets if settings else ()
    if not names:
        raise NotApplicable("agent.imagePullSecrets is not set")
    there = {each.key: each for each in cluster.all("Secret")}
    for namespace in sorted(cluster.injecting):
        for name in names:
            if f"{namespace}/{name}" not in there:
                own = there.get(f"{found.namespace}/{name}")
                text = f"namespace {namespace} lacks Secret {name}, by which pods pull the agent's image"
                yield Problem(text, copy_command(own, namespace=namespace, name=name) if own else "")


def _pod_security(cluster: Cluster) -> Iterator[Problem]:
    found = cluster.required_installation()
    levels = {each.name: each.labels.get(ENFORCE, PRIVILEGED) for each in cluster.all("Namespace")}
    level = levels.get(found.namespace, PRIVILEGED)
    if level == PRIVILEGED:
        return
    enforced = f"namespace {found.namespace} enforces {level}"
    if found.node_agent is not None:
        text = f"{enforced}, and node agents use the host's network and a hostPath"
        yield Problem(text, _privileged(found.namespace))
    elif found.webhook is not None and pod_spec(found.webhook).get("hostNetwork"):
        text = f"{enforced}, and the webhook uses the host's network"
        yield Problem(text, _privileged(found.namespace))


def _privileged(namespace: str) -> str:
    return shell_command("kubectl", "label", "namespace", namespace, f"{ENFORCE}={PRIVILEGED}", "--overwrite")


def _limit_ranges(cluster: Cluster) -> Iterator[Problem]:
    size = _size(cluster)
    for limits in _of_injecting(cluster, "LimitRange"):
        for each in as_objects(limits.spec.get("limits")):
            if each.get("type") == "Container":
                yield from _outside(limits.key, each, size, sidecar=_sidecars(limits.namespace, cluster))


def _outside(name: str, limits: Object, size: Size, *, sidecar: bool) -> Iterator[Problem]:
    needs = {"cpu": size.cpu, "memory": size.memory}
    for resource, need in needs.items():
        most = _quantity(as_map(limits.get("max")).get(resource))
        least = _quantity(as_map(limits.get("min")).get(resource))
        if most is not None and most < need:
            allowed = f"at most {limits['max'][resource]} {resource}"
            text = f"LimitRange {name} allows {allowed}, and the agent needs more"
            yield Problem(text, edit_command("LimitRange", name))
        # An init container is made as large as the app's; a sidecar gets what it needs.
        if sidecar and least is not None and least > need:
            demanded = f"at least {limits['min'][resource]} {resource}"
            text = f"LimitRange {name} demands {demanded}, and a sidecar gets less"
            yield Problem(text, edit_command("LimitRange", name))


def _quotas(cluster: Cluster) -> Iterator[Problem]:
    size = _size(cluster)
    for quota in _of_injecting(cluster, "ResourceQuota"):
        if not _counts_multus_pods(quota, cluster):
            continue
        sidecar = _sidecars(quota.namespace, cluster)
        hard, used = as_map(quota.status.get("hard")), as_map(quota.status.get("used"))
        for name in hard:
            need = _needed(name, size, sidecar=sidecar)
            most, taken = _quantity(hard[name]), _quantity(used.get(name, 0))
            if need is not None and most is not None and taken is not None and most - taken < need:
                text = f"ResourceQuota {quota.key}: {used.get(name, 0)} of {hard[name]} {name} are used"
                yield Problem(text, edit_command("ResourceQuota", quota.key))


def _counts_multus_pods(quota: Resource, cluster: Cluster) -> bool:
    """Return whether a quota is one of all pods, or has scopes in which a Multus pod is.

    Where there is none, perhaps since the quota refuses all, it is taken for an ordinary one.
    """
    scopes = quota_scopes(quota)
    pods = [pod for pod in cluster.pods if pod.namespace == quota.namespace]
    if not pods:
        return all(each.get("scopeName") in ORDINARY_SCOPES for each in scopes)
    return any(all(is_in_scope(pod, each) for each in scopes) for pod in pods)


def _needed(name: str, size: Size, *, sidecar: bool) -> Decimal | None:
    """Return what one more pod takes of a quota at least: of CPU and memory, what a sidecar adds."""
    if name == "pods":
        return Decimal(1)
    _, _, resource = name.rpartition(".")
    if resource not in ("cpu", "memory"):
        return None
    return (size.cpu if resource == "cpu" else size.memory) if sidecar else Decimal("0.001")


def _of_injecting(cluster: Cluster, kind: str) -> list[Resource]:
    cluster.required_installation()
    return [each for each in cluster.all(kind) if each.namespace in cluster.injecting]


def _sidecars(namespace: str, cluster: Cluster) -> bool:
    settings = cluster.installation.settings
    labels = {each.name: each.labels.get(MODE) for each in cluster.namespaces}
    default = settings.default_mode if settings else Mode.INIT
    return (labels.get(namespace) or default) == Mode.SIDECAR


def _size(cluster: Cluster) -> Size:
    settings = cluster.required_installation().settings
    if settings is None:
        raise NotApplicable("the settings are not known")
    return settings.size


def _quantity(value: object) -> Decimal | None:
    try:
        return None if value is None else parse_quantity(str(value))
    except ValueError:
        return None


NAMESPACES = (
    Check(
        "namespaces-keys",
        "namespaces have no unknown keys of ours",
        f"correct the key: the labels are {', '.join(LABELS)}",
        _keys,
        Verdict.WARNING,
        needs=("Namespace",),
        pre=True,
    ),
    Check(
        "namespaces-values",
        "namespaces' labels have allowed values",
        "correct the value: until then no Multus pod can be created there",
        _values,
        needs=("Namespace",),
        pre=True,
    ),
    Check(
        "namespaces-opted-in",
        "the namespace that is asked about is opted in",
        f"label it {INJECTION}=enabled, then replace the pods: they are injected when they are created",
        _opted_in,
        Verdict.WARNING,
        needs=("Namespace", "Pod"),
    ),
    Check(
        "namespaces-pull-secrets",
        "the agent's image can be pulled",
        "create the Secret in that namespace, or let nodes pull with their own role",
        _pull_secrets,
        needs=("Namespace", "Secret", "ConfigMap"),
    ),
    Check(
        "namespaces-pod-security",
        "Pod Security admits the injector's own pods",
        f"label the namespace {ENFORCE}=privileged, or install into another one",
        _pod_security,
        needs=("Namespace",),
    ),
    Check(
        "namespaces-limit-ranges",
        "LimitRanges admit the agent",
        "change the LimitRange, or agent.resources; a pod may set multus-eni.io/agent-memory",
        _limit_ranges,
        needs=("Namespace", "LimitRange", "ConfigMap"),
    ),
    Check(
        "namespaces-quotas",
        "quotas have room",
        "raise the quota: the next pod is refused",
        _quotas,
        Verdict.WARNING,
        needs=("Namespace", "ResourceQuota", "ConfigMap"),
    ),
    NETWORK_POLICIES,
)
