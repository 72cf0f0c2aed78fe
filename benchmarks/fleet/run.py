"""One run: each scenario with each backend, one after the other, so that nothing of ours disturbs it."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import mean

from benchmarks.common.command import progress
from benchmarks.common.machine import this_machine
from benchmarks.fleet import bursts
from benchmarks.fleet.agents import Agents, agents
from benchmarks.fleet.central_run import with_controller
from benchmarks.fleet.figures import (
    DIRECT,
    PREFIXES,
    SINGLE,
    Crowd,
    Latency,
    Moves,
    Outcome,
    Rest,
    Starts,
    Written,
    outcome,
    starts,
)
from benchmarks.fleet.floating import take_over
from benchmarks.fleet.jobs import run_direct
from benchmarks.fleet.layout import make_fleet
from benchmarks.fleet.pacing import Player, at_once
from benchmarks.fleet.plan import Plan
from benchmarks.fleet.results import Results
from benchmarks.fleet.scenarios import (
    name_of_spread,
    outcome_of,
    play_alone,
    play_at_once,
    play_spread,
    spread_out,
)
from benchmarks.fleet.stage import Stage, cloud, stage

report = progress("fleet")

LIBRARIES = ("botocore",)


def run(plan: Plan) -> Results:
    """Measure; raises BenchError, ProcessError, OSError or ValueError, each with a sentence."""
    machine = this_machine(LIBRARIES, report)
    with tempfile.TemporaryDirectory(prefix="bench-fleet-") as folder, stage(Path(folder)) as made:
        once, crowd, rest, alone, moved = _all_at_once(made, plan)
        spread = _spread(made, plan)
        full, full_crowd = _one_node(made, plan)
        of_nodes = bursts.with_node_agents(made, plan)
    central = with_controller(plan)
    with tempfile.TemporaryDirectory(prefix="bench-fleet-") as folder:
        direct, single = _direct(Path(folder), plan)
        of_pods = (single, *bursts.without_node_agents(Path(folder), plan))
    found = sorted((*of_nodes, *of_pods), key=lambda each: (each.addresses == PREFIXES, each.ec2_off))
    outcomes = (once, spread, full, *direct)
    return Results(machine, outcomes, (crowd, full_crowd), rest, alone, moved, found, central)


def _all_at_once(made: Stage, plan: Plan) -> tuple[Outcome, Crowd, Rest, Latency, Moves]:
    """Run the scenario, then let the agents rest, pods come alone, and floating addresses move."""
    more = plan.calm * plan.nodes
    last = plan.pods + more
    fleet = make_fleet("once", plan.nodes, last + plan.nodes)
    pods, alone, floating = fleet.pods[: plan.pods], fleet.pods[plan.pods : last], fleet.pods[last:]
    script = made.script("once")
    player = Player(script)
    made.make_nodes(fleet)
    with cloud(fleet, made.folder, "once") as aws:
        report(f"{plan.nodes} node agents start")
        with agents(fleet, aws, made.agents_kubeconfig("once"), made.folder, floating=True) as running:
            report(f"node: {plan.pods} pods at once")
            written = play_at_once(player, running, pods)
            found = outcome_of(f"{plan.pods} pods at once", running, aws, written)
            report(f"node: rest of {plan.rest:g} s")
            time.sleep(plan.pause)
            crowd = _crowd(running, plan.pods)
            rest = running.rest(plan.rest)
            report(f"node: {more} pods that come alone")
            calm = play_alone(player, aws, running, alone, plan)
            report("node: floating addresses move")
            moved = take_over(player, aws, running, floating, plan)
    script.client.close()
    return found, crowd, rest, calm, moved


def _spread(made: Stage, plan: Plan) -> Outcome:
    fleet = make_fleet("spread", plan.nodes, plan.pods)
    script = made.script("spread")
    made.make_nodes(fleet)
    with (
        cloud(fleet, made.folder, "spread") as aws,
        agents(fleet, aws, made.agents_kubeconfig("spread"), made.folder) as running,
    ):
        report(f"node: {plan.pods} pods within {plan.spread:g} s")
        written = play_spread(Player(script), fleet, plan)
        found = outcome_of(name_of_spread(plan), running, aws, written)
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
        written = play_at_once(player, running, fleet.pods)
        found = outcome_of(f"{plan.crowd} pods at once on one node", running, aws, written)
        crowd = _crowd(running, plan.crowd)
    script.client.close()
    return found, crowd


def _direct(folder: Path, plan: Plan) -> tuple[tuple[Outcome, ...], Starts]:
    """Run both scenarios with an agent in each pod; returns also how those that came at once ended."""
    found, ended = [], []
    for name, scenario in (
        ("direct-once", f"{plan.pods} pods at once"),
        ("direct-spread", name_of_spread(plan)),
    ):
        fleet = make_fleet(name, plan.nodes, plan.pods)
        timed = at_once(fleet.pods) if name == "direct-once" else spread_out(fleet, plan)
        report(f"direct: {scenario}")
        with cloud(fleet, folder, name) as aws:
            ran = run_direct(timed, aws, plan)
            begun = [(each.pod.address, ran.begin + each.status) for each in timed]
            written = [Written(address, start, start) for address, start in begun]
            calls = aws.calls()
            found.append(outcome(scenario, DIRECT, written, calls, ran.restarts))
            ended.append(
                starts(ran.ended, calls, begin=ran.begin, cpu_ms=ran.cpu_ms, addresses=SINGLE, backend=DIRECT)
            )
    return tuple(found), ended[0]


def _crowd(running: Agents, pods: int) -> Crowd:
    return Crowd(len(running.processes), pods, max(running.memory()), mean(running.shared()))
