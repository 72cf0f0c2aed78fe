"""Probes and metrics over plain HTTP."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, make_wsgi_app

from multus_eni.certs.rotation import Settings, agree
from multus_eni.certs.state import State
from multus_eni.version import VERSION

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

ACTIONS = ("MakeAuthority", "KeepAuthorities", "IssueLeaf", "Trust")
REQUEST_TIMEOUT = 10


class Health:
    """What is known of the process from outside; `steady` gives seconds on a clock that never jumps."""

    def __init__(self, steady: Callable[[], float], silence: float) -> None:
        self._steady = steady
        self._silence = silence
        self._turned = steady()
        self._agreed = False
        self.alive: Callable[[], bool] = lambda: True
        """Asked at each probe for what else has to be alive."""
        self.registry = CollectorRegistry()
        self._in_order = self._gauge("in_order", "1 if Secret and caBundle agreed at the last look, else 0.")
        self._ca = self._gauge("ca_expiry_timestamp_seconds", "When the signing CA expires (Unix time).")
        self._leaf = self._gauge(
            "certificate_expiry_timestamp_seconds", "When the leaf in the Secret expires (Unix time)."
        )
        actions = Counter("multus_eni_certs_actions", "What was written.", ["action"], registry=self.registry)
        self._actions = {name: actions.labels(name) for name in ACTIONS}
        self.failures = Counter(
            "multus_eni_certs_failures", "Looks and writes that failed.", registry=self.registry
        )
        Gauge(
            "multus_eni_certs_build_info",
            "Always 1; the release is the label.",
            ["version"],
            registry=self.registry,
        ).labels(VERSION).set(1)

    @property
    def healthy(self) -> bool:
        """Whether the loop goes round."""
        return self.alive() and self._steady() - self._turned <= self._silence

    @property
    def ready(self) -> bool:
        """Whether Secret and caBundle agreed at the last look."""
        return self._agreed

    def turned(self) -> None:
        """Note that the loop has gone round."""
        self._turned = self._steady()

    def looked(self, state: State, wall: float, settings: Settings) -> None:
        """Note what is there."""
        self._agreed = agree(state, wall, settings)
        self._in_order.set(self._agreed)
        signing, leaf = state.secret.signing, state.secret.leaf
        self._ca.set(signing.not_after if signing else 0)
        self._leaf.set(leaf.certificate.not_after if leaf else 0)

    def acted(self, action: str) -> None:
        """Count a write."""
        self._actions[action].inc()

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"multus_eni_certs_{name}", text, registry=self.registry)


class HealthServer:
    """Serves /healthz, /readyz and /metrics from `with` to the end of its block. Raises OSError."""

    def __init__(self, health: Health, host: str, port: int) -> None:
        self._server = (_Server6 if ":" in host else _Server)((host, port), _Handler)
        self._server.set_app(_application(health))
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)
        self.port = int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _application(
    health: Health,
) -> Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]:
    metrics = make_wsgi_app(health.registry)

    def answer(environment: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = environment.get("PATH_INFO", "")
        if path == "/metrics":
            return list(metrics(environment, start))
        answers = {"/healthz": lambda: health.healthy, "/readyz": lambda: health.ready}
        if path not in answers:
            start("404 Not Found", [("Content-Type", "text/plain")])
            return [b"not found\n"]
        good = answers[path]()
        start("200 OK" if good else "503 Service Unavailable", [("Content-Type", "text/plain")])
        return [b"ok\n" if good else b"not yet\n"]

    return answer


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        # HTTPServer's own looks the address up in DNS, which may take long where there is none.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_TIMEOUT

    def address_string(self) -> str:
        return str(self.client_address[0])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has there
        """Say nothing: probes come every few seconds."""
