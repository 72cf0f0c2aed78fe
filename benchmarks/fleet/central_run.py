"""The scenarios with the backend `central`: those of `node`, and one whose leader is killed."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common.command import progress
from benchmarks.fleet.agents import Agents, agents
from benchmarks.fleet.central import RULES, controllers, install, leader_of, renewed
from benchmarks.fleet.figures import Failover, Latency, Moves, Outcome, Written, failover
from benchmarks.fleet.floating import take_over
from benchmarks.fleet.layout import Fleet, make_fleet
from benchmarks.fleet.pacing import Player, at_once
from benchmarks.fleet.plan import Plan
from benchmarks.fleet.results import Central
from benchmarks.fleet.scenarios import (
    name_of_spread,
    outcome_of,
    play_alone,
    play_at_once,
    play_spread,
    prepare_at_once,
)
from benchmarks.fleet.stage import SECONDS, BenchError, Cloud, Stage, cloud, stage, wait_until
from tests.cluster.processes import Process

report = progress("fleet")

CENTRAL = "central"


@dataclass(frozen=True, slots=True)
class Scene:
    """A fleet whose node agents have no rights to EC2, and the controller's replicas."""

    made: Stage
    fleet: Fleet
    aws: Cloud
    replicas: list[Process]
    running: Agents
    player: Player


def with_controller(plan: Plan) -> Central:
    """Run all of them; raises BenchError or ProcessError."""
    once, alone, moved = at_once_and_alone(plan)
    return Central(once, alone, spread_over_seconds(plan), moved, leader_killed(plan))


@contextmanager
def scene(name: str, plan: Plan, pods: int, *, replicas: int = 1, floating: bool = False) -> Iterator[Scene]:
    """Run a controller and node agents without rights to EC2 on an API server of their own."""
    fleet = make_fleet(name, plan.nodes, pods)
    with (
        tempfile.TemporaryDirectory(prefix="bench-fleet-") as folder,
        stage(Path(folder)) as made,
        cloud(fleet, made.folder, name, central=True) as aws,
    ):
        script = made.script(name)
        install(made, fleet)
        kubeconfig = made.agents_kubeconfig(name, *RULES)
        with (
            controllers(made, fleet, aws, replicas) as started,
            agents(fleet, aws, kubeconfig, made.folder, central=True, floating=floating) as running,
        ):
            yield Scene(made, fleet, aws, started, running, Player(script))
        script.client.close()


def at_once_and_alone(plan: Plan) -> tuple[Outcome, Latency, Moves]:
    """Let all pods come at once, then pods alone, then floating addresses move."""
    first, last = plan.pods, plan.pods + plan.calm * plan.nodes
    with scene("central-once", plan, last + plan.nodes, floating=True) as found:
        fleet, aws, running, player = found.fleet, found.aws, found.running, found.player
        report(f"{CENTRAL}: {plan.pods} pods at once")
        written = play_at_once(player, running, fleet.pods[:first])
        once = outcome_of(f"{plan.pods} pods at once", running, aws, written, CENTRAL)
        time.sleep(plan.pause)
        report(f"{CENTRAL}: {last - first} pods that come alone")
        alone = play_alone(player, aws, running, fleet.pods[first:last], plan)
        report(f"{CENTRAL}: floating addresses move")
        return once, alone, take_over(player, aws, running, fleet.pods[last:], plan)


def spread_over_seconds(plan: Plan) -> Outcome:
    """Let pods come within some seconds."""
    with scene("central-spread", plan, plan.pods) as found:
        report(f"{CENTRAL}: {name_of_spread(plan)}")
        written = play_spread(found.player, found.fleet, plan)
        return outcome_of(name_of_spread(plan), found.running, found.aws, written, CENTRAL)


def leader_killed(plan: Plan) -> Failover:
    """Let all pods come at once, and kill the leader when EC2 has had a call for every fourth node.

    It has renewed its Lease just before the burst, so that the other replica waits nearly as long as it can.
    """
    with scene("central-killed", plan, plan.pods, replicas=2) as found:
        report(f"{CENTRAL}: {plan.pods} pods at once, and the leader is killed")
        pods, aws = found.fleet.pods, found.aws
        leader = leader_of(found.replicas)
        prepare_at_once(found.player, pods)
        with found.running.stopped():
            found.player.play(at_once(pods), made=True)
            renewed(found.made)
        began = time.monotonic()
        # Of a few nodes all would have been served by the time that a call is seen.
        calls = plan.nodes // 4
        if calls and not wait_until(lambda: len(aws.assigns()) >= calls, began + SECONDS, 0.02):
            raise BenchError(f"EC2 had less than {calls} calls")
        found.replicas.remove(leader)
        os.kill(leader.pid, signal.SIGKILL)
        killed = time.monotonic()
        written = [Written(pod.address, began, began) for pod in pods]
        name = f"{plan.pods} pods at once, leader killed"
        burst = outcome_of(name, found.running, aws, written, CENTRAL)
        return failover(burst, killed, aws.assigns())
