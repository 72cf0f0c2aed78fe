"""The leader's loop: what has changed and been answered comes in, calls and writes go out.

Thread: the main thread; informers and the executor's threads wake it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from ipagent.controller.ec2.executor import Executor
from ipagent.controller.eip.controller import EipController
from ipagent.controller.kube.eips import PodConditionWriter
from ipagent.controller.kube.informers import Informers
from ipagent.controller.kube.networks_map import NetworksMap
from ipagent.controller.kube.writer import Writer
from ipagent.controller.model.actions import Call, Plan
from ipagent.controller.model.eip_calls import EipPlan
from ipagent.controller.model.eips import EipPod
from ipagent.controller.model.rank import Rank
from ipagent.controller.model.state import State
from ipagent.controller.reconcile.answers import Answer, Refused
from ipagent.controller.reconcile.controller import Controller
from ipagent.controller.reconcile.definitions import networks_of, networks_text
from ipagent.log import Log

LONGEST = 150.0
"""Seconds between two turns at most: a probe sees that the loop goes round."""
SHORTEST = 0.1
"""Seconds between two turns at least: a thousand nodes that start at once are decided together."""


class Eips:
    """The Elastic IPs' part of a turn."""

    def __init__(self, controller: EipController, writer: PodConditionWriter) -> None:
        self.controller = controller
        self.plan = EipPlan()
        self._writer = writer

    def turn(self, cluster: State, pods: Mapping[str, EipPod], now: float) -> float:
        """Decide and write conditions; returns when to come again at the latest (monotonic seconds)."""
        self.controller.observe(pods)
        self.plan = self.controller.plan(cluster, now)
        return min(self.plan.due, self._writer.write(self.plan, pods, now))


class Loop:
    """Turns until `stop` is set. `clock` gives monotonic seconds."""

    def __init__(
        self,
        controller: Controller,
        informers: Informers,
        writer: Writer,
        log: Log,
        clock: Callable[[], float],
    ) -> None:
        self.networks_map: NetworksMap | None = None
        """Where the webhook is told the networks of definitions, if it is."""
        self.controller = controller
        self.wake = threading.Event()
        self.plan = Plan()
        self.turned = clock()
        self.eips: Eips | None = None
        """Set before it runs, where Elastic IPs are granted."""
        self._informers = informers
        self._writer = writer
        self._log = log
        self._clock = clock
        self._leaked: frozenset[str] = frozenset()

    def run(self, executor: Executor, stop: threading.Event, leading: Callable[[], bool]) -> None:
        """Run turns as long as this replica leads."""
        while not stop.is_set() and leading():
            pause = self._turn(executor)
            stop.wait(SHORTEST)
            self.wake.wait(max(0.0, pause - SHORTEST))
            self.wake.clear()

    def _turn(self, executor: Executor) -> float:
        """Run one turn; returns the seconds until the next one."""
        now = self.turned = self._clock()
        while not executor.answers.empty():
            self._answered(*executor.answers.get(), now)
        if not self._informers.synced:
            return LONGEST
        # Nodes and networks after attachments: an attachment's node is known then, unless it is gone.
        attachments = self._informers.attachments.items()
        self.controller.observe(self._informers.nodes.items(), self._informers.networks.items(), attachments)
        self.plan = self.controller.plan(now)
        self._report_leaks(self.plan)
        # Statuses first: what an answer has shown is kept before the next call is made.
        again = self._writer.write(self.plan, self.controller.state, now)
        again = min(again, self._write_networks(now))
        calls: tuple[Call, ...] = self.plan.calls
        if self.eips is not None:
            again = min(again, self.eips.turn(self.controller.state, self._informers.pods.items(), now))
            calls = tuple(sorted((*calls, *self.eips.plan.calls), key=lambda call: call.rank))
        started, due = self.controller.start(calls, self._clock())
        for call in started:
            if self.eips is not None:
                self.eips.controller.started(call, self._clock())
            executor.start(call)
        return min(max(0.0, min(self.plan.due, again, due) - now), LONGEST)

    def _write_networks(self, now: float) -> float:
        """Tell the webhook which definition is in which network; returns when to come again."""
        definitions = self._informers.definitions
        if self.networks_map is None or not definitions.synced:
            return float("inf")
        found = networks_of(definitions.items().values(), self.controller.state.networks)
        return self.networks_map.write(networks_text(found), now)

    def _answered(self, call: Call, answer: Answer, now: float) -> None:
        self.controller.answered(call, answer, now)
        if self.eips is not None:
            self.eips.controller.answered(call, answer, now)
        if isinstance(answer, Refused):
            self._log.warning("refused", message=f"{call.key}: {answer.text}")
        elif call.rank is not Rank.LOOK:
            self._log.info(type(call).__name__.lower(), message=_text(call))

    def _report_leaks(self, plan: Plan) -> None:
        found = frozenset(plan.leaked)
        for eni in sorted(found - self._leaked):
            self._log.warning(
                "leaked", message=f"{eni} has this cluster's tags and nothing needs it", eni=eni
            )
        self._leaked = found


def _text(call: Call) -> str:
    fields = {
        name: getattr(call, name) for name in call.__dataclass_fields__ if name not in ("tags", "token")
    }
    return ", ".join(f"{name} {value}" for name, value in fields.items() if value not in (None, "", ()))
