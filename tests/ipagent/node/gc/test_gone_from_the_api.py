"""What is gone from the API may go on: real informer, loop, controller and collector, an API over the wire.

A pod's address is reclaimed only if the pod is known to have ended, and not if it merely looks like it.
"""

from __future__ import annotations

import io
import json
import queue
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from common.kube.errors import ApiError, ClusterError, Unreachable
from common.pod_keys import NETWORKS
from ipagent.log import Log
from ipagent.main_loop import Wakeup
from ipagent.network_status_origin import NETWORK_STATUS
from ipagent.node.gc.collector import Collector
from ipagent.node.gc.undo_reclaim import ListingFailed
from ipagent.node.loop import Loop
from ipagent.node.model.gc_policy import GcMode, GcPolicy
from ipagent.node.model.grants import Grants
from ipagent.node.model.pod import MIRROR, Pod
from ipagent.node.pod_informer import PodInformer
from ipagent.node.reconcile.controller import NodeController
from tests.cluster.waiting import wait_for
from tests.common.kube.fake_api import FakeApi, Reply, Request
from tests.ipagent.fakes import ENI_1, Time
from tests.ipagent.node.node_fakes import FakeCheckpoint, NodeFake

OWN = ("kube-system", "agent")
ADDRESS = "10.10.1.80"
LONG = 3600.0
"""Seconds in which everything leaked is reclaimed."""
GONE = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}}


def pod(name: str, uid: str, address: str = "", *, mirror: bool = False, **more: Any) -> dict[str, Any]:
    entries = [{"name": "ns/nad", "interface": "net1", "ips": [address], "mac": ENI_1.mac}]
    status = {NETWORK_STATUS: json.dumps(entries)} if address else {}
    namespace, _, name = name.rpartition("/")
    owned: dict[str, Any] = {"f:metadata": {"f:annotations": {f"f:{NETWORK_STATUS}": {}}}}
    return {
        "metadata": {
            "namespace": namespace,
            "name": name,
            "uid": uid,
            "resourceVersion": "11",
            "annotations": {NETWORKS: "nad", **status, **({MIRROR: "hash"} if mirror else {})},
            "managedFields": [{"subresource": "status", "fieldsV1": owned}],
        },
        "spec": {},
        "status": {"phase": "Running"},
        **more,
    }


AGENT = {**pod("kube-system/agent", "uid-agent"), "spec": {"hostNetwork": True}}
X = pod("apps/x-0", "uid-x", ADDRESS)
STATIC = pod("apps/x-0", "uid-x", ADDRESS, mirror=True)


def listed(*pods: dict[str, Any]) -> dict[str, Any]:
    metadata = {"resourceVersion": "12"}
    return {"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": list(pods)}


@dataclass
class Node:
    """A node agent without sessions, on a clock of its own."""

    time: Time
    cloud: NodeFake
    informer: PodInformer
    loop: Loop
    api: FakeApi
    served: Served
    log: io.StringIO

    def lists(self) -> int:
        return sum("watch" not in request.parameters for request in self.api.requests)

    def live(self, seconds: float) -> None:
        end = self.time.now + seconds
        for _ in range(5000):
            delay = self.loop.turn()
            if delay is None or self.time.now + delay > end:
                self.time.now = end
                return
            self.time.now += max(delay, 0.001)
        pytest.fail("it spins")

    def sends(self, kind: str, changed: dict[str, Any]) -> None:
        """Send an event of the watch, and wait until the informer has passed it on."""
        before = self.served.told
        self.served.script.put({"type": kind, "object": changed})
        wait_for(lambda: self.served.told > before, f"{kind} event")

    def relists(self, body: object) -> None:
        """Have the API server ask for a new list, and answer it so from now on."""
        self.served.body = body
        before = self.lists()
        self.served.script.put(GONE)
        # Another one follows a list that is refused; one that is taken is passed on.
        told = self.served.told
        wait_for(lambda: self.served.told > told or self.lists() > before + 1, "the list")


@dataclass
class Served:
    body: object
    script: queue.Queue[dict[str, Any] | None] = field(default_factory=queue.Queue)
    told: int = 0

    def answer(self, request: Request) -> Reply:
        if "watch" in request.parameters:
            return Reply(chunks=self._events())
        return Reply(body=self.body)

    def _events(self) -> Iterator[bytes]:
        while event := self.script.get(timeout=60):
            yield json.dumps(event).encode() + b"\n"
            if event is GONE:
                return


class Lister:
    """The list for a sweep, as main.py makes it."""

    def __init__(self) -> None:
        self.informer: PodInformer | None = None

    def pods(self) -> tuple[Pod, ...]:
        assert self.informer is not None
        try:
            return self.informer.list_now()
        except (ApiError, Unreachable, ClusterError) as error:
            raise ListingFailed(str(error)) from error


@pytest.fixture
def make_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, Any]], Node]]:
    monkeypatch.setattr("common.kube.reflector.SHORTEST", 0.0)
    monkeypatch.setattr("common.kube.reflector.pause_after_failure", lambda *_: 0.02)
    made: list[Node] = []
    served = Served(listed(AGENT))
    with FakeApi(tmp_path, served.answer, lasting=60.0) as api, closing(Wakeup()) as wakeup:

        def make(first: dict[str, Any]) -> Node:
            served.body = listed(AGENT, first)
            time, stream, lister = Time(), io.StringIO(), Lister()
            cloud, log = NodeFake(time), Log(stream=stream)
            policy = GcPolicy(GcMode.ON, 60.0, 300.0)
            collector = Collector(
                policy,
                cloud,
                lister,
                FakeCheckpoint(time),
                timing=time.timing,
                wall=lambda: time.now,
                log=log,
            )
            controller = NodeController(cloud, Grants(), time.timing, log, collector)
            loop = Loop(controller, wakeup, lambda: 0.0, lambda _: None, lambda: time.now, own=OWN)

            def on_list(pods: tuple[Pod, ...]) -> None:
                loop.on_list(pods)
                served.told += 1

            def on_event(pod: Pod, gone: bool) -> None:
                loop.on_event(pod, gone)
                served.told += 1

            informer = PodInformer(api.client(tmp_path), "node-a", on_list, on_event, log, own=OWN)
            lister.informer = informer
            informer.start()
            wait_for(lambda: served.told, "the first list")
            node = Node(time, cloud, informer, loop, api, served, stream)
            node.live(60)
            assert held(node) == {ADDRESS}
            made.append(node)
            return node

        yield make
        for node in made:
            node.informer.stop()
            for _ in range(20):
                served.script.put(None)
            assert node.informer.join(20)


def held(node: Node) -> set[str]:
    return {str(address) for address in node.cloud.secondaries[ENI_1.id]}


MakeNode = Callable[[dict[str, Any]], Node]


def test_the_address_of_a_pod_that_has_ended_is_reclaimed(make_node: MakeNode) -> None:
    """What the others have in common, with the opposite outcome."""
    node = make_node(X)
    node.served.body = listed(AGENT)
    node.sends("DELETED", X)
    node.live(LONG)
    assert held(node) == set()


def deleted(node: Node) -> None:
    node.served.body = listed(AGENT)
    node.sends("DELETED", STATIC)


def anew(node: Node, after: dict[str, Any], before: dict[str, Any] = X) -> None:
    node.served.body = listed(AGENT, after)
    node.sends("DELETED", before)
    node.sends("ADDED", after)


def node_deleted(node: Node) -> None:
    """`kubectl delete node`: its pods are deleted from the API, the agent's own with them."""
    node.served.body = listed()
    for each in (X, AGENT):
        node.sends("DELETED", each)


LOOKS_GONE: dict[str, tuple[dict[str, Any], Callable[[Node], None]]] = {
    "mirror of a static pod deleted": (STATIC, deleted),
    "mirror made anew, without network-status": (
        STATIC,
        lambda node: anew(node, pod("apps/x-0", "uid-2", mirror=True), STATIC),
    ),
    "namespace made anew": (X, lambda node: anew(node, pod("apps/x-0", "uid-2"))),
    "node deleted": (X, node_deleted),
    "node deleted, seen by a list": (X, lambda node: node.relists(listed())),
    "list without the agent's own pod": (
        X,
        lambda node: node.relists(listed(pod("apps/y-0", "uid-y", "10.10.1.90"))),
    ),
    "list that is a Status": (X, lambda node: node.relists({"kind": "Status", "status": "Success"})),
    "list without items": (
        X,
        lambda node: node.relists({"kind": "PodList", "metadata": {"resourceVersion": "12"}}),
    ),
    "items that are null": (X, lambda node: node.relists({**listed(), "items": None})),
    "items that are an object": (X, lambda node: node.relists({**listed(), "items": {}})),
    "list of another kind": (X, lambda node: node.relists({**listed(AGENT), "kind": "Table"})),
    "list without a version": (X, lambda node: node.relists({**listed(AGENT), "metadata": {}})),
    "list that is JSON and no object": (X, lambda node: node.relists([])),
    "list that is cut off": (
        X,
        lambda node: node.relists(json.dumps(listed(AGENT, X)).encode()[: len(json.dumps(listed(AGENT)))]),
    ),
}


@pytest.mark.parametrize("case", LOOKS_GONE)
def test_what_only_looks_gone_keeps_its_address(make_node: MakeNode, case: str) -> None:
    first, happens = LOOKS_GONE[case]
    node = make_node(first)
    happens(node)
    node.live(LONG)
    assert held(node) == {ADDRESS}


def test_a_broken_list_for_a_sweep_reclaims_nothing(make_node: MakeNode) -> None:
    """The watch says that a pod has gone, and the list that has to confirm it is none."""
    node = make_node(X)
    node.served.body = {"kind": "Status", "status": "Success"}
    node.sends("DELETED", X)
    node.live(LONG)
    assert held(node) == {ADDRESS}
