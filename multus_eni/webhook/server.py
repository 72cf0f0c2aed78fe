"""The HTTP side: routes, limits, and nothing else. What is decided is decided in the pure modules.

A request touches neither disk nor network, so that one slow thing can never hold up a burst of pods.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response

from multus_eni.webhook.entries import ENTRIES, NamespacePolicy
from multus_eni.webhook.inject import Outcome, inject
from multus_eni.webhook.policy import Decision
from multus_eni.webhook.reasons import SENTENCES, Reason
from multus_eni.webhook.review import BadReview, PodRequest, decode_review, encode_answer
from multus_eni.webhook.settings import Settings
from multus_eni.webhook.telemetry import Log
from multus_eni.webhook.tls import CertificateError, Certificates

MAX_BODY = 7 << 20
"""Bytes. A review holds an object of up to 1.5 MiB (etcd's limit) more than once; controller-runtime caps
at the same size."""
RELOAD_INTERVAL = 15
"""Seconds between two looks at the certificate files; the kubelet itself syncs a Secret once a minute."""


class _TooLarge(Exception):
    pass


@dataclass(frozen=True, slots=True)
class Webhook:
    """Answers reviews: bytes to bytes."""

    settings: Settings
    log: Log

    def answer(self, body: bytes, namespace: NamespacePolicy) -> bytes:
        """Answer one review. Raises BadReview where the body is none."""
        started = time.perf_counter()
        request = decode_review(body)
        outcome = self._outcome(request, namespace)
        self._log(request, outcome, time.perf_counter() - started)
        return encode_answer(request.uid, outcome)

    def _outcome(self, request: PodRequest, namespace: NamespacePolicy) -> Outcome:
        if request.problem is not None:
            return _refused(Reason.UNREADABLE_POD, request.problem)
        if request.pod is None:
            return Outcome(Decision(Reason.NOT_POD_CREATION, SENTENCES[Reason.NOT_POD_CREATION]))
        try:
            return inject(request.pod, request.namespace, namespace, self.settings)
        except Exception as error:  # noqa: BLE001 - a fault of ours must reach the user as a sentence
            # The error's text may quote the pod: only its type and place are logged.
            frames = [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)]
            self.log.write("error", "fault", uid=request.uid, error=type(error).__name__, frames=frames)
            return _refused(
                Reason.INTERNAL_ERROR, f"review {request.uid}: {type(error).__name__}; see the webhook's log"
            )

    def _log(self, request: PodRequest, outcome: Outcome, seconds: float) -> None:
        metadata = request.pod.metadata if request.pod else None
        self.log.write(
            "warning" if outcome.decision.refused else "info",
            "decision",
            uid=request.uid,
            namespace=request.namespace,
            name=(metadata.name or metadata.generateName) if metadata else None,
            reason=outcome.decision.reason.value,
            message=outcome.decision.message,
            warnings=outcome.decision.warnings,
            milliseconds=round(seconds * 1000, 3),
        )


def _refused(reason: Reason, problem: str) -> Outcome:
    return Outcome(Decision(reason, f"{SENTENCES[reason]}: {problem}"))


def create_app(webhook: Webhook, certificates: Certificates) -> FastAPI:
    """Make the application: one route for each entry, and the probes."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        reloading = asyncio.create_task(_reload_for_ever(certificates, webhook.log))
        yield
        reloading.cancel()

    app = FastAPI(openapi_url=None, lifespan=lifespan)
    for path, namespace in ENTRIES.items():
        app.add_route(path, _endpoint(webhook, namespace), methods=["POST"])
    app.add_route("/healthz", _ok, methods=["GET"])
    app.add_route("/readyz", _ok, methods=["GET"])
    return app


def _endpoint(webhook: Webhook, namespace: NamespacePolicy) -> Callable[[Request], Awaitable[Response]]:
    # A plain route: FastAPI's own body handling would answer 422, and costs more than the decision.
    async def admit(request: Request) -> Response:
        try:
            body = await _body(request)
            return Response(webhook.answer(body, namespace), media_type="application/json")
        except _TooLarge:
            return PlainTextResponse(f"the body is larger than {MAX_BODY} bytes\n", 413)
        except BadReview as error:
            return PlainTextResponse(f"{error}\n", 400)
        except ClientDisconnect:
            return Response(status_code=400)

    return admit


async def _body(request: Request) -> bytes:
    if int(request.headers.get("content-length") or 0) > MAX_BODY:
        raise _TooLarge
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise _TooLarge
    return bytes(body)


async def _ok(_request: Request) -> Response:
    # The process listens only once settings and certificate are loaded: to answer is to be ready.
    return PlainTextResponse("ok\n")


async def _reload_for_ever(certificates: Certificates, log: Log) -> None:
    complained = ""
    while True:
        await asyncio.sleep(RELOAD_INTERVAL)
        try:
            if certificates.reload():
                log.write("info", "certificate_reloaded")
            complained = ""
        except CertificateError as error:
            if str(error) != complained:
                complained = str(error)
                log.write("error", "certificate_unusable", message=complained)
