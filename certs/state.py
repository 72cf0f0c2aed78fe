"""Reads Secret and MutatingWebhookConfiguration into the state on which rotation decides."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from certs.x509 import (
    Bundle,
    Certificate,
    issuer_of,
    public_key_of,
    read_bundle,
    read_certificate,
    read_key,
    unique,
)

Object = Mapping[str, Any]

CERTIFICATE = "tls.crt"
KEY = "tls.key"
AUTHORITIES = "ca.crt"
AUTHORITY_KEY = "ca.key"
MADE_BY = "multus-eni.io/certificates"
"""The annotation by which a configuration says who makes the certificate: the chart's `certificates.mode`."""
OWN_MODE = "selfSigned"
"""Its value where this process does."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """The certificate that the webhook serves; its key is there, and `issuer` is known to have signed it."""

    certificate: Certificate
    issuer: Certificate

    def valid_at(self, when: float) -> bool:
        """Return whether both are valid at `when` (seconds since 1970)."""
        return self.certificate.valid_at(when) and self.issuer.valid_at(when)


@dataclass(frozen=True, slots=True)
class SecretState:
    """What the Secret holds, without any key.

    `authorities` are those of ca.crt. `signing` is the authority whose key is in ca.key. `leaf` is None also
    where the pair can't be used: unreadable, without its key, or of an unknown issuer.
    """

    exists: bool = False
    authorities: Bundle = field(default_factory=Bundle)
    signing: Certificate | None = None
    leaf: Leaf | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One element of the configuration's `webhooks`: whom the API server trusts there."""

    name: str
    trusted: Bundle


@dataclass(frozen=True, slots=True)
class State:
    """Both objects; `entries` is empty also where there is no configuration.

    `made_by` is who else makes the certificate, as the configuration's annotation says; empty where nobody.
    """

    secret: SecretState
    entries: tuple[Entry, ...] = ()
    made_by: str = ""

    @property
    def trusted(self) -> tuple[Certificate, ...]:
        """Everything that some entry trusts."""
        return unique(each for entry in self.entries for each in entry.trusted.certificates)

    def trusted_everywhere(self, authority: Certificate) -> bool:
        """Return whether there are entries, and each of them trusts this authority."""
        return bool(self.entries) and all(
            authority.fingerprint in entry.trusted.fingerprints for entry in self.entries
        )


def read_state(secret: Object | None, configuration: Object | None) -> State:
    """Read both objects as the API server returned them, None for one that does not exist.

    Whatever they hold, this raises nothing: what can't be read is not there.
    """
    webhooks = (configuration or {}).get("webhooks") or ()
    texts = [str((each.get("clientConfig") or {}).get("caBundle") or "") for each in webhooks]
    # All entries say the same nearly always.
    bundles = {text: _bundle(text) for text in set(texts)}
    entries = tuple(
        Entry(str(each.get("name")), bundles[text]) for each, text in zip(webhooks, texts, strict=True)
    )
    trusted = unique(each for entry in entries for each in entry.trusted.certificates)
    annotations = ((configuration or {}).get("metadata") or {}).get("annotations") or {}
    mode = str(annotations.get(MADE_BY) or "")
    return State(_secret(secret, trusted), entries, "" if mode == OWN_MODE else mode)


def data_of(secret: Object | None) -> dict[str, bytes]:
    """Return the content of a Secret; what is not base64 is left out."""
    decoded = {key: _decoded(value) for key, value in ((secret or {}).get("data") or {}).items()}
    return {key: value for key, value in decoded.items() if value is not None}


def _secret(secret: Object | None, trusted: Iterable[Certificate]) -> SecretState:
    if secret is None:
        return SecretState()
    data = data_of(secret)
    authorities = read_bundle(data.get(AUTHORITIES, b""))
    known = unique((*authorities.certificates, *trusted))
    return SecretState(
        exists=True,
        authorities=authorities,
        signing=_signing(data.get(AUTHORITY_KEY, b""), known),
        leaf=_leaf(data, known),
    )


def _signing(key: bytes, known: Iterable[Certificate]) -> Certificate | None:
    if read_key(key) is None:
        return None
    public = public_key_of(key)
    found = [each for each in known if each.is_authority and each.key == public]
    return max(found, key=lambda each: each.not_after, default=None)


def _leaf(data: Mapping[str, bytes], known: Iterable[Certificate]) -> Leaf | None:
    certificate = read_certificate(data.get(CERTIFICATE, b""))
    if certificate is None or public_key_of(data.get(KEY, b"")) != certificate.key:
        return None
    issuer = issuer_of(certificate, known)
    return Leaf(certificate, issuer) if issuer else None


def _bundle(encoded: str) -> Bundle:
    text = _decoded(encoded)
    return Bundle(damaged=True) if text is None else read_bundle(text)


def _decoded(value: object) -> bytes | None:
    try:
        return base64.b64decode(str(value), validate=True)
    except (binascii.Error, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class SeenSince:
    """Since when this process has seen what is there: instants in seconds of a monotonic clock.

    A certificate's age in place is not computed from dates: correcting the clock by an hour would end every
    wait at once. A process that starts again waits again.

    `leaf` is since when the Secret has held the leaf `fingerprint`; `trusted` since when every entry of the
    configuration has trusted each authority, by fingerprint; `no_entries` since when there has been no entry.
    """

    fingerprint: str = ""
    leaf: float = 0.0
    trusted: Mapping[str, float] = field(default_factory=dict)
    no_entries: float | None = None


def seen_since(before: SeenSince, state: State, steady: float) -> SeenSince:
    """Return what has been seen once `state` was read at the instant `steady`."""
    leaf = state.secret.leaf
    fingerprint = leaf.certificate.fingerprint if leaf else ""
    everywhere = [each.fingerprint for each in state.trusted if state.trusted_everywhere(each)]
    since = steady if before.no_entries is None else before.no_entries
    return SeenSince(
        fingerprint=fingerprint,
        leaf=before.leaf if fingerprint == before.fingerprint else steady,
        trusted={each: before.trusted.get(each, steady) for each in everywhere},
        no_entries=None if state.entries else since,
    )
