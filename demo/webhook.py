"""The webhook as users run it: `multus-eni serve` with a settings file, over TLS."""

from __future__ import annotations

import http.client
import json
import ssl
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.certificates import Authority
from tests.cluster.processes import Process

HOST = "127.0.0.1"
PORT = 8443


@dataclass(frozen=True)
class Webhook:
    """A running webhook; `ca` is the CA certificate (PEM) that its own is signed by."""

    process: Process
    ca: bytes
    settings: str

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://{HOST}:{PORT}"

    def review(self, path: str, review: Mapping[str, Any]) -> dict[str, Any]:
        """Post an AdmissionReview and return the answer; OSError or ValueError if there is none."""
        status, body = _request(self.ca, "POST", path, json.dumps(review).encode())
        if status != 200:
            raise ValueError(f"{status}: {body.decode(errors='replace')[:500]}")
        answer: dict[str, Any] = json.loads(body)
        return answer


@contextmanager
def webhook(folder: Path, env: Mapping[str, str], timeout: int) -> Iterator[Webhook]:
    """Run it; `env` is for the injected container, `timeout` (seconds) for its first assignment."""
    agent = {
        "image": "multus-eni/ipagent:demo",
        "imagePullPolicy": "IfNotPresent",
        "timeout": f"{timeout}s",
        "logFormat": "text",
        "env": [{"name": name, "value": value} for name, value in env.items()],
    }
    settings = folder / "settings.yaml"
    settings.write_text(yaml.safe_dump({"agent": agent}, sort_keys=False), encoding="utf-8")
    authority = Authority("demo")
    certificate = authority.issue([HOST], folder)
    argv: list[str | Path] = [Path(sys.executable).parent / "multus-eni", "serve", "--config", settings]
    argv += ["--tls-cert", certificate.public, "--tls-key", certificate.private]
    argv += ["--host", HOST, "--port", str(PORT)]
    with Process("webhook", argv, log=folder / "webhook.log") as process:
        process.wait_until(lambda: _ready(authority.pem), "200 from /readyz", 20)
        yield Webhook(process, authority.pem, settings.read_text(encoding="utf-8"))


def _ready(ca: bytes) -> bool:
    with suppress(OSError, http.client.HTTPException):
        return _request(ca, "GET", "/readyz", None)[0] == 200
    return False


def _request(ca: bytes, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
    context = ssl.create_default_context(cadata=ca.decode())
    connection = http.client.HTTPSConnection(HOST, PORT, timeout=10, context=context)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
