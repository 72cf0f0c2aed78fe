"""The FastAPI application: the routes of reviews and probes."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from webhook.core.namespace_policy import ROUTES, NamespacePolicy
from webhook.server import body
from webhook.server.body import SMALL_BODY, LargeBodies, Rejected, announced_size, receive_small
from webhook.server.cert_watcher import CertificateError, CertWatcher
from webhook.server.drain import Draining
from webhook.server.handler import AdmissionHandler
from webhook.server.review import BadReview

RELOAD_INTERVAL = 15
"""Seconds between two looks at the certificate files; the kubelet itself syncs a Secret once a minute."""

Endpoint = Callable[[Request], Awaitable[Response]]


def create_app(
    handler: AdmissionHandler, certificates: CertWatcher, draining: Draining, large_bodies: LargeBodies
) -> FastAPI:
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
    app.add_route("/mutate/{path:path}", _admission(handler, draining, large_bodies), methods=["POST"])
    app.add_route("/healthz", _alive, methods=["GET"])
    app.add_route("/readyz", _readiness(certificates, draining), methods=["GET"])
    return app


def _admission(handler: AdmissionHandler, draining: Draining, large_bodies: LargeBodies) -> Endpoint:
    metrics = handler.metrics

    def reject(code: int, sentence: str) -> Response:
        metrics.rejected[code].inc()
        return PlainTextResponse(f"{sentence}\n", code)

    async def respond(request: Request, namespace: NamespacePolicy) -> bytes:
        if announced_size(request) <= SMALL_BODY:
            return handler.handle(await receive_small(request), namespace)
        return await large_bodies.process(request, lambda body: handler.handle(body, namespace))

    async def admit(request: Request) -> Response:
        namespace = ROUTES.get(request.scope["path"])
        if namespace is None:
            return PlainTextResponse("not a path of this webhook\n", 404)
        metrics.in_flight.inc()
        try:
            response = await respond(request, namespace)
        except Rejected as rejected:
            return reject(rejected.code, str(rejected))
        except TimeoutError:
            return reject(408, f"the body did not arrive within {body.BODY_TIMEOUT} s")
        except BadReview as error:
            return reject(400, str(error))
        finally:
            metrics.in_flight.dec()
        headers = {"connection": "close"} if draining.active else None
        return Response(response, media_type="application/json", headers=headers)

    return admit


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
_M_MMAP_THRESHOLD = -3
"""malloc.h."""


def trim_memory() -> None:
    """Return to the kernel what bursts have left in the allocator (malloc_trim(3))."""
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)


def keep_large_blocks_apart() -> None:
    """Give each block of 128 KiB or more pages of its own, which go back to the kernel with it (mallopt(3)).

    glibc raises that threshold as such blocks are freed, and uvloop's buffer for each TLS connection (256
    KiB, of which little is used) would then come from the heap, where all of it is resident.
    """
    if hasattr(_libc, "mallopt"):
        _libc.mallopt(_M_MMAP_THRESHOLD, 128 << 10)


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
