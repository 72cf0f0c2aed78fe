"""The slim agent where the kernel does not do what it should."""

from __future__ import annotations

import io
import os
import signal
import struct
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from common.agent_settings import Mode
from common.exit_codes import ExitCode
from ipagent.log import Log
from ipagent.netlink.sockets import KernelError, NetlinkSocket
from ipagent.node.sessions.listener import listen
from ipagent.nodeclient import agent as module
from ipagent.nodeclient.agent import NodeClientAgent
from ipagent.nodeclient.session import ReconnectingSession
from ipagent.nodeclient.signal_fd import SignalFd
from ipagent.termination import Exit
from tests.ipagent.nodeclient.gate import POD, Gate, token_of
from tests.ipagent.nodeclient.rig import LIMITS, slim

FAR = time.monotonic() + 86_400
"""A day from now: the tests before these may take long."""


class FakeKernel(NetlinkSocket):
    """One interface without addresses; `fail` lets the next readings fail."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK)
        self.fail: list[str] = []
        self.links_read = 0

    def change(self, *fail: str) -> None:
        self.fail.extend(fail)
        os.write(self._write, b"x")

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)

    def fileno(self) -> int:
        return self._read

    def gone(self) -> set[bytes]:
        """Tell an address once for each change."""
        try:
            return {bytes([10, 10, 1, len(os.read(self._read, 100))])}
        except BlockingIOError:
            return set()

    def links(self) -> list[bytes]:
        self.links_read += 1
        if self.fail:
            raise KernelError(self.fail.pop(0))
        return [struct.pack("=BxHiIIHH", 0, 1, 3, 0, 0, 9, 3) + b"net1\0"]

    def addresses(self) -> list[bytes]:
        return []


@pytest.fixture
def kernel() -> Iterator[FakeKernel]:
    with FakeKernel() as made:
        yield made


@pytest.fixture
def gate() -> Iterator[Gate]:
    with Gate(listen("127.0.0.1", 0), limits=LIMITS) as made:
        yield made


@pytest.fixture
def said() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def client(kernel: FakeKernel, gate: Gate, said: io.StringIO, tmp_path: Path) -> Iterator[NodeClientAgent]:
    (tmp_path / "token").write_text(token_of(POD))
    session = ReconnectingSession(*gate.address, str(tmp_path / "token"), "test")
    with SignalFd() as stop:
        yield NodeClientAgent(
            mode=Mode.SIDECAR,
            settings=slim(),
            pod={"namespace": POD.namespace, "name": POD.name, "uid": POD.uid},
            node="node-a",
            kernel=kernel,
            session=session,
            stop=stop,
            log=Log(stream=said),
        )
    session.close()


def test_a_netlink_failure_at_the_start_ends_with_a_remedy(
    client: NodeClientAgent, kernel: FakeKernel
) -> None:
    kernel.fail = ["no"]
    with pytest.raises(Exit) as caught:
        client.wait_until_assigned(FAR)
    assert caught.value.code == ExitCode.INTERNAL
    assert "no. Netlink sockets must be allowed" in caught.value.message


def test_malformed_netlink_data_at_the_start_ends_the_run(
    client: NodeClientAgent, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "links", lambda: [b"short"])
    with pytest.raises(Exit, match="the kernel's answer cannot be read"):
        client.wait_until_assigned(FAR)


def test_a_netlink_failure_after_the_start_is_logged_and_retried(
    client: NodeClientAgent,
    kernel: FakeKernel,
    gate: Gate,
    said: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.05)
    assert client.wait_until_assigned(FAR).code == 0
    kernel.change("not now", "nor now")

    def stop_when_heard() -> None:
        try:
            gate.wait_for_claims(2)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    stopping = threading.Thread(target=stop_when_heard)
    stopping.start()
    with pytest.raises(Exit) as caught:
        client.follow()
    stopping.join()
    assert caught.value.code == ExitCode.OK
    assert said.getvalue().count('"lookup-failed"') == 2
    # Once at the start, twice in vain, then once: and what went away meanwhile is stated.
    assert kernel.links_read == 4
    assert gate.claims[-1].again == {ip_address("10.10.1.1")}


def test_a_missing_token_at_exit_is_reported_as_not_released(
    client: NodeClientAgent, gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_settings", slim(release_on_exit=True))
    assert client.wait_until_assigned(FAR).code == 0
    gate.sessions.close()
    (tmp_path / "token").unlink()
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Exit) as caught:
        client.follow()
    assert "might not have been released" in caught.value.message
