"""The webhook's certificate: loaded from two files, verified, served, and replaced without a restart.

Changing a live SSLContext is unsafe: a pair that does not match breaks every later handshake, and an RSA
pair loaded over an EC pair goes on serving the old one. So a new pair gets a new context, which each
handshake fetches through the listener's SNI callback (it also fires for clients that send no name).
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path

from webhook.server.tls_records import BoundedContext

MAX_FILE_SIZE = 1 << 20


class CertificateError(Exception):
    """The files are not a usable certificate/key pair. The text names them and what to do."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """The PEM files of the certificate chain and the key."""

    certificate: Path
    key: Path

    def exist(self) -> bool:
        """Return whether both files exist."""
        return self.certificate.exists() and self.key.exists()

    def resolved(self) -> CertificateFiles:
        """Resolve links once: the kubelet swaps a Secret's files together behind one link, `..data`."""
        return CertificateFiles(Path(os.path.realpath(self.certificate)), Path(os.path.realpath(self.key)))

    def fingerprint(self) -> tuple[object, ...]:
        """Return a value that changes with the files. Raises OSError if they cannot be read."""
        stats = (self.certificate.stat(), self.key.stat())
        return (self, *((stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in stats))


@dataclass(frozen=True, slots=True)
class _Pair:
    context: ssl.SSLContext
    expires: float


class CertWatcher:
    """Serves the newest usable pair."""

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self._state: tuple[object, ...] = ()
        self._current = self._load()
        self.listener = _context(files)
        self.listener.sni_callback = self._select_context

    @property
    def expires(self) -> float:
        """When the served certificate expires, in seconds since 1970."""
        return self._current.expires

    def reload(self) -> bool:
        """Load the files if they have changed, and return whether they have.

        Raises CertificateError if the new pair is unusable; the old one is served further.
        """
        try:
            if self._files.resolved().fingerprint() == self._state:
                return False
        except OSError as error:
            raise _unusable(self._files, error) from error
        self._current = self._load()
        return True

    def _load(self) -> _Pair:
        files = self._files.resolved()
        try:
            # Taken before loading: files that change meanwhile are loaded again next time.
            state = files.fingerprint()
        except OSError as error:
            raise _unusable(self._files, error) from error
        context = _context(files)
        try:
            pair = _Pair(context, _expiry(context, files.certificate))
        except (OSError, ValueError) as error:
            raise _unusable(self._files, error) from error
        self._state = state
        return pair

    def _select_context(
        self, connection: ssl.SSLObject, _name: str | None, _listener: ssl.SSLContext
    ) -> None:
        connection.context = self._current.context


def _context(files: CertificateFiles) -> ssl.SSLContext:
    context = BoundedContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # An encrypted key would make OpenSSL ask on the terminal: an empty password makes it fail instead.
        context.load_cert_chain(files.certificate, files.key, password="")
    except (OSError, ValueError) as error:
        raise _unusable(files, error) from error
    return context


def _expiry(server: ssl.SSLContext, certificate: Path) -> float:
    """Make a handshake in memory with a client that trusts just this certificate.

    It proves that the API server can verify the pair today (validity, purpose). And the standard library
    shows a certificate's dates only for a verified peer. Raises ssl.SSLError or ValueError.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    if certificate.stat().st_size > MAX_FILE_SIZE:
        raise ValueError(f"larger than {MAX_FILE_SIZE} bytes")
    client.load_verify_locations(cadata=certificate.read_text(encoding="ascii"))
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True))
    for _ in range(4):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    shown = sides[0].getpeercert()
    if not shown:
        raise ValueError("it shows no certificate in a handshake")
    return float(ssl.cert_time_to_seconds(str(shown["notAfter"])))


def _unusable(files: CertificateFiles, error: Exception) -> CertificateError:
    return CertificateError(
        f"{files.certificate} and {files.key} are not a usable certificate/key pair: {error}; "
        "provide PEM files that belong together and are valid today, the key without a password"
    )
