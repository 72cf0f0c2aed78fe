"""A leading replica without its I/O, in a world: it decides, writes and calls until nothing is left to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ipagent.controller.model.actions import Call, Plan
from ipagent.controller.model.state import Releases, State
from ipagent.controller.reconcile.controller import Controller
from tests.ipagent.controller.world import World


def nothing(_: object) -> None:
    """Let everything go its way."""


@dataclass
class Leader:
    """`before` is called before each write, `between` between a call's effect and its answer."""

    world: World
    releases: Releases = Releases.ON
    before: Callable[[object], None] = nothing
    between: Callable[[Call], None] = nothing
    controller: Controller = field(init=False)
    leaked: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.controller = Controller(State("prod", releases=self.releases))

    def turn(self) -> Plan:
        """Decide once, and do all of it."""
        world = self.world
        self.controller.observe(dict(world.nodes), dict(world.networks), dict(world.attachments))
        plan = self.controller.plan(world.now)
        self.leaked |= set(plan.leaked)
        started, due = self.controller.start(plan.calls, world.now)
        for write in plan.writes:
            self.before(write)
            world.write(write)
        self.before(plan.attachments)
        world.status(plan)
        for call in started:
            answer = world.execute(call)
            self.between(call)
            self.controller.answered(call, answer, world.now)
        self.progressed = bool(plan.writes or started)
        self.due = min(plan.due, due)
        return plan

    def run(self, seconds: float) -> None:
        """Go on for so many seconds of the world's time."""
        until = self.world.now + seconds
        for _ in range(20_000):
            self.turn()
            if self.world.now >= until:
                return
            events = [at for at, _ in self.world.due]
            pause = 0.05 if self.progressed else max(0.05, min([self.due, *events]) - self.world.now)
            self.world.advance(min(pause, until - self.world.now))
        raise AssertionError("it never comes to rest")
