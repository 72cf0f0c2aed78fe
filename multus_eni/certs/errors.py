"""What stops or delays the work; each text says what happened, to what, and what to do."""

from __future__ import annotations


class ClusterError(Exception):
    """How to reach the cluster is not known or not usable."""


class ApiError(Exception):
    """The API server answered with an error; `code` is HTTP's, `reason` and `message` are its Status'.

    `time` is the API server's clock, in seconds since 1970.
    """

    def __init__(self, code: int, reason: str, message: str, what: str, time: float | None = None) -> None:
        super().__init__(f"the API server refused to {what}: {code} {reason}: {message}{_remedy(code)}")
        self.code = code
        self.reason = reason
        self.message = message
        self.time = time


class Unreachable(Exception):
    """The API server did not answer."""


_REMEDIES = {
    401: "; the token was not accepted: is the ServiceAccount there, and its token mounted?",
    403: "; grant the ServiceAccount what docs/certificates.md lists under Rights",
    413: "; the object is too large: remove what does not belong into it",
    422: "; if the Secret is immutable, or holds what is not ours, delete it: it is made again",
}


def _remedy(code: int) -> str:
    return _REMEDIES.get(code, "")
