"""Objects of the API server to State: whatever they hold, it is read or left out."""

from __future__ import annotations

import base64
import datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from certs.issue import issue_leaf
from certs.state import SeenSince, data_of, read_state, seen_since
from certs.x509 import (
    MAX_CERTIFICATES,
    Bundle,
    public_key_of,
    read_bundle,
    read_certificate,
)
from tests.certs.builders import NAME, NOW, authority, configuration, in_order, leaf, secret

pytestmark = pytest.mark.pure

CA, OTHER = authority(1), authority(2)
SERVED = leaf(CA)


def test_a_complete_secret_and_configuration_are_read_whole() -> None:
    state = in_order(CA, SERVED)
    assert state.secret.exists
    assert state.secret.authorities == Bundle((CA.certificate,))
    assert state.secret.signing == CA.certificate
    assert state.secret.leaf
    assert (state.secret.leaf.certificate, state.secret.leaf.issuer) == (SERVED.certificate, CA.certificate)
    assert SERVED.certificate.names == {NAME}
    assert state.trusted == (CA.certificate,)


@pytest.mark.parametrize(
    "change",
    [
        {"tls_key": CA.pair.key},
        {"tls_key": b""},
        {"tls_crt": b"junk"},
        {"tls_crt": leaf(OTHER).pair.certificate},
        {"tls_crt": leaf(OTHER).pair.certificate, "tls_key": leaf(OTHER).pair.key},
    ],
    ids=["another key", "no key", "junk", "another certificate", "an unknown issuer"],
)
def test_an_unservable_leaf_counts_as_missing(change: dict[str, bytes]) -> None:
    state = read_state(secret(authorities=[CA], signing=CA, leaf=SERVED, **change), None)
    assert state.secret.leaf is None
    assert state.secret.signing == CA.certificate


def test_an_issuer_is_known_by_its_signature_and_not_by_its_name() -> None:
    forged = _self_made(ec.generate_private_key(ec.SECP256R1()), CA.certificate.subject.removeprefix("CN="))
    state = read_state(secret(leaf=SERVED, ca_crt=forged[0]), None)
    assert len(state.secret.authorities.certificates) == 1
    assert state.secret.leaf is None


@pytest.mark.parametrize("key", [b"", b"junk", OTHER.pair.key, SERVED.pair.key])
def test_a_ca_without_its_key_signs_nothing(key: bytes) -> None:
    assert read_state(secret(authorities=[CA], leaf=SERVED, ca_key=key), None).secret.signing is None


def test_a_leaf_is_no_ca_even_with_its_key() -> None:
    state = read_state(secret(authorities=[CA, SERVED], ca_key=SERVED.pair.key), None)
    assert state.secret.signing is None


def test_a_ca_with_a_key_of_another_kind_is_taken_for_lost() -> None:
    certificate, key = _self_made(rsa.generate_private_key(65537, 2048), "rsa")
    state = read_state(secret(ca_crt=certificate, ca_key=key), None)
    assert len(state.secret.authorities.certificates) == 1
    assert state.secret.signing is None


def test_a_certificate_without_extensions_has_no_names() -> None:
    certificate, _ = _self_made(ec.generate_private_key(ec.SECP256R1()), "plain")
    found = read_certificate(certificate)
    assert found
    assert (found.names, found.is_authority) == (frozenset(), False)


def test_an_encrypted_private_key_counts_as_missing() -> None:
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    assert public_key_of(key) is None
    with pytest.raises(ValueError, match="not a key for ECDSA"):
        issue_leaf(CA.certificate, key, [NAME], NOW, 60.0)


@pytest.mark.parametrize(
    ("text", "count", "damaged"),
    [
        (b"", 0, False),
        (b" \n", 0, False),
        (CA.pair.certificate, 1, False),
        (CA.pair.certificate + b"\n\n" + OTHER.pair.certificate, 2, False),
        (CA.pair.certificate * 2, 1, True),
        (b"# mine\n" + CA.pair.certificate, 1, True),
        (CA.pair.certificate[:-40], 0, True),
        (CA.pair.certificate.replace(b"MII", b"MIJ", 1), 0, True),
        (CA.pair.key, 0, True),
        (b"\xff\xfe", 0, True),
        (
            b"".join(authority(n).pair.certificate for n in range(1, MAX_CERTIFICATES + 3)),
            MAX_CERTIFICATES,
            True,
        ),
    ],
)
def test_a_bundle_keeps_what_can_be_read(text: bytes, count: int, damaged: bool) -> None:
    found = read_bundle(text)
    assert (len(found.certificates), found.damaged) == (count, damaged)


def test_what_is_not_base64_is_not_there() -> None:
    assert data_of({"data": {"a": "YQ==", "b": "%"}}) == {"a": b"a"}
    state = read_state(None, {"webhooks": [{"name": "a", "clientConfig": {"caBundle": "%"}}]})
    assert state.entries[0].trusted == Bundle(damaged=True)


@given(bundle=st.binary(max_size=64), key=st.binary(max_size=64), certificate=st.binary(max_size=64))
def test_no_content_of_the_objects_raises(bundle: bytes, key: bytes, certificate: bytes) -> None:
    wrapped = (
        b"-----BEGIN CERTIFICATE-----\n" + base64.b64encode(certificate) + b"\n-----END CERTIFICATE-----\n"
    )
    for text in (certificate, wrapped):
        held = secret(ca_crt=bundle + text, ca_key=key, tls_crt=text, tls_key=key)
        assert read_state(held, configuration(bundle, text)).secret.leaf is None


@given(byte=st.integers(0, len(SERVED.pair.certificate) - 1), value=st.integers(0, 255))
def test_a_changed_byte_of_a_certificate_is_never_taken_for_the_original(byte: int, value: int) -> None:
    changed = bytearray(SERVED.pair.certificate)
    changed[byte] = value
    found = read_state(secret(authorities=[CA], leaf=SERVED, tls_crt=bytes(changed)), None).secret.leaf
    assert found is None or found.certificate == SERVED.certificate


@given(data=st.dictionaries(st.sampled_from(["ca.crt", "ca.key", "tls.crt", "tls.key"]), st.text(max_size=9)))
def test_no_encoding_of_the_data_raises(data: dict[str, str]) -> None:
    assert read_state({"data": data}, None).secret.signing is None


def test_instants_are_kept_while_a_thing_is_seen() -> None:
    state: Any = in_order(CA, SERVED)
    first = seen_since(SeenSince(), state, 5.0)
    assert (first.leaf, first.trusted) == (5.0, {CA.certificate.fingerprint: 5.0})
    assert seen_since(first, state, 9.0) == first


def test_a_look_that_finds_a_thing_gone_starts_its_time_anew() -> None:
    state = in_order(CA, SERVED)
    first = seen_since(SeenSince(), state, 5.0)
    partly = read_state(secret(authorities=[CA], signing=CA), configuration([CA], b""))
    second = seen_since(first, partly, 9.0)
    assert (second.fingerprint, second.trusted, second.no_entries) == ("", {}, None)
    assert seen_since(second, state, 12.0) == seen_since(SeenSince(), state, 12.0)


def test_a_configuration_without_entries_is_remembered() -> None:
    empty = read_state(None, None)
    first = seen_since(SeenSince(), empty, 5.0)
    assert first.no_entries == 5.0
    assert seen_since(first, read_state(None, {"webhooks": []}), 9.0).no_entries == 5.0


def _self_made(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, name: str) -> tuple[bytes, bytes]:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    begins = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(begins)
        .not_valid_after(begins + datetime.timedelta(days=9))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private
