"""When the slim agent is done: soon after the node agent is there, and at rest it sleeps: simulated."""

from __future__ import annotations

import io
import json
import select
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from common.agent_settings import LogFormat, LogLevel, Mode
from common.exit_codes import ExitCode
from ipagent.log import Log
from ipagent.netlink.sockets import KernelError, NetlinkSocket
from ipagent.node_protocol import ResponseParser
from ipagent.nodeclient import agent as agent_module
from ipagent.nodeclient import session as session_module
from ipagent.nodeclient.agent import LOOK_SECONDS, NodeClientAgent
from ipagent.nodeclient.connection import ConnectionBroken
from ipagent.nodeclient.session import (
    CONNECT_SECONDS,
    FIRST_PACE,
    HEAD_SECONDS,
    LATER_PACE,
    ReconnectingSession,
)
from ipagent.nodeclient.signal_fd import SignalFd
from ipagent.nodeclient.status_log import WAITING_SECONDS
from ipagent.termination import Exit
from tests.ipagent.nodeclient.rig import slim

pytestmark = pytest.mark.pure

HOUR = 3600.0
TIMEOUT = 900.0
SIGTERM = 15
HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}"

AWAY = ("refused", "silent", "mute", "busy", "closing")
"""Until then nobody listens, packets vanish, it says nothing, it has no time, or it ends connections."""


@dataclass
class World:
    """A node agent over time: what it does until when (seconds after the start), and what it answers then.

    `pending` is how long each claim is pending once it is served.
    """

    phases: Sequence[tuple[str, float]] = ()
    pending: float = 0.0
    now: float = 1000.0
    polls: int = 0
    connections: list[FakeConnection] = field(default_factory=list)
    kernel_at: list[float] = field(default_factory=list)
    stop_at: float = float("inf")
    still: int = 0

    @property
    def elapsed(self) -> float:
        return self.now - 1000.0

    def phase_at(self, elapsed: float) -> str:
        return next((what for what, until in self.phases if elapsed < until), "there")

    def monotonic(self) -> float:
        return self.now


class FakeConnection:
    """The client's end of a connection in the world; what is to come, comes at its time."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.connected = False
        self.answers = ResponseParser()
        self.coming: list[tuple[float, bytes]] = []
        self.writable_at = world.now + 0.001
        self.unsent = b""
        self.closed = False
        self.phase = world.phase_at(world.elapsed)
        if self.phase == "refused":
            raise ConnectionBroken("Connection refused")
        if self.phase == "silent":
            self.writable_at = float("inf")
        # Who is there ends with the next phase in which it is not.
        ends = [until for what, until in world.phases]
        later = [at for at in ends if at > world.elapsed and world.phase_at(at) == "refused"]
        if self.phase in ("there", "mute") and later:
            self.coming.append((1000.0 + min(later), b""))
        world.connections.append(self)

    def fileno(self) -> int:
        return 100 + self.world.connections.index(self)

    def close(self) -> None:
        self.closed = True

    @property
    def wants_to_write(self) -> bool:
        return not self.connected or bool(self.unsent)

    def queue(self, data: bytes) -> None:
        self.unsent += data

    def flush(self) -> None:
        self.connected = True
        sent, self.unsent = self.unsent, b""
        now = self.world.now
        if self.phase == "busy":
            self.coming.append((now + 0.01, BUSY))
        elif self.phase == "closing":
            self.coming.append((now + 0.01, b""))
        elif self.phase == "there":
            self._answer(sent, now)
        self.coming.sort(key=lambda each: each[0])

    def _answer(self, sent: bytes, now: float) -> None:
        for line in sent.split(b"\r\n"):
            if not line.startswith(b"{"):
                continue
            serial = json.loads(line)["serial"]
            head = b"" if self.answers.accepted or any(HEAD in each for _, each in self.coming) else HEAD
            wait = {"serial": serial, "state": "pending", "code": 21, "message": "Waiting: EC2."}
            done = {"serial": serial, "state": "assigned", "code": 0, "message": "Assigned."}
            if self.world.pending:
                self.coming.append((now + 0.01, head + json.dumps(wait).encode() + b"\n"))
                head = b""
            self.coming.append((now + 0.02 + self.world.pending, head + json.dumps(done).encode() + b"\n"))

    def event_at(self) -> float:
        times = [at for at, _ in self.coming[:1]]
        return min([*times, self.writable_at if self.wants_to_write else float("inf")])

    def ready(self) -> int:
        events = 0
        if self.coming and self.coming[0][0] <= self.world.now:
            events |= select.POLLIN
        if self.wants_to_write and self.writable_at <= self.world.now:
            events |= select.POLLOUT
        return events

    def receive(self) -> tuple[Any, bool]:
        _, data = self.coming.pop(0)
        return self.answers.feed(data), not data


class FakePoll:
    """`select.poll` in the world: waiting lets time pass to the next event."""

    world: World

    def __init__(self) -> None:
        self.registered: list[Any] = []

    def register(self, what: Any, events: int) -> None:
        assert events
        self.registered.append(what)

    def poll(self, milliseconds: int | None) -> list[tuple[int, int]]:
        world = self.world
        world.polls += 1
        times = [world.stop_at]
        if milliseconds is not None:
            times.append(world.now + milliseconds / 1000)
        for each in self.registered:
            if isinstance(each, FakeConnection):
                times.append(each.event_at())
            elif isinstance(each, FakeKernel):
                times += world.kernel_at[:1]
        before = world.now
        world.now = max(before, min(times))
        assert world.now < float("inf"), "it waits for nothing"
        world.still = world.still + 1 if world.now == before else 0
        assert world.still < 8, "it spins"
        found = []
        for each in self.registered:
            if isinstance(each, FakeConnection):
                if events := each.ready():
                    found.append((each.fileno(), events))
            elif isinstance(each, FakeKernel) and world.kernel_at and world.kernel_at[0] <= world.now:
                found.append((each.fileno(), select.POLLIN))
        return found


class FakeKernel(NetlinkSocket):
    """One interface whose addresses change at times; `failing` readings fail."""

    def __init__(self, world: World, failing: int = 0) -> None:
        self.world = world
        self.failing = failing
        self.number = 0

    def fileno(self) -> int:
        return 3

    def gone(self) -> set[bytes]:
        self.world.kernel_at = [at for at in self.world.kernel_at if at > self.world.now]
        return set()

    def links(self) -> list[bytes]:
        if self.number and self.failing:
            self.failing -= 1
            raise KernelError("not now")
        self.number += 1
        return [struct.pack("=BxHiIIHH", 0, 1, self.number, 0, 0, 9, 3) + b"net1\0"]

    def addresses(self) -> list[bytes]:
        return []

    def close(self) -> None:
        pass


class FakeStop(SignalFd):
    """SIGTERM at a time."""

    def __init__(self, world: World) -> None:
        self.world = world

    def fileno(self) -> int:
        return 4

    def take(self) -> int:
        return SIGTERM if self.world.now >= self.world.stop_at else 0


@dataclass
class Client:
    world: World
    agent: NodeClientAgent
    said: io.StringIO
    token: Path

    def events(self, *levels: str) -> list[tuple[str, str]]:
        lines = [json.loads(line) for line in self.said.getvalue().splitlines()]
        return [(each["event"], each["message"]) for each in lines if each["level"] in levels]

    def follow(self, until: float) -> None:
        self.world.stop_at = 1000.0 + until
        with pytest.raises(Exit) as caught:
            self.agent.follow()
        assert caught.value.code == ExitCode.OK


Make = Callable[..., Client]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Make]:
    token = tmp_path_factory.mktemp("run") / "token"
    with pytest.MonkeyPatch.context() as patch:

        def made(world: World, chance: float = 0.5, failing: int = 0) -> Client:
            token.write_text("token")

            class Poll(FakePoll):
                pass

            Poll.world = world
            patch.setattr(agent_module, "select", _Namespace(poll=Poll, POLLIN=select.POLLIN))
            patch.setattr(agent_module, "time", world)
            patch.setattr(session_module, "Connection", _connections(world))
            patch.setattr(session_module, "random_value", lambda: chance)
            said = io.StringIO()
            return Client(
                world,
                NodeClientAgent(
                    mode=Mode.SIDECAR,
                    settings=slim(timeout=int(TIMEOUT)),
                    pod={"namespace": "apps", "name": "pod-1", "uid": "u"},
                    node="node-a",
                    kernel=FakeKernel(world, failing),
                    session=ReconnectingSession("192.0.2.1", 9407, str(token), "test"),
                    stop=FakeStop(world),
                    log=Log("apps", "pod-1", LogLevel.INFO, LogFormat.JSON, stream=said),
                ),
                said,
                token,
            )

        yield made


class _Namespace:
    def __init__(self, **names: Any) -> None:
        self.__dict__.update(names)


def _connections(world: World) -> Any:
    class Made(FakeConnection):
        def __init__(self, host: str, port: int) -> None:
            assert (host, port) == ("192.0.2.1", 9407)
            super().__init__(world)

        # The session calls it by its class.
        flush = FakeConnection.flush

    return Made


@st.composite
def phases(draw: st.DrawFn) -> list[tuple[str, float]]:
    found, at = [], 0.0
    for what in draw(st.lists(st.sampled_from((*AWAY, "there")), max_size=4)):
        at += draw(st.sampled_from([0.05, 1.0, 12.0, 70.0]))
        found.append((what, at))
    return found


ANSWERED = max(CONNECT_SECONDS, HEAD_SECONDS) + 0.1
"""How long a connection may come to nothing that was made just before the node agent is there."""
CHANCES = st.sampled_from([0.0, 0.5, 0.999])


@settings(max_examples=3 * settings().max_examples)
@given(away=phases(), chance=CHANCES, pending=st.sampled_from([0.0, 30.0]))
def test_the_first_assignment_ends_soon_after_the_node_agent_is_there(
    make: Make, away: list[tuple[str, float]], chance: float, pending: float
) -> None:
    world = World(away, pending)
    made = make(world, chance)
    last = made.agent.wait_until_assigned(1000.0 + TIMEOUT)
    event(f"{len(away)} phases")
    assert last.code == ExitCode.OK
    there = away[-1][1] if away else 0.0
    assert world.elapsed <= there + FIRST_PACE[1] + ANSWERED + pending
    # At the shortest chance two tries are a tenth of the cap apart, and each takes a few polls.
    assert world.polls <= 60 + 4 * world.elapsed / (FIRST_PACE[1] * 0.1)


@settings(max_examples=3 * settings().max_examples)
@given(away=phases(), chance=CHANCES, failing=st.integers(0, 2))
def test_a_change_is_assigned_soon_after_the_node_agent_is_back_and_then_nothing_is_done(
    make: Make, away: list[tuple[str, float]], chance: float, failing: int
) -> None:
    world = World()
    made = make(world, chance, failing)
    made.agent.wait_until_assigned(1000.0 + TIMEOUT)
    begun = world.elapsed
    world.phases = [("there", begun + 1.0), *((what, begun + 1.0 + at) for what, at in away)]
    for each in world.connections:
        # The node agent that has answered ends with the first phase in which it is not there.
        each.coming += [(1000.0 + begun + 1.0, b"")] if away else []
    world.kernel_at = [1000.0 + begun + 2.0]
    back = begun + 2.0 + (away[-1][1] if away else 0.0)
    done_by = back + LATER_PACE[1] + ANSWERED + failing * LOOK_SECONDS
    made.follow(done_by)
    last = made.agent._last  # noqa: SLF001 - what it has been told last
    assert last is not None
    assert last.state == "assigned"
    assert made.agent._seen is not None  # noqa: SLF001 - what it has stated last
    assert made.agent._seen["links"][0]["index"] == 2  # noqa: SLF001
    world.polls = 0
    made.follow(done_by + HOUR)
    assert world.polls <= 2


def test_a_missing_token_is_looked_for_less_and_less_often(make: Make) -> None:
    world = World([("there", 20.0), ("closing", 21.0)])
    made = make(world)
    made.agent.wait_until_assigned(1000.0 + TIMEOUT)
    made.token.unlink()
    world.connections[0].coming.append((1020.0, b""))
    made.follow(60.0)
    world.polls = 0
    made.follow(60.0 + HOUR)
    assert world.polls <= 1 + HOUR / (LATER_PACE[1] * 0.5)
    assert [event for event, _ in made.events("warning")] == ["unreachable", "unreachable"]


WAITS = {
    "refused": ("unreachable", "Connection refused"),
    "silent": ("unreachable", "no answer to the connection"),
    "mute": ("waiting", "has not answered yet"),
    "busy": ("refused", "HTTP status 503"),
    "closing": ("unreachable", "it has closed the connection"),
}


@pytest.mark.parametrize("what", AWAY)
def test_what_the_first_assignment_waits_for_is_in_the_log(make: Make, what: str) -> None:
    made = make(World([(what, 10 * HOUR)]))
    with pytest.raises(Exit) as caught:
        made.agent.wait_until_assigned(1000.0 + 14.0)
    wanted, text = WAITS[what]
    found = [(event, said) for event, said in made.events("info", "warning", "error") if event == wanted]
    assert len(found) == 1
    assert text in found[0][1]
    assert caught.value.code in (ExitCode.NODE_AGENT_UNREACHABLE, ExitCode.DEADLINE)
    assert "within 900 s" in caught.value.message


def test_what_an_address_of_a_running_pod_waits_for_is_in_the_log_once(make: Make) -> None:
    world = World(pending=0.0)
    made = make(world)
    made.agent.wait_until_assigned(1000.0 + TIMEOUT)
    world.pending = 60.0
    world.kernel_at = [world.now + 1.0, world.now + 1.0 + HOUR]
    made.follow(2 * HOUR)
    assert made.events("info").count(("waiting", "Waiting: EC2.")) == 2


def test_what_is_pending_for_a_moment_is_not_in_the_log(make: Make) -> None:
    world = World(pending=0.0)
    made = make(world)
    made.agent.wait_until_assigned(1000.0 + TIMEOUT)
    world.pending = WAITING_SECONDS / 2
    world.kernel_at = [world.now + 1.0]
    made.follow(HOUR)
    assert "waiting" not in {event for event, _ in made.events("info")}
