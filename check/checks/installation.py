"""Is the injector installed, and does it work?"""

from __future__ import annotations

from collections.abc import Iterator

from check.checks.certificates import CERTIFICATES
from check.cluster import Cluster
from check.installation import PROJECT, VERSION, Installation, config_maps
from check.model import (
    DRY_RUN,
    NotApplicable,
    Resource,
    Verdict,
    as_objects,
    count,
    is_ready,
    pod_spec,
    why_down,
)
from check.results import Check, Problem
from check.shell_commands import (
    describe_command,
    describe_pods_command,
    helm_history_command,
    helm_upgrade_command,
    shell_command,
    show_endpoints_command,
)

POD_IDENTITY = "pod-identity-webhook"
"""The MutatingWebhookConfiguration of EKS Pod Identity and IRSA."""


def _present(cluster: Cluster) -> Iterator[str | Problem]:
    found = cluster.installation
    if found.configuration is None and found.webhook is None:
        if found.node_agent is None:
            yield "no object of the injector in the cluster"
        return  # watchOnly: node agents alone
    if found.webhook is None:
        text = "the MutatingWebhookConfiguration is there, and the webhook's Deployment is not"
        yield Problem(text, helm_upgrade_command(cluster))
    elif not found.entries:
        text = "there is no MutatingWebhookConfiguration with entries: the API server never calls the webhook"
        yield Problem(text, helm_upgrade_command(cluster))


def _enabled(cluster: Cluster) -> Iterator[Problem]:
    if cluster.injector().is_switched_off:
        text = "no entry of the MutatingWebhookConfiguration selects any pod: injection.enabled is false"
        yield Problem(text, helm_upgrade_command(cluster, "injection.enabled=true"))


def _settings(cluster: Cluster) -> Iterator[str | Problem]:
    found = cluster.injector()
    if found.settings_problem:
        names = config_maps(found.webhook) if found.webhook else ()
        show = describe_command("ConfigMap", f"{found.namespace}/{names[0]}") if names else ""
        yield Problem(found.settings_problem, show)


def _replicas(cluster: Cluster) -> Iterator[str | Problem]:
    if webhook := cluster.injector().webhook:
        yield from unready_replicas(cluster, webhook, "webhook")


def unready_replicas(cluster: Cluster, deployment: Resource, component: str) -> Iterator[Problem]:
    """Say that replicas of one of the injector's programs are not ready, and why."""
    wanted, ready = count(deployment.spec.get("replicas", 1)), count(deployment.status.get("readyReplicas"))
    if ready < max(wanted, 1):
        why = why_down(cluster.installation.pods_of(component))
        text = f"Deployment {deployment.key}: {ready} of {wanted} replicas are ready{why}"
        yield Problem(text, describe_pods_command(deployment.namespace, component))


def _spread(cluster: Cluster) -> Iterator[str | Problem]:
    found = cluster.injector()
    if found.webhook is not None and count(found.webhook.spec.get("replicas", 1)) < 2:
        text = f"Deployment {found.webhook.key} has one replica: while it moves, no Multus pod can be created"
        yield Problem(text, helm_upgrade_command(cluster, "webhook.replicas=2"))
        return
    ready = [pod for pod in found.pods_of("webhook") if is_ready(pod)]
    nodes = {str(pod.spec.get("nodeName")) for pod in ready}
    if len(nodes) == 1 and len(cluster.all("Node")) > 1:
        pod, *others = ready
        where = next(iter(nodes))
        text = f"all ready replicas run on {where}: when that node fails, no Multus pod can be created"
        # The only one that answers must stay.
        move = shell_command("kubectl", "delete", "pod", "-n", pod.namespace, pod.name)
        yield Problem(text, move if others else describe_pods_command(pod.namespace, "webhook"))


def _order(cluster: Cluster) -> Iterator[Problem]:
    ours = cluster.injector().configuration
    names = {each.name for each in cluster.all("MutatingWebhookConfiguration")}
    if ours is not None and POD_IDENTITY in names and ours.name > POD_IDENTITY:
        text = f"{ours.name} is called after {POD_IDENTITY}, which then gives the agent no credentials"
        yield Problem(text, helm_upgrade_command(cluster, f"webhookConfiguration.name={PROJECT}"))


def _dry_run(cluster: Cluster) -> Iterator[Problem]:
    namespace = cluster.injector().namespace
    found = cluster.snapshot.dry_run
    if found is None:
        raise NotApplicable("a dump does not show it")
    show = show_endpoints_command(namespace) if namespace else ""
    if found.message:
        yield Problem(f"dry run: a Multus pod in {found.namespace} is refused: {found.message}", show)
    elif not found.injected:
        yield Problem(f"dry run: a Multus pod in {found.namespace} is created without the agent", show)


def _versions(cluster: Cluster) -> Iterator[str | Problem]:
    found = cluster.required_installation()
    programs = [each for each in (found.webhook, found.certs, found.node_agent, found.controller) if each]
    labels = {each.key: each.labels.get(VERSION, "") for each in programs}
    if len(set(labels.values())) > 1:
        text = "versions differ: " + ", ".join(f"{key} {version or '?'}" for key, version in labels.items())
        yield Problem(text, helm_history_command(cluster))
    wanted = {each.kind: each.labels.get(VERSION, "") for each in programs if each.kind == "DaemonSet"}
    for pod in found.pods_of("node-agent"):
        if wanted.get("DaemonSet") not in (None, pod.labels.get(VERSION, "")):
            version = pod.labels.get(VERSION, "?")
            text = f"pod {pod.key} on {pod.spec.get('nodeName')} still runs version {version}"
            yield Problem(text, describe_command("Pod", pod.key))
    yield from _images(found)


def _images(found: Installation) -> Iterator[str]:
    if found.node_agent is None or found.settings is None:
        return
    images = [str(each.get("image")) for each in as_objects(pod_spec(found.node_agent).get("containers"))]
    if images and found.settings.image not in images:
        yield f"pods get the agent {found.settings.image}, and node agents run {images[0]}"


def _certs(cluster: Cluster) -> Iterator[str | Problem]:
    certs = cluster.injector().certs
    if certs is None:
        raise NotApplicable("certificates come from elsewhere (certificates.mode)")
    if not count(certs.status.get("readyReplicas")):
        why = why_down(cluster.installation.pods_of("certs"))
        text = f"Deployment {certs.key} is not ready{why}: nobody renews the webhook's certificate"
        yield Problem(text, describe_pods_command(certs.namespace, "certs"))


INSTALLATION = (
    Check(
        "installation-present",
        "the injector is installed",
        "helm install multus-eni-injector: docs/install.md",
        _present,
        needs=("Deployment", "MutatingWebhookConfiguration"),
    ),
    Check(
        "installation-enabled",
        "injection is switched on",
        "set injection.enabled=true, then replace the pods that were created meanwhile",
        _enabled,
        Verdict.WARNING,
        needs=("MutatingWebhookConfiguration",),
    ),
    Check(
        "installation-settings",
        "the webhook's settings can be used",
        "correct the chart's values: the webhook does not start with these",
        _settings,
        needs=("ConfigMap",),
    ),
    Check(
        "installation-replicas",
        "all replicas of the webhook are ready",
        "read kubectl describe and the logs of the webhook's pods",
        _replicas,
        needs=("Deployment",),
    ),
    Check(
        "installation-spread",
        "the webhook's replicas are spread over nodes",
        "set webhook.replicas to 2 or more, and make room on several nodes: kubectl delete pod moves one",
        _spread,
        Verdict.WARNING,
        needs=("Deployment", "Pod", "Node"),
    ),
    *CERTIFICATES,
    Check(
        "installation-order",
        "the webhook is called before pod-identity-webhook",
        "choose a webhookConfiguration.name that sorts before pod-identity-webhook",
        _order,
        Verdict.WARNING,
        needs=("MutatingWebhookConfiguration",),
    ),
    Check(
        "installation-injects",
        "a pod is injected, by a dry run",
        "correct what the checks above say; else let the control plane reach the webhook's port",
        _dry_run,
        needs=(DRY_RUN,),
    ),
    Check(
        "installation-versions",
        "the programs' versions agree",
        "finish the upgrade: helm upgrade, then kubectl rollout status",
        _versions,
        Verdict.WARNING,
        needs=("Deployment", "DaemonSet"),
    ),
    Check(
        "installation-certs",
        "the program that renews the certificate runs",
        "read kubectl describe and the logs of the pod of the Deployment …-certs",
        _certs,
        needs=("Deployment",),
    ),
)
