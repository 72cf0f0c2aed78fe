"""Errors of calls to the API server; each text says what happened, to what, and what to do."""

from __future__ import annotations

PASSING = frozenset({429, 500, 502, 503, 504})
"""HTTP codes after which the same request may succeed: the API server starts, stops or is overloaded
(Kubernetes API conventions, "HTTP Status codes")."""
OF_ALL = frozenset({401, 429, 502, 503, 504})
"""HTTP codes that other requests of ours get, too: the API server accepts none of them at present, or a proxy
before it does not. An admission or conversion webhook that fails gives 500, for its objects alone."""
NOT_AUTHENTICATED = "the token was not accepted: is the ServiceAccount there, and its token mounted?"
"""What the user of a pod's ServiceAccount does next after HTTP code 401."""


class ClusterError(Exception):
    """How to reach the cluster is not known or not usable."""


class ApiError(Exception):
    """The API server answered with an error; `code` is HTTP's, `reason` and `message` are its Status'.

    `time` is the API server's clock, in seconds since 1970. `remedy` is what the user does next.
    """

    def __init__(  # noqa: PLR0913 - one argument a field
        self, code: int, reason: str, message: str, what: str, *, time: float | None = None, remedy: str = ""
    ) -> None:
        text = f"the API server refused to {what}: {code} {reason}: {message}"
        super().__init__(f"{text}; {remedy}" if remedy else text)
        self.code = code
        self.reason = reason
        self.message = message
        self.time = time

    @property
    def of_one_object(self) -> bool:
        """Whether requests for other objects may succeed. Below 400 it is no API server that answers."""
        return self.code >= 400 and self.code not in OF_ALL


class Unreachable(Exception):
    """The API server did not answer."""


class HangingWrite(Unreachable):
    """It has taken a write and not answered it in time, though it answers reads.

    The write may take place yet.
    """
