"""A client of one HTTP server for tests that ask a lot: for one request httpx takes over twice the CPU time.

It raises TransportError where there is no answer.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import urllib3
from urllib3.exceptions import HTTPError as TransportError

__all__ = ["HttpClient", "TransportError", "get", "succeeded"]

KEPT = 64
"""How many connections are kept: as many as threads use at once."""


class HttpClient:
    """Asks the server at `url` over connections that it keeps; threads may share it.

    `token` is a bearer token, `ca` a file with the CA certificate that alone is trusted. Redirects are not
    followed, and nothing is tried again.
    """

    def __init__(self, url: str, *, token: str = "", ca: Path | None = None) -> None:
        trust = {"ssl_context": ssl.create_default_context(cafile=str(ca))} if ca else {}
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._pool = urllib3.connection_from_url(url, maxsize=KEPT, timeout=30, retries=False, **trust)

    def close(self) -> None:
        """Close its connections."""
        self._pool.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        parameters: Mapping[str, str] | None = None,
        body: object = None,
        media_type: str = "application/json",
    ) -> urllib3.BaseHTTPResponse:
        """Send a request, with `body` as JSON unless it is None; the answer has been read to its end."""
        target = f"{path}?{urlencode(parameters)}" if parameters else path
        if body is None:
            return self._pool.request(method, target, headers=self._headers)
        headers = {**self._headers, "Content-Type": media_type}
        return self._pool.request(method, target, headers=headers, body=json.dumps(body).encode())


def succeeded(response: urllib3.BaseHTTPResponse) -> bool:
    """Return whether the status is one of success."""
    return 200 <= response.status < 300


def get(url: str) -> urllib3.BaseHTTPResponse:
    """Ask once for something that is served without TLS, over a connection that is closed then."""
    parts = urlsplit(url)
    client = HttpClient(f"{parts.scheme}://{parts.netloc}")
    try:
        return client.request("GET", parts.path)
    finally:
        client.close()
