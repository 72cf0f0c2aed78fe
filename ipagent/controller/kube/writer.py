"""Carries out a plan's writes to the API server: objects, statuses, nodes, Events.

Thread: the loop's. What fails is decided again a little later; the API server's word is the watch's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from common.kube.client import Client
from common.kube.timestamps import timestamp
from ipagent.controller.kube import bodies
from ipagent.controller.kube.events import EventWriter, Subject, news
from ipagent.controller.kube.recent_writes import RecentWrites
from ipagent.controller.kube.slow_writes import Key
from ipagent.controller.kube.write_budget import NETWORK, NODE, Payer, WriteBudget, next_tick
from ipagent.controller.kube.write_turns import PendingWrite, WriteTurns
from ipagent.controller.model.actions import Plan
from ipagent.controller.model.node_attachment import Attachment, AttachmentStatus
from ipagent.controller.model.node_network import NodeNetwork
from ipagent.controller.model.state import State
from ipagent.controller.model.writes import (
    AddFinalizer,
    ApplyAttachment,
    DeleteAttachment,
    NetworkStatus,
    PatchNode,
    PatchResources,
    RemoveFinalizer,
    Write,
)
from ipagent.log import Log
from ipagent.node_network_api import (
    API_VERSION,
    ATTACHMENT_FINALIZER,
    ATTACHMENTS,
    CONTROLLER_MANAGER,
    NETWORK_FINALIZER,
    NETWORKS,
)

_PATHS = {
    "NodeAttachment": (ATTACHMENTS, ATTACHMENT_FINALIZER),
    "NodeNetwork": (NETWORKS, NETWORK_FINALIZER),
}


@dataclass(slots=True)
class Writer:
    """`may` is asked before each write whether this replica still leads; `clock` is monotonic, in seconds."""

    client: Client
    events: EventWriter
    log: Log
    may: Callable[[], bool]
    clock: Callable[[], float] = time.monotonic
    recent: RecentWrites = field(default_factory=RecentWrites)
    budget: WriteBudget = field(init=False)
    _turns: WriteTurns = field(init=False)

    def __post_init__(self) -> None:
        self.budget = WriteBudget(self.log)
        self._turns = WriteTurns(self.recent, self.log, self.clock)

    def write(self, plan: Plan, state: State, now: float) -> float:
        """Write what is different; returns when to come again at the latest (monotonic seconds)."""
        self.budget.begin()
        again = self._turns.run(self._writes(plan, state, now), now)
        return next_tick(min(again, self.budget.due))

    def _writes(self, plan: Plan, state: State, now: float) -> Iterator[PendingWrite]:
        for each in plan.writes:
            key, allowed = Key(type(each).__name__, each.name), self._allowed(_payer(each, state), now)
            yield PendingWrite(key, each, allowed, partial(self._object, each))
        for name, status in plan.attachments.items():
            attachment = state.attachments[name]
            if status != attachment.status:
                yield self._attachment(state, attachment, status, now)
        for name, found in plan.networks.items():
            network = state.networks[name]
            if _differs(found, network):
                yield self._network(network, found, now)

    def _allowed(self, payer: Payer, now: float) -> Callable[[], bool]:
        return lambda: self.may() and self.budget.take(payer, now)

    def _attachment(
        self, state: State, attachment: Attachment, status: AttachmentStatus, now: float
    ) -> PendingWrite:
        before, path = attachment.status.conditions, f"{ATTACHMENTS}/{attachment.name}/status"

        def make(patience: float | None) -> None:
            body = bodies.attachment_status(attachment.name, status, before, timestamp())
            self._apply(path, body, patience)

        def tell() -> None:
            node, found = state.nodes.get(attachment.node), news(before, status.conditions)
            if node is not None and found is not None and not attachment.deleting:
                kind, condition = found
                text = f"network {attachment.network}: {condition.message or condition.reason}"
                about = Subject("v1", "Node", node.name, node.name)
                self.events.write(about, kind, f"Network{condition.reason}"[:128], text)

        key, payer = Key("NodeAttachment status", (attachment.name, attachment.uid)), (NODE, attachment.node)
        return PendingWrite(key, status, self._allowed(payer, now), make, tell)

    def _network(self, network: NodeNetwork, status: NetworkStatus, now: float) -> PendingWrite:
        def make(patience: float | None) -> None:
            body = bodies.network_status(network.name, status, network.status, timestamp())
            self._apply(f"{NETWORKS}/{network.name}/status", body, patience)

        def tell() -> None:
            found = news(network.status, status.conditions)
            if found is not None:
                kind, condition = found
                about = Subject(API_VERSION, "NodeNetwork", network.name, network.uid)
                self.events.write(about, kind, condition.reason, condition.message)

        key, payer = Key("NodeNetwork status", (network.name, network.uid)), (NETWORK, network.name)
        return PendingWrite(key, status, self._allowed(payer, now), make, tell)

    def _object(self, write: Write, patience: float | None) -> None:
        match write:
            case ApplyAttachment():
                self._apply(f"{ATTACHMENTS}/{write.name}", bodies.attachment(write), patience)
            case DeleteAttachment():
                path, what = f"{ATTACHMENTS}/{write.name}", f"delete NodeAttachment {write.name}"
                self.client.delete(path, what, write.uid, patience=patience)
            case RemoveFinalizer():
                self._finalizer(write.kind, write.name, patience, wanted=False)
            case AddFinalizer():
                self._finalizer("NodeNetwork", write.name, patience, wanted=True)
            case PatchNode():
                path, what = f"/api/v1/nodes/{write.name}", f"label node {write.name}"
                self._merge(path, what, bodies.node_patch(write), patience)
            case PatchResources():
                path, what = f"/api/v1/nodes/{write.name}/status", f"write the capacity of node {write.name}"
                self._merge(path, what, bodies.resources_patch(write), patience)

    def _apply(self, path: str, body: bodies.Object, patience: float | None) -> None:
        what = f"apply {body['kind']} {body['metadata']['name']}"
        self.client.apply(path, what, body, manager=CONTROLLER_MANAGER, force=True, patience=patience)

    def _merge(self, path: str, what: str, patch: bodies.Object, patience: float | None) -> None:
        self.client.merge(path, what, patch, manager=CONTROLLER_MANAGER, patience=patience)

    def _finalizer(self, kind: str, name: str, patience: float | None, *, wanted: bool) -> None:
        paths, finalizer = _PATHS[kind]
        found = self.client.get(f"{paths}/{name}", f"read {kind} {name}").object["metadata"]
        others = [each for each in found.get("finalizers", ()) if each != finalizer]
        patch = {
            "metadata": {
                "resourceVersion": found["resourceVersion"],
                "finalizers": [*others, finalizer] if wanted else others,
            }
        }
        path, what = f"{paths}/{name}", f"write the finalizers of {kind} {name}"
        self._merge(path, what, patch, patience)


def _differs(status: NetworkStatus, network: NodeNetwork) -> bool:
    # Of a status only conditions are read back: counts are written with them, or when they change.
    counts = (status.nodes, status.ready, status.failed, status.free, status.subnets, status.generation)
    return status.conditions != network.status or network.counts != counts


def _payer(write: Write, state: State) -> Payer:
    """Return the node or the network that causes a write."""
    match write:
        case ApplyAttachment():
            return NODE, write.node
        case PatchNode() | PatchResources():
            return NODE, write.name
        case AddFinalizer() | RemoveFinalizer("NodeNetwork"):
            return NETWORK, write.name
        case _:
            attachment = state.attachments.get(write.name)
            return NODE, attachment.node if attachment is not None else write.name
