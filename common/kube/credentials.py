"""Credentials of a client: the CA file that it trusts, and its bearer token."""

from __future__ import annotations

import ssl
from pathlib import Path

from common.kube.errors import ClusterError


def tls_context(ca: Path | None = None, text: str | None = None) -> ssl.SSLContext:
    """Return a TLS context that trusts the CAs of a file or a text. Raises ClusterError."""
    try:
        context = ssl.create_default_context(cafile=ca, cadata=text)
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"cannot use the API server's CA ({ca or 'in the kubeconfig'}): {error}"
        ) from error
    # Python 3.13 began to refuse CAs without what RFC 5280 wants and many clusters' CAs lack.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def bearer_header(token: Path) -> dict[str, str]:
    """Return the Authorization header for a token in a file. Raises ClusterError."""
    try:
        return {"Authorization": f"Bearer {token.read_text(encoding='ascii').strip()}"}
    except (OSError, ValueError) as error:
        raise ClusterError(f"cannot read the API token in {token}: {error}") from error
