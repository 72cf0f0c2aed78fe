"""Where it is measured: a real API server, and EC2 and IMDS as the double plays them."""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.fleet.figures import Call, read_calls
from benchmarks.fleet.layout import KEY, REGION, Fleet, world
from tests.cluster.api import NAMESPACE, Api
from tests.cluster.control_plane import ControlPlane, free_ports
from tests.cluster.namespaces import ready_namespace
from tests.cluster.node_agents import Script, make_node, node_agent_kubeconfig, script
from tests.cluster.processes import Process
from tests.cluster.tools import Missing, find_binaries

SECONDS = 60.0
"""How long a program may take to start."""


class BenchError(Exception):
    """Something did not run as it should; the text says what."""


@dataclass(frozen=True, slots=True)
class Cloud:
    """The double with one fleet's world; `imds_port` is that of each node's own address."""

    process: Process
    ec2: str
    imds_port: int

    @property
    def env(self) -> dict[str, str]:
        """Return the environment of a program that calls EC2, but for IMDS."""
        return {**self.keyless, "AWS_ACCESS_KEY_ID": KEY[0], "AWS_SECRET_ACCESS_KEY": KEY[1]}

    @property
    def keyless(self) -> dict[str, str]:
        """Return the environment of one that has no rights of its own."""
        return {
            "AWS_ENDPOINT_URL_EC2": self.ec2,
            "AWS_REGION": REGION,
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }

    def imds(self, host: str) -> str:
        """Return the URL of a node's IMDS."""
        return f"http://{host}:{self.imds_port}"

    def calls(self) -> tuple[Call, ...]:
        """Return the calls that EC2 had so far."""
        return read_calls(entry for entry in _get_json(f"{self.ec2}/_double/journal"))

    def switch_off(self) -> None:
        """Have EC2 reset every connection from now on; IMDS, which is the node's own, still answers."""
        body = json.dumps({"faults": [{"action": "*", "connection": "reset"}]}).encode()
        request = urllib.request.Request(f"{self.ec2}/_double/faults", body, method="PUT")  # noqa: S310 - http
        with urllib.request.urlopen(request, timeout=30):  # noqa: S310 - on this machine
            pass

    def assigns(self) -> tuple[Call, ...]:
        """Return those that assign IPv4 addresses alone, which is less to read."""
        return read_calls(_get_json(f"{self.ec2}/_double/journal?action=AssignPrivateIpAddresses"))


@dataclass(frozen=True, slots=True)
class Stage:
    """The API server, and a folder for logs and settings."""

    plane: ControlPlane
    api: Api
    folder: Path

    def script(self, name: str) -> Script:
        """Make a namespace for the pods of a scenario; close the script's client."""
        self.api.create({"apiVersion": "v1", "kind": NAMESPACE.kind, "metadata": {"name": name}})
        ready_namespace(self.api, name)
        return script(self.plane, name)

    def make_nodes(self, fleet: Fleet) -> None:
        """Register the nodes."""
        for node in fleet.nodes:
            make_node(self.api, node.name)

    def agents_kubeconfig(self, namespace: str, *more: dict[str, Any]) -> Path:
        """Make the node agents' ServiceAccount with its rights, and `more` rules."""
        folder = self.folder / namespace
        folder.mkdir()
        return node_agent_kubeconfig(self.plane, self.api, namespace, folder, *more)


@contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """Start the API server; raises BenchError, ProcessError or OSError."""
    binaries = find_binaries()
    if isinstance(binaries, Missing):
        raise BenchError(str(binaries))
    # Nobody but the script makes or deletes pods.
    with ControlPlane(binaries, controller_manager=False) as plane, plane.client() as api:
        yield Stage(plane, api, folder)


@contextmanager
def cloud(fleet: Fleet, folder: Path, name: str, *, central: bool = False) -> Iterator[Cloud]:
    """Start the double with full request limits; raises BenchError, ProcessError or OSError."""
    file = folder / f"{name}.world.json"
    file.write_text(json.dumps(world(fleet, central=central)), encoding="utf-8")
    with ExitStack() as stack:
        log = folder / f"{name}.doubles.log"
        argv: list[str | Path] = [
            sys.executable,
            "-m",
            "tests.doubles",
            "--world",
            file,
            "--log-level",
            "error",
        ]
        doubles = stack.enter_context(Process("doubles", argv, log=log))
        urls = json.loads(_line(doubles))
        (port,) = free_ports(fleet.nodes[0].host)
        target = urls["imds"].removeprefix("http://").rstrip("/")
        hosts = [node.host for node in fleet.nodes]
        command = [sys.executable, "-m", "benchmarks.fleet.imds_proxy", target, str(port), *hosts]
        proxy = stack.enter_context(Process("imds-proxy", command, log=folder / f"{name}.imds.log"))
        _line(proxy)
        yield Cloud(doubles, urls["ec2"].rstrip("/"), port)


def _line(process: Process) -> str:
    """Wait for the first line that a program prints, which says that it listens."""

    def first() -> str | None:
        line, end, _ = process.log.read_text(encoding="utf-8").partition("\n")
        return line if end else None

    return process.wait_until(first, "line that it listens", SECONDS)


def _get_json(url: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - http, on this machine
        found: list[dict[str, Any]] = json.load(answer)
        return found


def answers(url: str) -> bool:
    """Return whether there is an answer of success."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - http, on this machine
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def wait_until(condition: Callable[[], bool], deadline: float, pause: float) -> bool:
    """Ask every `pause` seconds until the condition holds (True) or the deadline has passed (False)."""
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True
