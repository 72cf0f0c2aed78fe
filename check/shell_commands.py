"""Commands for a shell that solve a problem or show more of it: kubectl, Helm and the AWS CLI."""

from __future__ import annotations

import re
import shlex

from check.cluster import Cluster
from check.installation import COMPONENT, PART_OF, PROJECT
from check.model import KINDS, REGION, Resource, as_objects, node_name
from check.pod_status import has_agent
from common.object_fields import as_list

RELEASE_NAME, RELEASE_NAMESPACE = "meta.helm.sh/release-name", "meta.helm.sh/release-namespace"
"""Annotations that Helm writes on each object of a release."""
FLUX = "helm.toolkit.fluxcd.io/"
"""Prefix of labels on objects whose release Flux's helm-controller installs."""

REPLACING = ("DaemonSet", "ReplicaSet", "ReplicationController", "StatefulSet")
"""Controllers that create a pod anew in place of one that is deleted, and nothing else.

With others more may end: a Job counts it as failed, a virtual machine is powered off.
"""

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def shell_command(*words: str) -> str:
    """Write a command as a shell reads it: names in a dump may be anything."""
    return shlex.join(words)


def aws_command(cluster: Cluster, *words: str) -> str:
    """Return a command of the AWS CLI, with the nodes' region where it is known."""
    regions = {node.labels[REGION] for node in cluster.all("Node") if REGION in node.labels}
    return shell_command("aws", *words, *(["--region", min(regions)] if regions else []))


def edit_command(kind: str, key: str) -> str:
    """Return the command that opens an object in an editor; `key` is `namespace/name`, or the name alone."""
    return shell_command("kubectl", "edit", *_named(kind, key))


def describe_command(kind: str, key: str) -> str:
    """Return the command that shows an object with its Events."""
    return shell_command("kubectl", "describe", *_named(kind, key))


def show_endpoints_command(namespace: str) -> str:
    """Return the command that shows whether there is anybody whom the API server could call."""
    return shell_command("kubectl", "get", "pods,endpointslices", "-n", namespace, "-o", "wide")


def describe_pods_command(namespace: str, component: str, node: str = "") -> str:
    """Return the command that shows the pods of one of the injector's programs with their Events."""
    labels = f"{PART_OF}={PROJECT},{COMPONENT}={component}"
    selected = ["-l", labels, *(["--field-selector", f"spec.nodeName={node}"] if node else [])]
    return shell_command("kubectl", "describe", "pods", "-n", namespace, *selected)


def node_status_command(cluster: Cluster, node: str) -> str:
    """Return the command by which a node's agent shows what it does, empty if none runs there."""
    return _by_node_agent(cluster, node, "exec", "--", "ipagent", "node", "status")


def logs_command(cluster: Cluster, node: str) -> str:
    """Return the command for the log of a node's agent, empty if none runs there."""
    return _by_node_agent(cluster, node, "logs", "--tail=50")


def _by_node_agent(cluster: Cluster, node: str, verb: str, *rest: str) -> str:
    pods = (pod for pod in cluster.installation.pods_of("node-agent") if node_name(pod) == node)
    pod = next(pods, None)
    if pod is None:
        return ""
    return shell_command("kubectl", verb, "-n", pod.namespace, pod.name, "-c", "node-agent", *rest)


def helm_upgrade_command(cluster: Cluster, *values: str) -> str:
    """Return the command that installs the release again, with other values.

    It is for a checkout of the installed release. A chart that is newer gets its own new defaults, too.
    Empty where nobody runs Helm by hand: Argo CD, Flux and kustomize would undo it.
    """
    if (release := _release(cluster)) is None:
        return ""
    name, namespace = release
    sets = [word for value in values for word in ("--set", value)]
    where = ("charts/multus-eni-injector", "-n", namespace, "--reset-then-reuse-values")
    return shell_command("helm", "upgrade", name, *where, *sets)


def helm_history_command(cluster: Cluster) -> str:
    """Return the command that shows which upgrades the release has had, empty where Helm has no release."""
    release = _release(cluster)
    return shell_command("helm", "history", release[0], "-n", release[1]) if release else ""


def _release(cluster: Cluster) -> tuple[str, str] | None:
    """Return name and namespace of the release that somebody has installed by Helm itself."""
    found = cluster.installation
    for each in (found.webhook, found.node_agent, found.controller, found.certs, found.configuration):
        if each is None or any(label.startswith(FLUX) for label in each.labels):
            continue
        name, namespace = (each.annotations.get(key, "") for key in (RELEASE_NAME, RELEASE_NAMESPACE))
        # Annotations may have any text; these would be options otherwise.
        if _NAME.fullmatch(name) and _NAME.fullmatch(namespace):
            return name, namespace
    return None


def copy_command(resource: Resource, *, namespace: str, name: str) -> str:
    """Return the command that creates an object a second time, in another namespace or by another name.

    Empty where the object has an owner: the garbage collector would delete a copy that names it, too, and
    whatever made the object can make another one. The copy has no labels: by one Argo CD would prune it.
    """
    if as_list(resource.metadata.get("ownerReferences")):
        return ""
    shown = shell_command("kubectl", "get", *_named(resource.kind, resource.key), "-o", "yaml")
    script = (
        "/^  labels:/,/^  [^ ]/{/^    /d;}",
        "/^  (labels|uid|resourceVersion|creationTimestamp):/d",
        f"s/^  namespace: .*/  namespace: {namespace}/",
        f"s/^  name: .*/  name: {name}/",
    )
    changed = shell_command("sed", "-E", *(word for each in script for word in ("-e", each)))
    return f"{shown} | {changed} | kubectl create -f -"


def replace_pod_command(pod: Resource) -> str:
    """Return the command after which a pod is created again, by its controller if it has one.

    A pod whose controller may not do so, or not without a loss, it only shows. Without a controller, one that
    has an old agent can't be injected again: it comes back as it is.
    """
    if owners := as_objects(pod.metadata.get("ownerReferences")):
        if any(each.get("kind") in REPLACING for each in owners):
            return shell_command("kubectl", "delete", "pod", "-n", pod.namespace, pod.name)
        return describe_command("Pod", pod.key)
    if has_agent(pod):
        return ""
    shown = shell_command("kubectl", "get", "pod", "-n", pod.namespace, pod.name, "-o", "yaml")
    # It is deleted first: where it can't be created again, the file still has it.
    saved = shell_command("tee", f"pod-{pod.namespace}-{pod.name}.yaml")
    return f"{shown} | {saved} | kubectl replace --force -f -"


def _named(kind: str, key: str) -> list[str]:
    *_, group, _, plural = KINDS[kind].split("/")
    namespace, _, name = key.rpartition("/")
    return [f"{plural}.{group}" if "." in group else plural, *(["-n", namespace] if namespace else []), name]
