"""The FastAPI application: the routes of reviews and probes, and the limits of a request's body."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from fastapi import FastAPI
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response

from webhook.core.namespace_policy import ROUTES
from webhook.server.cert_watcher import CertificateError, CertWatcher
from webhook.server.drain import Draining
from webhook.server.handler import AdmissionHandler
from webhook.server.review import BadReview

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

Endpoint = Callable[[Request], Awaitable[Response]]


class _Rejected(Exception):
    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


def create_app(handler: AdmissionHandler, certificates: CertWatcher, draining: Draining) -> FastAPI:
    """Make the application: one route for all reviews, and the probes."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        reloading = asyncio.create_task(_reload_for_ever(certificates, handler))
        yield
        reloading.cancel()

    app = FastAPI(openapi_url=None, lifespan=lifespan, redirect_slashes=False)
    # One route with a look-up behind it: the router compares a path with one route after the other, and there
    # are 26 paths. add_route, not app.post: the body is decoded as far as the decision reads it, not by
    # pydantic.
    app.add_route("/mutate/{path:path}", _admission(handler, draining), methods=["POST"])
    app.add_route("/healthz", _alive, methods=["GET"])
    app.add_route("/readyz", _readiness(certificates, draining), methods=["GET"])
    return app


def _admission(handler: AdmissionHandler, draining: Draining) -> Endpoint:
    metrics = handler.metrics
    large_bodies = asyncio.Semaphore(LARGE_BODIES)

    def reject(code: int, sentence: str) -> Response:
        metrics.rejected[code].inc()
        return PlainTextResponse(f"{sentence}\n", code)

    async def admit(request: Request) -> Response:
        namespace = ROUTES.get(request.scope["path"])
        if namespace is None:
            return PlainTextResponse("not a path of this webhook\n", 404)
        metrics.in_flight.inc()
        try:
            response = handler.handle(await _body(request, large_bodies), namespace)
        except _Rejected as rejected:
            return reject(rejected.code, str(rejected))
        except TimeoutError:
            return reject(408, f"the body did not arrive within {BODY_TIMEOUT} s")
        except BadReview as error:
            return reject(400, str(error))
        finally:
            metrics.in_flight.dec()
        headers = {"connection": "close"} if draining.active else None
        return Response(response, media_type="application/json", headers=headers)

    return admit


async def _body(request: Request, large_bodies: asyncio.Semaphore) -> bytes | bytearray:
    announced = int(request.headers.get("content-length") or MAX_BODY)
    if announced > MAX_BODY:
        raise _too_large()
    async with asyncio.timeout(BODY_TIMEOUT):
        if announced <= SMALL_BODY:
            return await _read(request)
        # Until its turn comes, uvicorn holds back what the client sends.
        async with large_bodies:
            return await _read(request)


async def _read(request: Request) -> bytes | bytearray:
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                raise _too_large()
    except ClientDisconnect:
        raise _Rejected(400, "the body ended early") from None
    return body


def _too_large() -> _Rejected:
    return _Rejected(413, f"the body is larger than {MAX_BODY} bytes")


async def _alive(_request: Request) -> Response:
    return PlainTextResponse("ok\n")


def _readiness(certificates: CertWatcher, draining: Draining) -> Endpoint:
    # It listens only once the settings are read, so what is left to check is whether clients can trust it.
    async def ready(_request: Request) -> Response:
        if draining.active:
            return PlainTextResponse("shutting down\n", 503)
        if certificates.expires <= time.time():
            return PlainTextResponse("the certificate has expired\n", 503)
        return PlainTextResponse("ok\n")

    return ready


_libc = ctypes.CDLL(None)


def trim_memory() -> None:
    """Return to the kernel what bursts have left in the allocator (malloc_trim(3))."""
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)


async def _reload_for_ever(certificates: CertWatcher, handler: AdmissionHandler) -> None:
    metrics, log = handler.metrics, handler.log
    logged = ""
    while True:
        metrics.certificate_expiry.set(certificates.expires)
        await asyncio.sleep(RELOAD_INTERVAL)
        trim_memory()
        try:
            if certificates.reload():
                metrics.reloaded.inc()
                log.write("info", "certificate_reloaded", expires=certificates.expires)
            logged = ""
        except CertificateError as error:
            if str(error) != logged:
                logged = str(error)
                metrics.reload_failed.inc()
                log.write("error", "certificate_unusable", message=logged)
