"""Where it is measured: a node with the doubles on it, a pod beside it, and processes of the pod."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.agent.figures import Cost
from common.agent_settings import (
    DEFAULT_NODE_PORT,
    ENV_HOST_IP,
    ENV_NODE_NAME,
    ENV_POD_NAME,
    ENV_POD_NAMESPACE,
    ENV_POD_UID,
    AgentSettings,
    Backend,
)
from common.token_bucket import Rate
from ipagent.aws.aws_roots import AWS_ROOTS
from ipagent.cli import ENV_STARTED_FILE, ENV_TERMINATION_LOG, ENV_TOKEN_FILE
from ipagent.node.model.claim import Claim, ClaimStatus
from ipagent.node.sessions.limits import Limits
from tests.cluster.certificates import Authority
from tests.ipagent.nodeclient.gate import NODE, POD, Gate, assigned, holdings, token_of
from tests.netns import IMDS, Node, Pod

ROOT = Path(__file__).parents[2]
WORLD = ROOT / "demo" / "world.yaml"
EC2_PORT, TLS_PORT = 8080, 8443

# Of the world: the ENI of the pod's second interface, and an address of its subnet that nobody has.
MAC = "02:10:00:00:01:10"
ADDRESS = "10.10.1.80"
REGION = "us-east-2"

IPAGENT = str(Path(sys.executable).with_name("ipagent"))

FREE = Limits(connects=Rate(1000, 1000), statements=Rate(1000, 1000))
"""One pod does here in a second what it may do elsewhere in a minute."""

SECONDS = 30.0
"""How long a condition is waited for."""


class BenchError(Exception):
    """Something did not run as it should; the text says what."""


class Stage:
    """The pod `pod` of a node where the doubles run."""

    def __init__(self, node: Node, pod: Pod, folder: Path, bundle: Path, agent: NodeAgent) -> None:
        self.pod = pod
        self.folder = folder
        self._agent = agent
        self._node = node
        self._bundle = bundle
        self._ec2 = f"http://{node.address}:{EC2_PORT}"

    def env(self, *, tls: bool = False, slim: bool = False) -> dict[str, str]:
        """Return the environment of a container: the node's role by IMDS, and the agent's settings.

        A slim one asks the node agent instead of EC2.

        Bytecode is kept in a folder of the run's own: an image has it, a working tree perhaps not.
        """
        ec2 = {"AWS_ENDPOINT_URL_EC2": self._ec2}
        if tls:
            ec2 = {
                "AWS_ENDPOINT_URL_EC2": f"https://{self._node.address}:{TLS_PORT}",
                "AWS_CA_BUNDLE": str(self._bundle),
            }
        return {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "PYTHONPYCACHEPREFIX": str(self.folder / "bytecode"),
            "AWS_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            ENV_POD_NAME: POD.name,
            ENV_POD_NAMESPACE: POD.namespace,
            ENV_POD_UID: POD.uid,
            ENV_NODE_NAME: NODE,
            ENV_HOST_IP: self._node.address,
            ENV_TOKEN_FILE: str(self.folder / "token"),
            **AgentSettings(interfaces=("net1",), backend=Backend.NODE if slim else Backend.DIRECT).to_env(),
            ENV_STARTED_FILE: str(self.folder / "started"),
            ENV_TERMINATION_LOG: os.devnull,
            **ec2,
        }

    def costs(
        self, commands: Mapping[str, tuple[Sequence[str], Mapping[str, str]]], turns: int
    ) -> dict[str, list[Cost]]:
        """Run the commands (argv and environment by name) in turns; raises BenchError if one fails."""
        errors = {name: self.folder / f"{name.replace(' ', '-')}.log" for name in commands}
        job = {
            "turns": turns,
            "commands": {
                name: {"argv": list(argv), "env": dict(env), "errors": str(errors[name])}
                for name, (argv, env) in commands.items()
            },
        }
        process = self.pod.popen(
            [sys.executable, "-S", "-m", "benchmarks.agent.spawn"],
            env={"PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE,
        )
        output, problem = process.communicate(json.dumps(job).encode())
        if process.returncode != 0:
            raise BenchError(f"the commands were not run: {problem.decode(errors='replace')}")
        found: dict[str, list[Cost]] = {name: [] for name in commands}
        for line in output.splitlines():
            run = json.loads(line)
            if run["code"] != 0:
                said = errors[run["name"]].read_text(encoding="utf-8", errors="replace")
                raise BenchError(f"{run['name']} ended with {run['code']}: {said}")
            found[run["name"]].append(Cost(run["cpu"], run["seconds"], run["peak"] / 1e6))
        return found

    @contextmanager
    def sidecar(self, *, slim: bool = False) -> Iterator[Sidecar]:
        """Run a sidecar that has started; raises BenchError."""
        log = self.folder / "sidecar.log"
        with log.open("wb") as stderr:
            process = self.pod.popen([IPAGENT, "sidecar"], env=self.env(slim=slim), stderr=stderr)
        try:
            sidecar = Sidecar(process, log)
            sidecar.wait_for("started", 1)
            yield sidecar
        finally:
            process.terminate()
            process.communicate()

    @contextmanager
    def switch(self) -> Iterator[Switch]:
        """Return what changes the pod's address from within."""
        argv = [sys.executable, "-S", "-m", "benchmarks.agent.toggle_address", "net1", f"{ADDRESS}/24"]
        process = self.pod.popen(
            argv, env={"PYTHONDONTWRITEBYTECODE": "1"}, unprivileged=False, stdin=subprocess.PIPE
        )
        try:
            yield Switch(process)
        finally:
            process.communicate()

    def requests(self) -> list[dict[str, Any]]:
        """Return the requests that EC2 and IMDS had so far."""
        answer = self._node.http("GET", f"{self._ec2}/_double/journal")
        requests: list[dict[str, Any]] = json.loads(answer.body)
        return requests

    def statements(self) -> int:
        """Count what slim agents have stated so far."""
        return self._agent.gate.sessions.counts().get("claims", 0)

    def claimed_at(self) -> list[float]:
        """Return the times at which the node agent had a claim with the address, likewise."""
        return list(self._agent.heard_at)

    def assigned_at(self) -> list[float]:
        """Return the times at which EC2 had an AssignPrivateIpAddresses, on the monotonic clock."""
        calls = self.requests()
        return [call["monotonic"] for call in calls if call["action"] == "AssignPrivateIpAddresses"]


class NodeAgent:
    """Confirms at once whatever a pod holds, and notes when it heard of the address."""

    def __init__(self, node: Node) -> None:
        self.heard_at: list[float] = []
        listener = node.listen(node.address, DEFAULT_NODE_PORT)
        self.gate = Gate(listener, self._answer, limits=FREE)

    def _answer(self, claim: Claim) -> ClaimStatus:
        if any(str(holding.address) == ADDRESS for holding in holdings(claim)):
            self.heard_at.append(time.monotonic())
        return assigned(claim)


class Switch:
    """Adds the pod's address and takes it away, exactly when it says."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def add(self) -> float:
        """Add the address; returns the monotonic time in seconds at which the kernel was asked."""
        return self._change(b"add\n")

    def delete(self) -> float:
        """Delete the address, likewise."""
        return self._change(b"delete\n")

    def _change(self, line: bytes) -> float:
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        if stdin is None or stdout is None or stderr is None:
            raise BenchError("the program that changes addresses has no pipes")
        stdin.write(line)
        stdin.flush()
        if not (answer := stdout.readline()):
            raise BenchError(f"the pod's address was not changed: {stderr.read().decode(errors='replace')}")
        return float(answer)


class Sidecar:
    """A sidecar that runs, and what it logs."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.pid = process.pid
        self._process = process
        self._log = log

    def wait_for(self, event: str, times: int) -> None:
        """Wait until it has logged the event so often; raises BenchError if it ends or takes too long."""
        text = f'"event": "{event}"'
        wait_for(lambda: self._said().count(text) >= times, f"event {event} of the sidecar", self.check)

    def check(self) -> None:
        """Raise BenchError if it has ended."""
        if self._process.poll() is not None:
            raise BenchError(f"the sidecar has ended with {self._process.returncode}: {self._said()}")

    def _said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")


@contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """Make everything that is measured in; raises NamespacesForbidden, BenchError or OSError."""
    with Node() as node:
        ec2 = f"{node.address}:{EC2_PORT}"
        doubles: list[str | Path] = [
            sys.executable,
            "-m",
            "tests.doubles",
            "--world",
            WORLD,
            "--log-level",
            "error",
        ]
        _started(node.popen([*doubles, "--ec2", ec2, "--imds", f"{IMDS}:80"]), "doubles")
        authority = Authority()
        pair = authority.issue([node.address], folder)
        proxy: list[str | Path] = [
            sys.executable,
            "-m",
            "benchmarks.agent.tls_proxy",
            pair.public,
            pair.private,
        ]
        _started(node.popen([*proxy, f"{node.address}:{TLS_PORT}", ec2]), "TLS proxy")
        bundle = folder / "bundle.pem"
        # The roots that the agent loads where it is left alone, and that of the proxy.
        bundle.write_bytes(Path(AWS_ROOTS).read_bytes() + authority.pem)
        (folder / "bytecode").mkdir(mode=0o777)
        pod = node.pod()
        pod.add_interface("net1", mac=MAC, addresses=[f"{ADDRESS}/24"])
        (folder / "token").write_text(token_of(POD))
        agent = NodeAgent(node)
        with agent.gate:
            yield Stage(node, pod, folder, bundle, agent)


def _started(process: subprocess.Popen[bytes], what: str) -> None:
    if process.stdout is None or not process.stdout.readline():
        raise BenchError(f"the {what} did not start; why is said above")


def wait_for(condition: Callable[[], object], what: str, check: Callable[[], None]) -> None:
    """Wait until the condition holds; raises BenchError after `SECONDS`, or what `check` raises."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        check()
        if time.monotonic() > deadline:
            raise BenchError(f"waited {SECONDS:g} s for the {what}")
        time.sleep(0.005)
