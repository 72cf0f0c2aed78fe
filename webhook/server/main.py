"""`multus-eni serve`: the process that the API server calls."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn

from common.agent_settings import LogLevel
from common.open_files_limit import raise_descriptor_limit
from common.probes import ProbeServer
from common.python_gc import end_startup
from common.version import VERSION
from webhook.core.settings import Settings
from webhook.server.app import create_app, reload_networks, set_mmap_threshold
from webhook.server.body import LargeBodies
from webhook.server.cert_watcher import CertificateFiles, CertWatcher
from webhook.server.drain import Draining, DrainingServer
from webhook.server.handler import AdmissionHandler
from webhook.server.http_limits import LimitedHttpProtocol
from webhook.server.listener import BACKLOG, TlsListener
from webhook.server.log import Log
from webhook.server.metrics import Metrics
from webhook.server.networks_file_watcher import NetworksWatcher
from webhook.settings_file import load_settings

KEEP_ALIVE = 120
"""Seconds. The API server keeps idle connections for 90 s; closing earlier would race its next request."""
SHUTDOWN = 10
"""Seconds that requests in flight may take after draining: as long as the API server waits for a response.

A client that never closes its side of an idle TLS connection can delay the exit for as long."""
LOOK_INTERVAL = 0.5
"""Seconds between two checks for a certificate that does not exist yet."""


class ListenError(Exception):
    """The server cannot listen on the address. The text names it."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of `serve`. `drain` is in seconds; `metrics_port` None serves no metrics.

    With `networks`, the file of the controller, pods request capacity of their networks.
    """

    config: Path
    certificate: Path
    key: Path
    host: str
    port: int
    metrics_port: int | None = None
    drain: float = 0.0
    wait_for_certificate: bool = False
    log_level: LogLevel = LogLevel.INFO
    networks: Path | None = None


def serve(options: Options) -> None:
    """Serve until SIGTERM. Raises ConfigError, CertificateError or ListenError before anything is served."""
    log = Log(level=options.log_level)
    log.capture("uvicorn")
    log.capture("asyncio")
    settings = load_settings(options.config)
    # uvicorn raises the signal again after draining, for the handler that was set before its own. And without
    # a handler the first process of a container ignores the signal.
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
    raise_descriptor_limit()
    set_mmap_threshold()
    listening = _listen(options)
    metrics = Metrics()
    probes = _listen_for_metrics(metrics, options)
    host, port = listening.getsockname()[:2]
    log.write(
        "info",
        "started",
        version=VERSION,
        host=host,
        port=port,
        metrics_port=probes.port if probes else None,
        image=settings.image,
        certificate_expires=certificates.expires,
    )
    draining, large_bodies = Draining(), LargeBodies()
    handler = AdmissionHandler(settings, log, metrics)
    networks = None
    if options.networks is not None:
        networks = NetworksWatcher(options.networks)
        handler.set_networks({})
        reload_networks(networks, handler)
    config = uvicorn.Config(
        create_app(handler, certificates, draining, large_bodies, networks),
        loop="uvloop",
        http=LimitedHttpProtocol,
        ws="none",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=SHUTDOWN,
    )
    end_startup()
    with listening, probes or contextlib.nullcontext():
        listener = TlsListener(listening, certificates.listener, metrics, log)
        large_bodies.is_shared = lambda: listener.table.peers > 1
        DrainingServer(config, listener, draining, options.drain).run(sockets=[listening])


def _wait_for(files: CertificateFiles, log: Log) -> None:
    logged = False
    while not files.exist():
        if not logged:
            log.write("info", "waiting", message=f"waiting for {files.certificate} and {files.key}")
            logged = True
        time.sleep(LOOK_INTERVAL)


class _Stopped(Exception):
    pass


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise _Stopped


def _listen_for_metrics(metrics: Metrics, options: Options) -> ProbeServer | None:
    if options.metrics_port is None:
        return None
    try:
        return ProbeServer(metrics.registry, {}, options.host, options.metrics_port)
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
