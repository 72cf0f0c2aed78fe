"""Authentication of pods: the TokenReview of their token, compared with the pods that live on this node.

The token is a projected one with an audience of its own, bound to its pod. TokenReview
(authentication.k8s.io/v1) accepts only tokens whose pod exists, and names that pod in `user.extra`
(Kubernetes, "Managing Service Accounts", "Additional metadata in pod bound tokens").
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Protocol

from common.agent_container import TOKEN_AUDIENCE, TOKEN_VOLUME
from common.agent_settings import ENV_HOST_IP, ENV_POD_NAME, ENV_POD_NAMESPACE, ENV_POD_UID
from common.object_fields import as_map
from common.shorten import shortened
from ipagent.node.model.pod import PodKey
from ipagent.node_protocol import is_token

REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
POD_NAME = "authentication.kubernetes.io/pod-name"
POD_UID = "authentication.kubernetes.io/pod-uid"
NODE_NAME = "authentication.kubernetes.io/node-name"

VERDICT_SECONDS = 60.0
"""How long the API server's word on a token is believed without asking it again."""
REFUSED_SECONDS = 10.0
"""How long its refusal is: a pod that repeats a bad token costs no more calls than this allows.

Its word on an expired token is believed for as long: the API server takes a token for another minute
(`DefaultLeeway` of go-jose), and its clock may be another one.
"""
MAX_VERDICTS = 2048
"""Tokens that are remembered; a node has 250 pods."""
_MAX_TIME = 1 << 53
"""Seconds since 1970 that a float has exactly; what is beyond is no time."""
_SHOWN = 200
"""Characters of the API server's error in a message."""

NOT_ACCEPTED = (
    "If the pod's ServiceAccount was deleted, or the cluster's signing keys were changed, after the pod was "
    "created, delete the pod; else the API server's log says more."
)
NOT_PROJECTED = (
    f"The token must be that of the volume {TOKEN_VOLUME}, which the webhook adds: a container that was "
    "added by hand, or whose mounts were changed, shows another. Let the webhook add the container."
)
OTHER_POD = (
    f"{ENV_POD_NAMESPACE}, {ENV_POD_NAME} and {ENV_POD_UID} must come from the downward API, as the webhook "
    "writes them: remove what sets them otherwise, and create the pod again."
)
OTHER_NODE = (
    f"{ENV_HOST_IP} must come from the downward API (status.hostIP). If it does, something redirects the "
    "connection to another node: look at NAT rules and at a service mesh in the pod."
)
POD_GONE = (
    "If the pod is not being deleted, the node agent's log says why it no longer sees the pod on its node."
)
"""Remedies: what the user does after each kind of refusal."""


class ApiClient(Protocol):
    """What a TokenReview needs of the client of the API server."""

    def create(self, path: str, what: str, body: dict[str, Any]) -> Any:
        """Create an object; returns the answer."""


@dataclass(frozen=True, slots=True)
class PodIdentity:
    """The pod that a token is bound to; `node` is the one that the token names, empty if it names none."""

    pod: PodKey
    node: str = ""


@dataclass(frozen=True, slots=True)
class Unauthenticated:
    """A token that proves nothing, why, and what the user does next."""

    reason: str
    remedy: str = NOT_PROJECTED


def review_token(client: ApiClient, token: str) -> dict[str, Any]:
    """Ask the API server whether the token is valid for TOKEN_AUDIENCE; returns the TokenReview's `status`.

    Thread: any. Raises ApiError, Unreachable or ClusterError; none of them has the token.
    """
    if not is_token(token):
        return {"authenticated": False, "error": "this is not a token"}
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token, "audiences": [TOKEN_AUDIENCE]},
    }
    status = client.create(REVIEWS, "review a token", body).object.get("status")
    return status if isinstance(status, dict) else {}


def read_review(review: Mapping[str, Any]) -> PodIdentity | Unauthenticated:
    """Read a TokenReview's `status`: the pod that the token is bound to, or why there is none.

    A token is taken only where the API server confirms the audience: one that does not know audiences, or
    that was not asked for one, answers without.
    """
    if review.get("authenticated") is not True:
        error = review.get("error")
        why = f": {shortened(error, _SHOWN)}" if isinstance(error, str) and error else ""
        return Unauthenticated(f"the API server does not accept the token{why}", NOT_ACCEPTED)
    audiences = review.get("audiences")
    if not isinstance(audiences, list) or TOKEN_AUDIENCE not in audiences:
        return Unauthenticated(f"the token is not meant for the audience {TOKEN_AUDIENCE}")
    user = as_map(review.get("user"))
    extra = as_map(user.get("extra"))
    match str(user.get("username")).split(":"):
        case ["system", "serviceaccount", namespace, _] if namespace:
            name, uid, node = (_only(extra.get(key)) for key in (POD_NAME, POD_UID, NODE_NAME))
        case _:
            return Unauthenticated("the token is not a ServiceAccount's")
    if not name or not uid:
        return Unauthenticated("the token is not bound to a pod")
    return PodIdentity(PodKey(namespace, name, uid), node)


def _only(value: object) -> str:
    match value:
        case [str(text)]:
            return text
    return ""


class Answer(Enum):
    """Whether a peer may speak for a pod."""

    YES = auto()
    RETRY = auto()
    """The pod is not seen on this node yet; it may be in a moment."""
    NO = auto()


@dataclass(frozen=True, slots=True)
class Authorization:
    """Whether a peer may speak for a pod; `reason` is a sentence unless the answer is YES.

    `remedy` says what the user does next where the answer is NO.
    """

    answer: Answer
    reason: str = ""
    remedy: str = ""


def on_another_node(bearer: PodIdentity, node: str) -> str:
    """Return a sentence if a token names another node than `node`: known before a statement is read."""
    if bearer.node and node and bearer.node != node:
        return f"The pod {bearer.pod} runs on {bearer.node}, and this is {node}"
    return ""


def authorize(bearer: PodIdentity, stated: PodKey, node: str, living: Collection[PodKey]) -> Authorization:
    """Compare the pod that a token is bound to with the one that is stated and with those alive on `node`."""
    if stated != bearer.pod:
        same = "another life of it" if str(stated) == str(bearer.pod) else f"the token of {bearer.pod}"
        return Authorization(Answer.NO, f"The pod says that it is {stated}, but presents {same}", OTHER_POD)
    if reason := on_another_node(bearer, node):
        return Authorization(Answer.NO, reason, OTHER_NODE)
    if bearer.pod not in living:
        return Authorization(Answer.RETRY, f"The node agent does not see the pod {bearer.pod} on {node} yet")
    return Authorization(Answer.YES)


@dataclass(frozen=True, slots=True)
class _Known:
    found: PodIdentity | Unauthenticated
    until: float


class TokenReviewCache:
    """What the API server said of tokens, for a short time; only digests of tokens are kept."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, _Known] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, token: str, now: float) -> PodIdentity | Unauthenticated | None:
        """Return what is known of a token, None if nothing is or it is too old; `now` is monotonic."""
        known = self._known.get(_digest(token))
        return known.found if known and now < known.until else None

    def put(self, token: str, found: PodIdentity | Unauthenticated, now: float, wall: float) -> None:
        """Record what the API server said just now; `wall` is the time of day."""
        seconds = _believed_for(token, wall) if isinstance(found, PodIdentity) else REFUSED_SECONDS
        digest = _digest(token)
        self._known.pop(digest, None)
        self._known[digest] = _Known(found, now + seconds)
        while len(self._known) > MAX_VERDICTS:
            self._known.popitem(last=False)

    def drop(self, gone: Collection[PodKey]) -> None:
        """Forget the tokens of pods that are gone."""
        self._known = OrderedDict(
            (digest, known)
            for digest, known in self._known.items()
            if not (isinstance(known.found, PodIdentity) and known.found.pod in gone)
        )


def expiry_of(token: str) -> int | None:
    """Return when a token says that it expires (`exp`, RFC 7519), None where it can't be read.

    It is not verified here: use it for a token that the API server has accepted.
    """
    _, *payload = token.split(".")
    if len(payload) != 2:
        return None
    encoded = payload[0]
    try:
        claims = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    except (ValueError, RecursionError):
        return None
    match claims:
        case {"exp": bool()}:
            return None
        case {"exp": int() | float() as expiry} if abs(expiry) < _MAX_TIME:
            return int(expiry)
    return None


def _believed_for(token: str, wall: float) -> float:
    expiry = expiry_of(token)
    if expiry is None:
        return VERDICT_SECONDS
    left = expiry - wall
    return min(left, VERDICT_SECONDS) if left > 0 else REFUSED_SECONDS


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
