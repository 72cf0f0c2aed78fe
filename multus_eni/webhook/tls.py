"""The webhook's certificate: read from two files, served, and replaced without a restart.

Changing a live SSLContext is unsafe: a pair that does not match breaks every later handshake, and an RSA
pair loaded over an EC pair goes on serving the old one. So a new pair gets a new context, which each
handshake fetches through the listener's SNI callback (it also fires for clients that send no name).
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path


class CertificateError(Exception):
    """The files hold no usable pair; the text names them and what to do."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where certificate chain and key are, in PEM."""

    certificate: Path
    key: Path

    def resolved(self) -> CertificateFiles:
        """Follow links once: the kubelet swaps a Secret's files together behind one link, `..data`."""
        return CertificateFiles(Path(os.path.realpath(self.certificate)), Path(os.path.realpath(self.key)))

    def fingerprint(self) -> tuple[object, ...]:
        """Tell one state of the files from the next; raises OSError where they can't be read."""
        stats = (self.certificate.stat(), self.key.stat())
        return (self, *((stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in stats))


class Certificates:
    """Serves the newest pair that was usable."""

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self._state: tuple[object, ...] = ()
        self._current = self._load()
        self.listener = _context(files)
        self.listener.sni_callback = self._choose

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

    def _load(self) -> ssl.SSLContext:
        files = self._files.resolved()
        try:
            # Taken first: files that change while they are read are then read again at the next look.
            state = files.fingerprint()
        except OSError as error:
            raise _unusable(self._files, error) from error
        context = _context(files)
        self._state = state
        return context

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _listener: ssl.SSLContext) -> None:
        connection.context = self._current


def _context(files: CertificateFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # An encrypted key would make OpenSSL ask on the terminal: an empty password makes it fail instead.
        context.load_cert_chain(files.certificate, files.key, password="")
    except (OSError, ValueError) as error:
        raise _unusable(files, error) from error
    return context


def _unusable(files: CertificateFiles, error: Exception) -> CertificateError:
    return CertificateError(
        f"{files.certificate} and {files.key} are no usable pair of certificate and key: {error}; "
        "give PEM files that belong together, the key without a password"
    )
