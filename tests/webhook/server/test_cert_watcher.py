import os
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from tests.cluster.certificates import Authority
from tests.tls_in_memory import handshake
from webhook.server.cert_watcher import CertificateError, CertificateFiles, CertWatcher


def served(certificates: CertWatcher) -> int:
    """Make a handshake in memory; returns the serial number of the certificate that the server shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    client = handshake(certificates.listener, context)
    shown = client.getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown).serial_number


def secret(volume: Path, authority: Authority, version: str) -> int:
    """Swap a Secret's files as the kubelet does; returns the new certificate's serial number."""
    folder = volume / version
    folder.mkdir(parents=True)
    pair = authority.issue(["localhost"], folder)
    fresh = volume / "..data_tmp"
    fresh.symlink_to(version)
    fresh.rename(volume / "..data")
    for name in ("tls.crt", "tls.key"):
        if not (volume / name).is_symlink():
            (volume / name).symlink_to(f"..data/{name}")
    return x509.load_pem_x509_certificate(pair.public.read_bytes()).serial_number


def files(volume: Path) -> CertificateFiles:
    return CertificateFiles(volume / "tls.crt", volume / "tls.key")


def test_a_swapped_secret_is_served_after_the_next_look(tmp_path: Path) -> None:
    authority = Authority()
    first = secret(tmp_path, authority, "one")
    certificates = CertWatcher(files(tmp_path))
    assert served(certificates) == first
    second = secret(tmp_path, authority, "two")
    assert served(certificates) == first
    assert certificates.reload()
    assert served(certificates) == second
    assert not certificates.reload()


def test_files_rewritten_in_place_are_noticed(tmp_path: Path) -> None:
    authority = Authority()
    pair = authority.issue(["localhost"], tmp_path)
    certificates = CertWatcher(CertificateFiles(pair.public, pair.private))
    authority.issue(["localhost"], tmp_path)
    for path in (pair.public, pair.private):
        os.utime(path, ns=(0, 1))
    assert certificates.reload()
    assert served(certificates) == x509.load_pem_x509_certificate(pair.public.read_bytes()).serial_number


@pytest.mark.parametrize("damage", ["mismatch", "garbage", "missing"])
def test_an_unusable_pair_is_named_and_the_old_one_stays(tmp_path: Path, damage: str) -> None:
    authority = Authority()
    first = secret(tmp_path, authority, "one")
    certificates = CertWatcher(files(tmp_path))
    secret(tmp_path, authority, "two")
    key = tmp_path / "two" / "tls.key"
    if damage == "missing":
        key.unlink()
    elif damage == "garbage":
        key.write_text("-----BEGIN NOTHING-----")
    else:
        key.write_bytes((tmp_path / "one" / "tls.key").read_bytes())
    for _ in range(2):
        with pytest.raises(CertificateError, match="not a usable certificate/key pair"):
            certificates.reload()
    assert served(certificates) == first
    third = secret(tmp_path, authority, "three")
    assert certificates.reload()
    assert served(certificates) == third


def test_it_knows_when_the_served_certificate_expires(tmp_path: Path) -> None:
    pair = Authority().issue(["localhost"], tmp_path)
    certificate = x509.load_pem_x509_certificate(pair.public.read_bytes())
    assert CertWatcher(CertificateFiles(pair.public, pair.private)).expires == (
        certificate.not_valid_after_utc.timestamp()
    )


def test_without_a_usable_pair_nothing_is_served(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match=r"tls\.crt.*tls\.key"):
        CertWatcher(files(tmp_path))
