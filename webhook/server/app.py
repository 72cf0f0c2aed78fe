"""The FastAPI application: the routes of reviews and probes."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from webhook.server.body import LargeBodies
from webhook.server.cert_watcher import CertificateError, CertWatcher
from webhook.server.drain import Draining
from webhook.server.handler import AdmissionHandler
from webhook.server.lean_fastapi import FastAPI, TelemetryConfig
from webhook.server.networks_file_watcher import NetworksWatcher
from webhook.server.route import AdmissionRoute

RELOAD_INTERVAL = 15
"""Seconds between two looks at the certificate files; the kubelet itself syncs a Secret once a minute."""

_NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False}
"""FastAPI's own looks for providers in the environment at each request; nothing of a review may go there."""


def create_app(
    handler: AdmissionHandler,
    certificates: CertWatcher,
    draining: Draining,
    large_bodies: LargeBodies,
    networks: NetworksWatcher | None = None,
) -> FastAPI:
    """Make the application: one route for all reviews, and the probes."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        reloading = asyncio.create_task(_reload_for_ever(certificates, handler, networks))
        yield
        reloading.cancel()

    return FastAPI(
        openapi_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
        telemetry=_NO_TELEMETRY,
        routes=[
            AdmissionRoute(handler, draining, large_bodies),
            Route("/healthz", _alive, methods=["GET"]),
            Route("/readyz", _readiness(certificates, draining), methods=["GET"]),
        ],
    )


async def _alive(_request: Request) -> Response:
    return PlainTextResponse("ok\n")


def _readiness(certificates: CertWatcher, draining: Draining) -> Callable[[Request], Awaitable[Response]]:
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


def set_mmap_threshold() -> None:
    """Give each block of 128 KiB or more pages of its own, which go back to the kernel with it (mallopt(3)).

    glibc raises that threshold as such blocks are freed, and uvloop's buffer for each TLS connection (256
    KiB, of which little is used) would then come from the heap, where all of it is resident.
    """
    if hasattr(_libc, "mallopt"):
        _libc.mallopt(_M_MMAP_THRESHOLD, 128 << 10)


def reload_networks(networks: NetworksWatcher, handler: AdmissionHandler) -> None:
    """Read the file of networks again, and have decisions rest on it if it has changed."""
    if not networks.reload():
        return
    if networks.problem:
        handler.log.write("error", "networks_unusable", message=networks.problem)
    else:
        handler.set_networks(networks.current)
        handler.log.write("info", "networks_loaded", definitions=len(networks.current))


async def _reload_for_ever(
    certificates: CertWatcher, handler: AdmissionHandler, networks: NetworksWatcher | None
) -> None:
    metrics, log = handler.metrics, handler.log
    logged = ""
    while True:
        metrics.certificate_expiry.set(certificates.expires)
        await asyncio.sleep(RELOAD_INTERVAL)
        trim_memory()
        if networks is not None:
            reload_networks(networks, handler)
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
