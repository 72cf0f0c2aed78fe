"""`ipagent node` as a process, attacked at its port for sessions.

It stays below the chart's memory limit, and an honest pod beside it all is served. Every address of
127.0.0.0/8 is one peer, as each pod of a node is.
"""

from __future__ import annotations

import functools
import json
import re
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.agent_settings import ENV_HOST_IP, ENV_NODE_NAME
from ipagent import node_protocol
from ipagent.node.model.pod import PodKey
from ipagent.node.observe.status_command import SOCKET, ask
from ipagent.node.sessions.limits import Limits
from ipagent.node_protocol import ClaimStatus, ResponseParser
from tests.cluster.control_plane import free_ports
from tests.cluster.kubeconfig import write_kubeconfig
from tests.cluster.processes import Process
from tests.cluster.waiting import wait_for
from tests.common.kube.fake_api import FakeApi, Reply, Request
from tests.descriptors import no_descriptors
from tests.ipagent.nodeclient.gate import NODE, review, token_of
from tests.memory_cgroup import MemoryCgroup, memory_cgroup, usable

ROOT = Path(__file__).parents[4]
IPAGENT = str(Path(sys.executable).with_name("ipagent"))
HOST = "127.0.0.1"
SECONDS = 60.0
HONEST = PodKey("apps", "honest", "uid-honest")
HOSTILE = [PodKey("apps", f"hostile-{number}", f"uid-{number}") for number in range(249)]
OTHERS = [PodKey("apps", f"other-{number}", f"uid-other-{number}") for number in range(60)]
"""Honest pods, too: one alone has five statements a second."""
NET1 = {"index": 3, "name": "net1", "mac": "02:aa:00:00:00:01"}
MEBIBYTE = 1 << 20
LEFT_FOR_KERNEL = 48 * MEBIBYTE
"""Of the chart's limit: buffers of sockets, which a process's resident memory does not contain."""


def statement(pod: PodKey, **more: Any) -> dict[str, Any]:
    who = {"namespace": pod.namespace, "name": pod.name, "uid": pod.uid}
    return {"contract": 1, "serial": 1, "mode": "sidecar", "pod": who, "links": [NET1], **more}


def connect(port: int, source: str = HOST) -> socket.socket:
    connection = socket.socket()
    connection.settimeout(SECONDS)
    connection.bind((source, 0))
    try:
        connection.connect((HOST, port))
    except OSError:
        connection.close()
        raise
    return connection


def source(number: int) -> str:
    return f"127.1.{number // 250}.{number % 250 + 1}"


@dataclass(frozen=True)
class Agent:
    process: Process
    folder: Path
    """Where its socket for `ipagent node status` is."""
    port: int
    probes: int
    """The port of probes and metrics."""
    cgroup: MemoryCgroup | None

    @property
    def peak(self) -> int:
        """The most memory that it had resident, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found
        return int(found[1]) * 1024

    @property
    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def serves(self, pod: PodKey = HONEST, *, source: str = HOST) -> None:
        """Ask as the injected container does, until there is an answer."""
        with connect(self.port, source) as connection:
            token = token_of(pod, node=NODE)
            connection.sendall(node_protocol.request("here", token, "test"))
            connection.sendall(node_protocol.chunk(statement(pod)))
            answers = ResponseParser()
            while data := connection.recv(1 << 16):
                for each in answers.feed(data):
                    assert isinstance(each, ClaimStatus), each.text
                    if each.state != node_protocol.PENDING:
                        assert each.state == node_protocol.ASSIGNED, each.message
                        return
            raise AssertionError("the connection has ended without an answer")


class Api:
    """All pods live on the node; a token is what `token_of` makes."""

    def __init__(self) -> None:
        self.ending = threading.Event()

    def answer(self, request: Request) -> Reply:
        if request.path.endswith("/tokenreviews"):
            return Reply(
                201, {"kind": "TokenReview", "status": review(request.body["spec"]["token"])}, keep=True
            )
        if request.method != "GET":
            return Reply(201, {})
        if "watch" in request.parameters:
            return Reply(chunks=self._silence())
        items = [_pod(pod) for pod in (HONEST, *HOSTILE, *OTHERS)]
        metadata = {"resourceVersion": "10"}
        return Reply(body={"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": items})

    def _silence(self) -> Iterator[bytes]:
        self.ending.wait()
        yield from ()


def _pod(pod: PodKey) -> dict[str, Any]:
    metadata = {"namespace": pod.namespace, "name": pod.name, "uid": pod.uid, "resourceVersion": "1"}
    return {"metadata": metadata, "spec": {"nodeName": NODE}, "status": {"phase": "Running"}}


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    with running_agent(tmp_path_factory.mktemp("flood")) as running:
        yield running


@contextmanager
def running_agent(folder: Path) -> Iterator[Agent]:
    """Run a node agent at the chart's memory limit."""
    api = Api()
    with FakeApi(folder, api.answer, lasting=SECONDS) as served:
        port, health = free_ports(HOST, HOST)
        (folder / "config").write_text(json.dumps({"port": port, "healthPort": health, "logFormat": "json"}))
        write_kubeconfig(folder / "kubeconfig", f"https://{HOST}:{served.port}", served.ca.read_bytes())
        env = {
            "KUBECONFIG": str(folder / "kubeconfig"),
            "AWS_REGION": "eu-central-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "MULTUS_ENI_INSTANCE_ID": "i-0a000000000000001",
            ENV_NODE_NAME: NODE,
            ENV_HOST_IP: HOST,
        }
        argv = [IPAGENT, "node", f"--config={folder / 'config'}", f"--record={folder}"]
        # Without rights to cgroups the largest resident memory is compared with the limit anyway.
        with ExitStack() as stack:
            cgroup = stack.enter_context(memory_cgroup(chart_limit())) if usable() else None
            argv = [*(cgroup.launcher if cgroup else ()), *argv]
            process = stack.enter_context(Process("node-agent", argv, log=folder / "log", env=env))
            process.wait_until(lambda: _ready(health), "answer of /readyz", SECONDS)
            yield Agent(process, folder, port, health, cgroup)
            api.ending.set()


def _ready(port: int) -> bool:
    with suppress(OSError), connect(port) as connection:
        connection.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
        return b" 200 " in connection.recv(100)
    return False


@functools.cache
def chart_limit() -> int:
    values = yaml.safe_load((ROOT / "charts/multus-eni-injector/values.yaml").read_text())
    limit = values["nodeAgent"]["resources"]["limits"]["memory"]
    assert limit.endswith("Mi")
    return int(limit[:-2]) * MEBIBYTE


Attack = Callable[[Agent, ExitStack], None]


def _sent(connection: socket.socket, *data: bytes) -> None:
    """Send as much as it takes without waiting."""
    connection.setblocking(False)
    with suppress(OSError):
        for each in data:
            connection.send(each)


def unfinished_statements(agent: Agent, stack: ExitStack) -> None:
    """1000 connections with tokens of 249 pods, each with 250 KiB of a statement that never ends."""
    for number in range(1000):
        pod = HOSTILE[number % len(HOSTILE)]
        with suppress(OSError):
            connection = stack.enter_context(connect(agent.port, source(number % len(HOSTILE))))
            head = node_protocol.request("here", token_of(pod, node=NODE), "test")
            _sent(connection, head + b"3e800\r\n" + b" " * 256_000)


def idle_connections(agent: Agent, stack: ExitStack) -> None:
    """More connections than there may be, from more addresses than a node has pods, that say nothing."""
    for number in range(2400):
        with suppress(OSError):
            stack.enter_context(connect(agent.port, source(number % 600)))


def one_peer_again_and_again(agent: Agent, stack: ExitStack) -> None:
    """One address that connects 3000 times, and keeps what it gets."""
    for _ in range(3000):
        with suppress(OSError):
            stack.enter_context(connect(agent.port, "127.2.0.1"))


def peers_that_go_at_once(agent: Agent, stack: ExitStack) -> None:
    """Requests that are refused, by peers that are gone when they are answered."""
    del stack
    for number in range(2000):
        with suppress(OSError), connect(agent.port, source(number % 500)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")


def blank_lines(agent: Agent, stack: ExitStack) -> None:
    """Pods that send nothing but blank lines, and chunks of one byte, as fast as they are read."""
    for number, pod in enumerate(HOSTILE):
        with suppress(OSError):
            connection = stack.enter_context(connect(agent.port, source(number)))
            head = node_protocol.request("here", token_of(pod, node=NODE), "test")
            _sent(connection, head, b"3e800\r\n" + b"\n" * 256_000 + b"\r\n", b"1\r\n\n\r\n" * 40_000)


def answers_that_nobody_reads(agent: Agent, stack: ExitStack) -> None:
    """Pods with the largest claims that there may be, which do not read what they are told of them."""
    addresses = [{"index": 3, "address": f"10.{number // 250}.{number % 250}.9"} for number in range(2048)]
    told = len(agent.process.events("not-assigned"))
    # More than are admitted: the others are refused. Pods that have sent nothing yet are read at once.
    for number, pod in enumerate(OTHERS[1:40]):
        with suppress(OSError):
            connection = stack.enter_context(connect(agent.port, f"127.3.0.{number + 1}"))
            head = node_protocol.request("here", token_of(pod, node=NODE), "test")
            body = node_protocol.chunk(statement(pod, addresses=addresses, interfaces=["net1"]))
            connection.sendall(head)
            connection.settimeout(1.0)
            with suppress(OSError):
                connection.sendall(body)
    # What is told of them is told once network-status has had its time.
    wait_for(lambda: len(agent.process.events("not-assigned")) > told, "lines about large claims")


def a_long_text_for_each_address(agent: Agent, stack: ExitStack) -> None:
    """One pod, whose addresses all lie outside of as many CIDRs as there may be."""
    addresses = [{"index": 3, "address": f"10.{number // 250}.{number % 250}.9"} for number in range(2048)]
    cidrs = [f"2001:db8:{number:x}:1111:2222:3333:4444:5555/128" for number in range(256)]
    # One that has sent nothing before: it would pay for that by waiting.
    pod = OTHERS[-1]
    connection = stack.enter_context(connect(agent.port, "127.2.0.2"))
    stated = statement(pod, addresses=addresses, allowedCidrs=cidrs, interfaces=["net1"])
    head = node_protocol.request("here", token_of(pod, node=NODE), "test")
    connection.sendall(head + node_protocol.chunk(stated))
    answers = ResponseParser()
    while data := connection.recv(1 << 16):
        for each in answers.feed(data):
            assert isinstance(each, ClaimStatus), each.text
            if each.state != node_protocol.PENDING:
                return
    raise AssertionError("the connection has ended without an answer")


def probes_that_do_not_end(agent: Agent, stack: ExitStack) -> None:
    """The port of probes and metrics: more connections than there may be, each with a head without an end."""
    for number in range(1000):
        with suppress(OSError):
            connection = stack.enter_context(connect(agent.probes, source(number % 300)))
            _sent(connection, b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 8000)


def heads_one_after_the_other(agent: Agent, stack: ExitStack) -> None:
    """Thousands of HEADs in one piece at both ports, whose answers nobody reads."""
    for number in range(300):
        for port in (agent.port, agent.probes):
            with suppress(OSError):
                connection = stack.enter_context(connect(port, source(number % 250)))
                _sent(connection, b"HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 2000)


@pytest.mark.parametrize(
    "attack",
    [
        unfinished_statements,
        idle_connections,
        one_peer_again_and_again,
        peers_that_go_at_once,
        blank_lines,
        a_long_text_for_each_address,
        # It leaves no room for another large claim: they stay as long as their pods.
        answers_that_nobody_reads,
        probes_that_do_not_end,
        heads_one_after_the_other,
    ],
)
def test_an_attacker_neither_kills_the_agent_nor_keeps_it_from_others(agent: Agent, attack: Attack) -> None:
    logged = agent.process.log.stat().st_size
    with ExitStack() as stack:
        attack(agent, stack)
        agent.serves()
        assert _ready(agent.probes)
        limits = Limits()
        assert agent.descriptors < limits.connections + limits.refusals + 100
    agent.serves()
    assert agent.cgroup is None or agent.cgroup.kills == 0
    assert agent.peak < chart_limit() - LEFT_FOR_KERNEL
    assert agent.process.log.stat().st_size - logged < 64 * 1024
    assert "session-fault" not in agent.process.log.read_text()


def test_without_descriptors_sessions_go_on_and_new_connections_wait(agent: Agent) -> None:
    logged = agent.process.log.stat().st_size
    with ExitStack() as stack:
        # One that has sent nothing before: what a hostile pod has sent, it pays for by waiting.
        pod = OTHERS[0]
        session = stack.enter_context(connect(agent.port))
        session.sendall(node_protocol.request("here", token_of(pod, node=NODE), "test"))
        session.sendall(node_protocol.chunk(statement(pod)))
        answers = ResponseParser()
        assert _answered(session, answers, 1)
        with no_descriptors(agent.process.pid):
            for number in range(64):
                stack.enter_context(connect(agent.port, source(number)))
            probe = stack.enter_context(connect(agent.probes))
            asking = stack.enter_context(socket.socket(socket.AF_UNIX))
            asking.settimeout(SECONDS)
            asking.connect(str(agent.folder / SOCKET))
            wait_for(lambda: agent.process.events("session-fault"), "connections that can't be accepted")
            session.sendall(node_protocol.chunk(statement(pod, serial=2)))
            assert _answered(session, answers, 2)
        agent.serves()
        probe.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        assert b" 200 " in probe.recv(100)
        assert json.loads(_everything(asking))["version"]
        assert ask(agent.folder)["version"]
    assert agent.process.log.stat().st_size - logged < 16 * 1024


def _answered(session: socket.socket, answers: ResponseParser, serial: int) -> bool:
    """Read until the statement with this number is answered; False at the end of the session."""
    while data := session.recv(1 << 16):
        if any(isinstance(each, ClaimStatus) and each.serial == serial for each in answers.feed(data)):
            return True
    return False


def _everything(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(1 << 16), b""))
