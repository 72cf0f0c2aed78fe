"""`multus-eni serve`: the process that the API server calls."""

from __future__ import annotations

import contextlib
import gc
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn

from common.version import VERSION
from webhook.config import load_settings
from webhook.core.settings import Settings
from webhook.server.app import Webhook, create_app
from webhook.server.cert_watcher import CertificateFiles, CertWatcher
from webhook.server.drain import Draining, DrainingServer
from webhook.server.http_limits import LimitedHttpProtocol
from webhook.server.log import Log
from webhook.server.metrics import Metrics

KEEP_ALIVE = 120
"""Seconds. The API server keeps idle connections for 90 s; closing one sooner would race its next request."""
SHUTDOWN = 10
"""Seconds that requests under way may take after draining: as long as the API server waits for an answer.

It is also how long a client that never closes its side of an idle TLS connection can hold up the end."""
BACKLOG = 2048
LOOK_INTERVAL = 0.5
"""Seconds between two looks whether a certificate that is waited for is there."""


class ListenError(Exception):
    """The address can't be listened on; the text names it."""


@dataclass(frozen=True, slots=True)
class Options:
    """The command line of `serve`."""

    config: Path
    certificate: Path
    key: Path
    host: str
    port: int
    metrics_port: int | None = None
    drain: float = 0.0
    wait_for_certificate: bool = False


def serve(options: Options) -> None:
    """Serve until SIGTERM. Raises ConfigError, CertificateError or ListenError before anything is served."""
    log = Log()
    log.take_over("uvicorn")
    settings = load_settings(options.config)
    # uvicorn raises the signal again once it has drained, for whoever was there before it: for this handler.
    # And without one, the first process of a container ignores the signal.
    signal.signal(signal.SIGTERM, _stop)
    with contextlib.suppress(_Stopped, KeyboardInterrupt):
        _serve(options, settings, log)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    log.write("info", "stopped")


def _serve(options: Options, settings: Settings, log: Log) -> None:
    files = CertificateFiles(options.certificate, options.key)
    if options.wait_for_certificate:
        _wait_for(files, log)
    certificates = CertWatcher(files)
    listener = _listen(options)
    host, port = listener.getsockname()[:2]
    metrics = Metrics()
    metrics_port = _serve_metrics(metrics, options)
    log.write(
        "info",
        "started",
        version=VERSION,
        host=host,
        port=port,
        metrics_port=metrics_port,
        image=settings.image,
        certificate_expires=certificates.expires,
    )
    draining = Draining()
    config = uvicorn.Config(
        create_app(Webhook(settings, log, metrics), certificates, draining),
        loop="uvloop",
        http=LimitedHttpProtocol,
        ws="none",
        ssl_context_factory=lambda _config, _default: certificates.listener,
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=SHUTDOWN,
    )
    # What was imported stays: no full collection has to look through it again, which takes 10 ms.
    gc.collect()
    gc.freeze()
    with listener:
        DrainingServer(config, draining, options.drain).run(sockets=[listener])


def _wait_for(files: CertificateFiles, log: Log) -> None:
    said = False
    while not files.there():
        if not said:
            log.write("info", "waiting", message=f"waiting for {files.certificate} and {files.key}")
            said = True
        time.sleep(LOOK_INTERVAL)


class _Stopped(Exception):
    pass


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise _Stopped


def _serve_metrics(metrics: Metrics, options: Options) -> int | None:
    if options.metrics_port is None:
        return None
    try:
        return metrics.serve(options.host, options.metrics_port)
    except OSError as error:
        raise _cannot_listen(options.host, options.metrics_port, error) from error


def _cannot_listen(host: str, port: int, error: OSError) -> ListenError:
    return ListenError(f"cannot listen on {host} port {port}: {error.strerror}")


def _listen(options: Options) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
        return socket.create_server((options.host, options.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise _cannot_listen(options.host, options.port, error) from error
