"""Reads those fields of a certificate that rotation needs."""

from __future__ import annotations

import base64
import hashlib
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.utils import CryptographyDeprecationWarning

MAX_CERTIFICATES = 64
"""How many certificates of one bundle are looked at; the rest counts as damage."""

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]{1,65536}-----END CERTIFICATE-----")
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    CryptographyDeprecationWarning,
)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate; times are seconds since 1970.

    `fingerprint` is the SHA-256 of its DER form, `key` that of its public key (SubjectPublicKeyInfo), both
    in hex; `names` are its DNS names (RFC 5280, section 4.2.1.6).
    """

    pem: str
    fingerprint: str
    key: str
    subject: str
    not_before: float
    not_after: float
    names: frozenset[str]
    is_authority: bool

    def valid_at(self, when: float) -> bool:
        """Return whether `when` (seconds since 1970) is within its validity."""
        return self.not_before <= when < self.not_after


@dataclass(frozen=True, slots=True)
class Bundle:
    """PEM certificates in the order of the text; `damaged` where it holds something else too."""

    certificates: tuple[Certificate, ...] = ()
    damaged: bool = False

    @property
    def fingerprints(self) -> frozenset[str]:
        """The fingerprints of its certificates."""
        return frozenset(each.fingerprint for each in self.certificates)


def read_bundle(text: bytes) -> Bundle:
    """Read the certificates in a PEM text; what is not a certificate makes the bundle damaged."""
    blocks = _PEM.findall(text)
    read = [read_certificate(block) for block in blocks[:MAX_CERTIFICATES]]
    found = unique(each for each in read if each)
    rest = _PEM.sub(b"", text).strip()
    return Bundle(found, damaged=bool(rest) or len(found) != len(blocks))


def read_certificate(pem: bytes) -> Certificate | None:
    """Read the first certificate of a PEM text, None where there is none that can be read."""
    with warnings.catch_warnings():
        # What the library only warns of, such as a serial number below zero, API servers refuse.
        warnings.simplefilter("error", CryptographyDeprecationWarning)
        try:
            return _certificate(x509.load_pem_x509_certificate(pem))
        except _UNREADABLE:
            return None


def unique(certificates: Iterable[Certificate]) -> tuple[Certificate, ...]:
    """Return each certificate once, in the order of its first place."""
    return tuple({each.fingerprint: each for each in certificates}.values())


def to_pem(certificates: Iterable[Certificate]) -> bytes:
    """Write certificates as `ca.crt` and caBundle hold them."""
    return "".join(each.pem for each in certificates).encode("ascii")


def issuer_of(leaf: Certificate, authorities: Iterable[Certificate]) -> Certificate | None:
    """Find the certificate that signed `leaf`: its name is the issuer's, and the signature is right."""
    issued = x509.load_pem_x509_certificate(leaf.pem.encode())
    for authority in authorities:
        try:
            issued.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.pem.encode()))
        except (*_UNREADABLE, InvalidSignature):
            continue
        return authority
    return None


def read_key(pem: bytes) -> ec.EllipticCurvePrivateKey | None:
    """Read a private key for ECDSA without a password, None where there is none."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except _UNREADABLE:
        return None
    return key if isinstance(key, ec.EllipticCurvePrivateKey) else None


def public_key_of(pem: bytes) -> str | None:
    """Return what `Certificate.key` is for the private key in a PEM text, None where there is none."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except _UNREADABLE:
        return None
    return _digest(
        key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def _certificate(read: x509.Certificate) -> Certificate:
    der = read.public_bytes(serialization.Encoding.DER)
    public = read.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return Certificate(
        pem=_canonical(der),
        fingerprint=_digest(der),
        key=_digest(public),
        subject=read.subject.rfc4514_string(),
        not_before=read.not_valid_before_utc.timestamp(),
        not_after=read.not_valid_after_utc.timestamp(),
        names=_names(read),
        is_authority=_is_authority(read),
    )


def _canonical(der: bytes) -> str:
    body = base64.b64encode(der).decode("ascii")
    lines = [body[start : start + 64] for start in range(0, len(body), 64)]
    return "\n".join(("-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""))


def _names(read: x509.Certificate) -> frozenset[str]:
    try:
        names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(names.get_values_for_type(x509.DNSName))


def _is_authority(read: x509.Certificate) -> bool:
    try:
        return read.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _digest(der: bytes) -> str:
    return hashlib.sha256(der).hexdigest()
