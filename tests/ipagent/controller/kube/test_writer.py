"""A write that the API server does not take waits alone; what has changed meanwhile is written soon."""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.kube.backoff import FIRST_PATIENCE, MAX_PAUSE, REST
from common.kube.errors import OF_ALL, ApiError, HangingWrite, Unreachable
from common.kube.write_backoff import LONGEST
from ipagent.controller.kube.recent_writes import CONFLICT_PAUSE, MAX_REFUSED
from ipagent.controller.kube.write_budget import TICK
from ipagent.controller.kube.writer import Writer
from ipagent.controller.model.actions import Plan
from ipagent.controller.model.condition import MAX_MESSAGE, no
from ipagent.controller.model.node_attachment import Attachment, AttachmentStatus, read_status
from ipagent.controller.model.node_network import LinkSpec
from ipagent.controller.model.state import State
from ipagent.controller.model.writes import DeleteAttachment, PatchNode, PatchResources
from ipagent.log import Log

pytestmark = pytest.mark.pure


SILENCE = 0
"""In place of an HTTP code: no answer within the client's timeout."""
HANGING = 1
"""The same, while reads are answered."""
PATIENCE = 15.0


@dataclass
class Rig:
    """A writer, whose API server answers writes to a path in `errors` with that code; "" is every path."""

    errors: dict[str, int] = field(default_factory=dict)
    took: dict[str, float] = field(default_factory=dict)
    """Seconds until such an answer."""
    tried: list[tuple[float, str]] = field(default_factory=list)
    written: dict[str, Any] = field(default_factory=dict)
    patience: dict[str, float | None] = field(default_factory=dict)
    """With which each was tried last."""
    log: io.StringIO = field(default_factory=io.StringIO)
    now: float = 100.0

    def __post_init__(self) -> None:
        self.writer = Writer(self, None, Log(stream=self.log), lambda: True, lambda: self.now)  # type: ignore[arg-type] # as much as is used
        self.attachments = {
            name: Attachment(name, "uid", node, "uid", "oam", "i-1", LinkSpec("oam"))
            for node in ("n1", "n2")
            if (name := f"{node}.oam")
        }

    def apply(self, path: str, _: str, body: dict[str, Any], *, patience: float | None, **__: object) -> None:
        """Apply a status."""
        self._write(path, body["status"], patience)
        name = path.split("/")[-2]
        self.attachments[name] = replace(self.attachments[name], status=read_status(body["status"]))

    def merge(
        self, path: str, _: str, patch: dict[str, Any], *, patience: float | None, **__: object
    ) -> None:
        """Merge a patch."""
        self._write(path, patch, patience)

    def delete(self, path: str, _: str, uid: str, *, patience: float | None) -> None:
        """Delete an object."""
        self._write(path, uid, patience)

    def _write(self, path: str, body: object, patience: float | None) -> None:
        key = path.partition("v1/")[2] or path.rpartition("v1alpha1/")[2]
        self.tried.append((self.now, key))
        self.patience[key] = patience
        code = self.errors.get(key, self.errors.get(""))
        if code is not None:
            took = self.took.get(key, PATIENCE if code in (SILENCE, HANGING) else 0.0)
            self.now += took if code != HANGING or patience is None else min(took, patience)
            if code == SILENCE:
                raise Unreachable(f"cannot write {key}: timed out")
            if code == HANGING:
                raise HangingWrite(f"cannot write {key}: it answers reads")
            raise ApiError(code, "Refused", "not like this", f"write {key}")
        self.written[key] = body

    @property
    def paths(self) -> set[str]:
        """What was tried."""
        return {key for _, key in self.tried}

    def turn(self, plan: Plan) -> float:
        """Write a plan; returns the seconds until it is to be written again."""
        state = State("prod", attachments=dict(self.attachments))
        return self.writer.write(plan, state, self.now) - self.now


def label(*nodes: str) -> Plan:
    status = AttachmentStatus({"Ready": no("NoSlot", "m")})
    return Plan(
        writes=tuple(PatchNode(node, "7", {"a": "b"}) for node in nodes), attachments={"n2.oam": status}
    )


@pytest.mark.parametrize("code", [400, 403, 422, 500])
def test_a_node_that_a_policy_or_a_broken_webhook_protects_holds_up_no_other_write(code: int) -> None:
    rig = Rig({"nodes/n1": code})
    pause = rig.turn(label("n1", "n2"))
    assert set(rig.written) == {"nodes/n2", "nodeattachments/n2.oam/status"}
    assert 0 < pause <= 1.0 + TICK
    assert "write nodes/n1: " in rig.log.getvalue()
    assert "not like this; it is tried again in 1 s" in rig.log.getvalue()
    assert (rig.writer.recent.failures, rig.writer.recent.waiting) == (1, 1)
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
    assert rig.writer.recent.waiting == 0


FAILURES = st.sampled_from(
    [(403, 0.0), (500, 0.0), (500, 10.0), (503, 0.0), (SILENCE, PATIENCE), (HANGING, PATIENCE)]
)
"""Codes, and how long they take: a webhook that refuses, is away, or hangs, also longer than we wait."""


@given(st.dictionaries(st.integers(0, 9), FAILURES), st.booleans())
def test_whatever_fails_for_ever_all_others_are_written_before_long(
    failing: dict[int, tuple[int, float]], status_fails: bool
) -> None:
    rig = Rig()
    for number, (code, took) in failing.items():
        rig.errors[f"nodes/p{number}"], rig.took[f"nodes/p{number}"] = code, took
    if status_fails:
        rig.errors["nodeattachments/n2.oam/status"] = 500
    plan = label(*(f"p{number}" for number in range(10)))
    good = {f"nodes/p{number}" for number in range(10) if number not in failing}
    good |= set() if status_fails else {"nodeattachments/n2.oam/status"}
    end = rig.now + MAX_PAUSE * (1 + len(rig.errors)) + (1 + REST) * sum(rig.took.values())
    while rig.now < end and not (good <= set(rig.written) and rig.paths == good | set(rig.errors)):
        pause = rig.turn(plan)
        rig.now += max(pause, 0.1)
    assert good <= set(rig.written)
    assert rig.paths == good | set(rig.errors)


def test_a_write_that_hangs_while_reads_are_answered_holds_up_no_other() -> None:
    rig = Rig({"nodes/n1": HANGING})
    rig.turn(label("n1", "n2"))
    assert set(rig.written) == {"nodeattachments/n2.oam/status"}
    for _ in range(3):
        rig.now += 1.0
        rig.turn(label("n1", "n2"))
    assert [key for _, key in rig.tried] == ["nodes/n1", "nodeattachments/n2.oam/status", "nodes/n2"]
    assert "cannot write nodes/n1: it answers reads; it is tried again in " in rig.log.getvalue()


def test_beside_one_that_hangs_each_kind_of_write_is_given_up_sooner_at_first() -> None:
    bad, good = "n1", "n2"
    statuses = {f"{node}.oam": AttachmentStatus({"Ready": no("NoSlot", "m")}) for node in (bad, good)}
    plan = Plan(
        writes=tuple(
            each
            for node in (bad, good)
            for each in (
                PatchNode(node, "7", {"a": "b"}),
                PatchResources(node, "7", {"multus-eni.io/oam": "1"}),
                DeleteAttachment(f"{node}.sig", "uid"),
            )
        ),
        attachments=statuses,
    )
    paths = ["nodes/{}", "nodes/{}/status", "nodeattachments/{}.sig", "nodeattachments/{}.oam/status"]
    rig = Rig({each.format(bad): HANGING for each in paths})
    for _ in range(30):
        rig.turn(plan)
        rig.now += TICK
    assert set(rig.written) == {each.format(good) for each in paths}
    assert {rig.patience[each] for each in rig.written} == {FIRST_PATIENCE}


def test_a_webhook_that_hangs_for_all_nodes_holds_up_no_status() -> None:
    nodes = [f"n{number}" for number in range(100)]
    rig = Rig({f"nodes/{node}": 500 for node in nodes}, {f"nodes/{node}": 10.0 for node in nodes})
    rig.turn(label(*nodes))
    assert set(rig.written) == {"nodeattachments/n2.oam/status"}
    assert len(rig.tried) == 2


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


@pytest.mark.parametrize("code", [SILENCE, *sorted(OF_ALL)])
def test_an_api_server_that_fails_is_left_alone_for_a_while(code: int) -> None:
    nodes = [f"n{number}" for number in range(100)]
    rig = Rig({"": code})
    for turn in range(1, 30):
        pause = rig.turn(label(*nodes))
        assert rig.turn(label(*nodes)) == pytest.approx(pause)
        assert len(rig.tried) == turn
        assert pause <= MAX_PAUSE + TICK
        rig.now += pause
    rig.errors.clear()
    rig.turn(label(*nodes))
    assert len(rig.written) > 70
    rig.now += MAX_PAUSE
    rig.turn(label(*nodes))
    assert set(rig.written) == {*(f"nodes/{node}" for node in nodes), "nodeattachments/n2.oam/status"}


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
