"""Certificates of the tests pass OpenSSL's strict checks for exactly the names that they are for."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path

import pytest

from tests.cluster.certificates import Authority, KeyPair
from tests.tls_in_memory import handshake

pytestmark = pytest.mark.cluster


def connect(pair: KeyPair, ca: bytes, name: str) -> None:
    """Let a client that trusts `ca` greet a server with this certificate, in memory."""
    trust = ssl.create_default_context(cadata=ca.decode())
    trust.verify_flags |= ssl.VERIFY_X509_STRICT
    serve = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serve.load_cert_chain(pair.public, pair.private)
    assert handshake(serve, trust, name).getpeercert()


@pytest.mark.parametrize("name", ["injector.default.svc", "127.0.0.1", "::1"])
def test_each_of_its_names_is_accepted(tmp_path: Path, name: str) -> None:
    authority = Authority()
    connect(authority.issue(["injector.default.svc", "127.0.0.1", "::1"], tmp_path), authority.pem, name)


def test_another_name_is_refused(tmp_path: Path) -> None:
    authority = Authority()
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        connect(authority.issue(["127.0.0.1"], tmp_path), authority.pem, "127.0.0.2")


def test_another_authority_of_the_same_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(Authority().issue(["127.0.0.1"], tmp_path), Authority().pem, "127.0.0.1")


def test_nobody_else_may_read_the_key(tmp_path: Path) -> None:
    pair = Authority().issue(["127.0.0.1"], tmp_path)
    assert stat.S_IMODE(pair.private.stat().st_mode) == 0o600
