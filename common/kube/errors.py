"""Errors of calls to the API server; each text says what happened, to what, and what to do."""

from __future__ import annotations

TRANSIENT = frozenset({429, 500, 502, 503, 504})
"""HTTP codes after which the same request may succeed: the API server starts, stops or is overloaded
(Kubernetes API conventions, "HTTP Status codes")."""
OF_ALL = frozenset({401, 429, 502, 503, 504})
"""HTTP codes that other requests of ours get, too: the API server accepts none of them at present, or a proxy
before it does not. An admission or conversion webhook that fails gives 500, for its objects alone."""
NOT_AUTHENTICATED = "the token was not accepted: is the ServiceAccount there, and its token mounted?"
"""What the user of a pod's ServiceAccount does next after HTTP code 401."""


class KubeError(Exception):
    """A request of the API server has failed."""

    @property
    def of_one_object(self) -> bool:
        """Whether it concerns the request's object alone: requests for others may succeed meanwhile."""
        return False


class ClusterError(KubeError):
    """How to reach the cluster is not known or not usable."""


class ApiError(KubeError):
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
    def transient(self) -> bool:
        """Whether the same request may succeed a little later."""
        return self.code in TRANSIENT

    @property
    def forbidden(self) -> bool:
        """Whether the right to do this is lacking, or an admission webhook or a policy denies it."""
        return self.code == 403

    @property
    def not_found(self) -> bool:
        """Whether the object, or its kind, is not there (any more)."""
        return self.code == 404

    @property
    def conflict(self) -> bool:
        """Whether an object of this name is there, or has changed or been replaced since it was read."""
        return self.code == 409

    @property
    def outdated(self) -> bool:
        """Whether what was read is gone or has changed: it is read, and decided, again."""
        return self.not_found or self.conflict

    @property
    def expired(self) -> bool:
        """Whether the API server does not know a resourceVersion any more: a new list is needed."""
        return self.code == 410

    @property
    def of_one_object(self) -> bool:
        """Whether only this object is refused. Below 400 it is no API server that answers."""
        return self.code >= 400 and self.code not in OF_ALL


class Unreachable(KubeError):
    """The API server did not answer."""


class HangingWrite(Unreachable):
    """It has taken a write and not answered it in time, though it answers reads.

    The write may take place yet.
    """

    @property
    def of_one_object(self) -> bool:
        """Whether only this object is waited for: an admission webhook hangs, or a quota, for some alone."""
        return True
