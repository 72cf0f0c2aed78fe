"""Writes that one node causes are bounded in rate, the last state is written, and no other node waits."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipagent.call_relay import RelayAnswer, RelayAnswers
from ipagent.controller.kube.relay_responses import ResponseWriter
from ipagent.controller.kube.write_budget import ANSWERS, NODE, STATUSES, WriteBudget
from ipagent.controller.kube.writer import Writer
from ipagent.controller.model.actions import Plan
from ipagent.controller.model.node_attachment import Attachment, AttachmentStatus, read_status
from ipagent.controller.model.node_network import LinkSpec
from ipagent.controller.model.relay import RelayPlan
from ipagent.controller.model.state import State
from ipagent.log import Log

pytestmark = pytest.mark.pure


@dataclass
class Rig:
    """Two nodes' NodeAttachments as the API server has them, and when each node was written."""

    log: io.StringIO = field(default_factory=io.StringIO)
    attachments: dict[str, Attachment] = field(default_factory=dict)
    written: dict[str, list[float]] = field(default_factory=lambda: {"n1": [], "n2": []})
    now: float = 0.0

    def __post_init__(self) -> None:
        self.writer = Writer(self, None, Log(stream=self.log), lambda: True, lambda: self.now)  # type: ignore[arg-type] # as much as is used
        for node in ("n1", "n2"):
            for net in ("oam", "sig"):
                name = f"{node}.{net}"
                self.attachments[name] = Attachment(name, "uid", node, "uid", net, "i-1", LinkSpec(net))

    def apply(self, path: str, _: str, body: dict[str, Any], **__: object) -> None:
        """Apply a status, which the watch shows at once."""
        name = path.split("/")[-2]
        self.attachments[name] = replace(self.attachments[name], status=read_status(body["status"]))
        self.written[self.attachments[name].node].append(self.now)

    def turn(self, wanted: dict[str, AttachmentStatus]) -> float:
        """Write what is wanted now."""
        state = State("prod", attachments=dict(self.attachments))
        return self.writer.write(Plan(attachments=wanted), state, self.now)

    def settle(self, wanted: dict[str, AttachmentStatus]) -> None:
        """Come again as often as the writer says."""
        for _ in range(10):
            self.now = min(self.turn(wanted), self.now + 100)


def status(number: int) -> AttachmentStatus:
    return AttachmentStatus(capacity=16, requested=number)


@given(
    st.lists(
        st.tuples(st.sampled_from([0.1, 0.1, 0.1, 1.0, 7.0]), st.integers(0, 3), st.integers(0, 3)),
        max_size=300,
    )
)
def test_whatever_a_node_reports_it_is_written_in_rate_and_in_the_end(
    steps: list[tuple[float, int, int]],
) -> None:
    rig = Rig()
    wanted: dict[str, AttachmentStatus] = {}
    for pause, oam, sig in steps:
        wanted = {"n1.oam": status(oam), "n1.sig": status(sig)}
        rig.turn(wanted)
        rig.now += pause
    allowed = STATUSES.burst + STATUSES.refill * rig.now
    assert len(rig.written["n1"]) <= allowed + 1
    rig.settle(wanted)
    assert {name: rig.attachments[name].status for name in wanted} == wanted


def test_a_node_that_never_rests_delays_no_other_one_and_is_named_once() -> None:
    rig = Rig()
    for turn in range(3000):
        rig.turn({"n1.oam": status(turn), "n1.sig": status(-turn), "n2.oam": status(turn // 100)})
        rig.now += 0.1
    # Five minutes, in which two objects differ ten times a second.
    assert 250 <= len(rig.written["n1"]) <= STATUSES.burst + STATUSES.refill * 300 + 1
    assert rig.written["n2"] == pytest.approx([10.0 * number for number in range(30)])
    assert rig.log.getvalue().count("node n1") == 1
    assert "node n2" not in rig.log.getvalue()
    # Half an hour later it is named again if it goes on.
    rig.now += 1800
    for turn in range(1300):
        rig.turn({"n1.oam": status(-turn - 1)})
        rig.now += 0.1
    assert rig.log.getvalue().count("node n1") == 2


def test_what_waits_says_until_when() -> None:
    budget = WriteBudget(Log(stream=io.StringIO()))
    taken = sum(budget.take((NODE, "n1"), 5.0) for _ in range(200))
    assert taken == STATUSES.burst
    assert budget.due == pytest.approx(7.0)
    assert budget.take((NODE, "n1"), budget.due)
    budget.begin()
    assert budget.due == float("inf")


def test_a_node_agent_that_asks_all_the_time_is_answered_in_rate_and_no_other_one_waits() -> None:
    written: Counter[str] = Counter()

    class ApiServer:
        def apply(self, path: str, *_: object, **__: object) -> None:
            written[path.split("/")[-2]] += 1

    log = io.StringIO()
    now = 0.0
    writer = ResponseWriter(ApiServer(), Log(stream=log), lambda: True, lambda: now)  # type: ignore[arg-type] # as much as is used
    for number in range(6000):
        loud = RelayAnswers(f"session-{number}", (RelayAnswer(1),))
        quiet = RelayAnswers("s1", (RelayAnswer(number // 100),))
        again = writer.write(RelayPlan(responses={"n1.oam": loud, "n2.oam": quiet}), now)
        now += 0.01
    assert written["n1.oam"] <= ANSWERS.burst + ANSWERS.refill * now + 1
    # One for each of 60 answers, and again where the watch does not show it for three seconds.
    assert written["n2.oam"] >= 60
    assert again <= now + 1 / ANSWERS.refill
    last = RelayAnswers("last", (RelayAnswer(1),))
    before = written["n1.oam"]
    assert writer.write(RelayPlan(responses={"n1.oam": last}), now + 1) == pytest.approx(now + 4)
    assert written["n1.oam"] == before + 1
    assert log.getvalue().count("attachment n1.oam") == 1
