"""Whichever NodeAttachments are silent, and for how long: no turn waits for more than one of them, and what
holds of addresses holds all the time."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from ipagent.assign.address_state import Phase
from ipagent.assign.addresses import IPAddress
from ipagent.node.central.relay import PATIENCE
from ipagent.node.central.standing_changes import GRACE
from tests.ipagent.fakes import Time, ip
from tests.ipagent.node.central.simulated_node import (
    SimulatedController,
    SimulatedNode,
    name_of,
)

pytestmark = [pytest.mark.pure, pytest.mark.no_cover]

ENIS = 4
BOUND = PATIENCE + ENIS * GRACE + 2.0
"""Seconds of a turn: one wait in vain, one of GRACE for each ENI, and what others answer at once."""
HELD = PATIENCE + 2.5
"""Seconds after which a pod of an ENI that works has its address, whatever others do."""


def address(number: int, last: int) -> IPAddress:
    return ip(f"10.20.{number}.{last}")


class Trouble:
    """A node with pods on each ENI. An obstacle is a method without underscore; it returns how it ends."""

    def __init__(self, time: Time | None = None) -> None:
        self.controller = SimulatedController(time or Time(), ENIS)
        self.node = SimulatedNode(self.controller)
        self._last = 10

    def away(self, _: int) -> Callable[[], None]:
        self.controller.away = True

        def end() -> None:
            self.controller.away = False

        return end

    def silent(self, number: int) -> Callable[[], None]:
        self.controller.silent.add(name_of(number))
        return lambda: self.controller.silent.discard(name_of(number))

    def hanging(self, number: int) -> Callable[[], None]:
        self.controller.hanging.add(name_of(number))
        return lambda: self.controller.hanging.discard(name_of(number))

    def slow(self, number: int) -> Callable[[], None]:
        self.controller.latency[name_of(number)] = 6.0

        def end() -> None:
            self.controller.latency.pop(name_of(number), None)

        return end

    def pods_come(self, number: int) -> Callable[[], None]:
        for _ in range(2):
            self._last += 1
            self.node.wanted[address(number, self._last)] = number
        self.node.desire()
        return _nothing

    def pods_go(self, number: int) -> Callable[[], None]:
        mine = [each for each, there in self.node.wanted.items() if there == number]
        for each in mine[::2]:
            del self.node.wanted[each]
        self.node.desire()
        return _nothing

    def one_is_refused(self, number: int) -> Callable[[], None]:
        self._last += 1
        bad = address(number, self._last)
        self.controller.refused.add(bad)
        self.node.wanted[bad] = number
        self.pods_come(number)

        def end() -> None:
            self.controller.refused.discard(bad)
            self.node.wanted.pop(bad, None)
            self.node.desire()

        return end

    def one_is_taken_over(self, number: int) -> Callable[[], None]:
        self._last += 2
        held = address(number, self._last - self._last % 2)
        if held not in self.node.wanted:
            self.controller.held["eni-99"].add(held)
        self.node.wanted[held] = number
        self.node.desire()
        return _nothing

    def restarts(self, _: int) -> Callable[[], None]:
        self.node.start()
        return _nothing

    def check(self) -> None:
        """Check what holds at any time."""
        for item in self.node.reconciler.plan.items:
            if item.phase in (Phase.CONFIRMED, Phase.ACCEPTED):
                assert item.address in self.controller.held[item.eni_id], f"{item} is not done"
        for each in self.controller.moved:
            assert int(each) % 2 == 0, f"{each} must not be taken over"


def with_pods(time: Time | None = None) -> Trouble:
    """Return a node with assigned pods on each ENI."""
    trouble = Trouble(time)
    for number in range(1, ENIS + 1):
        trouble.pods_come(number)
    trouble.node.run(10.0)
    return trouble


def _nothing() -> None:
    """Need no end."""


OBSTACLES = sorted(name for name in vars(Trouble) if not name.startswith("_") and name != "check")
obstacle = st.tuples(st.sampled_from(OBSTACLES), st.integers(1, ENIS), st.integers(0, 60), st.integers(1, 90))


@settings(max_examples=max(1, settings().max_examples // 2))
@given(st.lists(obstacle, min_size=1, max_size=8))
def test_no_turn_waits_for_more_than_one_and_all_is_done_once_the_obstacles_have_ended(
    obstacles: list[tuple[str, int, int, int]],
) -> None:
    trouble = Trouble()
    for number in range(1, ENIS + 1):
        trouble.pods_come(number)
    node, ends = trouble.node, list[tuple[float, Callable[[], None]]]()
    begun = node.controller.time.now
    left = sorted(obstacles, key=lambda each: each[2])
    while left or ends:
        now = node.controller.time.now - begun
        while left and left[0][2] <= now:
            name, number, at, seconds = left.pop(0)
            ends.append((at + seconds, getattr(trouble, name)(number)))
        for each in [each for each in ends if each[0] <= now]:
            each[1]()
            ends.remove(each)
        node.run(1.0)
        trouble.check()
    assert node.longest <= BOUND
    # Releases and looks go on rarely after long outages, and what hung rests nine times as long.
    controller, ended = node.controller, node.controller.time.now
    node.run(600.0)
    trouble.check()
    for wanted, number in node.wanted.items():
        assert wanted in controller.held[f"eni-{number}"]
    assert node.longest <= BOUND
    writes = controller.writes
    node.run(300.0)
    # Once in a quarter of an hour it is looked who has the addresses of each ENI.
    assert controller.writes - writes <= ENIS
    # Nobody may have asked since by a NodeAttachment whose pods have gone.
    assert all(each.last < ended + BOUND for each in node.relay.silences.values())
    event(f"the longest turn took {node.longest:.0f} s")


def test_what_comes_while_an_eni_is_slow_is_not_waited_for() -> None:
    trouble = Trouble()
    node, controller = trouble.node, trouble.controller
    trouble.slow(1)
    for _ in range(15):
        trouble.pods_come(1)
        trouble.pods_come(2)
        node.run(2.0)
    assert node.longest <= GRACE + 1.0
    node.run(30.0)
    for wanted, number in node.wanted.items():
        assert wanted in controller.held[f"eni-{number}"]


@pytest.mark.parametrize("obstacle", ["silent", "hanging"])
def test_a_pod_of_an_eni_that_works_waits_for_one_of_those_that_do_not(obstacle: str) -> None:
    trouble = with_pods()
    node, controller = trouble.node, trouble.controller
    for number in range(1, ENIS):
        getattr(trouble, obstacle)(number)
        # What is released is waited for.
        trouble.pods_go(number)
    waits = []
    for last in range(100, 140):
        node.run(7.0)
        wanted = address(ENIS, last)
        node.wanted[wanted] = ENIS
        node.desire()
        began = controller.time.now
        while wanted not in controller.held[f"eni-{ENIS}"]:
            node.run(0.25)
        waits.append(controller.time.now - began)
    assert max(waits) <= HELD
    assert node.longest <= BOUND
    # Those that are silent take a tenth of the time, once each was tried.
    assert sum(each > 3.0 for each in waits[len(waits) // 2 :]) <= len(waits) // 4


@pytest.mark.parametrize("moves", [0, 1, 3])
def test_what_is_given_back_on_an_eni_that_works_is_released_beside_those_that_are_silent(moves: int) -> None:
    """Nothing else is asked for by it, so nobody is answered before."""
    trouble = with_pods()
    node, controller = trouble.node, trouble.controller
    trouble.silent(1)
    for number in range(1, moves + 1):
        trouble.silent(number)
        # Whose an IPv6 address is, is looked up first, which is waited for.
        node.wanted[ip(f"2001:db8::{number}:1")] = number
    node.desire()
    if moves:
        node.run(45.0)
    else:
        trouble.pods_go(1)
    trouble.pods_go(ENIS)
    node.run(2 * HELD)
    assert controller.held[f"eni-{ENIS}"] == {each for each, there in node.wanted.items() if there == ENIS}
    if not moves:
        assert node.lines.events("error") == ["not-released"]


@pytest.mark.parametrize("hanging", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_a_release_is_made_soon_once_its_eni_answers_beside_one_that_is_silent(
    seed: int, hanging: bool
) -> None:
    """What falls due while the other one is waited for has not been tried by that."""
    trouble = with_pods(Time(random.Random(seed).random))
    node, controller = trouble.node, trouble.controller
    trouble.silent(3)
    node.wanted[ip("2001:db8::3:1")] = 3
    answers_again = trouble.silent(1)
    if hanging:
        trouble.hanging(2)
        trouble.pods_come(2)
    trouble.pods_go(1)
    node.run(100.0)
    answers_again()
    node.run(3 * HELD)
    assert controller.held["eni-1"] == {each for each, there in node.wanted.items() if there == 1}
