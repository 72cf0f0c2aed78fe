"""Admission handler: the bytes of a review in, the bytes of its response out."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from dataclasses import replace

from webhook.core.decision import Decision
from webhook.core.inject import Outcome, inject
from webhook.core.namespace_policy import NamespacePolicy
from webhook.core.reasons import SENTENCES, Reason
from webhook.core.settings import Settings
from webhook.server.log import MAX_TEXT, Log
from webhook.server.metrics import Metrics
from webhook.server.response_cache import Response, ResponseCache
from webhook.server.review import PodRequest, decode_review, encode_outcome, with_uid

MAX_CACHED_BODY = 192 << 10
"""Bytes. Of a larger review the cache key alone would cost more memory than a hit saves; and whether its
annotations leave room for ours depends on those that no key has."""


class AdmissionHandler:
    """Answers reviews. It touches neither disk nor network, so a call is short and never waits."""

    def __init__(self, settings: Settings, log: Log, metrics: Metrics) -> None:
        self.log = log
        self.metrics = metrics
        self._settings = settings
        self._responses = self._decide_by(settings)

    def set_networks(self, networks: Mapping[str, str]) -> None:
        """Replace what is known of networks; earlier answers may be wrong then."""
        self._settings = replace(self._settings, networks=networks)
        self._responses = self._decide_by(self._settings)

    @staticmethod
    def _decide_by(settings: Settings) -> ResponseCache:
        added = frozenset(volume["name"] for volume in settings.volumes)
        return ResponseCache(lambda pod, name, namespace: inject(pod, name, namespace, settings), added)

    def handle(self, body: bytes | bytearray, namespace: NamespacePolicy) -> bytes:
        """Return the response to one review. Raises BadReview if the body is not a review."""
        started = time.perf_counter()
        request = decode_review(body)
        response = self._response(request, namespace, cached=len(body) <= MAX_CACHED_BODY)
        encoded = with_uid(request.uid, response.encoded)
        seconds = time.perf_counter() - started
        self.metrics.seconds.observe(seconds)
        self.metrics.decisions[response.decision.reason].inc()
        self._log_decision(request, response.decision, seconds)
        return encoded

    def _response(self, request: PodRequest, namespace: NamespacePolicy, *, cached: bool) -> Response:
        if request.problem is not None:
            return _refusal(Reason.UNREADABLE_POD, request.problem)
        if request.pod is None:
            return _without_patch(Decision(Reason.NOT_POD_CREATION, SENTENCES[Reason.NOT_POD_CREATION]))
        try:
            respond = self._responses.get if cached else self._responses.compute
            return respond(request.pod, request, namespace)
        except Exception as error:  # noqa: BLE001 - a bug of ours must reach the user as a sentence
            # The error's text may quote the pod: only its type and place are logged.
            frames = [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)]
            self.log.write("error", "fault", uid=request.uid, error=type(error).__name__, frames=frames)
            return _refusal(
                Reason.INTERNAL_ERROR, f"review {request.uid}: {type(error).__name__}; see the webhook's log"
            )

    def _log_decision(self, request: PodRequest, decision: Decision, seconds: float) -> None:
        level = _level(decision)
        if not self.log.is_enabled(level):
            return
        metadata = request.pod.metadata if request.pod else None
        self.log.write(
            level,
            "decision",
            uid=request.uid[:MAX_TEXT],
            namespace=request.namespace[:MAX_TEXT],
            name=(metadata.name or metadata.generateName or "")[:MAX_TEXT] or None if metadata else None,
            reason=decision.reason.value,
            message=decision.message,
            warnings=decision.warnings,
            milliseconds=round(seconds * 1000, 3),
        )


def _level(decision: Decision) -> str:
    if decision.refused:
        return "warning"
    return "info" if decision.agent or decision.warnings else "debug"


def _without_patch(decision: Decision) -> Response:
    return Response(decision, encode_outcome(Outcome(decision)))


def _refusal(reason: Reason, problem: str) -> Response:
    return _without_patch(Decision(reason, f"{SENTENCES[reason]}: {problem}"))
