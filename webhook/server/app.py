"""The HTTP side: routes, limits, and nothing else. What is decided is decided in the pure modules.

A request touches neither disk nor network, so that one slow thing can never hold up a burst of pods.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from webhook.core.inject import Outcome, inject
from webhook.core.namespace_policy import ROUTES, NamespacePolicy
from webhook.core.policy import Decision
from webhook.core.reasons import SENTENCES, Reason
from webhook.core.settings import Settings
from webhook.server.cert_watcher import CertificateError, CertWatcher
from webhook.server.drain import Draining
from webhook.server.log import Log
from webhook.server.metrics import Metrics
from webhook.server.response_cache import Answer, ResponseCache
from webhook.server.review import BadReview, PodRequest, decode_review, encode_outcome, with_uid

MAX_BODY = 7 << 20
"""Bytes. A review holds an object of up to 1.5 MiB (etcd's limit) more than once; controller-runtime caps
at the same size."""
SMALL_BODY = 64 << 10
"""Bytes up to which a body is read at once: nearly every review."""
COMMON_BODY = 512 << 10
"""Bytes up to which it is worth the memory to look whether a pod of the same shape was there before."""
LARGE_BODIES = 8
"""How many larger ones are in memory at a time."""
BODY_TIMEOUT = 10
"""Seconds for a body to arrive: no AdmissionReview may take longer than 30 s in all, and ours 10."""
RELOAD_INTERVAL = 15
"""Seconds between two looks at the certificate files; the kubelet itself syncs a Secret once a minute."""


_JSON = (b"content-type", b"application/json")
_LAST = (b"connection", b"close")


class _Rejected(Exception):
    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


def _too_large() -> _Rejected:
    return _Rejected(413, f"the body is larger than {MAX_BODY} bytes")


class Webhook:
    """Answers reviews: bytes to bytes."""

    def __init__(self, settings: Settings, log: Log, metrics: Metrics) -> None:
        self.log = log
        self.metrics = metrics
        self.large_bodies = asyncio.Semaphore(LARGE_BODIES)
        self._answers = ResponseCache(lambda pod, name, namespace: inject(pod, name, namespace, settings))

    def answer(self, body: bytes | bytearray, namespace: NamespacePolicy) -> bytes:
        """Answer one review. Raises BadReview where the body is none."""
        started = time.perf_counter()
        request = decode_review(body)
        answer = self._answer(request, namespace, common=len(body) <= COMMON_BODY)
        encoded = with_uid(request.uid, answer.encoded)
        seconds = time.perf_counter() - started
        self.metrics.seconds.observe(seconds)
        self.metrics.decisions[answer.decision.reason].inc()
        self._log(request, answer.decision, seconds)
        return encoded

    def _answer(self, request: PodRequest, namespace: NamespacePolicy, *, common: bool) -> Answer:
        if request.problem is not None:
            return _refused(Reason.UNREADABLE_POD, request.problem)
        if request.pod is None:
            return _answer_of(Decision(Reason.NOT_POD_CREATION, SENTENCES[Reason.NOT_POD_CREATION]))
        try:
            answers = self._answers.to if common else self._answers.anew
            return answers(request.pod, request, namespace)
        except Exception as error:  # noqa: BLE001 - a fault of ours must reach the user as a sentence
            # The error's text may quote the pod: only its type and place are logged.
            frames = [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)]
            self.log.write("error", "fault", uid=request.uid, error=type(error).__name__, frames=frames)
            return _refused(
                Reason.INTERNAL_ERROR, f"review {request.uid}: {type(error).__name__}; see the webhook's log"
            )

    def _log(self, request: PodRequest, decision: Decision, seconds: float) -> None:
        metadata = request.pod.metadata if request.pod else None
        self.log.write(
            "warning" if decision.refused else "info",
            "decision",
            uid=request.uid,
            namespace=request.namespace,
            name=(metadata.name or metadata.generateName) if metadata else None,
            reason=decision.reason.value,
            message=decision.message,
            warnings=decision.warnings,
            milliseconds=round(seconds * 1000, 3),
        )


def _answer_of(decision: Decision) -> Answer:
    return Answer(decision, encode_outcome(Outcome(decision)))


def _refused(reason: Reason, problem: str) -> Answer:
    return _answer_of(Decision(reason, f"{SENTENCES[reason]}: {problem}"))


def create_app(webhook: Webhook, certificates: CertWatcher, draining: Draining) -> ASGIApp:
    """Make the application: the entries, and beside them the probes."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        reloading = asyncio.create_task(_reload_for_ever(certificates, webhook))
        yield
        reloading.cancel()

    app = FastAPI(openapi_url=None, lifespan=lifespan, redirect_slashes=False)
    app.add_route("/healthz", _alive, methods=["GET"])
    app.add_route("/readyz", _readiness(certificates, draining), methods=["GET"])
    return Entries(webhook, draining, app)


class Entries:
    """Answers what is posted to an entry, and leaves all else to the application behind it.

    Through the application's middlewares and routes a review would take 40 % longer.
    """

    def __init__(self, webhook: Webhook, draining: Draining, behind: ASGIApp) -> None:
        self._webhook = webhook
        self._draining = draining
        self._behind = behind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event (ASGI 3)."""
        namespace = ROUTES.get(scope["path"]) if scope["type"] == "http" else None
        if namespace is None:
            await self._behind(scope, receive, send)
        elif scope["method"] != "POST":
            await PlainTextResponse("POST an AdmissionReview\n", 405, {"allow": "POST"})(scope, receive, send)
        else:
            await self._admit(namespace, scope, receive, send)

    async def _admit(self, namespace: NamespacePolicy, scope: Scope, receive: Receive, send: Send) -> None:
        in_flight = self._webhook.metrics.in_flight
        in_flight.inc()
        try:
            body = await _body(scope, receive, self._webhook.large_bodies)
            answer = self._webhook.answer(body, namespace)
        except _Rejected as rejected:
            await self._reject(rejected.code, str(rejected))(scope, receive, send)
        except TimeoutError:
            await self._reject(408, f"the body did not arrive within {BODY_TIMEOUT} s")(scope, receive, send)
        except BadReview as error:
            await self._reject(400, str(error))(scope, receive, send)
        else:
            headers = [_JSON, (b"content-length", b"%d" % len(answer))]
            if self._draining.active:
                headers.append(_LAST)
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": answer})
        finally:
            in_flight.dec()

    def _reject(self, code: int, sentence: str) -> Response:
        self._webhook.metrics.rejected[code].inc()
        return PlainTextResponse(f"{sentence}\n", code)


async def _body(scope: Scope, receive: Receive, large_bodies: asyncio.Semaphore) -> bytes | bytearray:
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    announced = int(length or MAX_BODY)
    if announced > MAX_BODY:
        raise _too_large()
    async with asyncio.timeout(BODY_TIMEOUT):
        if announced <= SMALL_BODY:
            return await _read(receive)
        # Until its turn comes, uvicorn holds back what the client sends.
        async with large_bodies:
            return await _read(receive)


async def _read(receive: Receive) -> bytes | bytearray:
    message = await receive()
    if not message.get("more_body") and message["type"] == "http.request":
        first: bytes = message["body"]
        return first
    body = bytearray()
    while True:
        if message["type"] == "http.disconnect":
            raise _Rejected(400, "the body ended early")
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise _too_large()
        if not message.get("more_body"):
            return body
        message = await receive()


async def _alive(_request: Request) -> Response:
    return PlainTextResponse("ok\n")


def _readiness(certificates: CertWatcher, draining: Draining) -> Callable[[Request], Awaitable[Response]]:
    # It listens only once the settings are read, so what is left to ask is whether clients can trust it.
    async def ready(_request: Request) -> Response:
        if draining.active:
            return PlainTextResponse("shutting down\n", 503)
        if certificates.expires <= time.time():
            return PlainTextResponse("the certificate has expired\n", 503)
        return PlainTextResponse("ok\n")

    return ready


_libc = ctypes.CDLL(None)


def give_back_memory() -> None:
    """Return to the kernel what bursts have left behind: the allocator keeps it (malloc_trim(3))."""
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)


async def _reload_for_ever(certificates: CertWatcher, webhook: Webhook) -> None:
    complained = ""
    while True:
        webhook.metrics.certificate_expiry.set(certificates.expires)
        await asyncio.sleep(RELOAD_INTERVAL)
        give_back_memory()
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
