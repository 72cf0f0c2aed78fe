"""The load client: a small Go program, built once into the cache and run on a core of its own.

Python could not send fast enough: the client must never be what is measured. That it was not is shown
by `client_cpu` and `server_cpu` of every sample: the server has its core full, the client has not.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.common.command import progress
from benchmarks.common.percentiles import percentile
from benchmarks.webhook.cores import Cores, running_on
from benchmarks.webhook.creates import Batch
from benchmarks.webhook.figures import Sample

report = progress("webhook")

SOURCES = Path(__file__).parent / "load"
PATIENCE = 120.0
"""Seconds that a run may take beyond its own length."""


class LoadError(RuntimeError):
    """The load client could not be built, or found a wrong answer; the text says which."""


@dataclass(frozen=True, slots=True)
class Expect:
    """What makes an answer right; see the Go source."""

    status: int
    review: bool = False
    contains: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """What to send where: the JSON that the Go program reads, with its meanings. Times are in seconds."""

    address: str
    ca: str
    path: str
    body: str
    expect: Expect
    connections: int = 1
    warmup: float = 0.0
    seconds: float = 0.0
    count: int = 0
    serial: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    tolerate: int = 0


class LoadClient:
    """Runs jobs one after the other."""

    def __init__(self, program: Path, cores: Cores) -> None:
        self._program = program
        self._cores = cores
        self.tls: set[str] = set()

    def run(self, job: Job, server: int | None = None) -> Sample:
        """Run a job; `server` is the process id whose CPU time is measured beside it. Raises LoadError."""
        began, used = time.monotonic(), _cpu_seconds(server)
        (measured,) = self._measure({"": job}, [""])
        server_cpu = (_cpu_seconds(server) - used) / (time.monotonic() - began)
        latencies = _milliseconds(measured)
        if not measured["within"]:
            raise LoadError(f"{job.address}{job.path}: no right answer within {job.seconds:g} s")
        return Sample(
            requests_per_second=measured["within"] / measured["seconds"],
            p50=percentile(latencies, 0.5),
            p99=percentile(latencies, 0.99),
            seconds=measured["seconds"],
            client_cpu=measured["cpu_seconds"] / measured["seconds"],
            server_cpu=server_cpu,
            failures=measured["failures"],
        )

    def take_turns(self, jobs: Mapping[str, Job], order: Sequence[str]) -> list[Batch]:
        """Run jobs by their names in this order, on connections that they keep. Raises LoadError."""
        return [
            Batch(
                latencies=_milliseconds(measured),
                client_cpu=measured["cpu_seconds"] / measured["seconds"],
                failures=measured["failures"],
            )
            for measured in self._measure(jobs, order)
        ]

    def _measure(self, jobs: Mapping[str, Job], order: Sequence[str]) -> list[dict[str, Any]]:
        """Return what each turn gave; raises LoadError where one has no right answer."""
        work = {"jobs": {name: dataclasses.asdict(job) for name, job in jobs.items()}, "order": order}
        with running_on({self._cores.client}):
            ended = subprocess.run(
                [self._program],
                input=json.dumps(work),
                capture_output=True,
                text=True,
                check=False,
                timeout=sum(jobs[name].warmup + jobs[name].seconds for name in order) + PATIENCE,
                env={**os.environ, "GOMAXPROCS": "1"},
            )
        if ended.returncode != 0:
            address = next(iter(jobs.values())).address
            raise LoadError(f"{address}: {ended.stderr.strip()}")
        turns: list[dict[str, Any]] = json.loads(ended.stdout)
        for name, measured in zip(order, turns, strict=True):
            if not measured["latencies"]:
                raise LoadError(f"{jobs[name].address}{jobs[name].path}: no right answer")
            self.tls.add(measured["tls"])
            if measured["failures"]:
                report(f"{measured['failures']} wrong answers, one of them: {measured['failure'][:500]}")
        return turns


def _milliseconds(measured: Mapping[str, Any]) -> list[float]:
    return [microseconds / 1000 for microseconds in measured["latencies"]]


def _cpu_seconds(pid: int | None) -> float:
    """Read user and system time of a process and its threads (proc(5), stat, fields 14 and 15)."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load_program(env: Mapping[str, str] = os.environ) -> Path:
    """Return the Go program, built first where it or its sources are new. Raises LoadError."""
    sources = [*sorted(SOURCES.glob("*.go")), SOURCES / "go.mod"]
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()[:20]
    cache = env.get("XDG_CACHE_HOME") or Path(env.get("HOME") or Path.home(), ".cache")
    program = Path(cache, "multus-eni-injector", "tools", digest, "webhook-load")
    if not program.is_file():
        _build(program)
    return program


def _build(program: Path) -> None:
    go = shutil.which("go")
    if go is None:
        raise LoadError("the load client is built with Go, which is missing: install it (https://go.dev/dl)")
    program.parent.mkdir(parents=True, exist_ok=True)
    # Renamed into place, so that two builds at a time do no harm.
    unfinished = program.with_name(f".{program.name}.{os.getpid()}")
    command = [go, "build", "-trimpath", "-buildvcs=false", "-o", str(unfinished), "."]
    env = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOTOOLCHAIN": "local", "GOFLAGS": ""}
    ended = subprocess.run(command, cwd=SOURCES, env=env, check=False, capture_output=True, text=True)
    if ended.returncode != 0:
        raise LoadError(f"the load client was not built: {ended.stderr.strip()}")
    unfinished.replace(program)
