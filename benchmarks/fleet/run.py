"""One run: each scenario with each backend, one after the other, so that nothing of ours disturbs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import mean

from benchmarks.common.command import progress
from benchmarks.common.machine import this_machine
from benchmarks.fleet.agents import Agents, agents
from benchmarks.fleet.figures import Crowd, Latency, Outcome, Rest, Written, assigned_at, latency, outcome
from benchmarks.fleet.layout import Fleet, FleetPod, make_fleet
from benchmarks.fleet.pacing import Player, Timed, at_once, spread
from benchmarks.fleet.results import Results
from benchmarks.fleet.stage import BenchError, Cloud, Stage, cloud, stage, wait_until
from tests.cluster import die_with_parent

report = progress("fleet")

LIBRARIES = ("botocore",)
SEED = 20
NODE, DIRECT = "node", "direct"
ALONE_SANDBOX = 1.0
"""Seconds from the making of a pod that comes alone to its network-status."""
SETTLED = 3.0
"""Seconds between the last pod's making and the first network-status, where they come at once."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured; times are seconds.

    `calm` pods come alone to each node, `pause` seconds apart. `patience` is how long the direct backend has.
    """

    nodes: int
    pods: int
    spread: float
    rest: float
    calm: int
    pause: float
    crowd: int
    patience: float


FULL = Plan(nodes=20, pods=800, spread=30, rest=60, calm=5, pause=12, crowd=250, patience=600)
QUICK = Plan(nodes=2, pods=40, spread=2, rest=2, calm=1, pause=4, crowd=60, patience=60)


def run(plan: Plan) -> Results:
    """Measure; raises BenchError, ProcessError, OSError or ValueError, each with a sentence."""
    machine = this_machine(LIBRARIES, report)
    with tempfile.TemporaryDirectory(prefix="bench-fleet-") as folder, stage(Path(folder)) as made:
        once, crowd, rest, alone = _all_at_once(made, plan)
        spread_out = _spread(made, plan)
        full, full_crowd = _one_node(made, plan)
    with tempfile.TemporaryDirectory(prefix="bench-fleet-") as folder:
        direct = _direct(Path(folder), plan)
    return Results(machine, (once, spread_out, full, *direct), (crowd, full_crowd), rest, alone)


def _all_at_once(made: Stage, plan: Plan) -> tuple[Outcome, Crowd, Rest, Latency]:
    """Run the scenario, then let the agents rest, then let pods come alone."""
    more = plan.calm * plan.nodes
    fleet = make_fleet("once", plan.nodes, plan.pods + more)
    pods, alone = fleet.pods[: plan.pods], fleet.pods[plan.pods :]
    script = made.script("once")
    player = Player(script)
    made.make_nodes(fleet)
    with cloud(fleet, made.folder, "once") as aws:
        report(f"{plan.nodes} node agents start")
        with agents(fleet, aws, made.agents_kubeconfig("once"), made.folder) as running:
            report(f"node: {plan.pods} pods at once")
            written = _play_at_once(player, running, pods)
            found = _outcome(f"{plan.pods} pods at once", running, aws, written)
            report(f"node: rest of {plan.rest:g} s")
            time.sleep(plan.pause)
            crowd = _crowd(running, plan.pods)
            rest = running.rest(plan.rest)
            report(f"node: {more} pods that come alone")
            calm = _alone(player, aws, running, alone, plan)
    script.client.close()
    return found, crowd, rest, calm


def _play_at_once(player: Player, running: Agents, pods: Sequence[FleetPod]) -> list[Written]:
    """Let all agents see every network-status in one instant, in which no script could write it."""
    player.make_all(pods)
    time.sleep(SETTLED)
    with running.stopped():
        player.play(at_once(pods), made=True)
    now = time.monotonic()
    return [Written(pod.address, now, now) for pod in pods]


def _alone(player: Player, aws: Cloud, running: Agents, pods: Sequence[FleetPod], plan: Plan) -> Latency:
    """Let a pod come to one node after the other, so that each is calm for `pause` seconds before."""
    step = plan.pause / plan.nodes
    timed = [
        Timed(pod, number * step, number * step + min(1.0, plan.pause / 2)) for number, pod in enumerate(pods)
    ]
    written = player.play(timed, made=False)
    _wait_for(running, aws, written, plan.pause)
    return latency(written, aws.calls())


def _spread(made: Stage, plan: Plan) -> Outcome:
    fleet = make_fleet("spread", plan.nodes, plan.pods)
    script = made.script("spread")
    made.make_nodes(fleet)
    with (
        cloud(fleet, made.folder, "spread") as aws,
        agents(fleet, aws, made.agents_kubeconfig("spread"), made.folder) as running,
    ):
        report(f"node: {plan.pods} pods within {plan.spread:g} s")
        written = Player(script).play(_spread_out(fleet, plan), made=False)
        found = _outcome(_name_of_spread(plan), running, aws, written)
    script.client.close()
    return found


def _one_node(made: Stage, plan: Plan) -> tuple[Outcome, Crowd]:
    fleet = make_fleet("crowd", 1, plan.crowd)
    script = made.script("crowd")
    player = Player(script)
    made.make_nodes(fleet)
    with (
        cloud(fleet, made.folder, "crowd") as aws,
        agents(fleet, aws, made.agents_kubeconfig("crowd"), made.folder) as running,
    ):
        report(f"node: {plan.crowd} pods at once on one node")
        written = _play_at_once(player, running, fleet.pods)
        found = _outcome(f"{plan.crowd} pods at once on one node", running, aws, written)
        crowd = _crowd(running, plan.crowd)
    script.client.close()
    return found, crowd


def _direct(folder: Path, plan: Plan) -> tuple[Outcome, ...]:
    """Run both scenarios with an agent in each pod."""
    found = []
    for name, scenario in (
        ("direct-once", f"{plan.pods} pods at once"),
        ("direct-spread", _name_of_spread(plan)),
    ):
        fleet = make_fleet(name, plan.nodes, plan.pods)
        timed = at_once(fleet.pods) if name == "direct-once" else _spread_out(fleet, plan)
        report(f"direct: {scenario}")
        with cloud(fleet, folder, name) as aws:
            written, restarts = _play_direct(timed, aws, plan)
            found.append(outcome(scenario, DIRECT, written, aws.calls(), restarts))
    return tuple(found)


def _play_direct(timed: Sequence[Timed], aws: Cloud, plan: Plan) -> tuple[list[Written], int]:
    """Run an agent for each pod; returns when each of them began, and how many were started again."""
    starts = {each.pod.name: each.status for each in timed}
    job = {"nodes": plan.nodes, "pods": plan.pods, "starts": starts, "patience": plan.patience}
    # It ends with this process, however that ends.
    wrapper = [sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid())]
    done = subprocess.run(
        [*wrapper, sys.executable, "-m", "benchmarks.fleet.direct"],
        input=json.dumps(job),
        env={**os.environ, **aws.env},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BenchError(f"the direct backend's agents ended with {done.returncode}; why is said above")
    told = json.loads(done.stdout)
    begun = [(each.pod.address, told["begin"] + each.status) for each in timed]
    return [Written(address, start, start) for address, start in begun], told.get("restarts", 0)


def _outcome(scenario: str, running: Agents, aws: Cloud, written: Sequence[Written]) -> Outcome:
    _wait_for(running, aws, written, 60.0)
    return outcome(scenario, NODE, written, aws.calls())


def _wait_for(running: Agents, aws: Cloud, written: Sequence[Written], seconds: float) -> None:
    """Wait until all addresses are assigned, or for so long."""
    wanted = {each.address for each in written}

    def done() -> bool:
        running.check()
        return wanted <= assigned_at(aws.assigns()).keys()

    # Not too often: the double has other things to do.
    if not wait_until(done, time.monotonic() + seconds, 0.5):
        report("not all addresses were assigned")


def _crowd(running: Agents, pods: int) -> Crowd:
    return Crowd(len(running.processes), pods, max(running.memory()), mean(running.shared()))


def _spread_out(fleet: Fleet, plan: Plan) -> list[Timed]:
    return spread(fleet.pods, plan.spread, Random(SEED))  # noqa: S311 - no secret


def _name_of_spread(plan: Plan) -> str:
    return f"{plan.pods} pods within {plan.spread:g} s"
