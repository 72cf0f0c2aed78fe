"""The watch on the pods of a node, and reviews of tokens."""

from __future__ import annotations

import io
import json
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.agent_container import TOKEN_AUDIENCE
from common.agent_settings import LogFormat
from common.kube.errors import ApiError, ClusterError, Unreachable
from ipagent.log import Log
from ipagent.network_status_origin import MERGED, NETWORK_STATUS
from ipagent.node.model.pod import Pod
from ipagent.node.pod_informer import PodInformer, VerifiedStatuses
from ipagent.node.sessions.auth import review_token
from ipagent.node_protocol import MAX_TOKEN
from tests.cluster.waiting import wait_for
from tests.common.kube.fake_api import FakeApi, Reply, Request


def pod(
    name: str, address: str = "", version: str = "1", *, manager: str = "multus", **status: Any
) -> dict[str, Any]:
    written = json.dumps([{"interface": "net1", "ips": [address], "mac": "02:aa:00:00:00:01"}])
    return {
        "metadata": {
            "namespace": "ns",
            "name": name,
            "uid": f"uid-{name}",
            "resourceVersion": version,
            "annotations": {NETWORK_STATUS: written} if address else {},
            "managedFields": [
                {
                    "manager": manager,
                    **({"subresource": "status"} if manager == "multus" else {}),
                    "fieldsV1": {"f:metadata": {"f:annotations": {f"f:{NETWORK_STATUS}": {}}}},
                }
            ],
        },
        "status": {"phase": "Running", **status},
    }


class Served:
    """Lists `pods`, and sends as events what a test puts into `script`; None ends an answer."""

    def __init__(self) -> None:
        self.pods: list[dict[str, Any]] = []
        self.script: queue.Queue[tuple[str, dict[str, Any]] | None] = queue.Queue()
        self.refusal: Reply | None = None

    def answer(self, request: Request) -> Reply:
        if self.refusal:
            return self.refusal
        if "watch" in request.parameters:
            return Reply(chunks=self._events())
        return Reply(body={"kind": "PodList", "metadata": {"resourceVersion": "10"}, "items": self.pods})

    def _events(self) -> Iterator[bytes]:
        while found := self.script.get(timeout=20):
            yield json.dumps({"type": found[0], "object": found[1]}).encode() + b"\n"


class Told:
    """What the process was told; a pod by its name, phase and addresses."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def on_list(self, pods: tuple[Pod, ...]) -> None:
        self.told.append([each.key.name for each in pods])

    def on_event(self, pod: Pod, gone: bool) -> None:
        self.told.append((pod.key.name, [str(each.address) for each in pod.holdings], gone))


Watched = tuple[FakeApi, Served, Told, PodInformer, io.StringIO]


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    monkeypatch.setattr("common.kube.reflector.SHORTEST", 0.0)
    monkeypatch.setattr("common.kube.reflector.pause_after_failure", lambda *_: 0.02)
    served, told, stream = Served(), Told(), io.StringIO()
    served.pods = [pod("a", "10.10.1.81"), pod("b")]
    with FakeApi(tmp_path, served.answer) as api:
        log = Log(form=LogFormat.JSON, stream=stream)
        watcher = PodInformer(api.client(tmp_path), "node-a", told.on_list, told.on_event, log)
        assert watcher.age() is None
        watcher.start()
        wait_for(lambda: told.told, "the list")
        yield api, served, told, watcher, stream
        watcher.stop()
        for _ in range(10):
            served.script.put(None)
        assert watcher.join(20)


def lines(stream: io.StringIO) -> list[dict[str, str]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_it_tells_of_pods_that_come_change_and_go(watched: Watched) -> None:
    api, served, told, watcher, stream = watched
    served.script.put(("MODIFIED", pod("b", "10.10.1.82", "11")))
    served.script.put(("ADDED", pod("c", version="12")))
    served.script.put(("DELETED", pod("a", "10.10.1.81", "13")))
    expected = [["a", "b"], ("b", ["10.10.1.82"], False), ("c", [], False), ("a", ["10.10.1.81"], True)]
    wait_for(lambda: told.told == expected, "three events")
    assert {request.parameters["fieldSelector"] for request in api.requests} == {"spec.nodeName=node-a"}
    assert watcher.age() is not None
    assert lines(stream) == []


def test_what_nobody_reads_is_not_told(watched: Watched) -> None:
    """A kubelet writes a pod's status many times over."""
    _, served, told, _, _ = watched
    for version in ("11", "12", "13"):
        served.script.put(("MODIFIED", pod("a", "10.10.1.81", version, startTime=version)))
    served.script.put(("MODIFIED", pod("b", "10.10.1.82", "14")))
    wait_for(lambda: len(told.told) > 1, "an event")
    assert told.told == [["a", "b"], ("b", ["10.10.1.82"], False)]


def test_a_pod_of_the_same_name_is_another(watched: Watched) -> None:
    _, served, told, _, _ = watched
    served.script.put(("DELETED", pod("a", "10.10.1.81", "11")))
    served.script.put(("ADDED", pod("a", "10.10.1.81", "12")))
    wait_for(lambda: len(told.told) == 3, "both")
    assert told.told[1:] == [("a", ["10.10.1.81"], True), ("a", ["10.10.1.81"], False)]


def test_an_outage_is_logged_once_and_so_is_its_end(watched: Watched) -> None:
    api, served, told, watcher, stream = watched
    served.refusal = Reply(503, {"reason": "ServiceUnavailable", "message": "starting"})
    served.script.put(None)
    before = len(api.requests)
    wait_for(lambda: len(api.requests) > before + 8, "many tries")
    with pytest.raises(ApiError, match="refused to list the pods of node node-a: 503"):
        watcher.list_now()
    assert [line["event"] for line in lines(stream)][-1] == "watch-failed"
    assert len(lines(stream)) <= 2  # of the watch and of the list
    served.refusal = None
    served.script.put(("ADDED", pod("c", version="12")))
    wait_for(lambda: told.told[-1] == ("c", [], False), "the pod")
    assert [line["event"] for line in lines(stream)][-1] == "watch-back"


def test_the_end_of_an_outage_is_logged_on_a_node_where_nothing_happens(watched: Watched) -> None:
    api, served, told, _, stream = watched
    served.refusal = Reply(503, {"reason": "ServiceUnavailable", "message": "starting"})
    served.script.put(None)
    wait_for(lambda: lines(stream), "the outage")
    served.refusal = None
    served.script.put(("BOOKMARK", {"metadata": {"resourceVersion": "20"}}))
    wait_for(lambda: lines(stream)[-1]["event"] == "watch-back", "its end")
    assert all(isinstance(each, list) for each in told.told)
    assert len(api.requests) > 2


def test_the_pods_can_be_listed_at_any_time(watched: Watched) -> None:
    _, served, _, watcher, _ = watched
    served.pods = [pod("z", "10.10.1.99")]
    assert [(str(each.key), len(each.holdings)) for each in watcher.list_now()] == [("ns/z", 1)]


def test_without_an_api_server_no_list_is_made_up(tmp_path: Path) -> None:
    with FakeApi(tmp_path, lambda _: Reply()) as api:
        client = api.client(tmp_path)
    watcher = PodInformer(client, "n", lambda _: None, lambda *_: None, Log(stream=io.StringIO()))
    with pytest.raises(Unreachable):
        watcher.list_now()


def test_a_token_is_reviewed_for_our_audience(tmp_path: Path) -> None:
    status = {"authenticated": True, "audiences": [TOKEN_AUDIENCE]}
    with FakeApi(tmp_path, lambda _: Reply(201, {"status": status})) as api:
        assert review_token(api.client(tmp_path), "secret") == status
        (request,) = api.requests
    assert (request.method, request.path) == ("POST", "/apis/authentication.k8s.io/v1/tokenreviews")
    assert request.body["spec"] == {"token": "secret", "audiences": [TOKEN_AUDIENCE]}


@pytest.mark.parametrize("token", ["", "a\nb", "a" * (MAX_TOKEN + 1), "\xf6"])
def test_a_malformed_token_is_not_reviewed(tmp_path: Path, token: str) -> None:
    with FakeApi(tmp_path, lambda _: Reply()) as api:
        assert review_token(api.client(tmp_path), token)["authenticated"] is False
        assert api.requests == []


def test_an_answer_without_a_verdict_is_none(tmp_path: Path) -> None:
    with FakeApi(tmp_path, lambda _: Reply(201, {"status": "odd"})) as api:
        assert review_token(api.client(tmp_path), "secret") == {}


def test_a_refusal_does_not_repeat_the_token(tmp_path: Path) -> None:
    with (
        FakeApi(tmp_path, lambda _: Reply(403, {"reason": "Forbidden", "message": "no"})) as api,
        pytest.raises(ApiError, match="refused to review a token: 403 Forbidden: no") as refused,
    ):
        review_token(api.client(tmp_path), "topsecret")
    assert "topsecret" not in str(refused.value)


def test_a_list_without_the_agents_own_pod_is_not_complete(tmp_path: Path) -> None:
    """After `kubectl delete node` the API server lists no pod of the node, and all containers go on."""
    served, told, stream = Served(), Told(), io.StringIO()
    served.pods = [pod("a", "10.10.1.81")]
    own = ("ns", "agent")
    with FakeApi(tmp_path, served.answer) as api:
        log = Log(form=LogFormat.JSON, stream=stream)
        informer = PodInformer(api.client(tmp_path), "node-a", told.on_list, told.on_event, log, own=own)
        with pytest.raises(ClusterError, match=r"lacks the agent's own pod ns/agent"):
            informer.list_now()
        informer.start()
        wait_for(lambda: lines(stream), "the refusal")
        served.pods.append(pod("agent"))
        wait_for(lambda: told.told, "the list")
        informer.stop()
        served.script.put(None)
        assert informer.join(20)
    assert told.told == [["a", "agent"]]
    assert lines(stream)[0]["event"] == "watch-failed"


@pytest.mark.parametrize(
    ("versions", "counts"),
    [
        ([("10.10.1.81", "multus"), ("10.10.1.81", MERGED)], [True, True]),
        ([("10.10.1.81", "multus"), ("10.10.1.82", MERGED)], [True, False]),
        (
            [("10.10.1.81", "multus"), ("10.10.1.82", "kubectl"), ("10.10.1.81", "kubectl")],
            [True, False, True],
        ),
        (
            [("10.10.1.81", "multus"), ("10.10.1.82", "multus"), ("10.10.1.81", MERGED)],
            [True, True, False],
        ),
        ([("10.10.1.81", MERGED)], [False]),
        ([("10.10.1.81", "kubectl"), ("10.10.1.81", "multus")], [False, False]),
        ([("10.10.1.81", "kubectl"), ("10.10.1.82", "multus")], [False, True]),
        ([("10.10.1.81", "kubectl"), ("", ""), ("10.10.1.81", "multus")], [False, False, False]),
    ],
    ids=[
        "the managers were merged",
        "written by others after that",
        "written by others and set back",
        "what Multus has replaced is set again",
        "merged before this agent saw it",
        "the proof came later: managedFields was written by hand",
        "Multus replaces what came with the pod",
        "taken away and written again",
    ],
)
def test_a_network_status_counts_by_what_was_seen_of_it(
    versions: list[tuple[str, str]], counts: list[bool]
) -> None:
    statuses = VerifiedStatuses()
    found = [statuses.read(pod("a", address, manager=manager)) for address, manager in versions]
    assert [bool(each.holdings) for each in found] == counts


def test_nothing_is_remembered_of_a_pod_that_is_gone() -> None:
    statuses = VerifiedStatuses()
    statuses.read(pod("a", "10.10.1.81"))
    statuses.retain([])
    assert not statuses.read(pod("a", "10.10.1.81", manager=MERGED)).holdings
