"""One run: each scenario with each backend, one after the other, so that nothing of ours disturbs it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from statistics import mean

from benchmarks.common.command import progress
from benchmarks.common.machine import this_machine
from benchmarks.fleet import bursts
from benchmarks.fleet.agents import Agents, agents
from benchmarks.fleet.central import RULES, controller, install
from benchmarks.fleet.figures import (
    DIRECT,
    NODE,
    PREFIXES,
    SINGLE,
    Crowd,
    Latency,
    Outcome,
    Rest,
    Starts,
    Written,
    assigned_at,
    latency,
    outcome,
    starts,
)
from benchmarks.fleet.jobs import run_direct
from benchmarks.fleet.layout import Fleet, FleetPod, make_fleet
from benchmarks.fleet.pacing import Player, Timed, at_once, spread
from benchmarks.fleet.plan import SETTLED, Plan
from benchmarks.fleet.results import Central, Results
from benchmarks.fleet.stage import Cloud, Stage, cloud, stage, wait_until

report = progress("fleet")

LIBRARIES = ("botocore",)
SEED = 20
CENTRAL = "central"
ALONE_SANDBOX = 1.0
"""Seconds from the making of a pod that comes alone to its network-status."""


def run(plan: Plan) -> Results:
    """Measure; raises BenchError, ProcessError, OSError or ValueError, each with a sentence."""
    machine = this_machine(LIBRARIES, report)
    with tempfile.TemporaryDirectory(prefix="bench-fleet-") as folder, stage(Path(folder)) as made:
        once, crowd, rest, alone = _all_at_once(made, plan)
        spread_out = _spread(made, plan)
        full, full_crowd = _one_node(made, plan)
        of_nodes = bursts.with_node_agents(made, plan)
    central = Central(*_central_at_once(plan), _central_spread(plan))
    with tempfile.TemporaryDirectory(prefix="bench-fleet-") as folder:
        direct, single = _direct(Path(folder), plan)
        of_pods = (single, *bursts.without_node_agents(Path(folder), plan))
    found = sorted((*of_nodes, *of_pods), key=lambda each: (each.addresses == PREFIXES, each.ec2_off))
    outcomes = (once, spread_out, full, *direct)
    return Results(machine, outcomes, (crowd, full_crowd), rest, alone, found, central)


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


@contextmanager
def _central(name: str, plan: Plan, pods: int) -> Iterator[tuple[Fleet, Cloud, Agents, Player]]:
    """Run a controller and node agents without rights to EC2 on an API server of their own."""
    fleet = make_fleet(name, plan.nodes, pods)
    with (
        tempfile.TemporaryDirectory(prefix="bench-fleet-") as folder,
        stage(Path(folder)) as made,
        cloud(fleet, made.folder, name, central=True) as aws,
    ):
        script = made.script(name)
        install(made, fleet)
        with (
            controller(made, fleet, aws),
            agents(fleet, aws, made.agents_kubeconfig(name, *RULES), made.folder, central=True) as running,
        ):
            yield fleet, aws, running, Player(script)
        script.client.close()


def _central_at_once(plan: Plan) -> tuple[Outcome, Latency]:
    more = plan.calm * plan.nodes
    with _central("central-once", plan, plan.pods + more) as (fleet, aws, running, player):
        report(f"central: {plan.pods} pods at once")
        written = _play_at_once(player, running, fleet.pods[: plan.pods])
        found = _outcome(f"{plan.pods} pods at once", running, aws, written, CENTRAL)
        time.sleep(plan.pause)
        report(f"central: {more} pods that come alone")
        return found, _alone(player, aws, running, fleet.pods[plan.pods :], plan)


def _central_spread(plan: Plan) -> Outcome:
    with _central("central-spread", plan, plan.pods) as (fleet, aws, running, player):
        report(f"central: {plan.pods} pods within {plan.spread:g} s")
        written = player.play(_spread_out(fleet, plan), made=False)
        return _outcome(_name_of_spread(plan), running, aws, written, CENTRAL)


def _direct(folder: Path, plan: Plan) -> tuple[tuple[Outcome, ...], Starts]:
    """Run both scenarios with an agent in each pod; returns also how those that came at once ended."""
    found, ended = [], []
    for name, scenario in (
        ("direct-once", f"{plan.pods} pods at once"),
        ("direct-spread", _name_of_spread(plan)),
    ):
        fleet = make_fleet(name, plan.nodes, plan.pods)
        timed = at_once(fleet.pods) if name == "direct-once" else _spread_out(fleet, plan)
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


def _outcome(
    scenario: str, running: Agents, aws: Cloud, written: Sequence[Written], backend: str = NODE
) -> Outcome:
    _wait_for(running, aws, written, 60.0)
    return outcome(scenario, backend, written, aws.calls())


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
