"""Is the webhook's certificate in order, and trusted by the API server?"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Iterator

from certs.x509 import Certificate, issuer_of, read_bundle, read_certificate
from check.cluster import Cluster
from check.installation import Installation
from check.model import NotApplicable, Object, Resource, Verdict, as_objects, pod_spec
from check.results import Check, Problem
from check.shell_commands import shell_command
from common.object_fields import as_map

LEAST_LEFT = 0.25
"""Share of a certificate's life; `certs` renews it with a third left."""
LEAST_LEFT_OF_OTHERS = 0.1
"""The same where cert-manager or the user renews it, at a time of their own."""
TLS_VOLUME = "tls"
CERT_MANAGER = "cert-manager.io/inject-ca-from"
"""The annotation by which cainjector knows the configuration: namespace and name of the Certificate."""
CERT_MANAGER_KINDS = ",".join(
    f"{each}.cert-manager.io" for each in ("certificates", "certificaterequests", "issuers")
)


def _certificate(cluster: Cluster) -> Iterator[str | Problem]:
    found, leaf, _ = _certificates(cluster)
    now = cluster.snapshot.now
    if leaf is None:
        yield _of_certs(cluster, f"Secret {found} has no certificate that can be read")
    elif not leaf.valid_at(now):
        when = "expired" if now >= leaf.not_after else "is not valid before"
        date = leaf.not_after if now >= leaf.not_after else leaf.not_before
        yield _of_certs(cluster, f"Secret {found}: the certificate {when} {_date(date)}")
    elif (service := _service(cluster.installation)) and not _is_for(leaf, service):
        names = ", ".join(sorted(leaf.names)) or "no name"
        yield _of_certs(cluster, f"Secret {found}: the certificate is for {names}, not {service}")


def _renewal(cluster: Cluster) -> Iterator[str | Problem]:
    found, leaf, _ = _certificates(cluster)
    ours = cluster.installation.certs is not None
    if leaf is not None and _is_overdue(leaf, cluster.snapshot.now, ours=ours):
        text = f"Secret {found}: the certificate expires {_date(leaf.not_after)} and is not renewed"
        yield _of_certs(cluster, text)


def _is_overdue(leaf: Certificate, now: float, *, ours: bool) -> bool:
    """Whether a valid certificate should have been renewed; `ours`: by `multus-eni certs`."""
    left = (leaf.not_after - now) / (leaf.not_after - leaf.not_before)
    return leaf.valid_at(now) and left < (LEAST_LEFT if ours else LEAST_LEFT_OF_OTHERS)


def _trust(cluster: Cluster) -> Iterator[str | Problem]:
    entries = cluster.injector().entries
    _, leaf, others = _certificates(cluster)
    if leaf is None:
        raise NotApplicable("there is no certificate")
    bundles: dict[str, bool] = {}
    for entry in entries:
        text = str(as_map(entry.get("clientConfig")).get("caBundle") or "")
        if text not in bundles:
            bundles[text] = _is_trusted(leaf, others, read_bundle(_decoded(text)).certificates)
        if not bundles[text]:
            text = f"entry {entry.get('name')}: its caBundle does not trust the webhook's certificate"
            yield _of_certs(cluster, text)


def _of_certs(cluster: Cluster, text: str) -> Problem:
    certs, configuration = cluster.installation.certs, cluster.installation.configuration
    if certs is not None:
        return Problem(
            text, shell_command("kubectl", "logs", "-n", certs.namespace, f"deployment/{certs.name}")
        )
    if configuration is not None and CERT_MANAGER in configuration.annotations:
        namespace = configuration.annotations[CERT_MANAGER].partition("/")[0]
        return Problem(text, shell_command("kubectl", "describe", CERT_MANAGER_KINDS, "-n", namespace))
    return Problem(text)


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
    data = as_map(secrets[key].body.get("data")) if key in secrets else {}
    text = _decoded(str(data.get("tls.crt") or ""))
    return key, read_certificate(text), read_bundle(text).certificates


def _secret_name(webhook: Resource) -> str:
    volumes = as_objects(pod_spec(webhook).get("volumes"))
    named = [as_map(each.get("secret")) for each in volumes if each.get("name") == TLS_VOLUME]
    return str(named[0].get("secretName") or "") if named else ""


def _service(found: Installation) -> str:
    def of(entry: Object) -> Object:
        return as_map(as_map(entry.get("clientConfig")).get("service"))

    service = next((of(entry) for entry in found.entries if of(entry)), {})
    return f"{service.get('name')}.{service.get('namespace')}.svc" if service else ""


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _date(when: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(when))


_CERTS = "read the logs of the Deployment …-certs, or run multus-eni certs status"

CERTIFICATES = (
    Check(
        "installation-certificate",
        "the webhook's certificate is valid",
        f"{_CERTS}; with cert-manager describe its Certificate",
        _certificate,
        needs=("Secret",),
    ),
    Check(
        "installation-renewal",
        "the certificate is renewed in time",
        f"{_CERTS}; with cert-manager describe its Certificate",
        _renewal,
        Verdict.WARNING,
        needs=("Secret",),
    ),
    Check(
        "installation-trust",
        "the API server trusts the certificate",
        f"{_CERTS}; a GitOps tool must leave caBundle alone",
        _trust,
        needs=("Secret", "MutatingWebhookConfiguration"),
    ),
)
