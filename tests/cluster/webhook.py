"""The webhook as users run it: `multus-eni serve`, a process of its own, behind a configuration."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import yaml

from tests import programs
from tests.cluster.api import WEBHOOK_CONFIGURATION, Api, Manifest
from tests.cluster.certificates import Authority
from tests.cluster.configuration import Service
from tests.cluster.processes import Process, ProcessError
from tests.cluster.waiting import wait_for

IMAGE = "registry.example/multus-eni/ipagent:1.0"
SETTINGS: Mapping[str, Any] = {
    "agent": {
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": "AWS_REGION", "value": "eu-central-1"}],
    }
}


class WebhookServer:
    """`multus-eni serve` from `with` to the end of its block, which ends it by SIGTERM.

    `settings` is the content of its settings file, `launcher` a command that starts it, `host` an address of
    this machine; its certificate is for `host` and `names`. `folder` takes all of its files and the log.
    Raises ProcessError with the end of the log where it does not start, or does not end as it should.
    """

    def __init__(
        self,
        folder: Path,
        *,
        settings: Mapping[str, Any] = SETTINGS,
        host: str = "127.0.0.1",
        names: Sequence[str] = (),
        options: Sequence[str] = (),
        launcher: Sequence[str] = (),
    ) -> None:
        self._host = host
        self._authority = Authority("webhook")
        self._ca = folder / "webhook-ca.crt"
        self._ca.write_bytes(self._authority.pem)
        pair = self._authority.issue([host, *names], folder, "webhook")
        config = folder / "webhook.yaml"
        config.write_text(yaml.safe_dump(dict(settings)), encoding="utf-8")
        files = [f"--config={config}", f"--tls-cert={pair.public}", f"--tls-key={pair.private}"]
        argv = [
            *launcher,
            programs.MULTUS_ENI,
            "serve",
            *files,
            f"--host={host}",
            "--port=0",
            "--drain=0",
            "--log-level=debug",
            *options,
        ]
        self.process = Process("multus-eni serve", argv, log=folder / "webhook.log")
        self.port = 0
        self.service = Service("", self._authority.pem)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            process = stack.enter_context(self.process)
            what = "line that says which port it listens on"
            self.port = process.wait_until(self._listening_port, what, 60)
            self.service = Service(f"https://{self._host}:{self.port}", self._authority.pem)
            process.wait_until(self._ready, f"answer from {self.service.url}/readyz", 60)
            # Only a webhook that serves is left to __exit__.
            stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.process.end()
        except ProcessError:
            # The error of the block says more.
            if error is None:
                raise

    def events(self, event: str) -> list[dict[str, Any]]:
        """Return its log lines of one event, such as `decision`."""
        return self.process.events(event)

    def reasons(self, namespace: str, name: str) -> list[str]:
        """Return the reasons of its decisions about a pod, in order."""
        decisions = self.events("decision")
        found = [line for line in decisions if (line["namespace"], line["name"]) == (namespace, name)]
        return [str(line["reason"]) for line in found]

    def _listening_port(self) -> int | None:
        started = self.events("started")
        return int(started[0]["port"]) if started else None

    def _ready(self) -> bool:
        context = ssl.create_default_context(cafile=str(self._ca))
        try:
            with httpx.Client(verify=context, trust_env=False, timeout=5) as http:
                return http.get(f"{self.service.url}/readyz").status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def installed(api: Api, configuration: Manifest, called: Callable[[], bool]) -> Iterator[None]:
    """Apply a webhook configuration for the length of a block.

    The API server takes it over some time after it has stored it: `called` makes a request that the
    configuration concerns and says whether its webhook was called.
    """
    api.create(configuration)
    name = configuration["metadata"]["name"]
    try:
        wait_for(called, f"call by the webhook configuration {name}")
        yield
    finally:
        api.delete(WEBHOOK_CONFIGURATION, name)
