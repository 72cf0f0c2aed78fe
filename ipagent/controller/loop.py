"""The leader's loop: changes and answers come in, calls and writes go out.

Thread: the main thread; informers and the executor's threads wake it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping

from ipagent.assign.ec2_error_codes import BY_ADDRESS
from ipagent.controller.ec2.executor import Executor
from ipagent.controller.eip.controller import EipController
from ipagent.controller.kube.informers import Informers
from ipagent.controller.kube.networks_map import NetworksMap
from ipagent.controller.kube.pod_conditions import PodConditionWriter
from ipagent.controller.kube.relay_responses import ResponseWriter
from ipagent.controller.kube.slice_pools import SlicePools
from ipagent.controller.kube.wakes import Wakes
from ipagent.controller.kube.writer import Writer
from ipagent.controller.model.actions import Call, Plan
from ipagent.controller.model.call_rank import Rank
from ipagent.controller.model.eip_calls import EipPlan
from ipagent.controller.model.eips import EipPod
from ipagent.controller.model.node_slice_pools import SliceReport
from ipagent.controller.model.relay import RelayPlan
from ipagent.controller.model.relay_calls import AddressCall
from ipagent.controller.model.state import State
from ipagent.controller.reconcile.controller import Controller
from ipagent.controller.reconcile.ec2_answers import Answer, Refused
from ipagent.controller.reconcile.net_attach_defs import networks_of, networks_text
from ipagent.controller.reconcile.node_slice_pools import NO_SLICES, pools_of
from ipagent.controller.relay.controller import RelayController
from ipagent.log import Log

LONGEST = 150.0
"""Seconds between two turns at most: a probe sees that the loop goes round."""
SHORTEST = 0.1
"""Seconds between two turns at least: a thousand nodes that start at once are decided together."""
GATHERED = 0.01
"""Seconds between two looks at what node agents ask for at least: pods wait for it."""


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


class Relay:
    """The node agents' part of a turn; `wall` gives the seconds since 1970."""

    def __init__(
        self, controller: RelayController, writer: ResponseWriter, wall: Callable[[], float]
    ) -> None:
        self.controller = controller
        self.plan = RelayPlan()
        self._writer = writer
        self._wall = wall

    def turn(self, cluster: State, now: float) -> float:
        """Decide and write answers; returns when to come again at the latest (monotonic seconds)."""
        self.plan = self.controller.plan(cluster, now, self._wall())
        return min(self.plan.due, self._writer.write(self.plan, now))


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
        self.slice_pools: SlicePools | None = None
        """Where whereabouts is told the nodes' slices, if it is."""
        self.controller = controller
        self.wakes = Wakes(clock)
        self.plan = Plan()
        self.turned = clock()
        self.eips: Eips | None = None
        """Set before it runs, where Elastic IPs are granted."""
        self.relay: Relay | None = None
        """Set before it runs, where node agents have the controller call EC2."""
        self._informers = informers
        self._writer = writer
        self._log = log
        self._clock = clock
        self._leaked: frozenset[str] = frozenset()
        self._held_back = False
        """Whether calls wait for EC2's request limits, and so for their turn by rank."""

    def run(self, executor: Executor, stop: threading.Event, leading: Callable[[], bool]) -> None:
        """Run turns as long as this replica leads."""
        while not stop.is_set() and leading():
            pause = self.turn(executor)
            self._rest(executor, stop, self._clock() + pause)

    def _rest(self, executor: Executor, stop: threading.Event, until: float) -> None:
        """Let time pass until the next turn; node agents are answered meanwhile."""
        least = self._clock() + SHORTEST
        while not stop.is_set():
            left = max(least, self.wakes.due(until)) - self._clock()
            if left <= 0:
                return
            if self.wakes.event.wait(left):
                self.wakes.event.clear()
                if self.relay is not None:
                    until = min(until, self._serve(self.relay, executor))
                    stop.wait(GATHERED)

    def _serve(self, relay: Relay, executor: Executor) -> float:
        """Take answers of EC2, and answer node agents; returns when to come again at the latest."""
        now = self._clock()
        self._take_answers(executor, now)
        if not self._informers.synced:
            return float("inf")
        self.controller.observe_attachments(self._informers.attachments.items())
        return self._answer_nodes(relay, executor, now)

    def _answer_nodes(self, relay: Relay, executor: Executor, now: float) -> float:
        """Answer node agents, and start their calls; returns when to come again at the latest."""
        again = relay.turn(self.controller.state, now)
        # Where calls have to queue up, they do so beside all others, by rank.
        return again if self._held_back else min(again, self._start(relay.plan.calls, executor))

    def _start(self, calls: Iterable[Call], executor: Executor) -> float:
        """Start calls as far as EC2's request limits allow; returns when the next one may start."""
        started, due = self.controller.start(calls, self._clock())
        for call in started:
            if self.eips is not None:
                self.eips.controller.started(call, self._clock())
            if self.relay is not None:
                self.relay.controller.started(call, self._clock())
            executor.start(call)
        return due

    def _take_answers(self, executor: Executor, now: float) -> None:
        while not executor.answers.empty():
            self._answered(*executor.answers.get(), now)

    def turn(self, executor: Executor) -> float:
        """Run one turn; returns the seconds until the next one."""
        self.wakes.turns()
        now = self.turned = self._clock()
        self._take_answers(executor, now)
        if not self._informers.synced:
            return LONGEST
        # Nodes and networks after attachments: an attachment's node is known then, unless it is gone.
        attachments = self._informers.attachments.items()
        self.controller.observe(self._informers.nodes.items(), self._informers.networks.items(), attachments)
        relayed = float("inf") if self.relay is None else self._answer_nodes(self.relay, executor, now)
        self.plan = self.controller.plan(now)
        self._report_leaks(self.plan)
        # Statuses first: what an answer has shown is kept before the next call is made.
        again = min(relayed, self._writer.write(self.plan, self.controller.state, now))
        again = min(again, self._write_networks(now), self._write_slices(now))
        calls: tuple[Call, ...] = self.plan.calls
        if self.eips is not None:
            again = min(again, self.eips.turn(self.controller.state, self._informers.pods.items(), now))
            calls = (*calls, *self.eips.plan.calls)
        if self.relay is not None:
            calls = (*calls, *self.relay.plan.calls)
        due = self._start(sorted(calls, key=lambda call: call.rank), executor)
        self._held_back = due < float("inf")
        return min(max(0.0, min(self.plan.due, again, due) - now), LONGEST)

    def _write_networks(self, now: float) -> float:
        """Tell the webhook which definition is in which network; returns when to come again."""
        definitions = self._informers.definitions
        if self.networks_map is None or not definitions.synced:
            return float("inf")
        found = networks_of(definitions.items().values(), self.controller.state.networks)
        return self.networks_map.write(networks_text(found), now)

    def _write_slices(self, now: float) -> float:
        """Tell whereabouts each node's slice; returns when to come again."""
        pools = pools_of(self.controller.state)
        if self.slice_pools is None:
            found = dict.fromkeys(pools, SliceReport({}, NO_SLICES))
            again = float("inf")
        else:
            again = self.slice_pools.write(pools, now)
            found = dict(self.slice_pools.reports)
        if found != self.controller.state.slices:
            self.controller.observe_slices(found)
            return now
        return again

    def _answered(self, call: Call, answer: Answer, now: float) -> None:
        self.controller.answered(call, answer, now)
        if self.eips is not None:
            self.eips.controller.answered(call, answer, now)
        if self.relay is not None:
            self.relay.controller.answered(call, answer, now)
        if isinstance(answer, Refused):
            # What EC2 says of a pod's address is the node agent's to report.
            level = self._log.info if _of_addresses(call, answer) else self._log.warning
            level("refused", message=f"{call.key}: {answer.text}")
        elif call.rank is not Rank.LOOK:
            self._log.info(type(call).__name__.lower(), message=_text(call))

    def _report_leaks(self, plan: Plan) -> None:
        found = frozenset(plan.leaked)
        for eni in sorted(found - self._leaked):
            self._log.warning(
                "leaked", message=f"{eni} has this cluster's tags and nothing needs it", eni=eni
            )
        self._leaked = found


def _of_addresses(call: Call, answer: Refused) -> bool:
    failure = answer.failure
    return isinstance(call, AddressCall) and failure is not None and failure.fault in BY_ADDRESS


def _text(call: Call) -> str:
    fields = {
        name: getattr(call, name) for name in call.__dataclass_fields__ if name not in ("tags", "token")
    }
    return ", ".join(
        f"{name} {_value(value)}" for name, value in fields.items() if value not in (None, "", ())
    )


def _value(value: object) -> str:
    return " ".join(map(str, value)) if type(value) is tuple else str(value)
