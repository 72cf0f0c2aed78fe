"""Asks the API server whose a token is (authentication.k8s.io/v1, TokenReview)."""

from __future__ import annotations

from typing import Any

from common.contract import TOKEN_AUDIENCE
from common.kube.client import Client

REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
MAX_TOKEN = 16 * 1024
"""Characters; a projected ServiceAccount token has about 1000."""

Status = dict[str, Any]


def review_token(client: Client, token: str, audience: str = TOKEN_AUDIENCE) -> Status:
    """Ask whether the token is valid for `audience`, and return the review's `status`.

    May be called by many threads. Raises ApiError, Unreachable or ClusterError; none of them has the token.
    """
    if not 0 < len(token) <= MAX_TOKEN or not token.isascii() or not token.isprintable():
        return {"authenticated": False, "error": "this is no token"}
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token, "audiences": [audience]},
    }
    status = client.create(REVIEWS, "review a token", body).object.get("status")
    return status if isinstance(status, dict) else {}
