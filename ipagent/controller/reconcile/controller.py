"""Controller of node networks, without I/O: state, answers, and the next plan. Not thread-safe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ipagent.controller.model.actions import Call, Plan
from ipagent.controller.model.node import Node
from ipagent.controller.model.node_attachment import Attachment
from ipagent.controller.model.node_network import NodeNetwork
from ipagent.controller.model.node_slice_pools import SliceReport
from ipagent.controller.model.relay_calls import AddressCall
from ipagent.controller.model.state import State
from ipagent.controller.reconcile.call_rate_limiter import CallRateLimiter
from ipagent.controller.reconcile.decide import decide
from ipagent.controller.reconcile.ec2_answers import Answer, Refused
from ipagent.controller.reconcile.ec2_error_conditions import Kind
from ipagent.controller.reconcile.snapshot_updates import answered, observed


class Controller:
    """Turns what is observed into plans, and starts calls as EC2's request limits allow."""

    def __init__(self, state: State, limiter: CallRateLimiter | None = None) -> None:
        self.state = state
        self._limiter = limiter or CallRateLimiter()
        self._started: dict[str, float] = {}

    def observe(
        self,
        nodes: Mapping[str, Node],
        networks: Mapping[str, NodeNetwork],
        attachments: Mapping[str, Attachment],
    ) -> None:
        """Replace what the API server says."""
        self.state = replace(self.state, nodes=nodes, networks=networks, attachments=attachments)

    def observe_attachments(self, attachments: Mapping[str, Attachment]) -> None:
        """Replace what the API server says of NodeAttachments alone."""
        self.state = replace(self.state, attachments=attachments)

    def observe_slices(self, slices: Mapping[str, SliceReport]) -> None:
        """Replace what the API server has of NodeSlicePools."""
        self.state = replace(self.state, slices=slices)

    def plan(self, now: float) -> Plan:
        """Decide."""
        plan = decide(self.state, now)
        self.state = replace(self.state, ec2=observed(self.state.ec2, plan, now))
        return plan

    def start(self, calls: Iterable[Call], now: float) -> tuple[tuple[Call, ...], float]:
        """Return the calls to make now, each of which has to be answered, and when the next may start."""
        started, due = self._limiter.take(calls, self.state.busy, now)
        self._started |= {call.key: now for call in started}
        busy = {**self.state.busy, **{call.key: call for call in started}}
        self.state = replace(self.state, busy=busy)
        return started, due

    def answered(self, call: Call, answer: Answer, now: float) -> None:
        """Record the answer to a call."""
        if isinstance(answer, Refused) and answer.kind is Kind.THROTTLED:
            self._limiter.throttled(answer.action, now)
        started, ec2 = self._started.pop(call.key, None), self.state.ec2
        if not isinstance(call, AddressCall):
            # What is done for node agents is theirs to know.
            ec2 = answered(ec2, call, answer, now, started)
        busy = {key: each for key, each in self.state.busy.items() if key != call.key}
        self.state = replace(self.state, ec2=ec2, busy=busy)
