"""The session server over real sockets: limits on connections, bytes and statements."""

from __future__ import annotations

import socket
import struct
import time
from contextlib import ExitStack, suppress
from dataclasses import replace

import pytest

from common.exit_codes import ExitCode
from common.token_bucket import Rate
from ipagent import node_protocol
from ipagent.node.sessions.claim_queue import SessionClosed
from ipagent.node.sessions.connection import LINGER_BYTES
from ipagent.node.sessions.http1 import CONTINUE
from tests.closed_connections import count_unfinished
from tests.ipagent.node.sessions.peer import FREE, OTHER, MakeGate, Peer, statement
from tests.ipagent.nodeclient.gate import POD, failed, pending, token_of


def test_too_many_connections_are_told_so(gate: MakeGate) -> None:
    made = gate(limits=replace(FREE, per_peer=2))
    with Peer(made), Peer(made):
        made.wait_for(lambda: made.sessions.counts()["open"] == 2, "two connections")
        with Peer(made) as third:
            assert third.refusal().status == 429
    made.wait_for(lambda: made.sessions.counts()["open"] == 0, "their end")
    with Peer(made) as peer:
        peer.ask()
        assert peer.standing().state == "assigned"


def test_more_than_a_few_refused_connections_are_reset_and_counted(gate: MakeGate) -> None:
    made = gate(limits=replace(FREE, per_peer=1, refusals=2))
    with ExitStack() as stack:
        told = [stack.enter_context(Peer(made)) for _ in range(3)]
        for _ in range(7):
            # The reset may come before the connection is seen to be there.
            with pytest.raises(ConnectionResetError):
                stack.enter_context(Peer(made)).receive()
        made.wait_for(lambda: made.sessions.counts().get("refused_429") == 9, "nine refusals")
        assert made.sessions.counts()["open"] == 1
        assert [peer.refusal().status for peer in told[1:]] == [429, 429]


def test_the_oldest_connection_without_a_pod_makes_room(gate: MakeGate) -> None:
    made = gate(limits=replace(FREE, connections=3))
    with Peer(made) as served, Peer(made) as idle, Peer(made) as younger:
        served.ask()
        assert served.standing().state == "assigned"
        made.wait_for(lambda: made.sessions.counts()["open"] == 3, "three connections")
        with Peer(made) as late:
            assert idle.ends()
            late.ask(OTHER)
            assert "does not see the pod" in late.standing().message
            younger.ask(OTHER)
            assert "does not see the pod" in younger.standing().message
        served.send(node_protocol.chunk(statement(serial=2)))
        assert served.standing().serial == 2


def test_a_connection_that_is_refused_takes_no_place(gate: MakeGate) -> None:
    """One peer that connects again and again must not end what others have begun."""
    made = gate(limits=replace(FREE, connections=3, per_peer=3, refusals=1))
    with ExitStack() as stack:
        begun = [stack.enter_context(Peer(made)) for _ in range(3)]
        made.wait_for(lambda: made.sessions.counts()["open"] == 3, "three connections")
        for _ in range(5):
            with suppress(OSError):
                stack.enter_context(Peer(made))
        made.wait_for(lambda: made.sessions.counts().get("refused_429") == 5, "five refusals")
        assert "evicted" not in made.sessions.counts()
        begun[0].ask()
        assert begun[0].standing().state == "assigned"


def test_whoever_sends_slowly_makes_room_for_others_statements(gate: MakeGate) -> None:
    made = gate(living=(POD, OTHER), limits=replace(FREE, buffered=100_000))
    with Peer(made) as slow, Peer(made) as quick:
        slow.send(node_protocol.request("here", token_of(OTHER), "test"), b"3e800\r\n", b" " * 60_000)
        made.wait_for(lambda: made.sessions.counts().get("reviews") == 1, "the review")
        quick.ask(again=["10.10.1.80"] * 1000, serial=7)
        assert quick.standing().serial == 7
        quick.send(b"3e800\r\n", b" " * 60_000)
        assert slow.ends()
        made.wait_for(lambda: made.sessions.counts().get("evicted") == 1, "the end of the slow one")


@pytest.mark.parametrize(
    "flood", [b"1000\r\n" + b"\n" * 4096 + b"\r\n", b"1\r\n\n\r\n" * 1000], ids=["blank lines", "tiny chunks"]
)
def test_what_costs_the_sender_nothing_is_read_slowly_and_others_are_served(
    gate: MakeGate, flood: bytes
) -> None:
    made = gate(living=(POD, OTHER), limits=replace(FREE, reading=Rate(64_000, 1)))
    with Peer(made) as loud, Peer(made) as calm:
        loud.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 * 1024)
        loud.ask()
        loud.standing()
        calm.ask(OTHER)
        assert calm.standing().state == "assigned"
        loud.socket.setblocking(False)
        sent = 0
        for serial in range(2, 52):
            with suppress(BlockingIOError):
                while True:
                    sent += loud.socket.send(flood)
            calm.send(node_protocol.chunk(statement(OTHER, serial=serial)))
            assert calm.standing().serial == serial
        # What fits into the kernel's buffers, and what the burst paid for.
        assert sent < 500_000


def test_the_bytes_of_a_pod_are_counted_over_all_its_connections(gate: MakeGate) -> None:
    made = gate(limits=replace(FREE, reading=Rate(4000, 0.001)))
    with Peer(made) as first:
        first.ask(again=["10.10.1.80"] * 400)
        assert first.standing().state == "assigned"
    with Peer(made) as second, Peer(made) as other_pod:
        second.ask(serial=1)
        assert second.standing().serial == 1
        second.send(node_protocol.chunk(statement(serial=2)))
        other_pod.ask(OTHER)
        assert "does not see" in other_pod.standing().message
        assert made.sessions.counts()["claims"] == 2


@pytest.mark.parametrize("end", [b"", b"nonsense\r\n"], ids=["unfinished", "refused"])
def test_what_was_parsed_at_once_after_the_head_is_charged_to_the_pod(gate: MakeGate, end: bytes) -> None:
    made = gate(limits=replace(FREE, reading=Rate(64_000, 0.001)))
    blank = b"1000\r\n" + b"\n" * 4096 + b"\r\n"
    with Peer(made) as first, Peer(made) as second, Peer(made) as other_pod:
        head = node_protocol.request("here", token_of(POD), "test")
        first.send(head.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"), blank, end)
        # It is told in the step that parses the body.
        assert first.socket.recv(len(CONTINUE)) == CONTINUE
        if end:
            assert first.refusal().status == 400
        second.ask(serial=1)
        assert second.standing().serial == 1
        second.send(node_protocol.chunk(statement(serial=2)))
        other_pod.ask(OTHER)
        assert "does not see" in other_pod.standing().message
        assert made.sessions.counts()["claims"] == 1


def test_a_claim_for_which_there_is_no_room_is_asked_for_again(gate: MakeGate) -> None:
    made = gate(living=(POD, OTHER), limits=replace(FREE, claims=40_000, claims_share=4_000))
    with Peer(made) as large, Peer(made) as refused, Peer(made) as small:
        large.ask(again=[f"10.10.1.{number}" for number in range(100)])
        assert large.standing().state == "assigned"
        refused.ask(OTHER, again=[f"10.10.1.{number}" for number in range(100)])
        assert refused.refusal().status == 503
        small.ask(OTHER)
        assert small.standing().state == "assigned"
        small.send(node_protocol.chunk(statement(OTHER, 2, again=[f"10.10.1.{n}" for n in range(100)])))
        told = small.standing()
        assert (told.state, told.code) == ("pending", ExitCode.DEADLINE)
        assert "no room" in told.message
        assert small.ends()


def test_a_peer_that_has_gone_before_it_is_refused_is_no_fault(gate: MakeGate) -> None:
    made = gate()
    for _ in range(50):
        with Peer(made) as peer:
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.send(b"GET / HTTP/1.1\r\n\r\n")
    made.wait_for(lambda: made.sessions.counts()["open"] == 0, "the end of all connections")
    assert made.sessions.counts().get("faults", 0) == 0


def test_a_refused_peer_that_goes_on_sending_is_reset(gate: MakeGate) -> None:
    made = gate()
    with Peer(made) as peer:
        peer.send(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            peer.send(b"x" * LINGER_BYTES * 64)


def test_a_pod_that_states_much_is_read_slowly_and_others_are_not(gate: MakeGate) -> None:
    made = gate(living=(POD, OTHER), limits=replace(FREE, statements=Rate(3, 0.001)))
    with Peer(made) as loud, Peer(made) as calm:
        loud.ask(serial=1)
        loud.send(*(node_protocol.chunk(statement(serial=serial)) for serial in range(2, 30)))
        made.wait_for(lambda: made.sessions.counts().get("claims") == 3, "the burst")
        calm.ask(OTHER)
        assert calm.standing().state == "assigned"
        assert made.sessions.counts()["claims"] == 4


def test_nonsense_that_waited_for_its_turn_is_refused(gate: MakeGate) -> None:
    made = gate(limits=replace(FREE, statements=Rate(1, 50)))
    with Peer(made) as peer:
        peer.ask(serial=1)
        peer.send(node_protocol.chunk(statement(serial=2)), node_protocol.chunk({}))
        while (told := peer.standing()).state != "failed":
            pass
        assert told.code == ExitCode.USAGE
        assert peer.ends()


def test_a_flood_at_once_is_refused(gate: MakeGate) -> None:
    made = gate(limits=replace(FREE, statements=Rate(1, 0.001)))
    with Peer(made) as peer:
        peer.ask()
        peer.standing()
        line = b"{}\n" * 1000
        peer.send(b"%x\r\n%b\r\n" % (len(line), line))
        assert "at once" in peer.standing().message


def test_a_pod_that_does_not_read_is_let_go_and_nothing_stays_in_the_kernel(gate: MakeGate) -> None:
    long = "x" * node_protocol.MAX_TEXT
    made = gate(limits=replace(FREE, stall_seconds=0.2))
    with Peer(made) as peer:
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        peer.ask()
        peer.standing()

        def gone() -> bool:
            # A different text each time: the same one would be no news.
            for _ in range(100):
                made.publish(pending(f"{time.monotonic()} {long}"))
            return SessionClosed(POD) in made.taken

        made.wait_for(gone, "the end of the session")
        with Peer(made) as later:
            # By its answer the connection before is closed.
            later.ask()
            later.standing()
        assert count_unfinished(made.address[1]) == 0


def test_a_pod_that_reads_late_is_told_the_latest(gate: MakeGate) -> None:
    long = "x" * node_protocol.MAX_TEXT
    made = gate()
    with Peer(made) as peer:
        peer.ask()
        peer.standing()
        for number in range(3000):
            made.publish(pending(f"{number} {long}"))
        made.publish(failed(ExitCode.ENI_FULL, "the last"))
        made.drain()
        while (told := peer.standing()).state == "pending":
            pass
        assert told.message == "the last"
