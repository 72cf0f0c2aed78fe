"""Answers of the API server: objects, and errors by its Status. No I/O but reading an answer's rest."""

from __future__ import annotations

import email.utils
import http.client
import json
from collections.abc import Mapping
from typing import Any

from common.kube.errors import ApiError
from common.shorten import shortened

MAX_ANSWER = 8 << 20
"""Bytes. An object may have 1.5 MiB (etcd's limit), and comes with its managed fields."""
MAX_MESSAGE = 500
"""Characters of the API server's message that are passed on."""


def object_of(text: bytes, what: str) -> dict[str, Any]:
    """Read a JSON object; raises ApiError where it is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ApiError(200, "NotJSON", "the answer is not a JSON object: is this an API server?", what)
    return found


def refusal_of(response: http.client.HTTPResponse, what: str, remedies: Mapping[int, str]) -> ApiError:
    """Return the error that an answer is, by the Status in it."""
    try:
        status = object_of(response.read(MAX_ANSWER), what)
    except ApiError:
        status = {"reason": response.reason, "message": "no further word"}
    return error_of(response.status, status, what, remedies, response_time(response.headers.get("Date")))


def error_of(
    code: int, status: dict[str, Any], what: str, remedies: Mapping[int, str], time: float | None = None
) -> ApiError:
    """Return the error that a Status is; `remedies` are by HTTP code what the user does next."""
    reason, message = (shortened(str(status.get(key, "")), MAX_MESSAGE) for key in ("reason", "message"))
    return ApiError(code, reason, message, what, time=time, remedy=remedies.get(code, ""))


def response_time(date: str | None) -> float | None:
    """Read the header `Date` (RFC 9110, section 6.6.1) as seconds since 1970, None where there is none."""
    try:
        return email.utils.parsedate_to_datetime(date or "").timestamp()
    except (TypeError, ValueError):
        return None
