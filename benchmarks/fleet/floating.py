"""A floating address that moves over all nodes: a pod of each states it in turn, and its node takes it over.

What is played are injected containers that stay, in sidecar mode: each keeps its connection, and states its
addresses anew when they change. Only what is stated is timed; the kernel is made up.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing

from benchmarks.common.command import progress
from benchmarks.fleet.agents import Agents
from benchmarks.fleet.containers import Container
from benchmarks.fleet.figures import Moves, moves
from benchmarks.fleet.jobs import container_of
from benchmarks.fleet.layout import FLOATING, FleetPod
from benchmarks.fleet.pacing import Player, at_once
from benchmarks.fleet.plan import Plan
from benchmarks.fleet.stage import SECONDS, BenchError, Cloud
from common.agent_settings import Mode
from common.version import VERSION
from ipagent import node_protocol
from ipagent.node_protocol import Refusal, ResponseParser

report = progress("fleet")


class Sidecar:
    """A pod's container, connected with its node agent until `close`."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._serial = 0
        self._parser = ResponseParser()
        self._socket = socket.create_connection(
            (container.host, container.port), SECONDS, source_address=(container.source, 0)
        )
        authority = f"{container.host}:{container.port}"
        self._socket.sendall(node_protocol.request(authority, container.token, VERSION))

    def close(self) -> None:
        """End the session."""
        self._socket.close()

    def state(self, *floating: str) -> float:
        """State the pod's own address and these; returns when that was sent (monotonic seconds)."""
        self._serial += 1
        statement = self._container.statement()
        more = [{"index": 3, "address": each, "scope": 0, "flags": 0} for each in floating]
        statement |= {
            "mode": Mode.SIDECAR,
            "serial": self._serial,
            "addresses": [*statement["addresses"], *more],
        }
        sent = time.monotonic()
        self._socket.sendall(node_protocol.chunk(statement))
        return sent

    def wait(self) -> None:
        """Wait until all that was stated last is assigned; raises BenchError where it is not."""
        while data := self._socket.recv(1 << 16):
            for answer in self._parser.feed(data):
                if isinstance(answer, Refusal):
                    raise BenchError(f"{self._container.name} was refused: {answer.text}")
                if answer.serial == self._serial and answer.state == node_protocol.ASSIGNED:
                    return
                if answer.state == node_protocol.FAILED:
                    raise BenchError(f"{self._container.name}: {answer.message}")
        raise BenchError(f"the node agent of {self._container.name} has closed the connection")


def take_over(player: Player, aws: Cloud, running: Agents, pods: Sequence[FleetPod], plan: Plan) -> Moves:
    """Move each floating address over all of the pods' nodes and back to the first; raises BenchError.

    Each node is calm before, for `pause` seconds, and looks whose the address is: it takes each of them once.
    """
    made = player.make_all(pods)
    tokens = player.tokens(made)
    player.play(at_once(pods), made=True)
    given = [
        container_of(pod, manifest, token, running.ports[pod.node.name], source=f"127.3.0.{number + 1}")
        for number, (pod, manifest, token) in enumerate(zip(pods, made, tokens, strict=True))
    ]
    sent: list[tuple[str, float]] = []
    with ExitStack() as stack:
        sidecars = [stack.enter_context(closing(Sidecar(each))) for each in given]
        for each in sidecars:
            each.state()
        for each in sidecars:
            each.wait()
        for address in FLOATING[: plan.rounds]:
            time.sleep(plan.pause)
            sent += _round(sidecars, address, plan.pause / plan.nodes)
    running.check()
    return moves(sent, aws.assigns())


def _round(sidecars: Sequence[Sidecar], address: str, step: float) -> list[tuple[str, float]]:
    """Have every pod state an address in turn, the first one at the beginning and at the end."""
    sent = []
    holder = sidecars[0]
    holder.state(address)
    holder.wait()
    for each in (*sidecars[1:], sidecars[0]):
        time.sleep(step)
        holder.state()
        sent.append((address, each.state(address)))
        each.wait()
        holder = each
    holder.state()
    return sent
