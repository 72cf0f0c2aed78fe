"""Carries out a plan's writes to the API server: objects, statuses, nodes, Events.

Thread: the loop's. What fails is decided again a little later; the API server's word is the watch's.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import partial

from common.kube.client import Client
from common.kube.errors import ApiError, ClusterError, Unreachable
from common.kube.timestamps import timestamp
from ipagent.controller.kube import bodies
from ipagent.controller.kube.events import EventWriter, Subject, news
from ipagent.controller.kube.recent_writes import PASSED, REFUSED, RecentWrites
from ipagent.controller.kube.write_budget import NETWORK, NODE, Payer, WriteBudget, next_tick
from ipagent.controller.model.actions import Plan
from ipagent.controller.model.attachment import Attachment, AttachmentStatus
from ipagent.controller.model.network import NodeNetwork
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
from ipagent.node_network_names import (
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
    """`may` is asked before each write whether this replica still leads."""

    client: Client
    events: EventWriter
    log: Log
    may: Callable[[], bool]
    recent: RecentWrites = field(default_factory=RecentWrites)
    budget: WriteBudget = field(init=False)

    def __post_init__(self) -> None:
        self.budget = WriteBudget(self.log)

    def write(self, plan: Plan, state: State, now: float) -> float:
        """Write what is different; returns when to come again at the latest (monotonic seconds)."""
        if (until := self.recent.pause(now)) is not None:
            return until
        self.budget.begin()
        try:
            for write in plan.writes:
                self._once(
                    (type(write), write.name), write, now, _payer(write, state), partial(self._object, write)
                )
            for name, status in plan.attachments.items():
                self._attachment(state, state.attachments[name], status, now)
            for name, found in plan.networks.items():
                self._network(state.networks[name], found, now)
        except (ApiError, Unreachable, ClusterError) as error:
            self.log.warning("write-failed", message=str(error))
            return self.recent.failed(now)
        return next_tick(min(self.recent.done(now), self.budget.due))

    def _attachment(self, state: State, attachment: Attachment, status: AttachmentStatus, now: float) -> None:
        if status == attachment.status:
            return
        before = attachment.status.conditions
        if self._once(
            ("status", attachment.name),
            status,
            now,
            (NODE, attachment.node),
            lambda: self._apply(
                f"{ATTACHMENTS}/{attachment.name}/status",
                bodies.attachment_status(attachment.name, status, before, timestamp()),
            ),
        ):
            node = state.nodes.get(attachment.node)
            found = news(before, status.conditions)
            if node is not None and found is not None and not attachment.deleting:
                kind, condition = found
                text = f"network {attachment.network}: {condition.message or condition.reason}"
                about = Subject("v1", "Node", node.name, node.name)
                self.events.write(about, kind, f"Network{condition.reason}"[:128], text)

    def _network(self, network: NodeNetwork, status: NetworkStatus, now: float) -> None:
        # Of a status only conditions are read back: counts are written with them, or when they change.
        key = ("status", "network", network.name)
        counts = (status.nodes, status.ready, status.failed, status.free, status.subnets, status.generation)
        if status.conditions == network.status and network.counts == counts:
            return
        body = bodies.network_status(network.name, status, network.status, timestamp())
        path, payer = f"{NETWORKS}/{network.name}/status", (NETWORK, network.name)
        if self._once(key, status, now, payer, lambda: self._apply(path, body)):
            found = news(network.status, status.conditions)
            if found is not None:
                kind, condition = found
                about = Subject(API_VERSION, "NodeNetwork", network.name, network.uid)
                self.events.write(about, kind, condition.reason, condition.message)

    def _once(self, key: Hashable, value: object, now: float, payer: Payer, do: Callable[[], None]) -> bool:
        """Do it, unless it was done a moment ago, which the watch does not show yet, or has to wait."""
        if self.recent.has(key, value) or self.recent.waits(key, now):
            return False
        if not self.may() or not self.budget.take(payer, now):
            return False
        try:
            do()
        except ApiError as error:
            self._failed(key, error, now)
            return False
        self.recent.record(key, value, now)
        return True

    def _failed(self, key: Hashable, error: ApiError, now: float) -> None:
        """Raise the error, unless it concerns this write alone."""
        if error.code in PASSED:
            self.recent.changed_meanwhile(now)
        elif error.code in REFUSED and self.recent.refused(key, now):
            self.log.warning("write-failed", message=str(error))
        else:
            raise error

    def _object(self, write: Write) -> None:
        match write:
            case ApplyAttachment():
                self._apply(f"{ATTACHMENTS}/{write.name}", bodies.attachment(write))
            case DeleteAttachment():
                self.client.delete(
                    f"{ATTACHMENTS}/{write.name}", f"delete NodeAttachment {write.name}", write.uid
                )
            case RemoveFinalizer():
                self._finalizer(write.kind, write.name, wanted=False)
            case AddFinalizer():
                self._finalizer("NodeNetwork", write.name, wanted=True)
            case PatchNode():
                path, what = f"/api/v1/nodes/{write.name}", f"label node {write.name}"
                self.client.merge(path, what, bodies.node_patch(write), manager=CONTROLLER_MANAGER)
            case PatchResources():
                path, what = f"/api/v1/nodes/{write.name}/status", f"write the capacity of node {write.name}"
                self.client.merge(path, what, bodies.resources_patch(write), manager=CONTROLLER_MANAGER)

    def _apply(self, path: str, body: bodies.Object) -> None:
        what = f"apply {body['kind']} {body['metadata']['name']}"
        self.client.apply(path, what, body, manager=CONTROLLER_MANAGER, force=True)

    def _finalizer(self, kind: str, name: str, *, wanted: bool) -> None:
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
        self.client.merge(path, what, patch, manager=CONTROLLER_MANAGER)


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
