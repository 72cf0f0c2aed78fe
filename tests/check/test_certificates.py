"""What `multus-eni check` says of certificates that somebody else than `certs` has issued."""

from __future__ import annotations

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from certs.x509 import Certificate, read_certificate
from check.checks.certificates import _is_for, _is_overdue, _is_trusted

pytestmark = pytest.mark.pure

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
SERVICE = "multus-eni-injector.multus-eni-system.svc"
Key = ec.EllipticCurvePrivateKey


def issued(name: str, by: tuple[str, Key] | None = None, dns: str = SERVICE) -> tuple[Certificate, Key]:
    """Return a certificate, its own issuer unless `by` says another, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer, signer = by or (name, key)
    built = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(START)
        .not_valid_after(START + datetime.timedelta(days=90))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(dns)]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    found = read_certificate(built.public_bytes(Encoding.PEM))
    assert found is not None
    return found, key


def test_a_chain_by_way_of_served_certificates_is_trusted() -> None:
    root, root_key = issued("root")
    middle, middle_key = issued("middle", ("root", root_key))
    leaf, _ = issued("leaf", ("middle", middle_key))
    assert _is_trusted(leaf, (leaf, middle), (root,))
    assert not _is_trusted(leaf, (leaf,), (root,))
    assert not _is_trusted(leaf, (leaf, middle), (issued("root")[0],))


def test_a_certificate_in_the_bundle_itself_is_trusted() -> None:
    leaf, _ = issued("leaf")
    assert _is_trusted(leaf, (), (leaf,))


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        (SERVICE, True),
        ("*.multus-eni-system.svc", True),
        ("*.svc", False),
        ("*.other.svc", False),
    ],
)
def test_a_wildcard_stands_for_the_services_name(name: str, fits: bool) -> None:
    assert _is_for(issued("leaf", dns=name)[0], SERVICE) is fits


@pytest.mark.parametrize(
    ("day", "ours", "overdue"),
    [(60, True, False), (70, True, True), (70, False, False), (80, False, False), (82, False, True)],
)
def test_others_may_renew_later_than_certs_does(day: int, ours: bool, overdue: bool) -> None:
    now = (START + datetime.timedelta(days=day)).timestamp()
    assert _is_overdue(issued("leaf")[0], now, ours=ours) is overdue
