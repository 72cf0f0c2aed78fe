"""Signature Version 4 of a POST with a form ("Create a signed AWS API request", IAM user guide). Pure."""

from __future__ import annotations

import hashlib
import hmac

from common.frozen_dataclass import dataclass

_ALGORITHM = "AWS4-HMAC-SHA256"
FORM = "application/x-www-form-urlencoded; charset=utf-8"


@dataclass(frozen=True)
class Keys:
    """Credentials; `expires` is in seconds since 1970, infinite for those of a user."""

    access_key: str
    secret_key: str
    token: str
    expires: float


def signed_headers(body: bytes, *, host: str, region: str, keys: Keys, at: str) -> dict[str, str]:
    """Return the headers of a POST of this form to `/` of EC2 in a region; `at` is like 20260102T030405Z."""
    headers = {"content-type": FORM, "host": host, "x-amz-date": at}
    if keys.token:
        headers["x-amz-security-token"] = keys.token
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{' '.join(headers[name].split())}\n" for name in sorted(headers))
    canonical = f"POST\n/\n\n{lines}\n{names}\n{_hash(body)}"
    scope = f"{at[:8]}/{region}/ec2/aws4_request"
    key = f"AWS4{keys.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    text = f"{_ALGORITHM}\n{at}\n{scope}\n{_hash(canonical.encode())}"
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    headers["authorization"] = (
        f"{_ALGORITHM} Credential={keys.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return headers


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
