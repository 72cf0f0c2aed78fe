"""Pods that come at once, until their injected containers have ended: single addresses beside prefixes.

Twice with prefixes: with EC2, and with EC2 off. No controller of node networks runs in either case.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common.command import progress
from benchmarks.fleet.agents import Agents, agents
from benchmarks.fleet.figures import DIRECT, NODE, PREFIXES, SINGLE, Starts, starts
from benchmarks.fleet.jobs import container_of, containers, run_direct
from benchmarks.fleet.layout import FleetPod, make_fleet
from benchmarks.fleet.pacing import Player, at_once
from benchmarks.fleet.plan import SETTLED, Plan
from benchmarks.fleet.stage import Cloud, Stage, cloud

report = progress("fleet")


def with_node_agents(made: Stage, plan: Plan) -> tuple[Starts, ...]:
    """Run them with the backend node; with EC2 off the same nodes get as many pods again."""
    return (
        *_on_one_fleet(made, plan, "single", SINGLE, ec2_off=(False,)),
        *_on_one_fleet(made, plan, "prefixes", PREFIXES, ec2_off=(False, True)),
    )


def _on_one_fleet(
    made: Stage, plan: Plan, name: str, addresses: str, *, ec2_off: Sequence[bool]
) -> list[Starts]:
    fleet = make_fleet(name, plan.nodes, plan.pods * len(ec2_off), delegated=addresses == PREFIXES)
    script = made.script(name)
    player = Player(script)
    made.make_nodes(fleet)
    found = []
    with (
        cloud(fleet, made.folder, name) as aws,
        agents(fleet, aws, made.agents_kubeconfig(name), made.folder) as running,
    ):
        for number, off in enumerate(ec2_off):
            if off:
                aws.switch_off()
            pods = fleet.pods[number * plan.pods : (number + 1) * plan.pods]
            report(f"node: {plan.pods} pods at once, {addresses}, EC2 {'off' if off else 'on'}")
            found.append(_burst(player, running, aws, pods, plan=plan, addresses=addresses, ec2_off=off))
    script.client.close()
    return found


def _burst(  # noqa: PLR0913 - its parts
    player: Player,
    running: Agents,
    aws: Cloud,
    pods: Sequence[FleetPod],
    *,
    plan: Plan,
    addresses: str,
    ec2_off: bool,
) -> Starts:
    """Let all agents see every network-status and every container in one instant."""
    made = player.make_all(pods)
    tokens = player.tokens(made)
    given = [
        container_of(pod, manifest, token, running.ports[pod.node.name], source=_source(place))
        for place, (pod, manifest, token) in enumerate(zip(pods, made, tokens, strict=True))
    ]
    time.sleep(SETTLED)
    with containers(given, plan) as played:
        before, used = len(aws.calls()), running.cpu_ms()
        with running.stopped():
            player.play(at_once(pods), made=True)
            played.state()
            begin = time.monotonic()
        ended = played.ended()
        calls, cpu_ms = aws.calls()[before:], running.cpu_ms() - used
    return starts(
        ended,
        calls,
        begin=begin,
        cpu_ms=cpu_ms,
        addresses=addresses,
        backend=NODE,
        ec2_off=ec2_off,
    )


def _source(place: int) -> str:
    """Return a pod's own address, one of the loopback interface."""
    return f"127.2.{place // 250}.{place % 250 + 1}"


def without_node_agents(folder: Path, plan: Plan) -> tuple[Starts, ...]:
    """Run those in prefixes with the backend direct."""
    return tuple(_direct(folder, plan, ec2_off=off) for off in (False, True))


def _direct(folder: Path, plan: Plan, *, ec2_off: bool) -> Starts:
    fleet = make_fleet("direct", plan.nodes, plan.pods, delegated=True)
    report(f"direct: {plan.pods} pods at once, {PREFIXES}, EC2 {'off' if ec2_off else 'on'}")
    with cloud(fleet, folder, f"direct-prefixes-{'off' if ec2_off else 'on'}") as aws:
        if ec2_off:
            aws.switch_off()
        ran = run_direct(at_once(fleet.pods), aws, plan, delegated=True)
        return starts(
            ran.ended,
            aws.calls(),
            begin=ran.begin,
            cpu_ms=ran.cpu_ms,
            addresses=PREFIXES,
            backend=DIRECT,
            ec2_off=ec2_off,
        )
