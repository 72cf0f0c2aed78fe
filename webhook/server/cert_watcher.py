"""The webhook's certificate: read from two files, tried, served, and replaced without a restart.

Changing a live SSLContext is unsafe: a pair that does not match breaks every later handshake, and an RSA
pair loaded over an EC pair goes on serving the old one. So a new pair gets a new context, which each
handshake fetches through the listener's SNI callback (it also fires for clients that send no name).
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path

MAX_FILE_SIZE = 1 << 20


class CertificateError(Exception):
    """The files hold no usable pair; the text names them and what to do."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where certificate chain and key are, in PEM."""

    certificate: Path
    key: Path

    def there(self) -> bool:
        """Tell whether both files exist."""
        return self.certificate.exists() and self.key.exists()

    def resolved(self) -> CertificateFiles:
        """Follow links once: the kubelet swaps a Secret's files together behind one link, `..data`."""
        return CertificateFiles(Path(os.path.realpath(self.certificate)), Path(os.path.realpath(self.key)))

    def fingerprint(self) -> tuple[object, ...]:
        """Tell one state of the files from the next; raises OSError where they can't be read."""
        stats = (self.certificate.stat(), self.key.stat())
        return (self, *((stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in stats))


@dataclass(frozen=True, slots=True)
class _Pair:
    context: ssl.SSLContext
    expires: float


class CertWatcher:
    """Serves the newest pair that was usable."""

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self._state: tuple[object, ...] = ()
        self._current = self._load()
        self.listener = _context(files)
        self.listener.sni_callback = self._choose

    @property
    def expires(self) -> float:
        """When the served certificate expires, in seconds since 1970."""
        return self._current.expires

    def reload(self) -> bool:
        """Take over new files; returns whether they were new.

        Raises CertificateError and goes on serving the old pair where the new one is unusable.
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
            # Taken first: files that change while they are read are then read again at the next look.
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

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _listener: ssl.SSLContext) -> None:
        connection.context = self._current.context


def _context(files: CertificateFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # An encrypted key would make OpenSSL ask on the terminal: an empty password makes it fail instead.
        context.load_cert_chain(files.certificate, files.key, password="")
    except (OSError, ValueError) as error:
        raise _unusable(files, error) from error
    return context


def _expiry(server: ssl.SSLContext, certificate: Path) -> float:
    """Make a handshake in memory with a client that trusts just this certificate.

    It shows that the API server could use the pair today (validity, purpose), and what it would see: the
    standard library tells a certificate's dates only of a verified peer. Raises ssl.SSLError or ValueError.
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
        f"{files.certificate} and {files.key} are no usable pair of certificate and key: {error}; "
        "give PEM files that belong together and are valid today, the key without a password"
    )
