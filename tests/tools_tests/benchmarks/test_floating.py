"""Floating addresses that move, against the real servers of sessions with a core that grants everything."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.fleet.agents import GRANTS
from benchmarks.fleet.figures import ASSIGN, Call
from benchmarks.fleet.floating import take_over
from benchmarks.fleet.layout import FLOATING, Fleet, make_fleet, subnet_cidr
from benchmarks.fleet.plan import QUICK
from benchmarks.fleet.stage import BenchError
from common.exit_codes import ExitCode
from ipagent.assign.addresses import parse_address
from ipagent.node.model.claim import Claim, ClaimStatus
from ipagent.node.model.pod import PodKey
from ipagent.node.settings import read_settings
from tests.ipagent.nodeclient import gate

PLAN = replace(QUICK, nodes=3, rounds=2, pause=0.03)


class Nodes:
    """Node agents' servers; `calls` are those that EC2 had, as if each claim were one."""

    def __init__(self, fleet: Fleet, stack: ExitStack) -> None:
        self.calls: list[Call] = []
        self.refused = ""
        self.made = [
            {"metadata": {"namespace": "it", "name": pod.name, "uid": f"uid-{pod.name}"}}
            for pod in fleet.pods
        ]
        keys = tuple(PodKey("it", pod.name, f"uid-{pod.name}") for pod in fleet.pods)
        gates = [
            stack.enter_context(gate.Gate(socket.create_server((node.host, 0)), self._answer, living=keys))
            for node in fleet.nodes
        ]
        ports = {node.name: each.address[1] for node, each in zip(fleet.nodes, gates, strict=True)}
        tokens = [gate.token_of(key) for key in keys]
        self.player: Any = SimpleNamespace(
            make_all=lambda _: self.made, tokens=lambda _: tokens, play=lambda _, *, made: made
        )
        self.running: Any = SimpleNamespace(ports=ports, check=lambda: None)
        self.aws: Any = SimpleNamespace(assigns=lambda: tuple(self.calls))

    def _answer(self, claim: Claim) -> ClaimStatus:
        held = tuple(str(each.address) for each in gate.holdings(claim))
        self.calls.append(Call(time.monotonic(), ASSIGN, "ok", held))
        if self.refused in held:
            return gate.failed(ExitCode.NOT_GRANTED, f"{self.refused} is not granted")
        return gate.assigned(claim)


def test_every_node_takes_each_address_from_the_node_before() -> None:
    fleet = make_fleet("it", PLAN.nodes, PLAN.nodes)
    with ExitStack() as stack:
        nodes = Nodes(fleet, stack)
        found = take_over(nodes.player, nodes.aws, nodes.running, fleet.pods, PLAN)
    assert found.turns == PLAN.nodes * PLAN.rounds
    assert 0 < found.p50 <= found.longest
    for address in FLOATING[: PLAN.rounds]:
        # Whoever held it in turn: each call has the pod's own address, too.
        holders = [call.addresses[0] for call in nodes.calls if address in call.addresses]
        first, *others = [pod.address for pod in fleet.pods]
        assert holders == [first, *others, first]


def test_one_that_is_refused_ends_the_benchmark_with_what_the_node_agent_says() -> None:
    fleet = make_fleet("it", PLAN.nodes, PLAN.nodes)
    with ExitStack() as stack:
        nodes = Nodes(fleet, stack)
        nodes.refused = FLOATING[0]
        with pytest.raises(BenchError, match=r"pod-00000: 10\.11\.190\.1 is not granted"):
            take_over(nodes.player, nodes.aws, nodes.running, fleet.pods, PLAN)


def test_node_agents_grant_what_moves_and_no_pod_has_it_by_multus() -> None:
    grants = read_settings(json.dumps({"grants": GRANTS}).encode()).grants
    pods = {pod.address for pod in make_fleet("it", 20, 1000).pods}
    for address in FLOATING:
        assert grants.of("any").covers(parse_address(address))
        assert address not in pods
        assert parse_address(address) in ip_network(subnet_cidr(1))
    assert grants.of("any").takeover
