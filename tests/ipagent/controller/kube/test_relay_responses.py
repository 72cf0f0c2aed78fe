"""Answers to node agents are written once each, and a refusal of one holds up nobody else's."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import pytest

from common.kube.errors import ApiError, Unreachable
from ipagent.assign.addresses import parse_address
from ipagent.call_relay import RelayAnswer, RelayAnswers
from ipagent.call_relay_status import RELAY_MANAGER
from ipagent.controller.kube.recent_writes import LAG
from ipagent.controller.kube.relay_responses import ResponseWriter
from ipagent.controller.kube.write_budget import TICK
from ipagent.controller.model.relay import RelayPlan
from ipagent.log import Log
from tests.ipagent.controller.relay.world import details

pytestmark = pytest.mark.pure


@dataclass
class ApiServer:
    """Takes what is applied, or raises `errors` by path."""

    applied: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    errors: dict[str, Exception] = field(default_factory=dict)
    took: float = 0.0
    """Seconds until it raises one."""
    now: float = 10.0

    def apply(self, path: str, what: str, body: dict[str, Any], *, manager: str, **more: object) -> None:
        """Apply a status."""
        assert (manager, more["force"]) == (RELAY_MANAGER, True)
        name = path.split("/")[-2]
        assert name in what
        if name in self.errors:
            self.now += self.took
            raise self.errors[name]
        self.applied.append((name, body["status"]))


@dataclass
class Rig:
    """A writer, its API server, and whether it leads."""

    server: ApiServer = field(default_factory=ApiServer)
    log: io.StringIO = field(default_factory=io.StringIO)
    leads: bool = True

    def __post_init__(self) -> None:
        self.writer = ResponseWriter(
            self.server,  # type: ignore[arg-type] # as much as is asked
            Log(stream=self.log),
            lambda: self.leads,
            lambda: self.server.now,
        )

    def write(self, now: float, **answers: RelayAnswers) -> float:
        """Write answers by node."""
        return self.writer.write(
            RelayPlan(responses={f"{node}.oam": each for node, each in answers.items()}), now
        )

    @property
    def names(self) -> list[str]:
        """Whose answers were written."""
        return [name for name, _ in self.server.applied]


def answers(*ids: int) -> RelayAnswers:
    return RelayAnswers("s1", tuple(RelayAnswer(each) for each in ids))


def test_what_the_watch_does_not_show_yet_is_not_written_again() -> None:
    rig = Rig()
    assert rig.write(10.0, n1=answers(1)) == 10.0 + LAG
    rig.write(10.5, n1=answers(1))
    rig.write(11.0, n1=answers(1, 2))
    assert rig.names == ["n1.oam", "n1.oam"]
    assert rig.server.applied[1][1] == {"responses": {"session": "s1", "calls": [{"id": 1}, {"id": 2}]}}
    rig.write(11.0 + LAG, n1=answers(1, 2))
    assert rig.names == ["n1.oam"] * 3
    assert rig.write(30.0) == float("inf")


@pytest.mark.parametrize("code", [422, 500])
def test_a_refusal_holds_up_nobody_else(code: int) -> None:
    rig = Rig()
    rig.server.errors["n1.oam"] = ApiError(code, "Invalid", "too long", "answer")
    rig.write(10.0, n1=answers(1), n2=answers(1))
    assert rig.names == ["n2.oam"]
    assert rig.writer.recent.failures == 1
    assert "write-failed" in rig.log.getvalue()
    rig.write(10.1, n1=answers(1), n2=answers(1))
    assert rig.writer.recent.failures == 1


def test_what_is_refused_again_and_again_is_tried_ever_more_rarely_and_delays_no_later_answer() -> None:
    rig = Rig()
    rig.server.errors["n1.oam"] = ApiError(422, "Invalid", "too long", "answer")
    now = 10.0
    for pause in (1.0, 2.0, 4.0):
        assert rig.write(now, n1=answers(1)) == now + pause
        now += pause
    refused = rig.writer.recent.failures
    rig.server.errors.clear()
    rig.write(now - 0.1, n1=answers(1, 2))
    assert (refused, rig.names) == (3, ["n1.oam"])


def test_many_refusals_hold_up_others_for_a_while_only() -> None:
    rig = Rig()
    nodes = [f"p{number}" for number in range(150)]
    rig.server.errors = {f"{node}.oam": ApiError(422, "Invalid", "too long", "answer") for node in nodes}
    asked = dict.fromkeys([*nodes, "good"], answers(1))
    for second in range(120):
        rig.write(10.0 + second, **asked)
    assert set(rig.names) == {"good.oam"}


def test_node_agents_whose_answers_hang_take_a_tenth_of_the_time_though_they_ask_again_and_again() -> None:
    rig, hangs = Rig(), ApiError(500, "InternalError", "failed calling webhook: deadline exceeded", "answer")
    server = rig.server
    server.took, server.errors = 10.0, {f"n{number}.oam": hangs for number in range(8)}
    began = server.now
    seen: set[tuple[str, int]] = set()
    while server.now < began + 3600.0:
        minute = int(server.now // 60)
        # The healthy ones come last.
        rig.write(server.now, **{f"n{number}": answers(minute) for number in range(16)})
        seen |= {(name, status["responses"]["calls"][0]["id"]) for name, status in server.applied}
        server.applied.clear()
        server.now = max(server.now + TICK, rig.writer.recent.until)
    assert 10.0 * rig.writer.recent.failures <= 0.15 * (server.now - began)
    # Until each was tried, the others may have to wait.
    asked = range(10, int(server.now // 60))
    assert seen >= {(f"n{number}.oam", minute) for number in range(8, 16) for minute in asked}
    # The others have their turn once nothing hangs.
    server.errors.clear()
    for _ in range(300):
        rig.write(server.now, **{f"n{number}": answers(1) for number in range(8)})
        server.now = max(server.now + TICK, rig.writer.recent.until)
    assert set(rig.names) == {f"n{number}.oam" for number in range(8)}
    assert rig.writer.recent.waiting == 0


def test_what_is_gone_is_no_failure() -> None:
    rig = Rig()
    rig.server.errors["n1.oam"] = ApiError(404, "NotFound", "", "answer")
    rig.write(10.0, n1=answers(1))
    assert (rig.writer.recent.failures, rig.log.getvalue()) == (0, "")


def test_what_does_not_fit_is_logged() -> None:
    rig = Rig()
    held = tuple(parse_address(f"10.20.{number >> 8}.{number & 255}") for number in range(300))
    big = RelayAnswers("s1", (RelayAnswer(1, interfaces=(details("n1", secondaries=held),)),))
    rig.write(10.0, n1=big, n2=answers(1))
    assert rig.names == ["n2.oam"]
    assert rig.writer.recent.failures == 1
    assert "300 where at most 256 fit" in rig.log.getvalue()


def test_an_outage_is_waited_out() -> None:
    rig = Rig()
    rig.server.errors["n1.oam"] = Unreachable("no answer from the API server")
    again = rig.write(10.0, n1=answers(1), n2=answers(1))
    assert 10.0 < again < 12.0
    assert rig.write(10.1, n1=answers(1), n2=answers(1)) == again
    assert rig.writer.recent.failures == 1
    rig.server.errors.clear()
    rig.write(again, n1=answers(1), n2=answers(1))
    assert rig.names == ["n2.oam", "n1.oam"]


def test_a_replica_that_does_not_lead_writes_nothing() -> None:
    rig = Rig(leads=False)
    rig.write(10.0, n1=answers(1))
    assert rig.names == []
