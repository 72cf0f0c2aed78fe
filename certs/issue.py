"""Makes the CA and the leaf: ECDSA P-256, with the extensions that RFC 5280 (section 4.2.1) demands."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certs.x509 import Certificate, read_key

BACKDATED = 3600.0
"""Seconds before now at which a certificate begins: clocks of API servers and nodes differ."""
ORGANISATION = "multus-eni-injector"
_MAX_COMMON_NAME = 64  # RFC 5280, appendix A.1, ub-common-name

_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes = field(repr=False)


def make_authority(now: float, lifetime: float) -> Pair:
    """Make a CA that lives for `lifetime` seconds from `now` (seconds since 1970)."""
    key = ec.generate_private_key(ec.SECP256R1())
    # Each CA has a name of its own: verifiers that look issuers up by name find the right one.
    name = _name(f"{ORGANISATION} CA {secrets.token_hex(4)}")
    certificate = (
        _builder(name, name, key.public_key(), now, now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pair(certificate, key)


def issue_leaf(
    authority: Certificate, authority_key: bytes, names: Iterable[str], now: float, lifetime: float
) -> Pair:
    """Issue a server's certificate for DNS names, which ends with its CA at the latest.

    Raises ValueError where `authority_key` is not a usable key.
    """
    signer = read_key(authority_key)
    if signer is None:
        raise ValueError("the CA's key is not a key for ECDSA in PEM without a password")
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.load_pem_x509_certificate(authority.pem.encode())
    ordered = sorted(names)
    subject = _name(ordered[0]) if len(ordered[0]) <= _MAX_COMMON_NAME else _name(ORGANISATION)
    ends = min(now + lifetime, authority.not_after)
    certificate = (
        _builder(subject, issuer.subject, key.public_key(), now, ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in ordered]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .sign(signer, hashes.SHA256())
    )
    return _pair(certificate, key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: float, ends: float
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_date(now - BACKDATED))
        .not_valid_after(_date(ends))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _date(when: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(int(when), datetime.UTC)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(*allowed: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage in allowed for usage in _USAGES})


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )
