"""The leader's loop where node agents wait for it."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest

from ipagent.call_relay import Action
from ipagent.call_relay_status import read_answers
from ipagent.controller import loop as module
from ipagent.controller.kube.relay_responses import ResponseWriter
from ipagent.controller.loop import Loop, Relay
from ipagent.controller.model.actions import Call
from ipagent.controller.model.ec2_snapshot import Ec2Snapshot
from ipagent.controller.model.state import State
from ipagent.controller.reconcile.controller import Controller
from ipagent.controller.reconcile.ec2_answers import Answer
from ipagent.controller.relay.controller import RelayController
from ipagent.log import Log
from tests.cluster.waiting import wait_for
from tests.ipagent.controller.relay.world import WALL, RelayWorld

pytestmark = pytest.mark.pure


@dataclass
class Rig:
    """A loop whose API server and EC2 are in memory; `answers` are the bodies that it has applied.

    The world's clock stands: what no watch shows would be written again after a while.
    """

    world: RelayWorld = field(default_factory=RelayWorld)
    answers: list[dict[str, Any]] = field(default_factory=list)
    queue: SimpleQueue[tuple[Call, Answer]] = field(default_factory=SimpleQueue)
    stop: threading.Event = field(default_factory=threading.Event)
    turns: int = 0

    def __post_init__(self) -> None:
        log = Log(stream=io.StringIO())
        for name in ("n1", "n2"):
            self.world.add_node(name)
        controller = Controller(State("prod", ec2=Ec2Snapshot(read_at=0.0, enis=dict(self.world.known))))
        nothing = SimpleNamespace(items=dict, synced=True)
        self.informers = SimpleNamespace(
            synced=True,
            nodes=nothing,
            networks=nothing,
            definitions=nothing,
            attachments=SimpleNamespace(items=lambda: dict(self.world.attachments)),
        )
        clock = lambda: self.world.now  # noqa: E731
        self.loop = Loop(controller, self.informers, self, log, clock)  # type: ignore[arg-type] # as much as is asked
        writer = ResponseWriter(self, log, lambda: True, clock)  # type: ignore[arg-type] # likewise
        self.loop.relay = Relay(RelayController(), writer, lambda: WALL + self.world.now)

    def write(self, *_: object) -> float:
        """Write what a whole turn says: nothing here."""
        self.turns += 1
        return float("inf")

    def apply(self, path: str, what: str, body: dict[str, Any], **_: object) -> None:
        """Apply answers."""
        assert what.startswith("answer the node agent")
        self.answers.append({"path": path, **body})

    def start(self, call: Call) -> None:
        """Make a call."""
        if type(call).__name__ in ("AssignAddresses", "DescribeAttached"):
            self.queue.put((call, self.world.execute(call)))
            self.loop.wakes.event.set()


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setattr(module, "SHORTEST", 3600.0)
    found = Rig()
    executor = SimpleNamespace(answers=found.queue, start=found.start)
    thread = threading.Thread(target=found.loop.run, args=(executor, found.stop, lambda: True), daemon=True)
    thread.start()
    yield found
    found.stop.set()
    found.loop.wakes.event.set()
    thread.join(60)
    assert not thread.is_alive()


def test_node_agents_wait_for_no_whole_turn(rig: Rig) -> None:
    wait_for(lambda: rig.turns == 1, "the first turn")
    for number, node in enumerate(("n1", "n2")):
        asked = rig.world.call(node, Action.ASSIGN_IPV4, f"10.20.0.{number + 5}")
        rig.world.ask(node, asked)
        rig.loop.wakes.event.set()
        wait_for(lambda number=number: len(rig.answers) > number, "an answer")  # type: ignore[misc] # bound now
        body = rig.answers[number]
        assert body["path"].endswith(f"/nodeattachments/{node}.oam/status")
        assert set(body["status"]) == {"responses"}
        (answer,) = read_answers(body["status"]).answers
        assert (answer.id, answer.failure) == (asked.id, None)
    assert rig.turns == 1
