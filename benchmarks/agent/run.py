"""One run: everything that is measured, one after the other, so that nothing of ours disturbs it."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.agent.figures import (
    BARE,
    BOTOCORE,
    INIT,
    INIT_TLS,
    SLIM_INIT,
    Cost,
    Idle,
    Reaction,
    median_cost,
    reaction,
)
from benchmarks.agent.results import Results, Sidecars
from benchmarks.agent.stage import IPAGENT, REGION, BenchError, Sidecar, Stage, stage
from benchmarks.common.command import progress
from benchmarks.common.machine import this_machine
from benchmarks.common.memory import memory_of
from ipagent.aws.botocore_session import trimmed_data_path

report = progress("agent")

LIBRARIES = ("botocore", "urllib3")

# As it comes: the default session, all data, default handlers; no call is made.
_BOTOCORE = f"""\
import botocore.session
botocore.session.Session().create_client("ec2", region_name="{REGION}")
"""
_PACE = 0.02
"""Seconds of rest between two changes of the pod's addresses."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    turns: int
    idle_seconds: float
    events: int


FULL = Plan(turns=15, idle_seconds=30, events=200)
QUICK = Plan(turns=2, idle_seconds=1, events=5)


def run(plan: Plan) -> Results:
    """Measure; raises NamespacesForbidden, BenchError, OSError or ValueError, each with a sentence."""
    machine = this_machine(LIBRARIES, report)
    notes = []
    if not Path(trimmed_data_path()).is_dir():
        notes.append(
            "The agent reads all of botocore's data: `python -m ipagent.aws.trim_botocore` trims it."
        )
    with tempfile.TemporaryDirectory(prefix="bench-agent-") as folder, stage(Path(folder)) as made:
        costs = _costs(made, plan.turns)
        with made.sidecar() as sidecar:
            direct = _sidecar("sidecar", made, sidecar, plan, lambda: len(made.requests()), made.assigned_at)
        with made.sidecar(slim=True) as sidecar:
            slim = _sidecar("slim sidecar", made, sidecar, plan, made.statements, made.claimed_at)
    return Results(machine, plan.turns, costs, direct, slim, notes)


def _sidecar(  # noqa: PLR0913, PLR0917 - what differs between the two
    name: str,
    made: Stage,
    sidecar: Sidecar,
    plan: Plan,
    requests: Callable[[], int],
    called: Callable[[], list[float]],
) -> Sidecars:
    report(f"{name}: memory")
    _settle(sidecar)
    started = memory_of(sidecar.pid)
    report(f"{name}: idle for {plan.idle_seconds:g} s")
    idle = _idle(sidecar, plan.idle_seconds, requests)
    report(f"{name}: {plan.events} addresses")
    return Sidecars(started, idle, _reaction(made, sidecar, plan.events, called))


def _costs(made: Stage, turns: int) -> dict[str, Cost]:
    env = made.env()
    commands = {
        BARE: ([sys.executable, "-c", ""], env),
        BOTOCORE: ([sys.executable, "-c", _BOTOCORE], env),
        INIT: ([IPAGENT, "init"], env),
        INIT_TLS: ([IPAGENT, "init"], made.env(tls=True)),
        SLIM_INIT: ([IPAGENT, "init"], made.env(slim=True)),
    }
    report("writing bytecode")
    made.costs(commands, 1)
    report(f"init: {turns} turns")
    return {name: median_cost(found) for name, found in made.costs(commands, turns).items()}


def _settle(sidecar: Sidecar) -> None:
    """Wait until it has slept for a moment."""
    before = -1
    deadline = time.monotonic() + 10
    while (now := _switches(sidecar.pid)) != before:
        if time.monotonic() > deadline:
            raise BenchError("the sidecar does not come to rest within 10 s")
        before = now
        time.sleep(0.5)


def _idle(sidecar: Sidecar, seconds: float, requests: Callable[[], int]) -> Idle:
    before = requests()
    begun, switches, cpu = time.monotonic(), _switches(sidecar.pid), _cpu_ms(sidecar.pid)
    time.sleep(seconds)
    sidecar.check()
    slept, switched = time.monotonic() - begun, _switches(sidecar.pid) - switches
    used = _cpu_ms(sidecar.pid) - cpu
    return Idle(slept, switched, used, requests() - before)


def _reaction(made: Stage, sidecar: Sidecar, events: int, called: Callable[[], list[float]]) -> Reaction:
    """Take the address away and add it again, each time when the sidecar has done with the change before."""
    added = []
    before = len(called())
    with made.switch() as switch:
        for number in range(1, events + 1):
            switch.delete()
            sidecar.wait_for("removed", number)
            time.sleep(_PACE)
            added.append(switch.add())
            sidecar.wait_for("assigned", number)
            time.sleep(_PACE)
    return reaction(added, called()[before:])


def _switches(pid: int) -> int:
    """Count the context switches of all threads (proc(5), status)."""
    texts = [file.read_text(encoding="utf-8") for file in Path(f"/proc/{pid}/task").glob("*/status")]
    lines = [line for text in texts for line in text.splitlines()]
    return sum(int(line.split()[1]) for line in lines if "voluntary_ctxt_switches" in line)


def _cpu_ms(pid: int) -> float:
    """Read the CPU time of all threads (Linux, Documentation/scheduler/sched-stats.rst: nanoseconds)."""
    texts = [file.read_text(encoding="ascii") for file in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    return sum(int(text.split()[0]) for text in texts) / 1e6
