"""A write that the API server refuses waits alone; what has changed meanwhile is written soon."""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest

from common.kube.errors import ApiError
from common.kube.refused_writes import LONGEST
from ipagent.controller.kube.recent_writes import CONFLICT_PAUSE, MAX_REFUSED
from ipagent.controller.kube.write_budget import TICK
from ipagent.controller.kube.writer import Writer
from ipagent.controller.model.actions import Plan
from ipagent.controller.model.attachment import Attachment, AttachmentStatus, read_status
from ipagent.controller.model.condition import MAX_MESSAGE, no
from ipagent.controller.model.network import LinkSpec
from ipagent.controller.model.state import State
from ipagent.controller.model.writes import PatchNode
from ipagent.log import Log

pytestmark = pytest.mark.pure


@dataclass
class Rig:
    """A writer, whose API server answers writes to a path in `errors` with that code."""

    errors: dict[str, int] = field(default_factory=dict)
    tried: list[tuple[float, str]] = field(default_factory=list)
    written: dict[str, Any] = field(default_factory=dict)
    log: io.StringIO = field(default_factory=io.StringIO)
    now: float = 100.0

    def __post_init__(self) -> None:
        self.writer = Writer(self, None, Log(stream=self.log), lambda: True)  # type: ignore[arg-type] # as much as is used
        self.attachments = {
            name: Attachment(name, "uid", node, "uid", "oam", "i-1", LinkSpec("oam"))
            for node in ("n1", "n2")
            if (name := f"{node}.oam")
        }

    def apply(self, path: str, _: str, body: dict[str, Any], **__: object) -> None:
        """Apply a status."""
        self._write(path, body["status"])
        name = path.split("/")[-2]
        self.attachments[name] = replace(self.attachments[name], status=read_status(body["status"]))

    def merge(self, path: str, _: str, patch: dict[str, Any], **__: object) -> None:
        """Merge a patch."""
        self._write(path, patch)

    def _write(self, path: str, body: object) -> None:
        key = path.partition("v1/")[2] or path.rpartition("v1alpha1/")[2]
        self.tried.append((self.now, key))
        if key in self.errors:
            raise ApiError(self.errors[key], "Refused", "not like this", f"write {key}")
        self.written[key] = body

    def turn(self, plan: Plan) -> float:
        """Write a plan; returns the seconds until it is to be written again."""
        state = State("prod", attachments=dict(self.attachments))
        return self.writer.write(plan, state, self.now) - self.now


def label(*nodes: str) -> Plan:
    status = AttachmentStatus({"Ready": no("NoSlot", "m")})
    return Plan(
        writes=tuple(PatchNode(node, "7", {"a": "b"}) for node in nodes), attachments={"n2.oam": status}
    )


@pytest.mark.parametrize("code", [400, 403, 422])
def test_a_node_that_a_policy_protects_holds_up_no_other_write(code: int) -> None:
    rig = Rig({"nodes/n1": code})
    pause = rig.turn(label("n1", "n2"))
    assert set(rig.written) == {"nodes/n2", "nodeattachments/n2.oam/status"}
    assert 0 < pause <= 1.0 + TICK
    assert "not like this" in rig.log.getvalue()
    assert rig.writer.recent.failures == 1
    # It is tried again ever more rarely, and at once no more than that.
    for _ in range(600):
        rig.now += 1.0
        rig.turn(label("n1"))
    times = [at for at, key in rig.tried if key == "nodes/n1"]
    pauses = [after - before for before, after in pairwise(times)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST
    rig.errors.clear()
    rig.now += LONGEST
    rig.turn(label("n1"))
    assert "nodes/n1" in rig.written


def test_without_any_rights_few_writes_are_tried_and_then_there_is_a_pause() -> None:
    nodes = [f"n{number}" for number in range(100)]
    rig = Rig({f"nodes/{node}": 403 for node in nodes})
    pause = rig.turn(label(*nodes))
    assert len(rig.tried) == MAX_REFUSED
    assert pause > 0
    assert rig.turn(label(*nodes)) == pytest.approx(pause)
    assert len(rig.tried) == MAX_REFUSED


@pytest.mark.parametrize("pace", [1.0, 10.0])
def test_a_policy_that_protects_many_nodes_holds_up_other_writes_for_a_while_only(pace: float) -> None:
    nodes = [f"p{number}" for number in range(150)]
    rig = Rig({f"nodes/{node}": 403 for node in nodes})
    for _ in range(120):
        rig.turn(label(*nodes))
        rig.now += pace
    assert set(rig.written) == {"nodeattachments/n2.oam/status"}
    # Once it protects them no more, they are written as soon as each is due.
    rig.errors.clear()
    for _ in range(int(LONGEST / pace) + 1):
        rig.turn(label(*nodes))
        rig.now += pace
    assert {f"nodes/{node}" for node in nodes} <= set(rig.written)


def test_an_api_server_that_fails_is_left_alone_for_a_while() -> None:
    rig = Rig({"nodes/n1": 500})
    rig.turn(label("n1", "n2"))
    rig.turn(label("n1", "n2"))
    assert len(rig.tried) == 1


def test_a_conflict_is_decided_again_soon_even_if_the_watch_shows_nothing() -> None:
    rig = Rig({"nodeattachments/n2.oam/status": 409})
    pause = rig.turn(label())
    assert CONFLICT_PAUSE <= pause <= CONFLICT_PAUSE + TICK
    rig.errors.clear()
    rig.now += pause
    rig.turn(label())
    assert set(rig.written) == {"nodeattachments/n2.oam/status"}


def test_a_message_that_is_too_long_is_written_once() -> None:
    rig = Rig()
    status = AttachmentStatus({"Ready": no("NoSubnetInZone", "tag " * MAX_MESSAGE)})
    for _ in range(10):
        rig.turn(Plan(attachments={"n1.oam": status}))
        rig.now += 10
    assert len(rig.tried) == 1
    (condition,) = rig.written["nodeattachments/n1.oam/status"]["conditions"]
    assert len(condition["message"]) == MAX_MESSAGE
    assert condition["message"].endswith("…")
