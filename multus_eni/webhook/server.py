"""The HTTP side: routes, limits, and nothing else. What is decided is decided in the pure modules.

A request touches neither disk nor network, so that one slow thing can never hold up a burst of pods.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from fastapi import FastAPI
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response

from multus_eni.webhook.drain import Draining
from multus_eni.webhook.entries import ENTRIES, NamespacePolicy
from multus_eni.webhook.inject import Outcome, inject
from multus_eni.webhook.metrics import Metrics
from multus_eni.webhook.policy import Decision
from multus_eni.webhook.reasons import SENTENCES, Reason
from multus_eni.webhook.review import BadReview, PodRequest, decode_review, encode_answer
from multus_eni.webhook.settings import Settings
from multus_eni.webhook.telemetry import Log
from multus_eni.webhook.tls import CertificateError, Certificates

MAX_BODY = 7 << 20
"""Bytes. A review holds an object of up to 1.5 MiB (etcd's limit) more than once; controller-runtime caps
at the same size."""
SMALL_BODY = 64 << 10
"""Bytes up to which a body is read at once: nearly every review."""
LARGE_BODIES = 8
"""How many larger ones are in memory at a time."""
BODY_TIMEOUT = 10
"""Seconds for a body to arrive: no AdmissionReview may take longer than 30 s in all, and ours 10."""
RELOAD_INTERVAL = 15
"""Seconds between two looks at the certificate files; the kubelet itself syncs a Secret once a minute."""


_LAST = {"connection": "close"}


class _TooLarge(Exception):
    pass


@dataclass(frozen=True, slots=True)
class Webhook:
    """Answers reviews: bytes to bytes."""

    settings: Settings
    log: Log
    metrics: Metrics
    large_bodies: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LARGE_BODIES))

    def answer(self, body: bytes, namespace: NamespacePolicy) -> bytes:
        """Answer one review. Raises BadReview where the body is none."""
        started = time.perf_counter()
        request = decode_review(body)
        outcome = self._outcome(request, namespace)
        answer = encode_answer(request.uid, outcome)
        seconds = time.perf_counter() - started
        self.metrics.seconds.observe(seconds)
        self.metrics.decisions[outcome.decision.reason].inc()
        self._log(request, outcome, seconds)
        return answer

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


def create_app(webhook: Webhook, certificates: Certificates, draining: Draining) -> FastAPI:
    """Make the application: one route for each entry, and the probes."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        reloading = asyncio.create_task(_reload_for_ever(certificates, webhook))
        yield
        reloading.cancel()

    app = FastAPI(openapi_url=None, lifespan=lifespan, redirect_slashes=False)
    for path, namespace in ENTRIES.items():
        app.add_route(path, _endpoint(webhook, namespace, draining), methods=["POST"])
    app.add_route("/healthz", _alive, methods=["GET"])
    app.add_route("/readyz", _readiness(certificates, draining), methods=["GET"])
    return app


def _endpoint(
    webhook: Webhook, namespace: NamespacePolicy, draining: Draining
) -> Callable[[Request], Awaitable[Response]]:
    large_bodies = webhook.large_bodies

    # A plain route: FastAPI's own body handling would answer 422, and costs more than the decision.
    async def admit(request: Request) -> Response:
        with webhook.metrics.in_flight.track_inprogress():
            try:
                body = await _body(request, large_bodies)
                answer = webhook.answer(body, namespace)
                headers = _LAST if draining.active else None
                return Response(answer, media_type="application/json", headers=headers)
            except _TooLarge:
                return rejected(413, f"the body is larger than {MAX_BODY} bytes")
            except TimeoutError:
                return rejected(408, f"the body did not arrive within {BODY_TIMEOUT} s")
            except BadReview as error:
                return rejected(400, str(error))
            except ClientDisconnect:
                return rejected(400, "the body ended early")

    def rejected(code: int, sentence: str) -> Response:
        webhook.metrics.rejected[code].inc()
        return PlainTextResponse(f"{sentence}\n", code)

    return admit


async def _body(request: Request, large_bodies: asyncio.Semaphore) -> bytes:
    announced = int(request.headers.get("content-length") or MAX_BODY)
    if announced > MAX_BODY:
        raise _TooLarge
    async with asyncio.timeout(BODY_TIMEOUT):
        if announced <= SMALL_BODY:
            return await _read(request)
        # Until its turn comes, uvicorn holds back what the client sends.
        async with large_bodies:
            return await _read(request)


async def _read(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise _TooLarge
    return bytes(body)


async def _alive(_request: Request) -> Response:
    return PlainTextResponse("ok\n")


def _readiness(certificates: Certificates, draining: Draining) -> Callable[[Request], Awaitable[Response]]:
    # It listens only once the settings are read, so what is left to ask is whether clients can trust it.
    async def ready(_request: Request) -> Response:
        if draining.active:
            return PlainTextResponse("shutting down\n", 503)
        if certificates.expires <= time.time():
            return PlainTextResponse("the certificate has expired\n", 503)
        return PlainTextResponse("ok\n")

    return ready


async def _reload_for_ever(certificates: Certificates, webhook: Webhook) -> None:
    complained = ""
    while True:
        webhook.metrics.certificate_expiry.set(certificates.expires)
        await asyncio.sleep(RELOAD_INTERVAL)
        try:
            if certificates.reload():
                webhook.metrics.reloaded.inc()
                webhook.log.write("info", "certificate_reloaded", expires=certificates.expires)
            complained = ""
        except CertificateError as error:
            if str(error) != complained:
                complained = str(error)
                webhook.metrics.reload_failed.inc()
                webhook.log.write("error", "certificate_unusable", message=complained)
