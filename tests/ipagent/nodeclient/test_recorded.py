"""What a pod and its node agent say stays understood: releases of both run together for years."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.exit_codes import ExitCode
from ipagent.node.sessions.listener import listen
from ipagent.node_protocol import ClaimStatus, Refusal, ResponseParser
from tests.ipagent.nodeclient.exchanges import NODE, POD, documents, files, read, recorder, shape, write
from tests.ipagent.nodeclient.gate import Gate
from tests.ipagent.nodeclient.rig import PORT, SlimStage, slim
from tests.netns import Node
from tests.netns_fixtures import node  # noqa: F401 - a fixture

UPDATE = os.environ.get("UPDATE_CASES") == "1"
SECONDS = 20.0
RECORDED = files()


def test_there_are_recordings_of_every_kind() -> None:
    assert {file.stem.partition("-")[2] for file in RECORDED} >= {"init", "sidecar", "refused"}


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.stem)
def test_an_older_clients_exchange_still_works(file: Path) -> None:
    with (
        Gate(listen("127.0.0.1", 0)) as gate,
        socket.create_connection(gate.address, timeout=SECONDS) as connection,
    ):
        for who, data in read(file):
            if who == POD:
                connection.sendall(data)
            else:
                _expect(connection, data)
        if "refused" not in file.stem:
            assert len(gate.claims) == len(documents(read(file), POD))


def _expect(connection: socket.socket, recorded: bytes) -> None:
    """Wait for everything that was told then; more may be told now."""
    if recorded.startswith(b"HTTP/"):
        head, _, recorded = recorded.partition(b"\r\n\r\n")
        told = b""
        while not told.endswith(b"\r\n\r\n"):
            told += connection.recv(1)
        assert told.split(b"\r\n")[0] == head.split(b"\r\n")[0]
    for line in recorded.splitlines():
        answer = b""
        while not answer.endswith(b"\n"):
            answer += connection.recv(1)
        _is_part(json.loads(line), json.loads(answer))


def _is_part(old: Any, new: Any) -> None:
    if isinstance(old, dict):
        for key, value in old.items():
            _is_part(value, new[key])
    elif isinstance(old, list):
        assert len(old) == len(new)
        for one, other in zip(old, new, strict=True):
            _is_part(one, other)
    else:
        assert old == new


@pytest.mark.pure
@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.stem)
def test_an_older_servers_answers_are_still_understood(file: Path) -> None:
    answers = ResponseParser()
    found = [answer for who, data in read(file) if who == NODE for answer in answers.feed(data)]
    recorded = documents(read(file), NODE)
    assert len(found) == len(recorded)
    for answer, document in zip(found, recorded, strict=True):
        if isinstance(answer, Refusal):
            assert answer.text == document["message"]
        else:
            assert isinstance(answer, ClaimStatus)
            assert (answer.serial, answer.state) == (document["serial"], document["state"])


def init(stage: SlimStage, gate: Gate) -> None:
    del gate
    assert stage.init(stage.pod("10.10.1.80/24", "2001:db8:1::80/64"), slim(interfaces=())).code == 0


def sidecar(stage: SlimStage, gate: Gate) -> None:
    pod = stage.pod("10.10.1.80/24")
    running = stage.start("sidecar", pod, slim(release_on_exit=True, allowed_cidrs=("10.10.0.0/16",)))
    running.wait_for_event("started")
    pod.add_address("net1", "10.10.1.200/32")
    running.wait_for_event("assigned")
    pod.delete_address("net1", "10.10.1.200/32")
    running.wait_for_event("removed")
    assert running.end().code == ExitCode.OK
    gate.wait_for_unclaim()


def refused(stage: SlimStage, gate: Gate) -> None:
    del gate
    stage.token.write_text("banana")
    assert stage.init(stage.pod("10.10.1.80/24")).code == ExitCode.NOT_GRANTED


@pytest.mark.netns
@pytest.mark.parametrize("run", [init, sidecar, refused], ids=["init", "sidecar", "refused"])
def test_what_this_release_says_is_recorded(
    node: Node,  # noqa: F811 - the fixture
    tmp_path: Path,
    run: Callable[[SlimStage, Gate], None],
) -> None:
    stage = SlimStage(node, tmp_path)
    with (
        Gate(node.listen("127.0.0.1", PORT)) as gate,
        recorder(node, (node.address, PORT), gate.address) as said,
    ):
        run(stage, gate)
    what = run.__name__
    if UPDATE:
        write(what, said)
    newest = files(what)[-1]
    for who in (POD, NODE):
        ours = {json.dumps(shape(document)) for document in documents(said, who)}
        recorded = {json.dumps(shape(document)) for document in documents(read(newest), who)}
        assert ours == recorded, f"{newest.name} is of an older release: add one with UPDATE_CASES=1, keep it"
