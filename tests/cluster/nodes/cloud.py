"""The doubles of a cluster: the process inside its namespaces, and their control interface over HTTP."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from tests.cluster.nodes.plan import EC2_PORT, GATEWAY, IMDS, REGION
from tests.cluster.nodes.sandbox import Sandbox
from tests.cluster.processes import Process
from tests.doubles.config.credentials import DEFAULT_KEY_ID, DEFAULT_SECRET
from tests.http_client import HttpClient, succeeded

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

Fault = Mapping[str, Any]
"""One of `faults` as PUT /_double/faults takes them: {"action": "Assign*", "error": "...", "times": 3}."""


class CloudControl:
    """Controls EC2's and IMDS's double; `url` is that of EC2's as this program reaches it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = HttpClient(url)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def state(self) -> dict[str, Any]:
        """Return the world: subnets, instances, interfaces with their addresses."""
        found: dict[str, Any] = self._send("GET", "state")
        return found

    def interface(self, eni: str) -> dict[str, Any]:
        """Return one interface of the world."""
        (found,) = [each for each in self.state()["interfaces"] if each["id"] == eni]
        interface: dict[str, Any] = found
        return interface

    def journal(self, action: str | None = None) -> list[dict[str, Any]]:
        """Return all calls so far, or those of one action; tests/doubles/journal.py says what they have."""
        found: list[dict[str, Any]] = self._send("GET", f"journal?action={action}" if action else "journal")
        return found

    def forget(self) -> None:
        """Empty the journal."""
        self._send("DELETE", "journal")

    def put_faults(self, *faults: Fault) -> None:
        """Replace all faults; without arguments there are none."""
        self._send("PUT", "faults", {"faults": [dict(fault) for fault in faults]})

    def faults(self) -> list[dict[str, Any]]:
        """Return the faults in force, with the calls that they have left."""
        found: list[dict[str, Any]] = self._send("GET", "faults")["faults"]
        return found

    def change_settings(self, **settings: object) -> None:
        """Change `imds_delay_ms`, `attach_delay_ms`, `throttling` or `limits`."""
        self._send("PATCH", "settings", settings)

    def ec2(self, key: str = DEFAULT_KEY_ID, secret: str = DEFAULT_SECRET) -> EC2Client:
        """Make a client with a key, by default one that may do everything; close it."""
        # Imported late: it takes long, and few want it.
        import boto3  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415

        return boto3.client(
            "ec2",
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            config=Config(retries={"total_max_attempts": 1}, proxies={}),
        )

    def _send(self, method: str, path: str, body: object = None) -> Any:
        answer = self._http.request(method, f"/_double/{path}", body=body)
        if not succeeded(answer):
            raise ValueError(f"{method} {path}: {answer.status}: {answer.data.decode()}")
        return answer.json()


def doubles(outer: Sandbox, world: Mapping[str, object]) -> Process:
    """Make the process that is EC2 and IMDS for everything inside."""
    file = outer.folder / "world.json"
    file.write_text(json.dumps(world), encoding="utf-8")
    argv = [sys.executable, "-m", "tests.doubles", f"--world={file}"]
    return outer.process("doubles", [*argv, f"--ec2={GATEWAY}:{EC2_PORT}", f"--imds={IMDS}:80"])


def serves(process: Process) -> bool:
    """Return whether the doubles have said that they listen."""
    return '"imds"' in Path(process.log).read_text(encoding="utf-8")
