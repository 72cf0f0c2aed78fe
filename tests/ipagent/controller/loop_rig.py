"""The leader's loop with its writers, on an API server and an EC2 in memory, by a clock of its own.

What the loop waits for is what its turns return: a turn that is due for nothing shows in `turns`.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

from common.kube.client import Answer as ApiAnswer
from common.kube.errors import ApiError, Unreachable
from ipagent.call_relay_status import read_answers
from ipagent.controller.kube.events import EventWriter
from ipagent.controller.kube.writer import Writer
from ipagent.controller.loop import SHORTEST, Loop
from ipagent.controller.model.actions import Call
from ipagent.controller.model.condition import read_conditions
from ipagent.controller.model.node import Taint
from ipagent.controller.model.node_attachment import read_attachment, read_status
from ipagent.controller.model.state import State
from ipagent.controller.model.writes import PatchNode, PatchResources
from ipagent.controller.reconcile.controller import Controller
from ipagent.controller.reconcile.ec2_answers import Answer
from ipagent.log import Log
from ipagent.node_network_api import ATTACHMENT_FINALIZER, ATTACHMENTS, NETWORK_FINALIZER, NETWORKS
from tests.ipagent.controller.prefix_world import PrefixWorld

Object = dict[str, Any]


@dataclass
class ApiServer:
    """Takes what the controller writes into the world, and counts it by path."""

    world: PrefixWorld
    writes: Counter[str] = field(default_factory=Counter)
    away: bool = False
    refuse: Callable[[str], ApiError | None] = lambda _: None
    """Is asked with each write's path."""

    def apply(self, path: str, what: str, body: Object, *, manager: str, **more: object) -> None:
        """Apply an object or a status."""
        assert manager, (what, more)
        self._write(path)
        parts = path.removeprefix(NETWORKS).removeprefix(ATTACHMENTS).strip("/").split("/")
        if path.startswith(NETWORKS):
            self._network_status(parts[0], body["status"])
        elif len(parts) == 1:
            self._attachment(parts[0], body)
        else:
            self._attachment_status(parts[0], body["status"])

    def merge(self, path: str, what: str, patch: Object, *, manager: str, **more: object) -> None:
        """Merge a patch: finalizers, labels and taints, capacity."""
        assert manager, (what, more)
        self._write(path)
        kind, _, rest = path.removeprefix("/api/v1/").rpartition("/")
        if "finalizers" in patch.get("metadata", {}):
            self._finalizers(path, patch["metadata"]["finalizers"])
        elif rest == "status":
            self.world.write(PatchResources(kind.rpartition("/")[2], "", patch["status"]["capacity"]))
        elif path.startswith("/api/v1/nodes/"):
            taints = patch.get("spec", {}).get("taints")
            found = None if taints is None else tuple(map(_taint, taints))
            self.world.write(PatchNode(rest, "", patch["metadata"].get("labels", {}), found))

    def delete(self, path: str, what: str, uid: str, **more: object) -> None:
        """Delete a NodeAttachment, which has a finalizer."""
        assert what, more
        self._write(path)
        name = path.rpartition("/")[2]
        if name in self.world.attachments and self.world.attachments[name].uid == uid:
            self.world.attachments[name] = replace(self.world.attachments[name], deleting=True)

    def get(self, path: str, what: str) -> ApiAnswer:
        """Return an object's metadata."""
        self._reach(what)
        found = self._object(path)
        finalizer = NETWORK_FINALIZER if path.startswith(NETWORKS) else ATTACHMENT_FINALIZER
        held = found is not None and found.held
        metadata = {"resourceVersion": "1", "finalizers": [finalizer] if held else []}
        return SimpleNamespace(object={"metadata": metadata})  # type: ignore[return-value] # as much as is read

    def create(self, path: str, what: str, body: Object) -> None:
        """Create an Event."""
        assert body["kind"] == "Event", what
        self._write(path)

    def _write(self, path: str) -> None:
        self._reach(path)
        if (error := self.refuse(path)) is not None:
            raise error
        self.writes[path] += 1

    def _reach(self, what: str) -> None:
        if self.away:
            raise Unreachable(f"{what}: the API server does not answer")

    def _object(self, path: str) -> Any:
        name = path.rpartition("/")[2]
        return (self.world.networks if path.startswith(NETWORKS) else self.world.attachments).get(name)

    def _attachment(self, name: str, body: Object) -> None:
        before = self.world.attachments.get(name)
        self.world.serial += 1
        uid = before.uid if before is not None else f"uid-{self.world.serial}"
        found = read_attachment({**body, "metadata": {**body["metadata"], "uid": uid}})
        if before is not None:
            found = replace(before, link=found.link, cni=found.cni, report_pods=found.report_pods)
        self.world.attachments[name] = found

    def _attachment_status(self, name: str, status: Object) -> None:
        before = self.world.attachments.get(name)
        if before is None:
            return
        if "responses" in status:
            self.world.attachments[name] = replace(before, responses=read_answers(status))
        else:
            self.world.attachments[name] = replace(before, status=read_status(status))

    def _network_status(self, name: str, status: Object) -> None:
        if name in self.world.networks:
            counts = (
                *(status.get(key) for key in ("nodes", "ready", "failed", "free")),
                tuple(status["subnets"]),
            )
            self.world.networks[name] = replace(
                self.world.networks[name],
                status=read_conditions(status),
                counts=(*counts, status["observedGeneration"]),
            )

    def _finalizers(self, path: str, finalizers: list[str]) -> None:
        found, name = self._object(path), path.rpartition("/")[2]
        if found is None:
            return
        objects: dict[str, Any] = self.world.networks if path.startswith(NETWORKS) else self.world.attachments
        if found.deleting and not finalizers:
            del objects[name]
        else:
            objects[name] = replace(found, held=bool(finalizers))


def _taint(found: Mapping[str, Any]) -> Taint:
    rest = {key: value for key, value in found.items() if key not in ("key", "effect")}
    return Taint(found["key"], found["effect"], tuple(rest.items()))


@dataclass
class LoopRig:
    """A loop in a world; `answer` is asked what a call's sender hears of what EC2 has done."""

    world: PrefixWorld
    latency: float = 0.2
    """Seconds until EC2 answers."""
    answer: Callable[[Call, Answer], Answer] = lambda _, answer: answer
    stale: bool = False
    """Whether the watches show nothing new."""
    turns: int = 0
    log: io.StringIO = field(default_factory=io.StringIO)

    def __post_init__(self) -> None:
        self.api = ApiServer(self.world)
        self._seen: tuple[Any, ...] = ({}, {}, {})
        self.elect()

    def elect(self) -> None:
        """Let a replica lead that remembers nothing; what the former one has asked of EC2 is done."""
        log = Log(stream=self.log)
        clock = lambda: self.world.now  # noqa: E731
        events = EventWriter(self.api, "r", log, clock)  # type: ignore[arg-type] # as much as is used
        writer = Writer(self.api, events, log, lambda: True, clock)  # type: ignore[arg-type] # likewise
        informers = SimpleNamespace(
            synced=True,
            nodes=SimpleNamespace(items=lambda: self._seen[0]),
            networks=SimpleNamespace(items=lambda: self._seen[1]),
            attachments=SimpleNamespace(items=lambda: self._seen[2]),
            definitions=SimpleNamespace(synced=False),
        )
        controller = Controller(State("prod"))
        self.loop = Loop(controller, informers, writer, log, clock)  # type: ignore[arg-type] # likewise
        self._answers: SimpleQueue[tuple[Call, Answer]] = SimpleQueue()
        self._executor = SimpleNamespace(answers=self._answers, start=self._start)
        self._due = self.world.now

    def run(self, seconds: float, *, until: Callable[[], bool] = lambda: False) -> None:
        """Go on for so many seconds of the world's time, or until something holds."""
        end = self.world.now + seconds
        while self.world.now < end and not until():
            self._watch()
            due = self.loop.wakes.due(self._due)
            if self.world.now >= due:
                self.turns += 1
                self._due = self.world.now + max(SHORTEST, self.loop.turn(self._executor))  # type: ignore[arg-type] # likewise
                self.world.advance(SHORTEST)
            else:
                events = [at for at, _ in self.world.due]
                self.world.advance(max(0.001, min([due, end, *events]) - self.world.now))
            self.world.write_files()
            self.world.report()

    def _watch(self) -> None:
        """Take what the watches show, and report what is new as informers do."""
        if self.stale:
            return
        shown: tuple[Mapping[str, Any], ...] = (self.world.nodes, self.world.networks, self.world.attachments)
        nodes, networks, attachments = (
            _different(before, now) for before, now in zip(self._seen, shown, strict=True)
        )
        self._seen = tuple(dict(each) for each in shown)
        nodes |= {name.rpartition(".")[0] for name in attachments} | {f"network {name}" for name in networks}
        if nodes:
            self.loop.wakes.changed(nodes)

    def _start(self, call: Call) -> None:
        """Let EC2 do it now, and answer later, whoever leads then."""
        answers, answer = self._answers, self.answer(call, self.world.execute(call))
        wakes = self.loop.wakes

        def arrive() -> None:
            answers.put((call, answer))
            wakes.soon()

        self.world.due.append((self.world.now + self.latency, arrive))


def _different(before: Mapping[str, Any], now: Mapping[str, Any]) -> set[str]:
    """Return the names of the objects that have come, changed or gone."""
    if before == now:
        return set()
    return {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}
