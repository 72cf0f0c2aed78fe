"""The two programs that play injected containers, and what they have seen: `direct` and `containers`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import IO, Any

from benchmarks.fleet.containers import Container
from benchmarks.fleet.figures import Ended
from benchmarks.fleet.layout import FleetPod
from benchmarks.fleet.pacing import Timed
from benchmarks.fleet.plan import Plan
from benchmarks.fleet.stage import BenchError, Cloud
from tests.cluster import die_with_parent
from tests.cluster.api import Manifest


@dataclass(frozen=True, slots=True)
class DirectRun:
    """What became of the direct backend's agents.

    `begin` is when the first may have started (monotonic seconds), `ended` how those of each pod ended,
    `restarts` how often one was started again, `cpu_ms` the CPU milliseconds of all of them.
    """

    begin: float
    ended: tuple[Ended, ...]
    restarts: int
    cpu_ms: float


def run_direct(timed: Sequence[Timed], aws: Cloud, plan: Plan, *, delegated: bool = False) -> DirectRun:
    """Run an agent for each pod of a fleet to its end; raises BenchError."""
    starts = {each.pod.name: each.status for each in timed}
    job = {
        "nodes": plan.nodes,
        "pods": len(timed),
        "delegated": delegated,
        "imds_port": aws.imds_port,
        "starts": starts,
        "patience": plan.patience,
    }
    with _program("direct", aws.env) as program:
        told = program.ask(job)
    ended = tuple(Ended(*each) for each in told["ended"])
    return DirectRun(told["begin"], ended, told["restarts"], told["cpu_ms"])


def container_of(pod: FleetPod, manifest: Manifest, token: str, port: int, *, source: str) -> Container:
    """Return a pod's injected container; `manifest` is the pod as it was created."""
    return Container(
        namespace=manifest["metadata"]["namespace"],
        name=pod.name,
        uid=manifest["metadata"]["uid"],
        token=token,
        host=pod.node.host,
        port=port,
        source=source,
        mac=pod.eni.mac,
        address=pod.address,
    )


class Containers:
    """The backend node's injected containers, which wait for `state`."""

    def __init__(self, program: _Program) -> None:
        self._program = program

    def state(self) -> None:
        """Have each container connect and state its addresses; returns when all have."""
        self._program.send({})
        self._program.read()

    def ended(self) -> tuple[Ended, ...]:
        """Wait for their ends."""
        return tuple(Ended(*each) for each in self._program.read()["ended"])


@contextmanager
def containers(given: Sequence[Container], plan: Plan) -> Iterator[Containers]:
    """Start them, as containers.py says; raises BenchError."""
    with _program("containers", {}) as program:
        program.send({"containers": [asdict(each) for each in given], "patience": plan.patience})
        yield Containers(program)


class _Program:
    """A program of this package that reads and writes a JSON document a line."""

    def __init__(self, name: str, process: subprocess.Popen[str], to: IO[str], out: IO[str]) -> None:
        self._name = name
        self._process = process
        self._to = to
        self._out = out

    def send(self, document: Any) -> None:
        """Write a line."""
        try:
            self._to.write(json.dumps(document) + "\n")
            self._to.flush()
        except BrokenPipeError:
            raise self._over() from None

    def read(self) -> Any:
        """Wait for a line, and return its document."""
        line = self._out.readline()
        if not line:
            raise self._over()
        return json.loads(line)

    def ask(self, document: Any) -> Any:
        """Write a line, and return the one that answers it."""
        self.send(document)
        return self.read()

    def _over(self) -> BenchError:
        return BenchError(
            f"benchmarks.fleet.{self._name} ended with {self._process.wait()}; why is said above"
        )


@contextmanager
def _program(name: str, env: Mapping[str, str]) -> Iterator[_Program]:
    # It ends with this process, however that ends.
    wrapper = [sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid())]
    argv = [*wrapper, sys.executable, "-m", f"benchmarks.fleet.{name}"]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **env}, text=True
    ) as process:
        assert process.stdin  # noqa: S101 - a pipe
        assert process.stdout  # noqa: S101 - a pipe
        try:
            yield _Program(name, process, process.stdin, process.stdout)
        finally:
            process.kill()
