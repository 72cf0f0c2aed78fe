"""Whatever goes wrong for a while: then each node has what its agent wants, and there is rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from ipagent.assign.ec2_error_codes import Fault
from ipagent.controller.model.actions import Call
from ipagent.controller.reconcile.ec2_answers import Answer, Refused
from ipagent.controller.reconcile.ec2_error_conditions import Kind
from tests.ipagent.controller.relay.test_simulation import WITHDRAWN, NodeAgent, fleet, stepping
from tests.ipagent.controller.relay.world import RelayLeader, RelayWorld, refused, throttled

pytestmark = [pytest.mark.pure, pytest.mark.no_cover]

BOUND = WITHDRAWN + 30.0
"""Seconds until all is done: a request that nobody answers is given up once, and made again."""
REST = 60.0


@dataclass
class HardWorld(RelayWorld):
    """While `lost` is not 0, so large a part of EC2's answers does not arrive, after the calls' effect."""

    random: Random = field(default_factory=lambda: Random(0))
    lost: float = 0.0

    def execute(self, call: Call) -> Answer:
        """Make a call; its sender may not hear what came of it."""
        answer = super().execute(call)
        if self.random.random() < self.lost:
            return refused(call, Fault.TRANSIENT, "the connection is cut", Kind.UNREACHABLE)
        return answer


class Trouble:
    """Four nodes with agents, and whoever leads. An obstacle is a method without underscore.

    It begins now, and returns how it ends.
    """

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.world = HardWorld(random=self.random)
        self.world.refuse = self._refuse
        self.agents: list[NodeAgent] = fleet(self.world, 4, 3)
        self.leader: RelayLeader | None = RelayLeader(self.world, latency=0.2)
        self._refusing: list[tuple[float, Callable[[Call], Refused]]] = []

    # EC2.

    def throttled(self) -> Callable[[], None]:
        return self._refusals(0.8, throttled)

    def failing(self) -> Callable[[], None]:
        return self._refusals(
            0.5, lambda call: refused(call, Fault.TRANSIENT, "InternalError", Kind.TRANSIENT)
        )

    def ec2_off(self) -> Callable[[], None]:
        return self._refusals(
            1.0, lambda call: refused(call, Fault.UNREACHABLE, "no answer", Kind.UNREACHABLE)
        )

    def not_permitted(self) -> Callable[[], None]:
        return self._refusals(
            1.0, lambda call: refused(call, Fault.NO_PERMISSION, "UnauthorizedOperation", Kind.NOT_PERMITTED)
        )

    def answers_lost(self) -> Callable[[], None]:
        self.world.lost = 0.5

        def end() -> None:
            self.world.lost = 0.0

        return end

    # Who leads, and what node agents and pods do.

    def nobody_leads(self) -> Callable[[], None]:
        self.leader = None

        def end() -> None:
            self.leader = self.leader or RelayLeader(self.world, latency=0.2)

        return end

    def another_leads(self) -> Callable[[], None]:
        if self.leader is not None:
            self.leader = RelayLeader(self.world, latency=0.2)
        return _nothing

    def agent_restarts(self) -> Callable[[], None]:
        self.random.choice(self.agents).restart()
        return _nothing

    def pods_come_and_go(self) -> Callable[[], None]:
        """Let a node's pods be replaced by others."""
        agent = self.random.choice(self.agents)
        number = agent.node.removeprefix("n")
        agent.wanted = {f"10.20.{number}.{last}" for last in self.random.sample(range(1, 100), 5)}
        return _nothing

    def addresses_move(self) -> Callable[[], None]:
        """Let floating addresses come up on another node."""
        there, here = self.random.sample(self.agents, 2)
        moved = {each for each in there.wanted if self.random.random() < 0.5}
        there.wanted -= moved
        there.has -= moved
        here.wanted |= moved
        return _nothing

    # How it is done.

    def run(self, seconds: float) -> None:
        """Go on for so many seconds."""
        step = stepping(self.agents)
        until = self.world.now + seconds
        while self.leader is None and self.world.now < until:
            step()
            self.world.now = min(until, self.world.now + 0.5)
        if self.leader is not None:
            self.leader.run(until - self.world.now, step)

    def settle(self) -> None:
        """Let everything be done; then node agents look what they have, as drift detection does."""
        for _ in range(2):
            self.run(BOUND)
            for agent in self.agents:
                agent.restart()
        self.run(BOUND)

    def _refuse(self, call: Call) -> Refused | None:
        for share, refusal in self._refusing:
            if self.random.random() < share:
                return refusal(call)
        return None

    def _refusals(self, share: float, refusal: Callable[[Call], Refused]) -> Callable[[], None]:
        entry = share, refusal
        self._refusing.append(entry)
        return lambda: self._refusing.remove(entry)


def _nothing() -> None:
    """Need no end."""


OBSTACLES = tuple(
    sorted(name for name in vars(Trouble) if not name.startswith("_") and name not in ("run", "settle"))
)
obstacle = st.tuples(st.sampled_from(OBSTACLES), st.integers(0, 40), st.integers(1, 40))


@settings(max_examples=max(1, settings().max_examples // 3))
@given(st.lists(obstacle, min_size=1, max_size=6), st.integers(0, 2**16))
def test_when_all_obstacles_have_ended_each_node_has_what_its_agent_wants_and_there_is_rest(
    obstacles: list[tuple[str, int, int]], seed: int
) -> None:
    trouble = Trouble(seed)
    ends: list[tuple[float, Callable[[], None]]] = []
    begins = [(float(after), name, seconds) for name, after, seconds in obstacles]
    for second in range(81):
        for at, end in [each for each in ends if each[0] <= second]:
            end()
            ends.remove((at, end))
        for after, name, seconds in begins:
            if after == second:
                ends.append((after + seconds, getattr(trouble, name)()))
        trouble.run(1.0)
    assert not ends
    trouble.settle()
    world = trouble.world
    for agent in trouble.agents:
        assert agent.wanted == world.held(agent.node)
        assert not world.answers(agent.node)
    calls, writes = world.calls.copy(), world.writes
    trouble.run(REST)
    assert (world.calls, world.writes) == (calls, writes)
    event(f"{len(obstacles)} obstacles")
