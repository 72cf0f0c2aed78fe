"""When the loop turns: at once, but for a node that never rests in rate; and nothing is forgotten."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipagent.controller.kube.wakes import LOOKS, TURNS, Wakes
from ipagent.controller.kube.write_budget import TICK

pytestmark = pytest.mark.pure

LEAST = 0.1


class Clock:
    """A loop that turns whenever it may, and when it turned."""

    def __init__(self) -> None:
        self.now = 0.0
        self.wakes = Wakes(lambda: self.now)
        self.turns: list[float] = []

    def advance(self, seconds: float) -> None:
        """Let time pass, and the loop turn when it is due."""
        until = self.now + seconds
        while (due := max(self._least(), self.wakes.due(float("inf")))) <= until:
            self.now = max(self.now, due)
            self.wakes.turns()
            self.turns.append(self.now)
        self.now = until

    def _least(self) -> float:
        return self.turns[-1] + LEAST if self.turns else 0.0


def test_the_first_change_of_any_node_is_decided_about_at_once() -> None:
    clock = Clock()
    for number in range(50):
        clock.wakes.changed({f"n{number}"})
        clock.advance(LEAST)
    assert clock.turns == pytest.approx([LEAST * number for number in range(51)][: len(clock.turns)])
    assert len(clock.turns) == 50


def test_a_node_that_never_rests_is_decided_about_in_rate_and_delays_no_other_one() -> None:
    clock = Clock()
    for step in range(6000):
        clock.wakes.changed({"loud"})
        if step % 600 == 599:
            before = clock.now
            clock.wakes.changed({"quiet"})
            clock.advance(LEAST)
            assert clock.turns[-1] <= before + LEAST
        clock.advance(0.1)
    # Ten minutes.
    assert len(clock.turns) <= TURNS.burst + TURNS.refill * 600 + 10 + 1


def test_changes_of_many_nodes_between_two_turns_cost_each_node_one() -> None:
    clock = Clock()
    for _ in range(1000):
        clock.wakes.changed({"n1", "n2"})
    clock.advance(LEAST)
    assert len(clock.turns) == 1
    for _ in range(int(TURNS.burst) - 1):
        clock.wakes.changed({"n1"})
        clock.advance(LEAST)
    assert len(clock.turns) == TURNS.burst
    clock.wakes.changed({"n1"})
    clock.advance(LEAST)
    assert len(clock.turns) == TURNS.burst + (TURNS.refill * TURNS.burst * LEAST >= 1)


def test_a_node_that_never_rests_wakes_the_loop_in_rate() -> None:
    clock = Clock()
    woken = {"loud": 0, "quiet": 0}
    for step in range(60_000):
        node = "quiet" if step % 1000 == 999 else "loud"
        clock.wakes.event.clear()
        clock.wakes.changed({node})
        woken[node] += clock.wakes.event.is_set()
        clock.advance(0.01)
    # Ten minutes: looks, and whenever it is first told to wait for a turn.
    assert woken["loud"] <= LOOKS.burst + (LOOKS.refill + 1) * 600
    assert woken["quiet"] == 60


def test_what_is_not_about_a_node_is_never_late() -> None:
    clock = Clock()
    for number in range(1000):
        clock.wakes.changed(())
        clock.advance(LEAST)
        assert len(clock.turns) == number + 1
    clock.wakes.soon()
    assert clock.wakes.event.is_set()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([0.0, 0.05, 0.3, 2.0])), max_size=400))
def test_every_change_is_decided_about_soon(steps: list[tuple[str, float]]) -> None:
    clock = Clock()
    for _ in range(int(TURNS.burst * 1.1)):
        # The budgets of two of them are used up before.
        clock.wakes.changed("ab")
        clock.advance(LEAST)
    for node, pause in steps:
        changed = clock.now
        clock.wakes.changed({node})
        clock.advance(pause)
        later = [turn for turn in clock.turns if turn >= changed]
        assert later or clock.wakes.due(float("inf")) <= changed + 1 / TURNS.refill + TICK + LEAST
    clock.advance(1 / TURNS.refill + TICK + LEAST)
    last = clock.turns[-1] if clock.turns else 0.0
    clock.advance(1000)
    assert not clock.turns or clock.turns[-1] == last
