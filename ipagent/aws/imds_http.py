"""HTTP of the instance metadata service: session tokens, tries, and why no answer comes.

Paths and token rules are those of "Use the Instance Metadata Service" in the EC2 user guide. IMDSv2 with a
token comes first; where the token request is answered with a refusal, version 1 is used. A token request that
is never answered means a hop limit of 1: the answer's packets die on their way into the pod. That is an error
with its remedy, and no reason to fall back.
"""

from __future__ import annotations

from collections.abc import Mapping

from common.shorten import SHOWN
from ipagent.assign.errors import BadImdsAnswer, NoImds, SilentImds
from ipagent.assign.retry import Backoff, Timing
from ipagent.aws.http_connection import HttpConnection
from ipagent.aws.http_messages import MalformedError, TooLargeError, is_target
from ipagent.aws.urls import split_url

DEFAULT_ENDPOINT = "http://169.254.169.254"
IPV6_ENDPOINT = "http://[fd00:ec2::254]"

MAX_BYTES = 1 << 16
MAX_TOKEN = 1024
TOKEN_SECONDS = 21_600
"""The longest life that IMDS gives to a token."""

_TRIES = 3
_PACE = Backoff(0.1, 1.0)
# Besides 404 what proxies and emulations of IMDSv1 say to a PUT; 400 would be our own fault.
_NO_V2 = frozenset({403, 404, 405, 501})


def endpoint_of(env: Mapping[str, str]) -> str:
    """Return the service's URL by the AWS SDKs' variables; raises NoImds if it is switched off."""
    if env.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        raise NoImds("IMDS is switched off by AWS_EC2_METADATA_DISABLED")
    if endpoint := env.get("AWS_EC2_METADATA_SERVICE_ENDPOINT"):
        return endpoint
    mode = env.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "")
    return IPV6_ENDPOINT if mode.lower() == "ipv6" else DEFAULT_ENDPOINT


class ImdsConnection:
    """A client with one kept connection. `timeout` is in seconds, for connecting and for each answer."""

    def __init__(self, endpoint: str, timing: Timing, *, timeout: float = 1.0) -> None:
        self._endpoint = endpoint
        self._timing = timing
        self._token: str | None = None
        self._asked_for_token = False
        self._was_asked = self._has_answered = False
        try:
            parts = split_url(endpoint)
            is_http = parts.scheme == "http" and bool(parts.hostname) and is_target(parts.netloc + parts.path)
            if is_http:
                self._connection = HttpConnection(endpoint, connect_seconds=timeout, read_seconds=timeout)
        except ValueError as error:
            raise NoImds(f"The IMDS endpoint {endpoint!r} can't be used: {error}") from None
        if not is_http:
            raise NoImds(f"The IMDS endpoint {endpoint!r} can't be used: it is not an http:// URL")
        self._prefix = parts.path.rstrip("/")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    @property
    def silent(self) -> bool:
        """Whether it has been asked, and has not answered once."""
        return self._was_asked and not self._has_answered

    def get(self, path: str) -> str:
        """Return the value at a path, empty where there is none; raises NoImds."""
        status, text = 0, ""
        for attempt in range(_TRIES):
            status, text = self._ask("GET", path, self._token_headers())
            if status == 200:
                return text.strip()
            if status == 404:
                return ""
            if status == 401:
                # The token has run out, or the connection leads to another IMDS than before.
                self._asked_for_token = False
            elif status < 500 and status != 429:
                break
            else:
                self._pause(attempt)
        hint = ": is IMDS (HttpEndpoint) enabled on the node?" if status == 403 else ""
        raise _answered(f"IMDS at {self._endpoint} answers {path} with HTTP {status}{hint}", status)

    def _token_headers(self) -> dict[str, str]:
        if not self._asked_for_token:
            self._token = self._new_token()
            self._asked_for_token = True
        return {"X-aws-ec2-metadata-token": self._token} if self._token else {}

    def _new_token(self) -> str | None:
        """Ask for a session token; None where this IMDS knows version 1 only."""
        headers = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)}
        status = 0
        for attempt in range(_TRIES):
            status, text = self._ask("PUT", "/latest/api/token", headers)
            if status == 200:
                token = text.strip()
                if not (token.isascii() and token.isprintable() and 0 < len(token) <= MAX_TOKEN):
                    raise BadImdsAnswer("IMDS gave a token that can't be used")
                return token
            if status in _NO_V2:
                return None
            self._pause(attempt)
        raise _answered(f"IMDS at {self._endpoint} answers the token request with HTTP {status}", status)

    def _ask(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        """Send one request; a lost connection is made anew. Raises NoImds where no answer comes."""
        if not is_target(path):
            raise BadImdsAnswer(f"IMDS has given a name that is not one of its own: {path[-SHOWN:]!r}")
        problem: Exception | None = None
        for attempt in range(_TRIES):
            try:
                return self._exchange(method, path, headers)
            except (OSError, MalformedError) as error:
                problem = error
                if not _kept_connection_ended(error):
                    self._pause(attempt)
        if not self._has_answered:
            raise SilentImds(self._no_answer(method, problem))
        if self._connection.begun:
            lost = BadImdsAnswer(
                f"IMDS at {self._endpoint} answers {path} with what can't be used: {problem}"
            )
        else:
            lost = BadImdsAnswer(f"{self._no_answer('', problem)} (asked for {path}; it has answered others)")
        lost.silent = True
        raise lost

    def _exchange(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        self._was_asked = True
        try:
            answer = self._connection.request(method, self._prefix + path, headers, max_bytes=MAX_BYTES)
        except TooLargeError:
            raise BadImdsAnswer(f"IMDS answers {path} with more than {MAX_BYTES} bytes") from None
        finally:
            # With a hop limit that is too low no part of an answer comes, not even of one that is none.
            self._has_answered |= self._connection.begun
        return answer.status, answer.body.decode("utf-8", "replace")

    def _pause(self, attempt: int) -> None:
        self._timing.sleep(_PACE.delay(attempt, self._timing.random()))

    def _no_answer(self, method: str, problem: Exception | None) -> str:
        if isinstance(problem, TimeoutError) and method == "PUT":
            return (
                f"IMDS at {self._endpoint} does not answer the token request within the time limit. Most "
                "likely the node's hop limit (HttpPutResponseHopLimit) is too low for pods"
            )
        return f"IMDS at {self._endpoint} can't be reached: {problem or 'no answer'}"


def _answered(text: str, status: int) -> BadImdsAnswer:
    error = BadImdsAnswer(text)
    error.silent = status >= 500 or status == 429
    # A token may have run out on its way; any other refusal is meant.
    error.transient = error.silent or status == 401
    return error


def _kept_connection_ended(error: Exception) -> bool:
    return isinstance(error, BrokenPipeError | ConnectionResetError)
