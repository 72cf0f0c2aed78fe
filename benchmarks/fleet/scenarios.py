"""What a scenario consists of, whichever the backend is: pods are played, their addresses are waited for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from random import Random

from benchmarks.common.command import progress
from benchmarks.fleet.agents import Agents
from benchmarks.fleet.figures import NODE, Latency, Outcome, Written, assigned_at, latency, outcome
from benchmarks.fleet.layout import Fleet, FleetPod
from benchmarks.fleet.pacing import Player, Timed, at_once, spread
from benchmarks.fleet.plan import SETTLED, Plan
from benchmarks.fleet.stage import Cloud, wait_until

report = progress("fleet")

SEED = 20


def play_at_once(player: Player, running: Agents, pods: Sequence[FleetPod]) -> list[Written]:
    """Let all agents see every network-status in one instant, in which no script could write it."""
    prepare_at_once(player, pods)
    with running.stopped():
        player.play(at_once(pods), made=True)
    now = time.monotonic()
    return [Written(pod.address, now, now) for pod in pods]


def prepare_at_once(player: Player, pods: Sequence[FleetPod]) -> None:
    """Create pods that wait for their network-status."""
    player.make_all(pods)
    time.sleep(SETTLED)


def play_alone(player: Player, aws: Cloud, running: Agents, pods: Sequence[FleetPod], plan: Plan) -> Latency:
    """Let a pod come to one node after the other, so that each is calm for `pause` seconds before."""
    step = plan.pause / plan.nodes
    timed = [
        Timed(pod, number * step, number * step + min(1.0, plan.pause / 2)) for number, pod in enumerate(pods)
    ]
    written = player.play(timed, made=False)
    wait_for_addresses(running, aws, written, plan.pause)
    return latency(written, aws.calls())


def play_spread(player: Player, fleet: Fleet, plan: Plan) -> list[Written]:
    """Let pods come within some seconds."""
    return player.play(spread_out(fleet, plan), made=False)


def spread_out(fleet: Fleet, plan: Plan) -> list[Timed]:
    """Return when the pods come; each backend has the same times."""
    return spread(fleet.pods, plan.spread, Random(SEED))  # noqa: S311 - no secret


def name_of_spread(plan: Plan) -> str:
    """Return the scenario's name."""
    return f"{plan.pods} pods within {plan.spread:g} s"


def outcome_of(
    scenario: str, running: Agents, aws: Cloud, written: Sequence[Written], backend: str = NODE
) -> Outcome:
    """Wait for the addresses, and put together what came of it."""
    wait_for_addresses(running, aws, written, 60.0)
    return outcome(scenario, backend, written, aws.calls())


def wait_for_addresses(running: Agents, aws: Cloud, written: Sequence[Written], seconds: float) -> None:
    """Wait until all addresses are assigned, or for so long."""
    wanted = {each.address for each in written}

    def done() -> bool:
        running.check()
        return wanted <= assigned_at(aws.assigns()).keys()

    # Not too often: the double has other things to do.
    if not wait_until(done, time.monotonic() + seconds, 0.5):
        report("not all addresses were assigned")
