"""A plain HTTP client of the metadata service, which chooses from where it asks."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from contextlib import closing
from urllib.parse import urlsplit

from tests.doubles import Doubles
from tests.doubles_tests import worlds

TOKEN = "/latest/api/token"
MACS = "/latest/meta-data/network/interfaces/macs/"


def ask(
    doubles: Doubles,
    method: str,
    path: str,
    source: str,
    headers: Mapping[str, str] | None = None,
    *,
    seconds: float = 5,
) -> tuple[int, str]:
    """Send one request from a source address; returns status and body."""
    connection = http.client.HTTPConnection(
        urlsplit(doubles.imds_url).netloc, timeout=seconds, source_address=(source, 0)
    )
    with closing(connection):
        connection.request(method, path, headers=dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.read().decode()


def token(doubles: Doubles, source: str, ttl: str = "60") -> dict[str, str]:
    """Get a session token; returns the header that carries it."""
    status, body = ask(doubles, "PUT", TOKEN, source, {"X-aws-ec2-metadata-token-ttl-seconds": ttl})
    assert status == 200
    return {"X-aws-ec2-metadata-token": body}


def value(doubles: Doubles, path: str, source: str = worlds.HOST_A) -> str | None:
    """Read a value with a token; None for 404."""
    status, body = ask(doubles, "GET", path, source, token(doubles, source))
    assert status in (200, 404)
    return body if status == 200 else None
