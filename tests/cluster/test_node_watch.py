"""The node agent's Kubernetes side on a real API server, with exactly the rights that the chart gives it."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import pytest

from common.agent_container import TOKEN_AUDIENCE
from common.agent_settings import LogFormat
from common.kube.client import Client
from common.kube.errors import ApiError
from common.kube.kubeconfig import load_kubeconfig
from ipagent.log import Log
from ipagent.network_status_origin import NETWORK_STATUS
from ipagent.node.model.address_events import AddressEvent, EventType
from ipagent.node.model.pod import Pod, PodKey, read_pod
from ipagent.node.observe import event_correlator
from ipagent.node.observe.event_recorder import EventRecorder
from ipagent.node.pod_informer import PODS, PodInformer
from ipagent.node.sessions.auth import PodIdentity, Unauthenticated, read_review, review_token
from tests.cluster.api import POD, Api
from tests.cluster.api import Kind as ObjectKind
from tests.cluster.control_plane import ControlPlane
from tests.cluster.kubeconfig import write_kubeconfig
from tests.cluster.namespaces import Namespaces
from tests.cluster.node_agents import (
    Script,
    make_node,
    networked,
    node_agent_kubeconfig,
    script,
    status_entry,
)
from tests.cluster.waiting import wait_for

pytestmark = pytest.mark.cluster

EVENT = ObjectKind("v1", "Event")
MAC = "02:aa:00:00:00:01"
DEFAULT = status_entry("10.10.0.17", name="aws-cni", interface="eth0", default=True)
_numbers = itertools.count(1)


class Told:
    """What the watcher told last of each pod."""

    def __init__(self) -> None:
        self.lists: list[set[str]] = []
        self.pods: dict[str, Pod] = {}
        self.gone: list[str] = []

    def on_list(self, pods: tuple[Pod, ...]) -> None:
        # In this order: tests wait for the list, and read the pods then.
        self.pods |= {pod.key.name: pod for pod in pods}
        self.lists.append({pod.key.name for pod in pods})

    def on_event(self, pod: Pod, gone: bool) -> None:
        self.pods[pod.key.name] = pod
        if gone:
            self.gone.append(pod.key.name)

    def addresses(self, name: str) -> list[str]:
        """Return the addresses of a pod."""
        return [str(each.address) for each in self.pods[name].holdings] if name in self.pods else []


@dataclass(frozen=True, slots=True)
class Agent:
    """A node agent's client, its node, and what the administrator does there."""

    client: Client
    node: str
    script: Script
    log: io.StringIO

    @property
    def logger(self) -> Log:
        """Log for a test to read."""
        return Log(form=LogFormat.JSON, stream=self.log)


@pytest.fixture
def agent(control_plane: ControlPlane, api: Api, tmp_path: Path) -> Iterator[Agent]:
    namespace = Namespaces(api, "none", "node-watch").make().name
    client = Client(
        load_kubeconfig([node_agent_kubeconfig(control_plane, api, namespace, tmp_path)]),
        "node-agent",
        keep=60.0,
    )
    admin = script(control_plane, namespace)
    node = f"watched-{next(_numbers)}"
    make_node(api, node)
    yield Agent(client, node, admin, io.StringIO())
    client.close()
    admin.client.close()


@pytest.fixture
def told(agent: Agent) -> Iterator[Told]:
    told = Told()
    watcher = PodInformer(agent.client, agent.node, told.on_list, told.on_event, agent.logger)
    watcher.start()
    wait_for(lambda: told.lists, "the list")
    yield told
    watcher.stop()
    assert watcher.join(20)
    assert agent.log.getvalue() == ""


def test_a_pod_is_followed_from_its_binding_to_its_end(agent: Agent, api: Api, told: Told) -> None:
    agent.script.make_pod(networked("a"), agent.node)
    agent.script.make_pod(networked("elsewhere"), "another-node")
    wait_for(lambda: "a" in told.pods and told.pods["a"].waiting, "a pod that waits for Multus")
    agent.script.multus("a", [DEFAULT, status_entry("10.10.1.81", "2600::81", mac=MAC)])
    wait_for(lambda: told.addresses("a") == ["10.10.1.81", "2600::81"], "its addresses")
    assert not told.pods["a"].waiting
    agent.script.client.merge(
        f"{agent.script.path('a')}", "label", {"metadata": {"finalizers": ["tests/hold"]}}, manager="tests"
    )
    api.delete(POD, "a", agent.script.namespace)
    wait_for(lambda: told.pods["a"].leaving, "its leaving")
    assert told.pods["a"].alive
    assert told.gone == []
    agent.script.client.merge(
        f"{agent.script.path('a')}", "label", {"metadata": {"finalizers": None}}, manager="tests"
    )
    wait_for(lambda: told.gone == ["a"], "its end")
    assert set(told.pods) == {"a"}


def test_a_pod_that_has_ended_is_not_alive(agent: Agent, told: Told) -> None:
    agent.script.make_pod(networked("job"), agent.node)
    agent.script.multus("job", [status_entry("10.10.1.82", mac=MAC)])
    wait_for(lambda: told.addresses("job") == ["10.10.1.82"], "its address")
    agent.script.patch_status("job", {"status": {"phase": "Succeeded"}})
    wait_for(lambda: not told.pods["job"].alive, "its end")


def test_a_status_from_a_template_waits_for_the_one_by_multus(agent: Agent, told: Told) -> None:
    copied = {NETWORK_STATUS: '[{"interface": "net1", "ips": ["10.10.1.99"]}]'}
    agent.script.make_pod(networked("copy", annotations=copied), agent.node)
    wait_for(lambda: "copy" in told.pods, "the pod")
    assert told.addresses("copy") == []
    assert told.pods["copy"].waiting
    agent.script.multus("copy", [status_entry("10.10.1.83", mac=MAC)])
    wait_for(lambda: told.addresses("copy") == ["10.10.1.83"], "its own address")


def test_pods_from_before_the_start_are_listed(agent: Agent) -> None:
    agent.script.make_pod(networked("first"), agent.node)
    agent.script.multus("first", [status_entry("10.10.1.84", mac=MAC)])
    told = Told()
    watcher = PodInformer(agent.client, agent.node, told.on_list, told.on_event, agent.logger)
    watcher.start()
    wait_for(lambda: told.lists == [{"first"}], "the list")
    assert told.addresses("first") == ["10.10.1.84"]
    assert watcher.age() is not None
    assert [pod.key.name for pod in watcher.list_now()] == ["first"]
    watcher.stop()
    assert watcher.join(20)


def test_a_list_is_read_in_pages_too(agent: Agent) -> None:
    for number in range(5):
        agent.script.make_pod(networked(f"p{number}"), agent.node)
    selected = {"fieldSelector": f"spec.nodeName={agent.node}", "limit": "2"}
    version, found = agent.client.list(PODS, "list pods", selected, read_pod)
    assert [pod.key.name for pod in found] == [f"p{number}" for number in range(5)]
    assert int(version) > 0


def test_a_token_proves_its_pod_while_the_pod_lives(agent: Agent, api: Api) -> None:
    pod = agent.script.make_pod(networked("asks"), agent.node)
    token = agent.script.token(pod)
    found = read_review(review_token(agent.client, token))
    assert isinstance(found, PodIdentity)
    assert found.pod == PodKey(agent.script.namespace, "asks", pod["metadata"]["uid"])
    api.delete(POD, "asks", agent.script.namespace)

    def refused() -> bool:
        return isinstance(read_review(review_token(agent.client, token)), Unauthenticated)

    # The API server itself remembers a token that it found valid, for ten seconds.
    wait_for(refused, "a refusal", 60)


def test_a_token_for_another_audience_is_not_authenticated(agent: Agent) -> None:
    pod = agent.script.make_pod(networked("asks"), agent.node)
    for token in (agent.script.token(pod, "https://kubernetes.default.svc"), "nonsense"):
        assert isinstance(read_review(review_token(agent.client, token)), Unauthenticated)
    both = agent.script.token(pod, "other", TOKEN_AUDIENCE)
    assert isinstance(read_review(review_token(agent.client, both)), PodIdentity)


def test_the_api_server_does_not_take_the_token_that_an_impostor_is_shown(
    agent: Agent, control_plane: ControlPlane, tmp_path: Path
) -> None:
    """docs/security.md, "Who can pose as the node agent?"."""
    pod = agent.script.make_pod(networked("shows-it"), agent.node)

    def ask(number: int, token: str) -> str:
        file = tmp_path / f"{number}.kubeconfig"
        path = write_kubeconfig(file, control_plane.url, control_plane.ca.read_bytes(), token)
        client = Client(load_kubeconfig([path]), "impostor")
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        try:
            # Whoever is authenticated may ask who he is (system:basic-user).
            found = client.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", "ask", body).object
            return str(found["status"]["userInfo"]["username"])
        finally:
            client.close()

    account = f"system:serviceaccount:{agent.script.namespace}:default"
    assert ask(1, agent.script.token(pod, "https://kubernetes.default.svc")) == account
    with pytest.raises(ApiError, match="401"):
        ask(2, agent.script.token(pod, TOKEN_AUDIENCE))


def test_events_are_on_the_pod(agent: Agent, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_correlator, "AGAIN", 0.0)
    pod = agent.script.make_pod(networked("told"), agent.node)
    key = PodKey(agent.script.namespace, "told", pod["metadata"]["uid"])
    recorder = EventRecorder(agent.client, agent.node, agent.logger)
    recorder.start()
    address = ip_address("10.10.1.81")
    held = "10.10.1.81 is held by eni-9 of i-2"

    def stored() -> dict[str, tuple[str, int]]:
        found = api.list(EVENT, agent.script.namespace)
        ours = [each for each in found if each["involvedObject"]["uid"] == key.uid]
        return {each["message"]: (each["reason"], each["count"]) for each in ours}

    recorder.record(
        [
            AddressEvent(EventType.ASSIGNED, key, address, "eni-1", ""),
            AddressEvent(EventType.CONFLICT, key, address, "eni-1", held),
        ]
    )
    expected = {"assigned 10.10.1.81 to eni-1": ("AddressAssigned", 1), held: ("AddressConflict", 1)}
    wait_for(lambda: stored() == expected, "two Events")
    recorder.record([AddressEvent(EventType.CONFLICT, key, address, "eni-1", held)])
    wait_for(lambda: stored()[held] == ("AddressConflict", 2), "another count")
    recorder.stop()
    recorder.join(20)
    assert agent.log.getvalue() == ""
    assert recorder.dropped == 0


def test_its_rights_reach_no_further(agent: Agent) -> None:
    pod = agent.script.make_pod(networked("other"), agent.node)
    path = agent.script.path(pod["metadata"]["name"])
    namespace = f"/api/v1/namespaces/{agent.script.namespace}"
    attempts: list[Callable[[], object]] = [
        lambda: agent.client.get("/api/v1/secrets", "list Secrets"),
        lambda: agent.client.get("/api/v1/nodes", "list nodes"),
        lambda: agent.client.get(f"{namespace}/events", "list Events"),
        lambda: agent.client.merge(path, "change a pod", {}, manager="tests"),
        lambda: agent.client.merge(f"{path}/status", "change a pod", {}, manager="tests"),
        lambda: agent.client.create(f"{namespace}/pods", "make a pod", networked("mine")),
        lambda: agent.client.create(f"{namespace}/serviceaccounts/default/token", "get a token", {}),
    ]
    for attempt in attempts:
        with pytest.raises(ApiError) as refused:
            attempt()
        assert refused.value.code == 403
