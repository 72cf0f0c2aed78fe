"""The session server over real sockets: whose claims count, and what a pod is told."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.agent_settings import Mode
from common.exit_codes import ExitCode
from ipagent import node_protocol
from ipagent.log import Log
from ipagent.node.model.pod import PodKey
from ipagent.node.sessions.claim_queue import SessionClosed
from ipagent.node.sessions.listener import listen
from ipagent.node.sessions.server import PodSessionServer
from tests.ipagent.node.sessions.peer import FREE, NET1, OTHER, SECONDS, MakeGate, Peer, statement
from tests.ipagent.nodeclient.gate import POD, Gate, assigned, failed, pending, review, token_of
from tests.skipping import skip


def test_a_pod_that_the_watch_shows_is_heard_and_told(gate: MakeGate) -> None:
    made = gate()
    with Peer(made) as peer:
        peer.ask(**NET1)
        told = peer.standing()
        assert (told.serial, told.state, told.code) == (1, "assigned", 0)
        assert told.addresses == {("10.10.1.80", "net1"): ("assigned", "eni-0a000000000000001", "")}
        (claim,) = made.claims
        assert (claim.pod, claim.mode, claim.interfaces) == (POD, Mode.SIDECAR, ("net1",))
    made.wait_for_unclaim()


def test_progress_is_told_as_it_comes_and_the_serial_names_the_statement(gate: MakeGate) -> None:
    made = gate(answer=lambda _: pending("It waits for the ENI."))
    with Peer(made) as peer:
        peer.ask(serial=41)
        assert (peer.standing().state, made.sessions.counts()["pods"]) == ("pending", 1)
        made.publish(failed(ExitCode.ENI_FULL, "The ENI is full."))
        told = peer.standing()
        assert (told.serial, told.state, told.code, told.message) == (41, "failed", 14, "The ENI is full.")
        made.answer = assigned
        peer.send(node_protocol.chunk(statement(serial=42)))
        assert peer.standing().serial == 42


def test_a_statement_that_repeats_the_one_before_is_answered_too(gate: MakeGate) -> None:
    with Peer(gate()) as peer:
        peer.ask(serial=1)
        assert peer.standing().serial == 1
        peer.send(node_protocol.chunk(statement(serial=2)))
        assert peer.standing().serial == 2


def test_a_pod_that_is_not_seen_yet_waits_and_is_then_heard(gate: MakeGate) -> None:
    made = gate(living=())
    with Peer(made) as peer:
        peer.ask()
        told = peer.standing()
        assert (told.state, told.code) == ("pending", ExitCode.DEADLINE)
        assert "does not see the pod apps/pod-1 on node-a yet" in told.message
        assert made.taken == []
        made.sessions.set_living_pods([OTHER])
        made.sessions.set_living_pods([OTHER, POD])
        assert peer.standing().state == "assigned"


@pytest.mark.parametrize(
    ("token", "status", "says"),
    [
        ("banana", 401, "invalid bearer token"),
        (token_of(OTHER), 403, "says that it is apps/pod-1, but presents the token of apps/pod-2"),
        (token_of(PodKey(POD.namespace, POD.name, "an-earlier-life")), 403, "another life of it"),
        (token_of(POD, node="node-b"), 403, "runs on node-b, and this is node-a"),
    ],
)
def test_a_token_that_is_not_the_pods_own_is_refused(
    gate: MakeGate, token: str, status: int, says: str
) -> None:
    made = gate(living=(POD, OTHER))
    with Peer(made) as peer:
        peer.ask(token=token)
        refusal = peer.refusal()
        assert refusal.status == status
        assert says in refusal.text
        assert peer.ends()
    assert made.taken == []
    assert made.sessions.counts()[f"refused_{status}"] == 1


@pytest.mark.parametrize(("token", "status"), [("banana", 401), (token_of(POD, node="node-b"), 403)])
@pytest.mark.parametrize("body", [b"", b"7\r\nbanana\n\r\n", b"x\r\n"], ids=["none", "no JSON", "no chunk"])
def test_a_token_is_judged_by_the_head_before_any_of_the_body_is_read(
    gate: MakeGate, token: str, status: int, body: bytes
) -> None:
    with Peer(gate()) as peer:
        peer.send(node_protocol.request("here", token, "test"), body)
        assert peer.refusal().status == status
        assert peer.ends()


def test_a_body_in_the_packet_of_its_head_waits_for_the_token(gate: MakeGate) -> None:
    go = threading.Event()

    def ask(token: str) -> Mapping[str, Any]:
        assert go.wait(SECONDS)
        return review(token)

    made = gate(review=ask)
    with Peer(made) as peer:
        peer.send(node_protocol.request("here", token_of(POD), "test"), b"x\r\n")
        made.wait_for(lambda: made.sessions.counts().get("reviews") == 1, "the question")
        peer.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            peer.socket.recv(1)
        peer.socket.settimeout(SECONDS)
        go.set()
        assert peer.refusal().status == 400


def test_a_deleted_pods_token_is_asked_about_again_and_never_served(gate: MakeGate) -> None:
    """The verdict is not used any more once the pod is gone, however young it is."""
    asked = []

    def ask(token: str) -> Mapping[str, Any]:
        asked.append(token)
        return review(token) if len(asked) == 1 else {"authenticated": False, "error": "pod is gone"}

    made = gate(review=ask)
    with Peer(made) as peer:
        peer.ask()
        assert peer.standing().state == "assigned"
        made.sessions.set_living_pods([OTHER])
        told = peer.standing()
        assert (told.state, told.code) == ("failed", ExitCode.NOT_GRANTED)
        assert "is gone" in told.message
        assert peer.ends()
    made.wait_for_unclaim()
    with Peer(made) as peer:
        peer.ask()
        assert "pod is gone" in peer.refusal().text
    assert len(asked) == 2


def test_a_verdict_is_used_for_the_next_connection(gate: MakeGate) -> None:
    made = gate()
    for _ in range(3):
        with Peer(made) as peer:
            peer.ask()
            assert peer.standing().state == "assigned"
    assert made.sessions.counts()["reviews"] == 1


def test_connections_with_one_token_wait_for_one_answer(gate: MakeGate) -> None:
    go = threading.Event()

    def ask(token: str) -> Mapping[str, Any]:
        assert go.wait(SECONDS)
        return review(token)

    made = gate(review=ask)
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(made)) for _ in range(5)]
        for peer in peers:
            peer.ask()
        made.wait_for(lambda: made.sessions.counts()["open"] == 5, "five connections")
        go.set()
        made.wait_for(lambda: made.sessions.counts()["open"] == 1, "one session a pod")
        assert made.sessions.counts()["reviews"] == 1


def test_an_api_server_that_does_not_answer_is_no_refusal(gate: MakeGate) -> None:
    def ask(_: str) -> Mapping[str, Any]:
        raise ConnectionRefusedError("connection refused")

    made = gate(review=ask)
    for _ in range(2):
        with Peer(made) as peer:
            peer.ask()
            refusal = peer.refusal()
            assert refusal.status == 503
            assert "connection refused" in refusal.text
    # What failed is not remembered.
    assert made.sessions.counts()["reviews"] == 2


def test_an_api_server_that_is_slow_is_told(gate: MakeGate) -> None:
    go = threading.Event()

    def ask(token: str) -> Mapping[str, Any]:
        assert go.wait(SECONDS)
        return review(token)

    made = gate(review=ask, limits=replace(FREE, review_seconds=0.05))
    try:
        with Peer(made) as peer:
            peer.ask()
            assert "has not reviewed the token within 0.05 s" in peer.refusal().text
    finally:
        go.set()


def test_a_newer_session_of_a_pod_replaces_the_older_one(gate: MakeGate) -> None:
    made = gate()
    with Peer(made) as lost, Peer(made) as fresh:
        lost.ask()
        lost.standing()
        fresh.ask()
        fresh.standing()
        assert lost.ends()
        fresh.send(node_protocol.chunk(statement(serial=2)))
        assert fresh.standing().serial == 2
    made.wait_for_unclaim()
    assert made.taken.count(SessionClosed(POD)) == 1


def test_a_session_can_not_turn_to_another_pod(gate: MakeGate) -> None:
    made = gate(living=(POD, OTHER))
    with Peer(made) as peer:
        peer.ask()
        peer.standing()
        peer.send(node_protocol.chunk(statement(OTHER, serial=2)))
        told = peer.standing()
        assert (told.state, told.code) == ("failed", ExitCode.NOT_GRANTED)
        assert peer.ends()
    assert {claim.pod for claim in made.claims} == {POD}


@pytest.mark.parametrize("data", [b"banana\n", b"[" * 1000 + b"\n", b'{"pod": 1}\n'])
def test_nonsense_in_a_session_ends_it_with_a_sentence(gate: MakeGate, data: bytes) -> None:
    with Peer(gate()) as peer:
        peer.ask()
        peer.standing()
        peer.send(b"%x\r\n%b\r\n" % (len(data), data))
        told = peer.standing()
        assert (told.state, told.code) == ("failed", ExitCode.USAGE)
        assert told.message
        assert peer.ends()


def test_what_is_no_request_is_answered_with_its_status(gate: MakeGate) -> None:
    with Peer(gate()) as peer:
        peer.send(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        assert peer.refusal().status == 404
        assert peer.ends()


def test_a_refusal_reaches_a_peer_that_is_still_sending(gate: MakeGate) -> None:
    with Peer(gate()) as peer:
        peer.send(node_protocol.request("here", "banana", "test"), node_protocol.chunk(statement()))
        peer.send(b"40000\r\n", b"x" * 0x40000)
        assert peer.refusal().status == 401


def test_a_statement_that_never_comes_is_not_waited_for(gate: MakeGate) -> None:
    made = gate(limits=replace(FREE, statement_seconds=0.05))
    with Peer(made) as peer:
        peer.send(node_protocol.request("here", token_of(POD), "test"))
        assert peer.refusal().status == 408
        assert peer.ends()
    made.wait_for(lambda: made.sessions.counts()["open"] == 0, "the end")


def test_a_session_that_has_begun_may_be_silent(gate: MakeGate) -> None:
    made = gate(limits=replace(FREE, statement_seconds=0.05))
    with Peer(made) as silent:
        silent.ask()
        silent.standing()
        with Peer(made) as late:
            assert late.refusal().status == 408
        made.publish(failed(ExitCode.ENI_FULL, "full"))
        assert silent.standing().message == "full"


def test_the_body_of_one_statement_is_answered_and_ended(gate: MakeGate) -> None:
    made = gate(answer=lambda _: pending("wait"))
    body = json.dumps(statement()).encode()
    with Peer(made) as peer:
        head = node_protocol.request("here", token_of(POD), "curl")
        head = head.replace(b"Transfer-Encoding: chunked", f"Content-Length: {len(body)}".encode())
        peer.send(head, body)
        assert peer.standing().state == "pending"
        made.publish(failed(ExitCode.ENI_FULL, "full"))
        assert peer.standing().state == "failed"
        assert peer.ends()


def test_a_pod_that_ends_its_request_after_the_answer_is_let_go(gate: MakeGate) -> None:
    with Peer(gate()) as peer:
        peer.ask()
        peer.standing()
        peer.send(b"0\r\n\r\n")
        assert peer.ends()


@pytest.mark.parametrize(
    "how",
    [["--data"], ["-H", "Expect: 100-continue", "-H", "Transfer-Encoding: chunked", "--data"]],
    ids=["at once", "chunked, after it has asked"],
)
def test_curl_speaks_it(gate: MakeGate, how: list[str], tmp_path: Any) -> None:
    if shutil.which("curl") is None:
        skip("curl is not installed")
    made = gate()
    file = tmp_path / "statement.json"
    file.write_text(json.dumps(statement(**NET1), indent=2))
    host, port = made.address
    url = f"http://{host}:{port}{node_protocol.PATH}"
    token = f"Authorization: Bearer {token_of(POD)}"
    command = ["curl", "-sS", "--noproxy", "*", "--max-time", "20", "-H", token, *how, f"@{file}", url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["message"] == "Assigned: 10.10.1.80 on eni-0a000000000000001."


def test_the_end_of_the_server_ends_every_session(gate: MakeGate) -> None:
    made = gate()
    with Peer(made) as open_one, Peer(made) as mute:
        open_one.ask()
        open_one.standing()
        made.sessions.close()
        assert open_one.ends()
        assert mute.ends()
    made.sessions.set_living_pods([])
    made.sessions.close()


def test_a_server_that_never_started_can_be_closed() -> None:
    listener = listen("127.0.0.1", 0)
    sessions = PodSessionServer(listener, node="node-a", review=review, notify=lambda: None, log=Log())
    sessions.close()
    assert listener.fileno() == -1


def test_a_port_in_use_is_an_error_at_once() -> None:
    with listen("127.0.0.1", 0) as listener, pytest.raises(OSError, match="in use"):
        listen(*listener.getsockname())


def test_ipv6() -> None:
    listener = listen("::1", 0)
    with Gate(listener, limits=FREE) as made, Peer(made) as peer:
        peer.ask()
        assert peer.standing().state == "assigned"


PIECES = st.one_of(
    st.binary(max_size=30),
    st.sampled_from(
        [
            node_protocol.request("here", token_of(POD), "test"),
            node_protocol.request("here", "banana", "test"),
            node_protocol.chunk(statement()),
            node_protocol.chunk({"pod": []}),
            b"0\r\n\r\n",
            b"ffffff\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"[" * 5000,
        ]
    ),
)


def test_whatever_peers_send_the_next_pod_is_served(gate: MakeGate) -> None:
    made = gate()

    @settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
    @given(st.lists(PIECES, max_size=5))
    def attack(pieces: list[bytes]) -> None:
        with Peer(made) as peer:
            try:
                for piece in pieces:
                    peer.send(piece)
            except (BrokenPipeError, ConnectionResetError):
                # It was told to go.
                return

    attack()
    with Peer(made) as peer:
        peer.ask(serial=99)
        while peer.standing().serial != 99:
            pass


def test_250_pods_have_a_session_each(gate: MakeGate) -> None:
    pods = tuple(PodKey("apps", f"pod-{number}", f"uid-{number}") for number in range(250))
    made = gate(living=pods)
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(made)) for _ in pods]
        for peer, pod in zip(peers, pods, strict=True):
            peer.ask(pod, **NET1)
        assert {peer.standing().state for peer in peers} == {"assigned"}
        assert made.sessions.counts()["pods"] == 250
        assert {claim.pod for claim in made.claims} == set(pods)
