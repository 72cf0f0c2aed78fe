"""A node with the doubles on it, pods beside it, and the real `ipagent` as a container of them."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.agent_settings import ENV_POD_NAME, ENV_POD_NAMESPACE, AgentSettings
from ipagent.cli import ENV_STARTED_FILE
from tests import programs
from tests.cluster import waiting
from tests.doubles import Doubles
from tests.ipagent.worlds import KEY, MAC_1, SECRET
from tests.netns import IMDS, Node, Pod

EC2_PORT = 8080
SECONDS = 60.0
"""How long a condition is waited for."""
DEADLINE = 12
"""Seconds of a deadline (multus-eni.io/timeout) that is waited for: they begin when the agent starts, and on
a busy machine it takes more than five to load botocore and have the first answers."""
HURRIED = AgentSettings(interfaces=("net1",), timeout=DEADLINE)


@dataclass(frozen=True)
class Ended:
    """An agent that has ended: its exit code, its log and the message in the pod's status."""

    code: int
    lines: list[dict[str, Any]]
    message: str

    def events(self, level: str = "") -> list[str]:
        return [line["event"] for line in self.lines if level in ("", line["level"])]


class Stage:
    """The doubles on a node. Pods made here have `eth0`; their Multus interfaces are added by tests."""

    def __init__(self, node: Node, world: Mapping[str, Any], directory: Path) -> None:
        self.node = node
        self.directory = directory
        self._sidecars = itertools.count(1)
        ec2, imds = node.listen(node.address, EC2_PORT), node.listen(IMDS, 80)
        doubles = Doubles(world, ec2_address=ec2, imds_address=imds)
        node.until_closed(doubles)
        self.ec2 = doubles.ec2_url

    def env(self, settings: AgentSettings | None = None, **changes: str | None) -> dict[str, str]:
        """Return what a container is given: settings, EC2's endpoint, keys; None takes one away."""
        given = {
            "PATH": f"{programs.FOLDER}:/usr/bin:/bin",
            "AWS_ENDPOINT_URL_EC2": self.ec2,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            ENV_POD_NAME: "pod-1",
            ENV_POD_NAMESPACE: "apps",
            **(settings or AgentSettings(interfaces=("net1",))).to_env(),
            ENV_STARTED_FILE: str(self.directory / "started"),
        }
        return {name: value for name, value in (given | changes).items() if value is not None}

    def init(self, pod: Pod, settings: AgentSettings | None = None, **env: str | None) -> Ended:
        """Run `ipagent init` to its end, on a read-only root as the webhook asks for it."""
        return self._init(["ipagent"], pod, self.env(settings, **env))

    def init_with_hanging_resolver(self, pod: Pod, settings: AgentSettings, **env: str | None) -> Ended:
        """Run it where looking up a name never ends and ignores signals."""
        return self._init(
            [programs.PYTHON, "-m", "tests.ipagent.e2e.hanging_resolver_agent"],
            pod,
            self.env(settings, **env),
        )

    def patient_init(self, pod: Pod, settings: AgentSettings) -> Ended:
        """Run it with calls that only the deadline ends."""
        return self._init([programs.PYTHON, "-m", "tests.ipagent.e2e.patient_agent"], pod, self.env(settings))

    def _init(self, program: list[str], pod: Pod, env: dict[str, str]) -> Ended:
        done = pod.run([*program, "init"], env=env, read_only=True)
        assert done.stdout == ""
        lines = [json.loads(line) for line in done.stderr.splitlines()]
        ended = Ended(done.returncode, lines, done.termination_message)
        assert lines[-1]["message"] == ended.message
        return ended

    def sidecar(self, pod: Pod, settings: AgentSettings | None = None, **env: str | None) -> Sidecar:
        """Start `ipagent sidecar`."""
        return self._sidecar(["ipagent"], pod, self.env(settings, **env))

    def fast_checking_sidecar(self, pod: Pod) -> Sidecar:
        """Start it with an interval of the drift check that tests can wait for."""
        return self._sidecar(
            [programs.PYTHON, "-m", "tests.ipagent.e2e.fast_drift_check_agent"], pod, self.env()
        )

    def _sidecar(self, program: list[str], pod: Pod, given: dict[str, str]) -> Sidecar:
        log = self.directory / "termination-log"
        log.write_text("")
        log.chmod(0o666)
        # A file each: what a sidecar says is also read while it runs.
        output = self.directory / f"sidecar-{next(self._sidecars)}.log"
        with output.open("wb") as stderr:
            process = pod.popen([*program, "sidecar"], env=given, stderr=stderr, termination_log=log)
        return Sidecar(self, pod, process, env=given, log=log, output=output)

    def state(self) -> dict[str, Any]:
        """Return the double's world."""
        found: dict[str, Any] = json.loads(self.node.http("GET", f"{self.ec2}/_double/state").body)
        return found

    def secondaries(self, eni: str) -> list[str]:
        """Return an ENI's secondary IPv4 addresses."""
        held: list[str] = self._interface(eni)["secondaries"]
        return held

    def ipv6s(self, eni: str) -> list[str]:
        """Return an ENI's IPv6 addresses."""
        held: list[str] = self._interface(eni)["ipv6s"]
        return held

    def addresses(self, eni: str) -> list[str]:
        """Return an ENI's secondary addresses of both families, sorted."""
        found = self._interface(eni)
        return sorted([*found["secondaries"], *found["ipv6s"]])

    def _interface(self, eni: str) -> dict[str, Any]:
        (found,) = (interface for interface in self.state()["interfaces"] if interface["id"] == eni)
        return dict(found)

    def external_write(self, action: str, eni: str, *more: str) -> None:
        """`assign` or `unassign` addresses of one family, `detach` the ENI or `move` it (to an instance and
        device), as another caller of EC2."""
        argv = [sys.executable, "-m", "tests.ipagent.e2e.external_writer", action, eni, *more]
        done = self.node.run(argv, env=self.env())
        assert done.returncode == 0, done.stderr

    def calls(self, action: str) -> list[dict[str, Any]]:
        """Return the calls of an action so far, or of IMDS where it begins with a method."""
        journal = json.loads(self.node.http("GET", f"{self.ec2}/_double/journal").body)
        return [call for call in journal if call["action"].startswith(action)]

    def ec2_actions(self) -> list[str]:
        """Return the actions of all calls to EC2 so far, in order."""
        return [call["action"] for call in self.calls("") if call["service"] == "ec2"]

    def put_faults(self, *faults: dict[str, Any]) -> None:
        """Replace the faults in force."""
        body = json.dumps({"faults": faults}).encode()
        assert self.node.http("PUT", f"{self.ec2}/_double/faults", body).status == 200

    def change_settings(self, **settings: Any) -> None:
        """Change settings of the double's world."""
        body = json.dumps(settings).encode()
        assert self.node.http("PATCH", f"{self.ec2}/_double/settings", body).status == 200


MakeStage = Callable[..., Stage]


def pod_with(
    stage: Stage, *addresses: str, mac: str = MAC_1, name: str = "net1", pod: Pod | None = None
) -> Pod:
    """Make a pod, or take this one, and give it an interface with these addresses."""
    made = pod or stage.node.pod()
    made.add_interface(name, mac=mac, addresses=addresses)
    return made


class AgentProcess:
    """An injected container's agent that runs, or has ended."""

    def __init__(
        self, pod: Pod, process: subprocess.Popen[bytes], *, env: dict[str, str], log: Path, output: Path
    ) -> None:
        self.process = process
        self._pod = pod
        self._env = env
        self._log = log
        self._output = output

    def started(self) -> bool:
        """Whether the kubelet's startup probe would be content."""
        return self._pod.run(["ipagent", "started"], env=self._env).returncode == 0

    def lines(self) -> list[dict[str, Any]]:
        """Return what it has logged so far."""
        complete, _, _ = self._output.read_text().rpartition("\n")
        return [json.loads(line) for line in complete.splitlines()]

    def end(self) -> Ended:
        """Send SIGTERM and wait for the end."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.wait()

    def wait(self) -> Ended:
        """Wait for the end."""
        self.process.communicate(timeout=SECONDS)
        return Ended(self.process.returncode, self.lines(), self._log.read_text())


class Sidecar(AgentProcess):
    """A sidecar that runs."""

    def __init__(
        self,
        stage: Stage,
        pod: Pod,
        process: subprocess.Popen[bytes],
        *,
        env: dict[str, str],
        log: Path,
        output: Path,
    ) -> None:
        super().__init__(pod, process, env=env, log=log, output=output)
        self._stage = stage

    def wait_until_started(self) -> None:
        """Wait for it, while the process lives."""
        # The file first: the probe is a process each time, and would take the CPU from what it waits for.
        file = Path(self._env[ENV_STARTED_FILE])
        wait_for(lambda: self.process.poll() is not None or file.exists(), "the file of the start")
        wait_for(lambda: self.process.poll() is not None or self.started(), "the sidecar to start")
        assert self.process.poll() is None, self.end()

    def wait_for_addresses(self, eni: str, *addresses: str) -> None:
        """Wait until the ENI has exactly these secondary addresses, of both families."""
        stage = self._stage
        wait_for(
            lambda: stage.addresses(eni) == sorted(addresses),
            f"{addresses} on {eni}",
        )

    def wait_for_event(self, event: str, times: int = 1) -> None:
        """Wait until it has logged an event so many times."""
        text = f'"event": "{event}"'
        wait_for(lambda: self._output.read_text().count(text) >= times, f"the event {event} x {times}")


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Wait until the condition holds. Raises TimeoutError after `SECONDS`."""
    waiting.wait_for(condition, what, SECONDS)
