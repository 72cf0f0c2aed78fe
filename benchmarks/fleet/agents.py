"""The node agents: `ipagent node` as the chart starts it, a process a node, and what they cost."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common.memory import memory_of
from benchmarks.fleet.figures import Rest
from benchmarks.fleet.layout import FLOATING_RANGE, Fleet, FleetNode
from benchmarks.fleet.stage import SECONDS, BenchError, Cloud, answers, wait_until
from common.agent_settings import ENV_HOST_IP, ENV_NODE_NAME
from tests.cluster.control_plane import free_ports
from tests.cluster.processes import Process

GRANTS = {"*": {"cidrs": [FLOATING_RANGE], "takeover": True}}
IPAGENT = Path(sys.executable).with_name("ipagent")


@dataclass(frozen=True, slots=True)
class Agents:
    """Node agents that run; `ports` are those for claims, by node."""

    processes: tuple[Process, ...]
    ports: Mapping[str, int]

    def check(self) -> None:
        """Raise ProcessError where one has ended."""
        for process in self.processes:
            process.check()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop them for the length of a block: what happens meanwhile reaches them in one instant."""
        for process in self.processes:
            os.kill(process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in self.processes:
                os.kill(process.pid, signal.SIGCONT)

    def memory(self) -> list[float]:
        """Return what each holds, in megabytes (10^6 bytes): its peak RSS so far."""
        return [_peak_mb(process.pid) for process in self.processes]

    def shared(self) -> list[float]:
        """Return what each holds, a page that n processes share counted as 1/n (PSS), in megabytes."""
        return [memory_of(process.pid).pss for process in self.processes]

    def rest(self, seconds: float) -> Rest:
        """Watch them do nothing."""
        began, used, switched = time.monotonic(), self.cpu_ms(), self._switches()
        time.sleep(seconds)
        self.check()
        slept = time.monotonic() - began
        share = len(self.processes) * slept
        return Rest(slept, (self.cpu_ms() - used) / share, (self._switches() - switched) / share)

    def cpu_ms(self) -> float:
        """Return the CPU time of all of them so far.

        Linux, Documentation/scheduler/sched-stats.rst: nanoseconds.
        """
        files = (file for each in self.processes for file in _tasks(each.pid, "schedstat"))
        return sum(int(file.read_text(encoding="ascii").split()[0]) for file in files) / 1e6

    def _switches(self) -> int:
        """Count the context switches (proc(5), status)."""
        files = (file for each in self.processes for file in _tasks(each.pid, "status"))
        lines = (line for file in files for line in file.read_text(encoding="utf-8").splitlines())
        return sum(int(line.split()[1]) for line in lines if "voluntary_ctxt_switches" in line)


@contextmanager
def agents(  # noqa: PLR0913 - its parts
    fleet: Fleet,
    cloud: Cloud,
    kubeconfig: Path,
    folder: Path,
    *,
    central: bool = False,
    floating: bool = False,
) -> Iterator[Agents]:
    """Run an agent for each node until all are ready; raises BenchError or ProcessError.

    With `central` they have a controller call EC2. With `floating` all pods may have floating addresses, and
    take them over.
    """
    env = {**(cloud.keyless if central else cloud.env), "KUBECONFIG": str(kubeconfig)}
    with ExitStack() as stack:
        health, started, ports = [], [], dict[str, int]()
        for node in fleet.nodes:
            port, health_port = free_ports(node.host, node.host)
            ports[node.name] = port
            config = folder / f"{node.name}.json"
            settings = {
                "port": port,
                "healthPort": health_port,
                "central": central,
                "grants": GRANTS if floating else {},
                "logLevel": "info",
                "logFormat": "json",
            }
            config.write_text(json.dumps(settings), encoding="utf-8")
            imds = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": cloud.imds(node.host)}
            started.append(stack.enter_context(_agent(node, config, {**env, **imds})))
            health.append(f"http://{node.host}:{health_port}/readyz")
        running = Agents(tuple(started), ports)
        _wait_for_all(health, running)
        yield running
        running.check()


def _agent(node: FleetNode, config: Path, env: Mapping[str, str]) -> Process:
    record = config.with_suffix(".record")
    record.mkdir()
    argv = [str(IPAGENT), "node", f"--config={config}", f"--record={record}"]
    downward = {ENV_NODE_NAME: node.name, ENV_HOST_IP: node.host}
    return Process(node.name, argv, log=config.with_suffix(".log"), env={**env, **downward})


def _wait_for_all(health: Sequence[str], running: Agents) -> None:
    deadline = time.monotonic() + SECONDS

    def ready() -> bool:
        running.check()
        return all(map(answers, health))

    if not wait_until(ready, deadline, 0.2):
        raise BenchError(f"the node agents were not ready within {SECONDS:g} s")


def _tasks(pid: int, name: str) -> list[Path]:
    return list(Path(f"/proc/{pid}/task").glob(f"*/{name}"))


def _peak_mb(pid: int) -> float:
    """Read the most that a process has held (proc(5), status, VmHWM; its kB are 1024 bytes)."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024 / 1e6
