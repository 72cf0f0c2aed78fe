"""Decode AdmissionReviews and encode their responses (admission.k8s.io/v1).

The pod is decoded only as far as the decision reads it, and never encoded again.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import msgspec

from common.pod_keys import PREFIX
from webhook.core.decision import READ_ANNOTATIONS, READ_LABELS, Decision
from webhook.core.inject import Outcome
from webhook.core.pod import Metadata, Pod
from webhook.core.reasons import Reason

API_VERSION = "admission.k8s.io/v1"
KIND = "AdmissionReview"
FORBIDDEN = 403


class BadReview(Exception):
    """The body is not an AdmissionReview that can be answered. The text is sent to the caller."""


class _Resource(msgspec.Struct, frozen=True):
    group: str = ""
    version: str = ""
    resource: str = ""


class _Head(msgspec.Struct, frozen=True):
    uid: str
    resource: _Resource = _Resource()
    namespace: str = ""
    operation: str = ""
    subResource: str = ""  # noqa: N815 - the API's name

    @property
    def creates_pod(self) -> bool:
        return self.operation == "CREATE" and self.resource == _PODS and self.subResource == ""


class _Request(_Head, frozen=True):
    object: Pod | None = None


class _Envelope(msgspec.Struct, frozen=True):
    apiVersion: str  # noqa: N815 - the API's name
    kind: str
    request: _Head


class _Review(msgspec.Struct, frozen=True):
    apiVersion: str  # noqa: N815 - the API's name
    kind: str
    request: _Request


_PODS = _Resource("", "v1", "pods")


@dataclass(frozen=True, slots=True)
class PodRequest:
    """A request to create a pod.

    `pod` is None if the request does not create a pod, and if the pod cannot be read: then `problem` says
    why.
    """

    uid: str
    namespace: str
    pod: Pod | None = None
    problem: str | None = None


_REVIEW = msgspec.json.Decoder(_Review)
_ENVELOPE = msgspec.json.Decoder(_Envelope)
_ENCODER = msgspec.json.Encoder()


def decode_review(body: bytes | bytearray) -> PodRequest:
    """Decode a review. Raises BadReview if the body is not one."""
    try:
        review = _REVIEW.decode(body)
    except msgspec.ValidationError as error:
        return _unreadable(body, str(error))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadReview(f"the body is not JSON: {error}") from None
    _check(review.apiVersion, review.kind, review.request.uid)
    pod = review.request.object
    return _pod_request(review.request, pod, None if pod else "request.object is missing")


def _unreadable(body: bytes | bytearray, problem: str) -> PodRequest:
    # If only the pod is wrong the review can be answered: decode it again without the pod.
    try:
        envelope = _ENVELOPE.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise BadReview(f"the body is not {API_VERSION} {KIND}: {problem}") from None
    _check(envelope.apiVersion, envelope.kind, envelope.request.uid)
    return _pod_request(envelope.request, None, problem)


def _pod_request(head: _Head, pod: Pod | None, problem: str | None) -> PodRequest:
    if not head.creates_pod:
        return PodRequest(head.uid, head.namespace)
    return PodRequest(head.uid, head.namespace, pod, problem)


def _check(api_version: str, kind: str, uid: str) -> None:
    if (api_version, kind) != (API_VERSION, KIND):
        raise BadReview(f"the body is {api_version[:64]} {kind[:64]}, not {API_VERSION} {KIND}")
    if not uid:
        raise BadReview("request.uid is empty")


BEFORE_PATCH, AFTER_PATCH = b'"patch":"', b'"}}'
"""What is before and after the patch in the output of `encode_outcome`; no string in JSON holds the first."""


def with_uid(uid: str, answer: bytes) -> bytes:
    """Complete the output of `encode_outcome` to the response to one request."""
    return b'%b"uid":%b,%b' % (_BEFORE_UID, _ENCODER.encode(uid), answer)


def encode_outcome(outcome: Outcome) -> bytes:
    """Encode what follows the uid: refused with a sentence, or allowed with warnings and, last, the patch."""
    decision = outcome.decision
    response: dict[str, Any] = {
        "allowed": not decision.refused,
        "auditAnnotations": {"reason": decision.reason.value},
    }
    if decision.refused:
        response["status"] = _refusal(decision)
    if decision.warnings:
        response["warnings"] = decision.warnings
    if outcome.operations:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(_ENCODER.encode(outcome.operations)).decode("ascii")
    return _ENCODER.encode(response)[1:] + b"}"


def cache_view(pod: Pod) -> Pod:
    """Return a pod without what no decision reads: its name, and labels and annotations of others."""
    labels, annotations = pod.metadata.labels, pod.metadata.annotations
    if labels:
        labels = {key: value for key, value in labels.items() if key in READ_LABELS or key.startswith(PREFIX)}
    if annotations:
        annotations = {
            key: value
            for key, value in annotations.items()
            if key in READ_ANNOTATIONS or key.startswith(PREFIX)
        }
    return Pod(Metadata(labels=labels, annotations=annotations), pod.spec)


def cache_key(pod: Pod) -> bytes:
    """Encode all that is left of a pod."""
    return _ENCODER.encode(pod)


_BEFORE_UID = b'{"apiVersion":"%b","kind":"%b","response":{' % (API_VERSION.encode(), KIND.encode())


def _refusal(decision: Decision) -> dict[str, Any]:
    return {
        "status": "Failure",
        "message": decision.message,
        "reason": "Forbidden" if decision.reason is not Reason.INTERNAL_ERROR else "InternalError",
        "code": FORBIDDEN if decision.reason is not Reason.INTERNAL_ERROR else 500,
    }
