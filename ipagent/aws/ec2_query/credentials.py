"""Credentials of a pod on EKS: its environment, IRSA, EKS Pod Identity, or the node's role by IMDS.

They are read once and renewed before they expire. A source that does not give them at once, for whatever
reason, is botocore's to ask: it tries longer, and its errors are known (`aws/missing_credentials.py`).
"""

from __future__ import annotations

import json
from _thread import allocate_lock
from datetime import datetime

from ipagent.assign.errors import NoImds
from ipagent.aws.ec2_query.connection_pool import ConnectionPool, NoAnswerError, NotSentError
from ipagent.aws.ec2_query.environment import (
    KEYS,
    POD_IDENTITY_TOKEN_FILE,
    POD_IDENTITY_URI,
    ROLE_ARN,
    ROLE_SESSION_NAME,
    TOKEN,
    WEB_IDENTITY_TOKEN_FILE,
    Source,
)
from ipagent.aws.ec2_query.query_protocol import NotAnAnswerError, RefusedError, form, read_answer
from ipagent.aws.ec2_query.signature import FORM, Keys
from ipagent.aws.http_connection import HttpConnection
from ipagent.aws.http_messages import MalformedError
from ipagent.aws.urls import split_url

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ipagent.aws.imds import Imds

RENEWED_SECONDS = 15 * 60
"""Before they expire, as botocore does it (`RefreshableCredentials._advisory_refresh_timeout`)."""
AGAIN_SECONDS = 60
"""How long credentials that are valid serve after their source was asked for others."""
_POD_IDENTITY_SECONDS = 2
_STS_VERSION = "2011-06-15"
_MAX_BYTES = 1 << 16
_NEVER = float("inf")


class NoKeysError(Exception):
    """The source gives no credentials now."""


class Credentials:
    """The credentials of one source. `now` is in seconds since 1970; `sts` connects to STS."""

    def __init__(
        self,
        source: Source,
        env: Mapping[str, str],
        *,
        imds: Callable[[], Imds],
        sts: Callable[[], ConnectionPool],
        now: Callable[[], float],
    ) -> None:
        self.source = source
        self._env = env
        self._imds = imds
        self._sts = sts
        self._now = now
        self._keys: Keys | None = None
        self._asked_again = 0.0
        self._renewing = allocate_lock()

    def current(self) -> Keys:
        """Return credentials that are valid, renewed where they expire soon; raises NoKeysError."""
        keys = self._keys
        if keys is not None and self._renewing.locked() and self._now() < keys.expires - AGAIN_SECONDS:
            # Another thread renews them: as with botocore nobody waits for that while they are valid.
            return keys
        with self._renewing:
            return self._current()

    def _current(self) -> Keys:
        keys, now = self._keys, self._now()
        if keys is not None and (now < keys.expires - RENEWED_SECONDS or now < self._asked_again):
            return keys
        try:
            self._keys = renewed = self._read()
        except NoKeysError:
            if keys is None or now >= keys.expires - AGAIN_SECONDS:
                raise
            renewed = keys
        # The same ones may come again: IMDS renews them five minutes before they expire.
        self._asked_again = now + AGAIN_SECONDS
        return renewed

    def _read(self) -> Keys:
        """Ask the source; raises NoKeysError."""
        if self.source is Source.ENV:
            key, secret = (self._env[name] for name in KEYS)
            token = self._env.get(TOKEN, "")
            # An error about a header that can't be sent would quote it.
            if not all(map(_is_header, filter(None, (key, secret, token)))):
                raise NoKeysError
            return Keys(key, secret, token, _NEVER)
        try:
            keys = self._asked()
        except _FAILURES:
            # Why is botocore's to find out.
            raise NoKeysError from None
        if keys.expires <= self._now() + AGAIN_SECONDS:
            raise NoKeysError
        return keys

    def _asked(self) -> Keys:
        """Ask the source; raises one of `_FAILURES`."""
        if self.source is Source.NODE:
            return _keys(self._imds().role_document())
        if self.source is Source.POD_IDENTITY:
            return _keys(_pod_identity(self._env[POD_IDENTITY_URI], self._env[POD_IDENTITY_TOKEN_FILE]))
        return _keys(self._web_identity())

    def _web_identity(self) -> Mapping[str, object]:
        """Ask STS for a role, as botocore does it (AssumeRoleWithWebIdentity in the STS API reference)."""
        parameters = {
            "RoleArn": self._env[ROLE_ARN],
            "RoleSessionName": self._env.get(ROLE_SESSION_NAME) or f"botocore-session-{int(self._now())}",
            "WebIdentityToken": _token(self._env[WEB_IDENTITY_TOKEN_FILE]),
        }
        operation, connection = "AssumeRoleWithWebIdentity", self._sts()
        headers = {"content-type": FORM}
        try:
            answer = connection.post(form(operation, parameters, _STS_VERSION), headers)
        finally:
            connection.close()
        found: Mapping[str, object] = read_answer(operation, *answer)[f"{operation}Result"]["Credentials"]
        return found


_FAILURES = (
    NoImds,
    NotSentError,
    NoAnswerError,
    RefusedError,
    NotAnAnswerError,
    OSError,
    MalformedError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RecursionError,
)
"""What asking a source raises, and reading what it answers."""


def _keys(document: Mapping[str, object]) -> Keys:
    """Read "AccessKeyId", …; raises KeyError, TypeError, ValueError."""
    # The first is STS' name of it.
    session_token = document.get("SessionToken") or document["Token"]
    named = (document[name] for name in ("AccessKeyId", "SecretAccessKey", "Expiration"))
    texts = [*named, session_token]
    key, secret, expiration, session = (text for text in texts if isinstance(text, str) and _is_header(text))
    expires = datetime.fromisoformat(expiration)
    if expires.tzinfo is None:
        raise ValueError("it tells no time zone")
    return Keys(key, secret, session, expires.timestamp())


def _is_header(text: str) -> bool:
    return text.isascii() and text.isprintable() and bool(text)


def _token(path: str) -> str:
    """Read a token's file, which the kubelet renews; raises OSError, ValueError."""
    with open(path, encoding="ascii") as file:  # noqa: PTH123 - pathlib costs more
        token = file.read(_MAX_BYTES)
    if not _is_header(token):
        raise ValueError("the token can't be used")
    return token


def _pod_identity(uri: str, token_file: str) -> Mapping[str, object]:
    """Ask the agent of EKS Pod Identity; raises OSError, MalformedError, ValueError, TypeError."""
    parts = split_url(uri)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"Accept": "application/json", "Authorization": _token(token_file)}
    seconds = _POD_IDENTITY_SECONDS
    connection = HttpConnection(uri, connect_seconds=seconds, read_seconds=seconds)
    try:
        answer = connection.request("GET", path, headers, max_bytes=_MAX_BYTES)
    finally:
        connection.close()
    if answer.status != 200:
        raise ValueError(f"HTTP {answer.status}")
    document = json.loads(answer.body)
    if not isinstance(document, dict):
        raise TypeError("it is no object")
    return document
