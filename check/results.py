"""Results: a check, and its findings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from check.cluster import Cluster
from check.installation import COMPONENT, PART_OF, PROJECT
from check.model import KINDS, REGION, Resource, Verdict, items, mapping, node_name, objects
from common.agent_container import CONTAINER_NAME
from common.shorten import shortened

PAGE = "https://github.com/multus-eni/multus-eni-injector/blob/main/docs/check.md"
"""The page has a section for each check. On a laptop there is no folder docs/."""
RELEASE_NAME, RELEASE_NAMESPACE = "meta.helm.sh/release-name", "meta.helm.sh/release-namespace"
"""Annotations that Helm writes on each object of a release."""
FLUX = "helm.toolkit.fluxcd.io/"
"""Prefix of labels on objects whose release Flux's helm-controller installs."""
LISTED = 3
"""Objects of one problem that are named; the rest is counted."""
MAX_MESSAGE = 600
"""Characters of a message of somebody else that are shown."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Problem:
    """A sentence, and the command that solves the problem or shows more of it, empty where none does."""

    text: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """A question about a cluster.

    `run` yields each problem, or the sentence alone, and raises NotApplicable. `verdict` is what a problem
    amounts to. `needs` are the kinds and sources without which it is skipped. `pre`: it also makes sense
    before the injector is installed.
    """

    id: str
    title: str
    remedy: str
    run: Callable[[Cluster], Iterable[str | Problem]]
    verdict: Verdict = Verdict.ERROR
    needs: tuple[str, ...] = ()
    pre: bool = False

    @property
    def category(self) -> str:
        """The first word of its id."""
        return self.id.partition("-")[0]

    @property
    def anchor(self) -> str:
        """Where the documentation explains it."""
        return f"{PAGE}#{self.id}"


@dataclass(frozen=True, slots=True)
class Result:
    """What a check has found: sentences, one a problem; or, of a skipped one, why.

    `commands` are those of the problems, by their sentences.
    """

    check: Check
    verdict: Verdict
    details: tuple[str, ...] = ()
    commands: Mapping[str, str] = field(default_factory=dict)


def listed(names: Iterable[str], most: int = LISTED) -> str:
    """Name the first of many, and count the rest."""
    found = sorted(names)
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more


def short(text: str) -> str:
    """Show a message of somebody else in one line, and no more of it than can be read."""
    return shortened(" ".join(text.split()), MAX_MESSAGE)


def command(*words: str) -> str:
    """Write a command as a shell reads it: names in a dump may be anything."""
    return shlex.join(words)


def aws(cluster: Cluster, *words: str) -> str:
    """Return a command of the AWS CLI, with the nodes' region where it is known."""
    regions = {node.labels[REGION] for node in cluster.all("Node") if REGION in node.labels}
    return command("aws", *words, *(["--region", min(regions)] if regions else []))


def edit(kind: str, key: str) -> str:
    """Return the command that opens an object in an editor; `key` is `namespace/name`, or the name alone."""
    return command("kubectl", "edit", *_named(kind, key))


def describe(kind: str, key: str) -> str:
    """Return the command that shows an object with its Events."""
    return command("kubectl", "describe", *_named(kind, key))


def show_endpoints(namespace: str) -> str:
    """Return the command that shows whether there is anybody whom the API server could call."""
    return command("kubectl", "get", "pods,endpointslices", "-n", namespace, "-o", "wide")


def describe_pods(namespace: str, component: str, node: str = "") -> str:
    """Return the command that shows the pods of one of the injector's programs with their Events."""
    labels = f"{PART_OF}={PROJECT},{COMPONENT}={component}"
    selected = ["-l", labels, *(["--field-selector", f"spec.nodeName={node}"] if node else [])]
    return command("kubectl", "describe", "pods", "-n", namespace, *selected)


def node_status(cluster: Cluster, node: str) -> str:
    """Return the command by which a node's agent shows what it does, empty if none runs there."""
    return _by_node_agent(cluster, node, "exec", "--", "ipagent", "node", "status")


def logs(cluster: Cluster, node: str) -> str:
    """Return the command for the log of a node's agent, empty if none runs there."""
    return _by_node_agent(cluster, node, "logs", "--tail=50")


def _by_node_agent(cluster: Cluster, node: str, verb: str, *rest: str) -> str:
    pods = (pod for pod in cluster.installation.pods_of("node-agent") if node_name(pod) == node)
    pod = next(pods, None)
    if pod is None:
        return ""
    return command("kubectl", verb, "-n", pod.namespace, pod.name, "-c", "node-agent", *rest)


def upgrade(cluster: Cluster, *values: str) -> str:
    """Return the command that installs the release again, with other values.

    It is for a checkout of the installed release. A chart that is newer gets its own new defaults, too.
    Empty where nobody runs Helm by hand: Argo CD, Flux and kustomize would undo it.
    """
    if (release := _release(cluster)) is None:
        return ""
    name, namespace = release
    sets = [word for value in values for word in ("--set", value)]
    where = ("charts/multus-eni-injector", "-n", namespace, "--reset-then-reuse-values")
    return command("helm", "upgrade", name, *where, *sets)


def history(cluster: Cluster) -> str:
    """Return the command that shows which upgrades the release has had, empty where Helm has no release."""
    release = _release(cluster)
    return command("helm", "history", release[0], "-n", release[1]) if release else ""


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


def copy_of(resource: Resource, *, namespace: str, name: str) -> str:
    """Return the command that creates an object a second time, in another namespace or by another name.

    Empty where the object has an owner: the garbage collector would delete a copy that names it, too, and
    whatever made the object can make another one. The copy has no labels: by one Argo CD would prune it.
    """
    if items(mapping(resource.body.get("metadata")).get("ownerReferences")):
        return ""
    shown = command("kubectl", "get", *_named(resource.kind, resource.key), "-o", "yaml")
    script = (
        "/^  labels:/,/^  [^ ]/{/^    /d;}",
        "/^  (labels|uid|resourceVersion|creationTimestamp):/d",
        f"s/^  namespace: .*/  namespace: {namespace}/",
        f"s/^  name: .*/  name: {name}/",
    )
    changed = command("sed", "-E", *(word for each in script for word in ("-e", each)))
    return f"{shown} | {changed} | kubectl create -f -"


def replace_pod(pod: Resource) -> str:
    """Return the command after which a pod is created again, by its controller if it has one.

    Without one, a pod that has an old agent can't be injected again: it comes back as it is.
    """
    if objects(mapping(pod.body.get("metadata")).get("ownerReferences")):
        return command("kubectl", "delete", "pod", "-n", pod.namespace, pod.name)
    if any(each.get("name") == CONTAINER_NAME for each in objects(pod.spec.get("initContainers"))):
        return ""
    shown = command("kubectl", "get", "pod", "-n", pod.namespace, pod.name, "-o", "yaml")
    # It is deleted first: where it can't be created again, the file still has it.
    saved = command("tee", f"pod-{pod.namespace}-{pod.name}.yaml")
    return f"{shown} | {saved} | kubectl replace --force -f -"


def _named(kind: str, key: str) -> list[str]:
    *_, group, _, plural = KINDS[kind].split("/")
    namespace, _, name = key.rpartition("/")
    return [f"{plural}.{group}" if "." in group else plural, *(["-n", namespace] if namespace else []), name]
