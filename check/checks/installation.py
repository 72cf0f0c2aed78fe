"""Is the injector installed, and does it work?"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Iterator

from certs.x509 import Bundle, Certificate, issuer_of, read_bundle, read_certificate
from check.installation import VERSION, Installation
from check.model import (
    DRY_RUN,
    NotApplicable,
    Object,
    Resource,
    Verdict,
    count,
    is_ready,
    mapping,
    objects,
    pod_spec,
)
from check.results import Check
from check.views import Cluster

POD_IDENTITY = "pod-identity-webhook"
"""The MutatingWebhookConfiguration of EKS Pod Identity and IRSA."""
LEAST_LEFT = 0.25
"""Share of a certificate's life; `certs` renews it with a third left."""
LEAST_LEFT_OF_OTHERS = 0.1
"""The same where cert-manager or the user renews it, at a time of their own."""
TLS_VOLUME = "tls"


def _present(cluster: Cluster) -> Iterator[str]:
    found = cluster.installation
    if found.configuration is None and found.webhook is None:
        if found.node_agent is None:
            yield "no object of the injector in the cluster"
        return  # watchOnly: node agents alone
    if found.webhook is None:
        yield "the MutatingWebhookConfiguration is there, and the webhook's Deployment is not"
    elif not found.entries:
        yield "there is no MutatingWebhookConfiguration with entries: the API server never calls the webhook"


def _settings(cluster: Cluster) -> Iterator[str]:
    found = cluster.injector()
    if found.settings_problem:
        yield found.settings_problem


def _replicas(cluster: Cluster) -> Iterator[str]:
    webhook = cluster.injector().webhook
    if webhook is None:
        return
    wanted, ready = count(webhook.spec.get("replicas", 1)), count(webhook.status.get("readyReplicas"))
    if ready < max(wanted, 1):
        yield f"Deployment {webhook.key}: {ready} of {wanted} replicas are ready"


def _spread(cluster: Cluster) -> Iterator[str]:
    found = cluster.injector()
    if found.webhook is not None and count(found.webhook.spec.get("replicas", 1)) < 2:
        yield f"Deployment {found.webhook.key} has one replica: while it moves, no Multus pod can be created"
        return
    nodes = {str(pod.spec.get("nodeName")) for pod in found.pods_of("webhook") if is_ready(pod)}
    if len(nodes) == 1 and len(cluster.all("Node")) > 1:
        yield f"all replicas run on {next(iter(nodes))}: when it fails, no Multus pod can be created"


def _certificate(cluster: Cluster) -> Iterator[str]:
    found, leaf, _ = _certificates(cluster)
    now = cluster.snapshot.now
    if leaf is None:
        yield f"Secret {found} has no certificate that can be read"
    elif not leaf.valid_at(now):
        when = "expired" if now >= leaf.not_after else "is not valid before"
        date = leaf.not_after if now >= leaf.not_after else leaf.not_before
        yield f"Secret {found}: the certificate {when} {_date(date)}"
    elif (service := _service(cluster.installation)) and not _is_for(leaf, service):
        names = ", ".join(sorted(leaf.names)) or "no name"
        yield f"Secret {found}: the certificate is for {names}, not {service}"


def _renewal(cluster: Cluster) -> Iterator[str]:
    found, leaf, _ = _certificates(cluster)
    ours = cluster.installation.certs is not None
    if leaf is not None and _is_overdue(leaf, cluster.snapshot.now, ours=ours):
        yield f"Secret {found}: the certificate expires {_date(leaf.not_after)} and is not renewed"


def _is_overdue(leaf: Certificate, now: float, *, ours: bool) -> bool:
    """Whether a valid certificate should have been renewed; `ours`: by `multus-eni certs`."""
    left = (leaf.not_after - now) / (leaf.not_after - leaf.not_before)
    return leaf.valid_at(now) and left < (LEAST_LEFT if ours else LEAST_LEFT_OF_OTHERS)


def _trust(cluster: Cluster) -> Iterator[str]:
    entries = cluster.injector().entries
    _, leaf, others = _certificates(cluster)
    if leaf is None:
        raise NotApplicable("there is no certificate")
    bundles: dict[str, bool] = {}
    for entry in entries:
        text = str(mapping(entry.get("clientConfig")).get("caBundle") or "")
        if text not in bundles:
            bundles[text] = _is_trusted(leaf, others, _bundle(text).certificates)
        if not bundles[text]:
            yield f"entry {entry.get('name')}: its caBundle does not trust the webhook's certificate"


def _order(cluster: Cluster) -> Iterator[str]:
    ours = cluster.injector().configuration
    names = {each.name for each in cluster.all("MutatingWebhookConfiguration")}
    if ours is not None and POD_IDENTITY in names and ours.name > POD_IDENTITY:
        yield f"{ours.name} is called after {POD_IDENTITY}, which then gives the agent no credentials"


def _dry_run(cluster: Cluster) -> Iterator[str]:
    cluster.injector()
    found = cluster.snapshot.dry_run
    if found is None:
        raise NotApplicable("only a live cluster can be asked")
    if found.message:
        yield f"a Multus pod in {found.namespace} is refused: {found.message}"
    elif not found.injected:
        yield f"a Multus pod in {found.namespace} is created without the agent"


def _versions(cluster: Cluster) -> Iterator[str]:
    found = cluster.required_installation()
    programs = [each for each in (found.webhook, found.certs, found.node_agent, found.controller) if each]
    labels = {each.key: each.labels.get(VERSION, "") for each in programs}
    if len(set(labels.values())) > 1:
        yield "versions differ: " + ", ".join(f"{key} {version or '?'}" for key, version in labels.items())
    wanted = {each.kind: each.labels.get(VERSION, "") for each in programs if each.kind == "DaemonSet"}
    for pod in found.pods_of("node-agent"):
        if wanted.get("DaemonSet") not in (None, pod.labels.get(VERSION, "")):
            version = pod.labels.get(VERSION, "?")
            yield f"pod {pod.key} on {pod.spec.get('nodeName')} still runs version {version}"
    yield from _images(found)


def _images(found: Installation) -> Iterator[str]:
    if found.node_agent is None or found.settings is None:
        return
    images = [str(each.get("image")) for each in objects(pod_spec(found.node_agent).get("containers"))]
    if images and found.settings.image not in images:
        yield f"pods get the agent {found.settings.image}, node agents are {images[0]}"


def _certs(cluster: Cluster) -> Iterator[str]:
    certs = cluster.injector().certs
    if certs is None:
        raise NotApplicable("certificates come from elsewhere (certificates.mode)")
    if not count(certs.status.get("readyReplicas")):
        yield f"Deployment {certs.key} is not ready: it renews the certificate, or waits to"


def _is_for(leaf: Certificate, service: str) -> bool:
    # A wildcard stands for the first label (RFC 6125, section 6.4.3).
    return not leaf.names.isdisjoint((service, f"*.{service.partition('.')[2]}"))


def _is_trusted(
    leaf: Certificate, others: tuple[Certificate, ...], authorities: tuple[Certificate, ...]
) -> bool:
    """Return whether a chain leads from a certificate to an authority, by way of others that are served."""
    chained: Certificate | None = leaf
    for _ in range(len(others) + 1):
        if chained is None:
            return False
        # A certificate that is in the bundle itself is trusted, too (Go, crypto/x509, Verify).
        if chained.fingerprint in {each.fingerprint for each in authorities}:
            return True
        if issuer_of(chained, authorities) is not None:
            return True
        chained = issuer_of(chained, others)
    return False


def _certificates(cluster: Cluster) -> tuple[str, Certificate | None, tuple[Certificate, ...]]:
    """Return the Secret's key, the webhook's certificate in it, and all certificates in that file.

    Raises NotApplicable where no Secret is mounted.
    """
    webhook = cluster.injector().webhook
    name = _secret_name(webhook) if webhook else ""
    if webhook is None or not name:
        raise NotApplicable("no Secret is known for the webhook")
    secrets = {each.key: each for each in cluster.all("Secret")}
    key = f"{webhook.namespace}/{name}"
    data = mapping(secrets[key].body.get("data")) if key in secrets else {}
    text = _decoded(str(data.get("tls.crt") or ""))
    return key, read_certificate(text), read_bundle(text).certificates


def _secret_name(webhook: Resource) -> str:
    volumes = objects(pod_spec(webhook).get("volumes"))
    named = [mapping(each.get("secret")) for each in volumes if each.get("name") == TLS_VOLUME]
    return str(named[0].get("secretName") or "") if named else ""


def _service(found: Installation) -> str:
    def of(entry: Object) -> Object:
        return mapping(mapping(entry.get("clientConfig")).get("service"))

    service = next((of(entry) for entry in found.entries if of(entry)), {})
    return f"{service.get('name')}.{service.get('namespace')}.svc" if service else ""


def _bundle(encoded: str) -> Bundle:
    return read_bundle(_decoded(encoded))


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _date(when: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(when))


_CERTS = "kubectl logs of the Deployment …-certs, or multus-eni certs status, says why"

INSTALLATION = (
    Check(
        "installation-present",
        "the injector is installed",
        "helm install multus-eni-injector: docs/install.md",
        _present,
        needs=("Deployment", "MutatingWebhookConfiguration"),
    ),
    Check(
        "installation-settings",
        "its settings can be used",
        "correct the chart's values: the webhook does not start with these",
        _settings,
        needs=("ConfigMap",),
    ),
    Check(
        "installation-replicas",
        "all replicas are ready",
        "kubectl describe pod, and logs, of the webhook",
        _replicas,
        needs=("Deployment",),
    ),
    Check(
        "installation-spread",
        "replicas are spread over nodes",
        "set webhook.replicas to 2 or more, and let nodes have room: kubectl delete pod moves one",
        _spread,
        Verdict.WARNING,
        needs=("Deployment", "Pod", "Node"),
    ),
    Check(
        "installation-certificate",
        "the webhook's certificate is valid",
        f"{_CERTS}; with cert-manager look at the Certificate",
        _certificate,
        needs=("Secret",),
    ),
    Check(
        "installation-renewal",
        "the certificate is renewed in time",
        f"{_CERTS}; with cert-manager look at the Certificate",
        _renewal,
        Verdict.WARNING,
        needs=("Secret",),
    ),
    Check(
        "installation-trust",
        "the API server trusts the certificate",
        f"{_CERTS}; a GitOps tool must not manage caBundle",
        _trust,
        needs=("Secret", "MutatingWebhookConfiguration"),
    ),
    Check(
        "installation-order",
        "it is called before pod-identity-webhook",
        "choose a webhookConfiguration.name that sorts before pod-identity-webhook",
        _order,
        Verdict.WARNING,
        needs=("MutatingWebhookConfiguration",),
    ),
    Check(
        "installation-injects",
        "a pod is really injected",
        "the checks above say why; else let the control plane reach the webhook's port (security groups)",
        _dry_run,
        needs=(DRY_RUN,),
    ),
    Check(
        "installation-versions",
        "versions agree",
        "finish the upgrade: helm upgrade, then kubectl rollout status",
        _versions,
        Verdict.WARNING,
        needs=("Deployment", "DaemonSet"),
    ),
    Check(
        "installation-certs",
        "the program that renews the certificate runs",
        "kubectl describe pod, and logs, of the Deployment …-certs",
        _certs,
        needs=("Deployment",),
    ),
)
